//! JSON values written as block YAML.
//!
//! What a controller generates is read by people (`kubectl get secret … | base64 -d`), so it is laid out as they write
//! it; every scalar that could be taken for something else is double-quoted, which YAML shares with JSON.

use std::fmt::Write as _;

use serde_json::Value;

/// Renders `value` as a YAML document that parses back to the same value.
///
/// ```
/// let config = serde_json::json!({"global": {"scrape_interval": "30s"}, "rule_files": ["/etc/rules/*.yaml"]});
/// assert_eq!(
///     sim_controllers::yaml::to_string(&config),
///     "global:\n  scrape_interval: 30s\nrule_files:\n  - \"/etc/rules/*.yaml\"\n",
/// );
/// ```
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut out, value, 0),
        Value::Array(items) if !items.is_empty() => block(&mut out, value, 0),
        scalar => {
            inline(&mut out, scalar);
            out.push('\n');
        }
    }
    out
}

/// A non-empty map or list, each entry on a line of its own.
fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) => {
            for (position, (key, child)) in map.iter().enumerate() {
                // The first key of a map inside a list stands behind the dash, where the indent is already written.
                if position > 0 || !out.ends_with("- ") {
                    pad(out, indent);
                }
                scalar(out, key);
                out.push(':');
                entry(out, child, indent + 2, false);
            }
        }
        Value::Array(items) => {
            for child in items {
                pad(out, indent);
                out.push('-');
                entry(out, child, indent + 2, true);
            }
        }
        _ => unreachable!("block is called with non-empty collections only"),
    }
}

/// What follows `key:` or `-`.
fn entry(out: &mut String, child: &Value, indent: usize, in_list: bool) {
    let nested = match child {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if !nested {
        out.push(' ');
        inline(out, child);
        out.push('\n');
    } else if in_list && child.is_object() {
        out.push(' ');
        block(out, child, indent);
    } else {
        out.push('\n');
        block(out, child, indent);
    }
}

fn inline(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => scalar(out, text),
        // Null, booleans, numbers, {} and [] are the same in both languages.
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

fn scalar(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        let _ = write!(out, "{}", Value::String(text.to_owned()));
    }
}

/// Whether `text` means itself without quotes, in YAML 1.1 as well as 1.2: it starts like a word or a path, holds nothing
/// that is syntax, and is none of the words that stand for a boolean or null; digits first only with a unit behind.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 11] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"];
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let Some(first) = text.chars().next() else { return false };
    let lower = text.to_ascii_lowercase();
    let starts_well = first.is_ascii_alphabetic() || first == '/' || first == '_' || is_duration(text);
    starts_well && text.chars().all(word) && !WORDS.contains(&lower.as_str())
}

/// `30s`, `5m`, `100ms`: cannot be read as a number in any YAML version.
fn is_duration(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    unit.len() < text.len() && matches!(unit, "ms" | "s" | "m" | "h" | "d" | "w" | "y")
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn lists_of_maps_put_the_first_key_behind_the_dash() {
        let value = json!({"groups": [{"name": "a", "rules": [{"alert": "X", "expr": "up == 0"}]}, {}]});
        assert_eq!(
            to_string(&value),
            "groups:\n  - name: a\n    rules:\n      - alert: X\n        expr: \"up == 0\"\n  - {}\n"
        );
    }

    #[test]
    fn words_that_yaml_reads_otherwise_are_quoted() {
        for text in
            ["true", "No", "null", "~", "1", "1e3", "0x1f", "", " a", "a: b", "a #b", "-", "2026-01-01", "3.5.3"]
        {
            assert!(to_string(&json!(text)).starts_with('"'), "{text}");
            assert_eq!(parse(&to_string(&json!([text]))), json!([text]));
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
            "[a-z0-9./_-]{0,6}".prop_map(Value::from),
            "(?s)[a-zäπ\n\t\"\\\\#:]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z0-9 :._-]{1,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_yaml_parser_reads_back_what_was_written(value in values()) {
            prop_assert_eq!(parse(&to_string(&value)), value);
        }
    }
}
