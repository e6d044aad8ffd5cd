//! YAML for snapshots: one way to write each value, so that a difference is a difference.

use serde_json::Value;

/// Writes a value as block YAML with a line break at its end.
pub fn emit(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Array(items) if items.is_empty() => text.push_str("[]\n"),
        Value::Object(map) if map.is_empty() => text.push_str("{}\n"),
        Value::Array(_) | Value::Object(_) => block(value, 0, &mut text),
        other => text.push_str(&format!("{}\n", scalar(other))),
    }
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                text.push_str(&indent);
                text.push_str(&key_text(key));
                text.push(':');
                below(value, depth + 1, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                if is_block(item) {
                    let mut inner = String::new();
                    block(item, depth + 1, &mut inner);
                    text.push_str(&indent);
                    text.push_str("- ");
                    text.push_str(&inner[(depth + 1) * 2..]);
                } else {
                    text.push_str(&format!("{indent}- {}\n", scalar(item)));
                }
            }
        }
        _ => {}
    }
}

fn below(value: &Value, depth: usize, text: &mut String) {
    if is_block(value) {
        text.push('\n');
        block(value, depth, text);
    } else {
        text.push_str(&format!(" {}\n", scalar(value)));
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn key_text(key: &str) -> String {
    if is_plain(key) { key.to_string() } else { Value::String(key.to_string()).to_string() }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(_) => "[]".to_string(),
        Value::Object(_) => "{}".to_string(),
        // JSON's quoted texts are YAML's.
        other => other.to_string(),
    }
}

/// Whether a text reads as itself without quotes.
fn is_plain(text: &str) -> bool {
    let safe = text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./<>@+=".contains(c));
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || "<_/.".contains(c));
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | ".inf" | ".nan"
    );
    safe && starts && !word && !text.starts_with('.') && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_that_would_read_as_something_else_are_quoted() {
        let value = json!({"a": "true", "b": "1", "c": "x: y", "d": ["p", {"q": []}], "e": {}, "f": null, "g": "", "h.i": "plain-text"});
        assert_eq!(
            emit(&value),
            "a: \"true\"\nb: \"1\"\nc: \"x: y\"\nd:\n  - p\n  - q: []\ne: {}\nf: null\ng: \"\"\nh.i: plain-text\n"
        );
    }

    proptest! {
        #[test]
        fn texts_stay_on_one_line(text in ".{0,20}") {
            prop_assert_eq!(emit(&json!({"k": text})).lines().count(), 1);
        }
    }
}
