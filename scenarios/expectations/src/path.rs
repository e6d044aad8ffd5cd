//! Paths into JSON: `status.phase`, `spec.containers[0].image`, `status.conditions[type=Ready].status`,
//! `metadata.labels.app.kubernetes.io/name`.

use scenario_language::Comparison;
use serde_json::Value;

/// The value at a path. Where a key itself contains dots, the longest key that exists is taken.
pub fn lookup<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    if path.is_empty() {
        return Some(value);
    }
    if let Some(rest) = path.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']')?;
        let next = match value {
            Value::Array(items) => item(items, inside)?,
            Value::Object(map) => map.get(inside.trim_matches('"'))?,
            _ => return None,
        };
        return lookup(next, rest.strip_prefix('.').unwrap_or(rest));
    }
    let Value::Object(map) = value else { return None };
    let ends = path.char_indices().filter(|(_, c)| ".[".contains(*c)).map(|(at, _)| at);
    let mut ends: Vec<usize> = ends.chain([path.len()]).collect();
    ends.reverse();
    ends.into_iter().find_map(|end| {
        let next = map.get(&path[..end])?;
        let rest = &path[end..];
        lookup(next, rest.strip_prefix('.').unwrap_or(rest))
    })
}

/// `0`, `-1` or `type=Ready`.
fn item<'v>(items: &'v [Value], inside: &str) -> Option<&'v Value> {
    if let Some((key, wanted)) = inside.split_once('=') {
        let wanted = Comparison::Equals(wanted.trim().trim_matches('"').to_string());
        return items.iter().find(|item| wanted.holds(lookup(item, key.trim())));
    }
    match inside.parse::<i64>().ok()? {
        index if index < 0 => items.len().checked_sub(usize::try_from(-index).ok()?).and_then(|index| items.get(index)),
        index => items.get(usize::try_from(index).ok()?),
    }
}

/// A value as it is told in a story.
pub fn tell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "absent".to_string(),
        Some(Value::String(text)) => shorten(text),
        Some(other) => shorten(&other.to_string()),
    }
}

/// Most characters of one value in a story.
pub const TELL_CHARS_MAX: usize = 200;

/// A text cut to what a line of a story bears.
pub fn shorten(text: &str) -> String {
    if text.chars().count() <= TELL_CHARS_MAX {
        return text.to_string();
    }
    let mut short: String = text.chars().take(TELL_CHARS_MAX).collect();
    short.push('…');
    short
}

/// The comparisons that do not hold, each as `path: wanted, is found`.
pub fn differences(fields: &[(String, Comparison)], value: &Value) -> Vec<String> {
    fields
        .iter()
        .filter(|(path, comparison)| !comparison.holds(lookup(value, path)))
        .map(|(path, comparison)| format!("{path}: {comparison}, is {}", tell(lookup(value, path))))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_go_through_keys_with_dots_lists_and_conditions() {
        let object = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "multigres", "a": {"b": 1}}},
            "status": {"conditions": [{"type": "Available", "status": "True"}, {"type": "Ready", "status": "False"}]},
            "spec": {"containers": [{"image": "x"}, {"image": "y"}]}
        });
        assert_eq!(lookup(&object, "metadata.labels.app.kubernetes.io/name"), Some(&json!("multigres")));
        assert_eq!(lookup(&object, "metadata.labels[\"app.kubernetes.io/name\"]"), Some(&json!("multigres")));
        assert_eq!(lookup(&object, "metadata.labels.a.b"), Some(&json!(1)));
        assert_eq!(lookup(&object, "status.conditions[type=Ready].status"), Some(&json!("False")));
        assert_eq!(lookup(&object, "spec.containers[1].image"), Some(&json!("y")));
        assert_eq!(lookup(&object, "spec.containers[-1].image"), Some(&json!("y")));
        for missing in
            ["spec.containers[2].image", "status.nope", "spec.containers.image", "status.conditions[type=X]", "[", "a["]
        {
            assert_eq!(lookup(&object, missing), None, "{missing}");
        }
    }
}
