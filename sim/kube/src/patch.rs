//! JSON patch, JSON merge patch and strategic merge patch.

use serde_json::Value;

use crate::{json, status::Status};

mod strategic;

pub use strategic::strategic;

/// Most operations of one JSON patch, as on the real server.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

/// The complaint about a patch that ought to be a map, as Go words it.
pub(crate) fn no_map(patch: &Value) -> Option<String> {
    let given = match patch {
        Value::Object(_) | Value::Null => return None,
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    Some(format!("json: cannot unmarshal {given} into Go value of type map[string]interface {{}}"))
}

/// RFC 7386.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            let map = json::ensure_map(target);
            for (key, value) in fields {
                if value.is_null() {
                    map.shift_remove(key);
                } else {
                    merge_patch(map.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        other => *target = other.clone(),
    }
}

/// RFC 6902.
///
/// # Errors
/// 422 if an operation cannot be carried out, 400 if the patch is malformed.
pub fn json_patch(target: &mut Value, patch: &Value) -> Result<(), Status> {
    let operations = patch
        .as_array()
        .ok_or_else(|| Status::bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch"))?;
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!(
                "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {}",
                operations.len()
            ),
        ));
    }
    for operation in operations {
        let op = json::text(operation, &["op"]);
        let path = json::text(operation, &["path"]).to_owned();
        let value = || operation.get("value").cloned().ok_or_else(refused);
        match op {
            "add" => add(target, &path, value()?)?,
            "remove" => {
                take(target, &path)?;
            }
            "replace" => {
                let value = value()?;
                let slot = target.pointer_mut(&path).ok_or_else(refused)?;
                *slot = value;
            }
            "test" => {
                // Nothing is as good as null: by this kube-rs makes sure that there are no finalizers yet.
                if target.pointer(&path).unwrap_or(&Value::Null) != &value()? {
                    return Err(refused());
                }
            }
            "move" => {
                let from = json::text(operation, &["from"]).to_owned();
                let value = take(target, &from)?;
                add(target, &path, value)?;
            }
            "copy" => {
                let from = json::text(operation, &["from"]);
                let value = target.pointer(from).cloned().ok_or_else(refused)?;
                add(target, &path, value)?;
            }
            other => return Err(Status::bad_request(format!("Unexpected kind: {other}"))),
        }
    }
    Ok(())
}

/// The real server keeps to itself which operation it was.
fn refused() -> Status {
    Status::new(422, "Invalid", "the server rejected our request due to an error in our request")
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn parent<'a>(target: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), Status> {
    let (before, last) = path.rsplit_once('/').ok_or_else(refused)?;
    let parent = target.pointer_mut(before).ok_or_else(refused)?;
    Ok((parent, unescape(last)))
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), Status> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let (parent, last) = parent(target, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let at = last.parse::<usize>().ok().filter(|at| *at <= items.len()).ok_or_else(refused)?;
            items.insert(at, value);
        }
        _ => return Err(refused()),
    }
    Ok(())
}

fn take(target: &mut Value, path: &str) -> Result<Value, Status> {
    let (parent, last) = parent(target, path)?;
    let taken = match parent {
        Value::Object(map) => map.shift_remove(&last),
        Value::Array(items) => last.parse::<usize>().ok().filter(|at| *at < items.len()).map(|at| items.remove(at)),
        _ => None,
    };
    taken.ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_patch_adds_moves_and_refuses() {
        let mut v = json!({"a": [1, 2], "b": {"c/d": 1}});
        json_patch(&mut v, &json!([
            {"op": "add", "path": "/a/1", "value": 9}, {"op": "move", "from": "/b/c~1d", "path": "/e"}, {"op": "remove", "path": "/a/0"}, {"op": "test", "path": "/e", "value": 1}
        ])).unwrap();
        assert_eq!(v, json!({"a": [9, 2], "b": {}, "e": 1}));
        assert_eq!(json_patch(&mut v, &json!([{"op": "test", "path": "/e", "value": 2}])).unwrap_err().code, 422);
        assert_eq!(json_patch(&mut v, &json!([{"op": "remove", "path": "/nothing"}])).unwrap_err().code, 422);
        json_patch(&mut v, &json!([{"op": "test", "path": "/nothing", "value": null}])).unwrap();
        assert_eq!(json_patch(&mut v, &json!([{"op": "test", "path": "/nothing", "value": 1}])).unwrap_err().code, 422);
    }

    #[test]
    fn merge_patch_removes_by_null() {
        let mut v = json!({"a": {"b": 1, "c": 2}});
        merge_patch(&mut v, &json!({"a": {"b": null, "d": {"e": 1}}}));
        assert_eq!(v, json!({"a": {"c": 2, "d": {"e": 1}}}));
    }
}
