//! Label selectors (text and object form) and field selectors.

use serde_json::{Map, Value};

use crate::{json, status::Status};

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// A label selector: all requirements must hold; none means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Reads the query-parameter form: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let bad = |part: &str| Status::bad_request(format!("unable to parse requirement: {part:?}"));
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            let requirement = if let Some((key, values)) = part.split_once(" notin ") {
                Requirement::NotIn(key.trim().into(), set_values(values).ok_or_else(|| bad(part))?)
            } else if let Some((key, values)) = part.split_once(" in ") {
                Requirement::In(key.trim().into(), set_values(values).ok_or_else(|| bad(part))?)
            } else if let Some((key, value)) = part.split_once("!=") {
                Requirement::NotIn(key.trim().into(), vec![value.trim().into()])
            } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                Requirement::In(key.trim().into(), vec![value.trim().into()])
            } else if let Some(key) = part.strip_prefix('!') {
                Requirement::Absent(key.trim().into())
            } else {
                Requirement::Exists(part.into())
            };
            let (Requirement::In(key, _)
            | Requirement::NotIn(key, _)
            | Requirement::Exists(key)
            | Requirement::Absent(key)) = &requirement;
            if key.is_empty() || key.contains(|c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c))) {
                return Err(bad(part));
            }
            requirements.push(requirement);
        }
        Ok(Self(requirements))
    }

    /// Reads the object form (`matchLabels`, `matchExpressions`); an absent selector selects nothing.
    pub fn from_object(selector: Option<&Value>) -> Option<Self> {
        let selector = selector?;
        let mut requirements = Self::from_map(json::map(selector, &["matchLabels"])).0;
        for e in json::list(selector, &["matchExpressions"]) {
            let key = json::text(e, &["key"]).to_owned();
            let values = json::list(e, &["values"]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
            requirements.push(match json::text(e, &["operator"]) {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                _ => Requirement::Absent(key),
            });
        }
        Some(Self(requirements))
    }

    /// Equality with every entry of a map (a Service's selector).
    pub fn from_map(map: Option<&Map<String, Value>>) -> Self {
        let pairs = map.into_iter().flatten();
        Self(pairs.map(|(k, v)| Requirement::In(k.clone(), vec![v.as_str().unwrap_or("").to_owned()])).collect())
    }

    /// True if nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the object's labels meet every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_labels(json::map(object, &["metadata", "labels"]))
    }

    /// The same on a labels map.
    pub fn matches_labels(&self, labels: Option<&Map<String, Value>>) -> bool {
        let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        self.0.iter().all(|r| match r {
            Requirement::In(key, values) => label(key).is_some_and(|l| values.iter().any(|v| v == l)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|l| values.iter().all(|v| v != l)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        })
    }
}

fn set_values(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(inner.split(',').map(|v| v.trim().to_owned()).collect())
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A field selector: equalities and inequalities on paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(Vec<String>, bool, String)>);

impl FieldSelector {
    /// Reads `metadata.name=x,status.phase!=Running`; `supported` are the paths beyond `metadata.name`
    /// and `metadata.namespace` that the resource knows.
    ///
    /// # Errors
    /// 400 for what is no selector or names an unknown field.
    pub fn parse<T: AsRef<str>>(text: &str, supported: &[T]) -> Result<Self, Status> {
        Self::parse_with(text, supported, |path| format!("field label not supported: {path}"))
    }

    /// The same; `unknown` words the refusal of a path, which differs by kind.
    pub(crate) fn parse_with<T: AsRef<str>>(
        text: &str,
        supported: &[T],
        unknown: impl Fn(&str) -> String,
    ) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|p| !p.trim().is_empty()) {
            let (path, equal, value) = if let Some((p, v)) = part.split_once("!=") {
                (p, false, v)
            } else if let Some((p, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (p, true, v)
            } else {
                return Err(Status::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            let path = path.trim();
            if path != "metadata.name"
                && path != "metadata.namespace"
                && !supported.iter().any(|known| known.as_ref() == path)
            {
                return Err(Status::bad_request(unknown(path)));
            }
            terms.push((path.split('.').map(str::to_owned).collect(), equal, value.trim().to_owned()));
        }
        Ok(Self(terms))
    }

    /// True if nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the object meets every term; an absent field equals the empty string.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(path, equal, wanted)| {
            let found = path.iter().try_fold(object, |v, key| v.get(key));
            let same = match found {
                Some(Value::String(s)) => s == wanted,
                Some(Value::Null) | None => wanted.is_empty(),
                Some(other) => &other.to_string() == wanted,
            };
            same == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_text_form_knows_equality_sets_and_presence() {
        let object = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
        for (text, expected) in [
            ("a=1", true),
            ("a==1,b!=3", true),
            ("a in (0, 1),c notin (9)", true),
            ("a,!c", true),
            ("a!=1", false),
            ("c", false),
            ("!a", false),
            ("b in (3)", false),
            ("", true),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&object), expected, "{text}");
        }
        assert!(LabelSelector::parse("a in 1").is_err());
        assert!(LabelSelector::parse("=x").is_err());
    }

    #[test]
    fn an_unknown_field_label_is_refused() {
        let status = FieldSelector::parse("spec.nothing=1", &["status.phase"]).unwrap_err();
        assert_eq!(status.message, "field label not supported: spec.nothing");
        let f = FieldSelector::parse("metadata.name=x,status.phase!=Running", &["status.phase"]).unwrap();
        assert!(f.matches(&json!({"metadata": {"name": "x"}, "status": {"phase": "Pending"}})));
        assert!(!f.matches(&json!({"metadata": {"name": "x"}, "status": {"phase": "Running"}})));
    }
}
