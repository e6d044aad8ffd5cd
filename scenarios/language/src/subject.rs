//! Who an expectation or action is about.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use thiserror::Error;

/// Why a text names nobody.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` does not name an object: {reason}")]
pub struct SubjectError {
    text: String,
    reason: &'static str,
}

/// What a good subject looks like.
pub const SUBJECT_HELP: &str = "objects are written `Kind/name`, `Kind/namespace/name` or `Kind{cluster=minimal, cell=zone-a}` (in quotes inside `{ }`)";

/// The namespace of `Kind/name`.
pub const DEFAULT_NAMESPACE: &str = "default";

/// An object by its name, or objects by what they are.
///
/// ```
/// use scenario_language::Subject;
///
/// let cell: Subject = "Cell{cluster=minimal, cell=zone-a}".parse().unwrap();
/// assert_eq!(cell.kind, "Cell");
/// assert_eq!(cell.to_string(), "Cell{cluster=minimal, cell=zone-a}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The Kubernetes kind: `Cell`, `Pod`.
    pub kind: String,
    /// Which of them.
    pub which: Which,
}

/// How a subject is chosen among the objects of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// By namespace and name.
    Named {
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// By labels, in any namespace unless `namespace=` is among them. A short key (`cell`) stands for
    /// `multigres.com/cell` or `app.kubernetes.io/cell`; `name` is the object's name.
    Labelled(Vec<(String, String)>),
}

/// The prefixes that a short label key may stand for, in the order they are tried.
pub const LABEL_PREFIXES: [&str; 2] = ["multigres.com/", "app.kubernetes.io/"];

impl Subject {
    /// The namespace that the subject is confined to.
    pub fn namespace(&self) -> Option<&str> {
        match &self.which {
            Which::Named { namespace, .. } => Some(namespace),
            Which::Labelled(labels) => {
                labels.iter().find(|(key, _)| key == "namespace").map(|(_, value)| value.as_str())
            }
        }
    }

    /// The name, when it is one object by name.
    pub fn name(&self) -> Option<&str> {
        match &self.which {
            Which::Named { name, .. } => Some(name),
            Which::Labelled(labels) => labels.iter().find(|(key, _)| key == "name").map(|(_, value)| value.as_str()),
        }
    }

    /// Whether an object of the right kind, as the API server gives it, is (one of) the subject.
    pub fn matches(&self, object: &Value) -> bool {
        self.mismatch(object).is_none()
    }

    /// The first thing that keeps an object from being the subject: what it has, in words.
    pub fn mismatch(&self, object: &Value) -> Option<String> {
        let meta =
            |field: &str| object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).unwrap_or_default();
        let differs = |key: &str, wanted: &str, has: &str| {
            (wanted != has)
                .then(|| if has.is_empty() { format!("it has no {key}") } else { format!("its {key} is {has}") })
        };
        match &self.which {
            Which::Named { namespace, name } => {
                differs("namespace", namespace, meta("namespace")).or_else(|| differs("name", name, meta("name")))
            }
            Which::Labelled(labels) => labels.iter().find_map(|(key, wanted)| match key.as_str() {
                "namespace" | "name" => differs(key, wanted, meta(key)),
                _ => differs(key, wanted, label(object, key).unwrap_or_default()),
            }),
        }
    }
}

/// The value of a label by its full or short key.
fn label<'o>(object: &'o Value, key: &str) -> Option<&'o str> {
    let labels = object.get("metadata")?.get("labels")?;
    let get = |key: &str| labels.get(key).and_then(Value::as_str);
    get(key).or_else(|| LABEL_PREFIXES.iter().find_map(|prefix| get(&format!("{prefix}{key}"))))
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let text = text.trim();
        let error = |reason| SubjectError { text: text.to_string(), reason };
        let is_kind = |kind: &str| {
            kind.starts_with(|c: char| c.is_ascii_uppercase()) && kind.chars().all(|c| c.is_ascii_alphanumeric())
        };
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c));
        if let Some((kind, rest)) = text.split_once('{') {
            let Some(inner) = rest.strip_suffix('}') else { return Err(error("the closing `}` is missing")) };
            if !is_kind(kind) {
                return Err(error("a kind starts with a capital letter"));
            }
            let mut labels = Vec::new();
            for pair in inner.split(',').filter(|pair| !pair.trim().is_empty()) {
                let Some((key, value)) = pair.split_once('=') else {
                    return Err(error("inside `{}` stand `key=value` pairs"));
                };
                let (key, value) = (key.trim(), value.trim());
                if key.is_empty() || value.is_empty() || value.contains(['{', '}', '=']) || key.contains(['{', '}']) {
                    return Err(error("inside `{}` stand `key=value` pairs"));
                }
                labels.push((key.to_string(), value.to_string()));
            }
            return Ok(Self { kind: kind.to_string(), which: Which::Labelled(labels) });
        }
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, namespace, name) = match parts.as_slice() {
            [kind, name] => (*kind, DEFAULT_NAMESPACE, *name),
            [kind, namespace, name] => (*kind, *namespace, *name),
            _ => return Err(error("there is no `/` and no `{`")),
        };
        if !is_kind(kind) {
            return Err(error("a kind starts with a capital letter"));
        }
        if !is_name(name) || !is_name(namespace) {
            return Err(error("names are made of letters, digits, `-` and `.`"));
        }
        Ok(Self {
            kind: kind.to_string(),
            which: Which::Named { namespace: namespace.to_string(), name: name.to_string() },
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Named { namespace, name } if namespace == DEFAULT_NAMESPACE => write!(out, "{}/{name}", self.kind),
            Which::Named { namespace, name } => write!(out, "{}/{namespace}/{name}", self.kind),
            Which::Labelled(labels) => {
                let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(out, "{}{{{}}}", self.kind, pairs.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_is_found_by_what_it_is() {
        let subject: Subject = "Cell{cluster=minimal, cell=zone-a}".parse().unwrap();
        let cell = json!({"metadata": {"name": "minimal-zone-a-96c88ae0", "namespace": "default",
            "labels": {"multigres.com/cluster": "minimal", "multigres.com/cell": "zone-a"}}});
        assert!(subject.matches(&cell));
        let other =
            json!({"metadata": {"labels": {"multigres.com/cluster": "minimal", "multigres.com/cell": "zone-b"}}});
        assert_eq!(subject.mismatch(&other).as_deref(), Some("its cell is zone-b"));
        assert_eq!(subject.mismatch(&json!({})).as_deref(), Some("it has no cluster"));
    }

    #[test]
    fn a_name_alone_is_in_the_default_namespace() {
        let subject: Subject = "MultigresCluster/minimal".parse().unwrap();
        assert_eq!((subject.namespace(), subject.name()), (Some("default"), Some("minimal")));
        assert!(!subject.matches(&json!({"metadata": {"name": "minimal", "namespace": "other"}})));
        assert_eq!("Pod/kube-system/a".parse::<Subject>().unwrap().namespace(), Some("kube-system"));
    }

    #[test]
    fn texts_that_name_nobody_are_refused() {
        for text in ["", "minimal", "cell/x", "Cell{cluster}", "Cell{cluster=minimal", "Cell/", "A/b/c/d", "Cell{=x}"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn subjects_survive_a_round_trip(text in "[A-Z][a-zA-Z]{0,8}(/[a-z0-9-]{1,8}){1,2}|[A-Z][a-z]{0,5}\\{[a-z/.]{1,6}=[a-z0-9-]{1,6}, [a-z]{1,6}=[a-z]{1,6}\\}") {
            let subject: Subject = text.parse().unwrap();
            prop_assert_eq!(subject.to_string().parse::<Subject>(), Ok(subject));
        }

        #[test]
        fn no_text_makes_the_subject_parser_panic(text in ".{0,24}") {
            let _ = text.parse::<Subject>();
        }
    }
}
