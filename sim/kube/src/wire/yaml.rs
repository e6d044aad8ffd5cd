//! Values as YAML, in the block style of the real server's serialiser: keys sorted, lists not indented.

use serde_json::Value;

/// A document.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    indent(depth, out);
                }
                out.push_str(&scalar(key));
                out.push(':');
                nested(value, depth, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    indent(depth, out);
                }
                out.push_str("- ");
                block(item, depth + 1, out);
            }
        }
        Value::Object(_) => out.push_str("{}\n"),
        Value::Array(_) => out.push_str("[]\n"),
        Value::String(text) => {
            out.push_str(&scalar(text));
            out.push('\n');
        }
        other => {
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            indent(depth + 1, out);
            block(value, depth + 1, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            indent(depth, out);
            block(value, depth, out);
        }
        value => {
            out.push(' ');
            block(value, depth, out);
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// A text bare where no reader can take it for something else, else in double quotes as JSON (which YAML reads).
fn scalar(text: &str) -> String {
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./@ ".contains(c))
        && !text.ends_with(' ')
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null" | "nan" | "inf"
        );
    if bare { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_and_lists_stand_under_their_key() {
        let value = json!({"kind": "Pod", "apiVersion": "v1", "a": [{"x": 1, "b": {}}, "true", []], "e": {"n": null}});
        assert_eq!(
            write(&value),
            "a:\n- b: {}\n  x: 1\n- \"true\"\n- []\napiVersion: v1\ne:\n  \"n\": null\nkind: Pod\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(key in "[ -~]{1,8}", text in "[ -~\n\u{e4}\u{2028}]{0,12}", n in -5_i64..5, depth in 0..4) {
            let mut value = json!({key.clone(): text, "n": n, "l": [n, {"a": text.clone()}, [text]]});
            for _ in 0..depth {
                value = json!({key.clone(): [value.clone(), value]});
            }
            let back: Value = serde_saphyr::from_str(&write(&value)).unwrap();
            prop_assert_eq!(back, value);
        }
    }
}
