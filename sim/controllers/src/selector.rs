//! Label selectors as Kubernetes defines them for objects (`matchLabels` and `matchExpressions`).

use std::collections::BTreeMap;

use serde::Deserialize;

/// A `metav1.LabelSelector`. The empty selector matches everything; what an *absent* selector means is the field's own
/// business.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with exactly this value.
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements; all must hold.
    pub match_expressions: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Requirement {
    /// The label's name.
    pub key: String,
    /// How the label's value is compared.
    pub operator: Operator,
    /// The values compared with, for `In` and `NotIn`.
    #[serde(default)]
    pub values: Vec<String>,
}

/// The operators of a [`Requirement`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
pub enum Operator {
    /// The label is there, with one of the values.
    In,
    /// The label is not there, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether an object with these labels is selected.
    ///
    /// ```
    /// use sim_controllers::selector::LabelSelector;
    /// let selector: LabelSelector =
    ///     serde_json::from_str(r#"{"matchExpressions":[{"key":"tier","operator":"NotIn","values":["free"]}]}"#).unwrap();
    /// assert!(selector.matches(&[].into()));
    /// assert!(!selector.matches(&[("tier".to_owned(), "free".to_owned())].into()));
    /// ```
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn selector(json: serde_json::Value) -> LabelSelector {
        serde_json::from_value(json).expect("selector")
    }

    #[test]
    fn all_labels_and_all_expressions_must_hold() {
        let both = selector(serde_json::json!({
            "matchLabels": {"app": "a"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["x", "y"]}, {"key": "old", "operator": "DoesNotExist"}],
        }));
        assert!(both.matches(&labels(&[("app", "a"), ("tier", "y")])));
        assert!(!both.matches(&labels(&[("app", "b"), ("tier", "y")])));
        assert!(!both.matches(&labels(&[("app", "a")])));
        assert!(!both.matches(&labels(&[("app", "a"), ("tier", "y"), ("old", "")])));
    }

    #[test]
    fn an_empty_selector_selects_everything() {
        assert!(LabelSelector::default().matches(&labels(&[])));
        assert!(LabelSelector::default().matches(&labels(&[("a", "b")])));
    }

    #[test]
    fn an_unknown_operator_is_an_error_and_not_a_match() {
        let json = serde_json::json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]});
        assert!(serde_json::from_value::<LabelSelector>(json).is_err());
    }
}
