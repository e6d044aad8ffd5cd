//! Label matchers: `=`, `!=`, `=~`, `!~`.

use crate::Error;
use crate::labels::{Labels, is_legacy_label_name, push_quoted};
use regex::Regex;
use std::fmt;

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        })
    }
}

/// A label matcher; its regular expression is compiled once and anchored at both ends.
///
/// An absent label is matched as the empty string, so `{job!="x"}` matches series without `job`.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// How to compare.
    pub op: MatchOp,
    /// Which label.
    pub name: String,
    /// The value or the expression as written.
    pub value: String,
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

impl Eq for Matcher {}

/// Compiles an expression as Prometheus does: anchored at both ends, `.` also matches a line break.
///
/// # Errors
/// [`Error::Regex`] with the compiler's words.
pub fn anchored(expression: &str) -> Result<Regex, Error> {
    Regex::new(&format!("^(?s:{expression})$")).map_err(|error| Error::Regex { message: last_line(&error.to_string()) })
}

fn last_line(message: &str) -> String {
    message.lines().last().unwrap_or(message).trim_start_matches("error: ").to_owned()
}

impl Matcher {
    /// Builds a matcher.
    ///
    /// # Errors
    /// [`Error::Regex`] where the operator wants an expression and the value is none.
    pub fn new(op: MatchOp, name: impl Into<String>, value: impl Into<String>) -> Result<Self, Error> {
        let value = value.into();
        let regex = match op {
            MatchOp::Regex | MatchOp::NotRegex => Some(anchored(&value)?),
            MatchOp::Equal | MatchOp::NotEqual => None,
        };
        Ok(Self { op, name: name.into(), value, regex })
    }

    /// A matcher for equality, which cannot fail.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { op: MatchOp::Equal, name: name.into(), value: value.into(), regex: None }
    }

    /// Whether a value passes.
    pub fn matches(&self, value: &str) -> bool {
        let by_regex = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => by_regex(),
            MatchOp::NotRegex => !by_regex(),
        }
    }

    /// Whether the label set passes.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.value(&self.name))
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        if is_legacy_label_name(&self.name) {
            text.push_str(&self.name);
        } else {
            push_quoted(&mut text, &self.name);
        }
        text.push_str(&self.op.to_string());
        push_quoted(&mut text, &self.value);
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::new(op, "job", value).unwrap()
    }

    #[test]
    fn expressions_match_the_whole_value() {
        assert!(!matcher(MatchOp::Regex, "et").matches("etcd"));
        assert!(matcher(MatchOp::Regex, "et.*").matches("etcd"));
        assert!(matcher(MatchOp::Regex, "a|b").matches("b"));
        assert!(!matcher(MatchOp::Regex, "a|b").matches("bb"));
        assert!(matcher(MatchOp::NotRegex, "et").matches("etcd"));
        assert!(matcher(MatchOp::Regex, "a.b").matches("a\nb"));
    }

    #[test]
    fn an_absent_label_is_the_empty_string() {
        let labels = Labels::from_pairs([("a", "b")]);
        assert!(matcher(MatchOp::NotEqual, "x").matches_labels(&labels));
        assert!(matcher(MatchOp::Equal, "").matches_labels(&labels));
        assert!(!matcher(MatchOp::Regex, ".+").matches_labels(&labels));
    }

    #[test]
    fn a_broken_expression_is_an_error() {
        assert!(Matcher::new(MatchOp::Regex, "a", "(").is_err());
        assert!(Matcher::new(MatchOp::Equal, "a", "(").is_ok());
    }

    #[test]
    fn a_matcher_prints_as_promql() {
        assert_eq!(matcher(MatchOp::NotRegex, "a\"b").to_string(), r#"job!~"a\"b""#);
        assert_eq!(Matcher::equal("a.b", "c").to_string(), r#""a.b"="c""#);
    }
}
