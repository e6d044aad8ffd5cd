//! Strategic merge patch, by the merge keys and strategies of the built-in types.
//!
//! Directives: `$patch: replace|delete|merge`, `$retainKeys`, `$deleteFromPrimitiveList/<list>`, `$setElementOrder/<list>`.

use serde_json::{Map, Value};
use sim_kube_schemas::{Field, Struct, Type};

use crate::status::Status;

/// Deepest nesting of a patch.
pub const DEPTH_MAX: usize = 512;

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Patches an object of a built-in kind.
///
/// # Errors
/// 400 for directives of a wrong form, 422 for lists of lists, 500 (as the real server) for unknown fields that would have
/// to be merged and for items without their merge key.
pub fn strategic(target: &mut Value, patch: &Value, structure: &'static Struct) -> Result<(), Status> {
    let Value::Object(fields) = patch else {
        // Nothing changes nothing.
        return super::no_map(patch).map_or(Ok(()), |why| Err(Status::bad_request(why)));
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { unreachable!("made a map above") };
    merge_map(map, fields, &Of::Kind(structure), 0)
}

/// What the patch walks: a structure, or a map with free keys.
enum Of {
    Kind(&'static Struct),
    Free(&'static Type),
    Unknown,
}

fn internal(message: String) -> Status {
    Status::new(500, "", message)
}

impl Of {
    fn below(of: &'static Type) -> Self {
        match of {
            Type::Struct(inner) | Type::AtomicStruct(inner) | Type::SchemaOr(inner) => Of::Kind(inner.get()),
            Type::Map(map) => Of::Free(&map.value),
            _ => Of::Unknown,
        }
    }

    /// The field's own type and what a patch does with it; an error for what the type does not declare.
    fn field(&self, name: &str) -> Result<(Option<&'static Field>, Option<&'static Type>), Status> {
        match self {
            Of::Kind(structure) => {
                let field = structure.field(name).ok_or_else(|| {
                    internal(format!("unable to find api field in struct {} for the json field {name:?}", structure.go))
                })?;
                Ok((Some(field), Some(&field.of)))
            }
            Of::Free(value) => Ok((None, Some(value))),
            Of::Unknown => Ok((None, None)),
        }
    }
}

fn unknown_directive(directive: &str, map: &Map<String, Value>) -> Status {
    internal(format!("unknown patch type: {directive} in map: {}", Value::Object(map.clone())))
}

fn merge_map(
    original: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    of: &Of,
    depth: usize,
) -> Result<(), Status> {
    if depth > DEPTH_MAX {
        return Err(Status::bad_request("exceeded max depth"));
    }
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(directive)) => match directive.as_str() {
            "replace" => {
                *original = without_directives(patch);
                return Ok(());
            }
            "delete" => {
                original.clear();
                return Ok(());
            }
            "merge" => {}
            other => return Err(unknown_directive(other, patch)),
        },
        Some(other) => return Err(unknown_directive(&other.to_string(), patch)),
    }
    retain(original, patch)?;
    let ordered = patch.keys().filter_map(|key| key.strip_prefix(ORDER));
    let before: Vec<(&str, Vec<Value>)> =
        ordered.filter_map(|list| Some((list, original.get(list)?.as_array()?.clone()))).collect();
    for (key, value) in patch {
        if key == DIRECTIVE || key == RETAIN || key.starts_with(ORDER) {
            continue;
        }
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            let Value::Array(gone) = value else {
                return Err(Status::bad_request("The patch contains invalid syntax for primitive list"));
            };
            if let Some(Value::Array(items)) = original.get_mut(list) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        match (original.get_mut(key), value) {
            (_, Value::Null) => {
                original.shift_remove(key);
            }
            (Some(Value::Object(existing)), Value::Object(inner)) => {
                let (_, own) = of.field(key)?;
                let below = own.map_or(Of::Unknown, Of::below);
                let gone = inner.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
                merge_map(existing, inner, &below, depth + 1)?;
                if gone {
                    original.shift_remove(key);
                }
            }
            (Some(Value::Array(existing)), Value::Array(items)) => {
                let (field, own) = of.field(key)?;
                match (field.filter(|f| f.patch.merge), own) {
                    (Some(field), Some(Type::List(list))) => {
                        let below = Of::below(&list.item);
                        merge_list(existing, items, field.patch.key.as_deref(), &below, depth + 1)?;
                    }
                    _ => *existing = plain_items(items),
                }
            }
            (Some(slot), other) => *slot = plain(other),
            (None, Value::Object(inner)) if inner.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") => {}
            (None, other) => {
                original.insert(key.clone(), plain(other));
            }
        }
    }
    for (key, wanted) in patch {
        if let Some(list) = key.strip_prefix(ORDER) {
            let Value::Array(wanted) = wanted else {
                return Err(Status::bad_request("The patch contains invalid syntax for setElementOrder list"));
            };
            let key = of.field(list)?.0.and_then(|f| f.patch.key.as_deref());
            if let Some(Value::Array(named)) = patch.get(list) {
                check_order(named, wanted, key)?;
            }
            if let Some(Value::Array(items)) = original.get_mut(list) {
                let live = before.iter().find(|(known, _)| *known == list).map_or(&[][..], |(_, items)| items);
                order(items, wanted, live, key);
            }
        }
    }
    Ok(())
}

/// `$retainKeys`: what is not named goes.
fn retain(original: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), Status> {
    let wrong = || Status::bad_request("The patch contains invalid syntax for retainKeys");
    let keys = match patch.get(RETAIN) {
        None => return Ok(()),
        Some(Value::Array(keys)) => keys,
        Some(_) => return Err(wrong()),
    };
    let named = |name: &str| keys.iter().any(|k| k.as_str() == Some(name));
    if patch.iter().any(|(k, v)| !k.starts_with('$') && !v.is_null() && !named(k)) {
        return Err(wrong());
    }
    original.retain(|k, _| named(k));
    Ok(())
}

/// What identifies an item: its merge key, or itself.
fn identity<'a>(item: &'a Value, key: Option<&str>) -> Option<&'a Value> {
    match key {
        Some(key) if item.is_object() => item.get(key),
        _ => Some(item),
    }
}

fn missing_key(item: &Value, key: &str) -> Status {
    internal(format!("map: {item} does not contain declared merge key: {key}"))
}

fn merge_list(items: &mut Vec<Value>, patch: &[Value], key: Option<&str>, of: &Of, depth: usize) -> Result<(), Status> {
    if patch.iter().chain(items.iter()).any(Value::is_array) {
        return Err(Status::new(422, "Invalid", "the server rejected our request due to an error in our request"));
    }
    let live = items.clone();
    let Some(key) = key else {
        for item in patch {
            if !items.contains(item) {
                items.push(item.clone());
            }
        }
        order(items, patch, &live, None);
        return Ok(());
    };
    let mut replace = false;
    for item in patch {
        match item.get(DIRECTIVE).map(|d| d.as_str().unwrap_or("")) {
            None => {}
            Some("delete") => {
                let gone = item.get(key).ok_or_else(|| missing_key(item, key))?;
                items.retain(|i| i.get(key) != Some(gone));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(internal("merging lists cannot yet be specified in the patch".into())),
            Some(other) => return Err(unknown_directive(other, item.as_object().unwrap_or(&Map::new()))),
        }
    }
    let named: Vec<Value> = patch.iter().filter(|i| i.get(DIRECTIVE).is_none()).cloned().collect();
    if replace {
        *items = named.iter().map(plain).collect();
        return Ok(());
    }
    for item in &named {
        let Value::Object(fields) = item else {
            return Err(internal(format!("expected a map, but received {item}")));
        };
        let own = fields.get(key).ok_or_else(|| missing_key(item, key))?;
        match items.iter_mut().find(|i| i.get(key) == Some(own)) {
            Some(Value::Object(existing)) => merge_map(existing, fields, of, depth + 1)?,
            _ => items.push(plain(item)),
        }
    }
    order(items, &named, &live, Some(key));
    Ok(())
}

/// Every item a patch names has to be in its order, in that order.
fn check_order(named: &[Value], wanted: &[Value], key: Option<&str>) -> Result<(), Status> {
    let mut rest = wanted.iter();
    for item in named.iter().filter(|i| i.get(DIRECTIVE).is_none()) {
        let own = identity(item, key);
        if !rest.any(|w| identity(w, key) == own) {
            return Err(Status::bad_request("The patch contains invalid syntax for setElementOrder list"));
        }
    }
    Ok(())
}

/// Puts the items of `wanted` into its order. The others keep theirs, and each comes before the first of the former that was
/// behind it in the live list: what is new in a patch therefore stands in front.
fn order(items: &mut Vec<Value>, wanted: &[Value], live: &[Value], key: Option<&str>) {
    let place = |list: &[Value], item: &Value| list.iter().position(|w| identity(w, key) == identity(item, key));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        std::mem::take(items).into_iter().partition(|item| place(wanted, item).is_some());
    named.sort_by_key(|item| place(wanted, item));
    others.sort_by_key(|item| place(live, item));
    let mut others = others.into_iter().peekable();
    for item in named {
        let own = place(live, &item);
        while let Some(other) = others.next_if(|other| own.is_some() && place(live, other) < own) {
            items.push(other);
        }
        items.push(item);
    }
    items.extend(others);
}

fn without_directives(fields: &Map<String, Value>) -> Map<String, Value> {
    let kept = fields.iter().filter(|(k, v)| !is_directive(k) && !v.is_null());
    kept.map(|(k, v)| (k.clone(), plain(v))).collect()
}

fn is_directive(key: &str) -> bool {
    key == DIRECTIVE || key == RETAIN || key.starts_with(DELETE_FROM) || key.starts_with(ORDER)
}

/// A value of a patch as it is stored where nothing was: without directives and nulls.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(without_directives(fields)),
        Value::Array(items) => Value::Array(plain_items(items)),
        scalar => scalar.clone(),
    }
}

fn plain_items(items: &[Value]) -> Vec<Value> {
    items.iter().filter(|i| i.get(DIRECTIVE).is_none()).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn patched(mut target: Value, patch: Value) -> Result<Value, Status> {
        strategic(&mut target, &patch, sim_kube_schemas::kind("", "v1", "Pod").unwrap())?;
        Ok(target)
    }

    fn containers(items: Value) -> Value {
        json!({"spec": {"containers": items}})
    }

    #[test]
    fn lists_merge_by_the_key_of_their_type_and_others_are_replaced() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}], "args": ["x"]}, {"name": "b"}], "tolerations": [{"key": "t"}]}});
        let patch = json!({"spec": {"containers": [{"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}], "args": ["y"]}, {"name": "b", "$patch": "delete"}], "tolerations": [{"key": "u"}]}});
        assert_eq!(
            patched(pod, patch).unwrap(),
            json!({"spec": {"containers": [{"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}], "args": ["y"]}], "tolerations": [{"key": "u"}]}})
        );
    }

    #[test]
    fn ports_of_a_service_merge_by_port_and_those_of_a_container_by_container_port() {
        let mut service = json!({"spec": {"ports": [{"port": 80, "targetPort": 1}]}});
        strategic(
            &mut service,
            &json!({"spec": {"ports": [{"port": 80, "targetPort": 2}, {"port": 81}]}}),
            sim_kube_schemas::kind("", "v1", "Service").unwrap(),
        )
        .unwrap();
        assert_eq!(service, json!({"spec": {"ports": [{"port": 80, "targetPort": 2}, {"port": 81}]}}));
        let pod = patched(
            containers(json!([{"name": "a", "ports": [{"containerPort": 1, "name": "x"}]}])),
            containers(json!([{"name": "a", "ports": [{"containerPort": 1, "name": "y"}]}])),
        );
        assert_eq!(pod.unwrap(), containers(json!([{"name": "a", "ports": [{"containerPort": 1, "name": "y"}]}])));
    }

    #[test]
    fn directives_replace_retain_and_order() {
        let pod = json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "a"}, {"name": "side"}, {"name": "b"}]}});
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
            "spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}],
                "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}], "containers": [{"name": "c"}]}});
        assert_eq!(
            patched(pod, patch).unwrap(),
            json!({"metadata": {"finalizers": ["c", "b"]}, "spec": {"volumes": [{"name": "v", "configMap": {"name": "c"}}], "containers": [{"name": "side"}, {"name": "b"}, {"name": "c"}, {"name": "a"}]}})
        );
        assert_eq!(
            patched(containers(json!([{"name": "a"}])), containers(json!([{"$patch": "replace"}, {"name": "z"}])))
                .unwrap(),
            containers(json!([{"name": "z"}]))
        );
        assert_eq!(
            patched(
                json!({"spec": {"securityContext": {"runAsUser": 1}}}),
                json!({"spec": {"securityContext": {"$patch": "replace", "fsGroup": 2}}})
            )
            .unwrap(),
            json!({"spec": {"securityContext": {"fsGroup": 2}}})
        );
    }

    #[test]
    fn bad_patches_are_refused() {
        let pod = || containers(json!([{"name": "a"}]));
        let status = patched(pod(), containers(json!([{"image": "x"}]))).unwrap_err();
        assert_eq!(
            (status.code, status.message.as_str()),
            (500, "map: {\"image\":\"x\"} does not contain declared merge key: name")
        );
        assert_eq!(
            patched(json!({"spec": {"foo": {}}}), json!({"spec": {"foo": {"a": 1}}})).unwrap_err().message,
            "unable to find api field in struct PodSpec for the json field \"foo\""
        );
        assert_eq!(patched(pod(), json!({"spec": {"$retainKeys": 1}})).unwrap_err().code, 400);
        assert_eq!(patched(pod(), json!([])).unwrap_err().code, 400);
    }

    /// The patch that a client makes of two lists of containers.
    fn difference(from: &[(String, u8)], to: &[(String, u8)]) -> Value {
        let mut items: Vec<Value> =
            to.iter().filter(|c| !from.contains(c)).map(|(n, i)| json!({"name": n, "image": i.to_string()})).collect();
        items.extend(
            from.iter()
                .filter(|(n, _)| !to.iter().any(|(m, _)| m == n))
                .map(|(n, _)| json!({"name": n, "$patch": "delete"})),
        );
        let order: Vec<Value> = to.iter().map(|(n, _)| json!({"name": n})).collect();
        json!({"spec": {"$setElementOrder/containers": order, "containers": items}})
    }

    fn pods() -> impl Strategy<Value = Vec<(String, u8)>> {
        prop::collection::btree_map("[a-e]", 0..3_u8, 0..5)
            .prop_flat_map(|m| Just(m.into_iter().collect::<Vec<_>>()).prop_shuffle())
    }

    proptest! {
        #[test]
        fn the_difference_of_two_lists_makes_the_one_of_the_other_and_twice_is_once(a in pods(), b in pods()) {
            let whole = |l: &[(String, u8)]| containers(l.iter().map(|(n, i)| json!({"name": n, "image": i.to_string()})).collect());
            let patch = difference(&a, &b);
            let once = patched(whole(&a), patch.clone()).unwrap();
            prop_assert_eq!(&once, &whole(&b));
            prop_assert_eq!(&patched(once.clone(), patch).unwrap(), &once);
        }
    }
}
