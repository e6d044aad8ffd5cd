//! Label selectors (text and object form) and field selectors.

use serde_json::{Map, Value};

mod text;

use crate::{json, status::Status};

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A label selector: all requirements must hold; none means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Reads the query-parameter form: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    ///
    /// # Errors
    /// 400 in the words of the real parser.
    pub fn parse(text: &str) -> Result<Self, Status> {
        text::parse(text).map(Self).map_err(Status::bad_request)
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
        let number = |key: &str| label(key).and_then(|l| l.parse::<i64>().ok());
        self.0.iter().all(|r| match r {
            Requirement::In(key, values) => label(key).is_some_and(|l| values.iter().any(|v| v == l)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|l| values.iter().all(|v| v != l)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
            Requirement::Greater(key, than) => number(key).is_some_and(|n| n > *than),
            Requirement::Less(key, than) => number(key).is_some_and(|n| n < *than),
        })
    }
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
            ("a>0,b<3", true),
            ("a>1", false),
            ("c>1", false),
            ("in in (in),in", false),
            ("c=,a", false),
            ("c in (),a", false),
            ("", true),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&object), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_in_the_real_words() {
        for (text, said) in [
            ("a in 1", "unable to parse requirement: found '1' expected: '('"),
            ("a in (1", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a in (1 2)", "unable to parse requirement: found '2', expected: ',' or ')'"),
            ("=x", "found '=', expected: !, identifier, or 'end of string'"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().message, said, "{text}");
        }
        let bad = LabelSelector::parse("a/b/c=1").unwrap_err().message;
        assert!(bad.starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": "), "{bad}");
        let bad = LabelSelector::parse("a=-").unwrap_err().message;
        assert!(bad.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-\": "), "{bad}");
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
