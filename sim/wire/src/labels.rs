//! Label sets: sorted, without empty values, cheap to clone and to compare.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The label that holds the name of a metric.
pub const METRIC_NAME: &str = "__name__";

/// A label set, sorted by name. A label with an empty value does not exist, as in Prometheus. Cloning copies one pointer.
///
/// ```
/// use sim_wire::Labels;
/// let labels = Labels::from_pairs([("__name__", "up"), ("job", "etcd"), ("empty", "")]);
/// assert_eq!(labels.name(), Some("up"));
/// assert_eq!(labels.get("job"), Some("etcd"));
/// assert_eq!(labels.with("job", "a\"b").to_string(), r#"{__name__="up", job="a\"b"}"#);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

static EMPTY: LazyLock<Labels> = LazyLock::new(|| Labels(Arc::from([])));

impl Default for Labels {
    fn default() -> Self {
        EMPTY.clone()
    }
}

impl Labels {
    /// The label set without labels.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Builds a set from pairs in any order; the last value of a repeated name wins, empty values vanish.
    pub fn from_pairs<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut list: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for (name, value) in pairs {
            let name = name.into();
            match list.iter_mut().find(|(known, _)| *known == name) {
                Some(entry) => entry.1 = value.into(),
                None => list.push((name, value.into())),
            }
        }
        list.retain(|(_, value)| !value.is_empty());
        list.sort();
        Self::from_sorted(list)
    }

    fn from_sorted(list: Vec<(Arc<str>, Arc<str>)>) -> Self {
        if list.is_empty() { Self::default() } else { Self(list.into()) }
    }

    /// The value of a label, `None` where it is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        // Sets are small: a scan beats a binary search below a dozen labels.
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    /// The value of a label, the empty string where it is absent, as PromQL sees it.
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The metric name.
    pub fn name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The shared pairs in order of their names, for those that want to keep a pointer.
    pub fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0
    }

    /// The same set with one label set (or removed, by an empty value).
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut builder = self.builder();
        builder.set(name, value);
        builder.build()
    }

    /// The same set without one label.
    pub fn without(&self, name: &str) -> Self {
        if self.get(name).is_none() {
            return self.clone();
        }
        self.filter(|known| known != name)
    }

    /// The same set without the metric name.
    pub fn without_name(&self) -> Self {
        self.without(METRIC_NAME)
    }

    /// The labels whose names pass the test.
    pub fn filter(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self::from_sorted(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }

    /// Only the named labels.
    pub fn keep(&self, names: &[String]) -> Self {
        self.filter(|name| names.iter().any(|wanted| wanted == name))
    }

    /// A copy that can be changed.
    pub fn builder(&self) -> LabelsBuilder {
        LabelsBuilder { labels: self.0.iter().cloned().collect() }
    }

    /// As Prometheus prints a series: `up{job="a"}`, `{job="a"}`, `{}`; names outside the legacy set are quoted.
    pub fn series(&self) -> String {
        let mut text = String::new();
        let rest: Vec<_> = match self.name() {
            Some(name) if is_legacy_metric_name(name) => {
                text.push_str(name);
                self.iter().filter(|(known, _)| *known != METRIC_NAME).collect()
            }
            _ => self.iter().collect(),
        };
        if !rest.is_empty() || text.is_empty() {
            text.push('{');
            for (index, (name, value)) in rest.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                push_pair(&mut text, name, value);
            }
            text.push('}');
        }
        text
    }
}

fn push_pair(text: &mut String, name: &str, value: &str) {
    if is_legacy_label_name(name) {
        text.push_str(name);
    } else {
        push_quoted(text, name);
    }
    text.push('=');
    push_quoted(text, value);
}

/// Appends a double-quoted string with the escapes that PromQL and the exposition formats read back.
pub fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            c if c.is_control() && (c as u32) < 0x80 => text.push_str(&format!("\\x{:02x}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Whether a label name needs no quotes: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_legacy_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a metric name needs no quotes: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_legacy_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::from("{");
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            push_pair(&mut text, name, value);
        }
        text.push('}');
        f.write_str(&text)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<N: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self::from_pairs(pairs)
    }
}

impl From<&BTreeMap<String, String>> for Labels {
    fn from(map: &BTreeMap<String, String>) -> Self {
        Self::from_pairs(map.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

impl serde::Serialize for Labels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> serde::Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self::from(&map))
    }
}

/// Changes to a label set, kept sorted.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    labels: BTreeMap<Arc<str>, Arc<str>>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        if value.is_empty() {
            self.labels.remove(name);
        } else {
            self.labels.insert(name.into(), value.into());
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.labels.remove(name);
        self
    }

    /// The value of a label, the empty string where it is absent.
    pub fn value(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", |value| value)
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The finished set.
    pub fn build(self) -> Labels {
        Labels::from_sorted(self.labels.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_value_is_an_absent_label() {
        let labels = Labels::from_pairs([("b", "2"), ("a", ""), ("c", "3")]);
        assert_eq!(labels.to_string(), r#"{b="2", c="3"}"#);
        assert_eq!(labels.with("b", ""), Labels::from_pairs([("c", "3")]));
    }

    #[test]
    fn names_outside_the_legacy_set_are_quoted() {
        let labels = Labels::from_pairs([("__name__", "http.requests"), ("service.name", "x")]);
        assert_eq!(labels.series(), r#"{__name__="http.requests", "service.name"="x"}"#);
        assert_eq!(Labels::from_pairs([("__name__", "up")]).series(), "up");
        assert_eq!(Labels::empty().series(), "{}");
    }

    proptest! {
        #[test]
        fn order_of_pairs_does_not_matter(map in proptest::collection::btree_map("[a-e]{1,2}", "[x-z]{0,2}", 0..6)) {
            let forward = Labels::from_pairs(map.clone());
            let backward = Labels::from_pairs(map.into_iter().rev());
            prop_assert_eq!(&forward, &backward);
            prop_assert!(forward.iter().all(|(_, value)| !value.is_empty()));
        }
    }
}
