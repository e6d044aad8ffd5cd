//! The one grammar of comparisons.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use serde_json::Value;
use thiserror::Error;

use crate::time::parse_duration;

/// Why a text is not a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ComparisonError {
    /// An operator without a number behind it.
    #[error("`{operator}` needs a number behind it, not `{operand}`")]
    NotANumber {
        /// The operator.
        operator: String,
        /// What stands behind it.
        operand: String,
    },
    /// A regular expression that does not compile.
    #[error("`{pattern}` is not a regular expression: {reason}")]
    BadRegex {
        /// The pattern.
        pattern: String,
        /// What the parser of regular expressions says, on one line.
        reason: String,
    },
    /// A range whose end lies before its start.
    #[error("the range `{0}` is empty")]
    EmptyRange(String),
}

/// What a good comparison looks like.
pub const COMPARISON_HELP: &str = "comparisons are written `> 0`, `>= 3`, `0.95..1.05`, `~ regex`, `!~ regex`, `!= text`, `exists`, `absent`, or the value itself";

/// A number with the spelling it had, `2s` and `500ms` included (both count in seconds).
#[derive(Clone, Debug)]
pub struct Number {
    /// The value; seconds when it was written as a duration.
    pub value: f64,
    text: String,
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let plain = text.parse::<f64>().ok().filter(|value| !value.is_nan() && !text.starts_with('+'));
        let value = match plain {
            Some(value) => value,
            None if text.starts_with(|c: char| c.is_ascii_digit()) => parse_duration(text).ok()?.as_secs_f64(),
            None => return None,
        };
        Some(Self { value, text: text.to_string() })
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// A compiled regular expression, equal to another with the same source. It matches anywhere in a text.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// The source of the expression.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// What a value has to be. One grammar for events, objects, queries, spans, logs and records.
///
/// ```
/// use scenario_language::Comparison;
/// use serde_json::json;
///
/// let positive: Comparison = "> 0".parse().unwrap();
/// assert!(positive.holds(Some(&json!(3))));
/// assert!(!positive.holds(None));
/// let gone: Comparison = "absent".parse().unwrap();
/// assert!(gone.holds(None));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// `< 3`
    Less(Number),
    /// `<= 3`
    LessOrEqual(Number),
    /// `> 3`
    Greater(Number),
    /// `>= 3`
    GreaterOrEqual(Number),
    /// `1..3`, `..3`, `1..`: both ends included.
    Range {
        /// The least value, open when absent.
        from: Option<Number>,
        /// The greatest value, open when absent.
        to: Option<Number>,
    },
    /// `~ expression`: found somewhere in the text.
    Matches(Pattern),
    /// `!~ expression`: there is a text, and the expression is not found in it.
    NotMatches(Pattern),
    /// A plain value, or `= value` for one that would read as something else.
    Equals(String),
    /// `!= value`: there is a value, and it is another one.
    NotEquals(String),
    /// `exists`: there is a value that is not null.
    Exists,
    /// `absent`: there is none.
    Absent,
}

impl Comparison {
    /// Whether a value, or its absence, is what the comparison asks for. Numbers are compared as numbers also
    /// when they are written as text (Prometheus and OTLP/JSON do that).
    pub fn holds(&self, value: Option<&Value>) -> bool {
        match value.filter(|value| !value.is_null()) {
            None => match self {
                Self::Absent => true,
                Self::Equals(text) => text == "null" && value.is_some(),
                _ => false,
            },
            Some(Value::String(text)) => self.holds_text(text),
            Some(other) => self.holds_text(&other.to_string()),
        }
    }

    /// The same for a number.
    pub fn holds_number(&self, number: f64) -> bool {
        match self {
            Self::Less(limit) => number < limit.value,
            Self::LessOrEqual(limit) => number <= limit.value,
            Self::Greater(limit) => number > limit.value,
            Self::GreaterOrEqual(limit) => number >= limit.value,
            Self::Range { from, to } => {
                from.as_ref().is_none_or(|from| number >= from.value) && to.as_ref().is_none_or(|to| number <= to.value)
            }
            Self::Equals(text) => {
                Number::parse(text).is_some_and(|wanted| wanted.value == number) || text == "NaN" && number.is_nan()
            }
            Self::NotEquals(text) => Number::parse(text).is_none_or(|wanted| wanted.value != number),
            Self::Matches(pattern) => pattern.0.is_match(&number.to_string()),
            Self::NotMatches(pattern) => !pattern.0.is_match(&number.to_string()),
            Self::Exists => true,
            Self::Absent => false,
        }
    }

    /// The same for a text.
    pub fn holds_text(&self, text: &str) -> bool {
        match self {
            Self::Less(_) | Self::LessOrEqual(_) | Self::Greater(_) | Self::GreaterOrEqual(_) | Self::Range { .. } => {
                Number::parse(text).is_some_and(|number| self.holds_number(number.value))
            }
            Self::Equals(wanted) => same(wanted, text),
            Self::NotEquals(wanted) => !same(wanted, text),
            Self::Matches(pattern) => pattern.0.is_match(text),
            Self::NotMatches(pattern) => !pattern.0.is_match(text),
            Self::Exists => true,
            Self::Absent => false,
        }
    }

    /// Whether only the absence of a value satisfies it.
    pub fn wants_absence(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// Equal as texts, or as numbers when both are written as plain ones (`1` and `1.0`).
fn same(wanted: &str, text: &str) -> bool {
    wanted == text || matches!((wanted.parse::<f64>(), text.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

impl FromStr for Comparison {
    type Err = ComparisonError;

    fn from_str(text: &str) -> Result<Self, ComparisonError> {
        let text = text.trim();
        let number = |operator: &str, operand: &str| {
            Number::parse(operand).ok_or_else(|| ComparisonError::NotANumber {
                operator: operator.to_string(),
                operand: operand.trim().to_string(),
            })
        };
        if let Some(rest) = text.strip_prefix("!=") {
            return Ok(Self::NotEquals(rest.trim().to_string()));
        }
        if let Some(rest) = text.strip_prefix("!~") {
            return pattern(rest).map(Self::NotMatches);
        }
        // As PromQL writes it, too.
        if let Some(rest) = text.strip_prefix('~').or_else(|| text.strip_prefix("=~")) {
            return pattern(rest).map(Self::Matches);
        }
        if let Some(rest) = text.strip_prefix(">=") {
            return number(">=", rest).map(Self::GreaterOrEqual);
        }
        if let Some(rest) = text.strip_prefix("<=") {
            return number("<=", rest).map(Self::LessOrEqual);
        }
        if let Some(rest) = text.strip_prefix('>') {
            return number(">", rest).map(Self::Greater);
        }
        if let Some(rest) = text.strip_prefix('<') {
            return number("<", rest).map(Self::Less);
        }
        if let Some(rest) = text.strip_prefix("==").or_else(|| text.strip_prefix('=')) {
            return Ok(Self::Equals(rest.trim().to_string()));
        }
        match text {
            "exists" => return Ok(Self::Exists),
            "absent" => return Ok(Self::Absent),
            _ => {}
        }
        range(text).unwrap_or_else(|| Ok(Self::Equals(text.to_string())))
    }
}

fn pattern(source: &str) -> Result<Pattern, ComparisonError> {
    let source = source.trim();
    Regex::new(source).map(Pattern).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_string();
        ComparisonError::BadRegex { pattern: source.to_string(), reason }
    })
}

/// A range when the text looks like one; a text with dots in it (`v1..2x`) is not one.
fn range(text: &str) -> Option<Result<Comparison, ComparisonError>> {
    let (from, to) = text.split_once("..")?;
    let end = |part: &str| {
        if part.trim().is_empty() { Some(None) } else { Number::parse(part).map(Some) }
    };
    let (from, to) = (end(from)?, end(to)?);
    if from.is_none() && to.is_none() {
        return None;
    }
    if matches!((&from, &to), (Some(from), Some(to)) if to.value < from.value) {
        return Some(Err(ComparisonError::EmptyRange(text.to_string())));
    }
    Some(Ok(Comparison::Range { from, to }))
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Less(number) => write!(out, "< {number}"),
            Self::LessOrEqual(number) => write!(out, "<= {number}"),
            Self::Greater(number) => write!(out, "> {number}"),
            Self::GreaterOrEqual(number) => write!(out, ">= {number}"),
            Self::Range { from, to } => {
                if let Some(from) = from {
                    write!(out, "{from}")?;
                }
                out.write_str("..")?;
                if let Some(to) = to {
                    write!(out, "{to}")?;
                }
                Ok(())
            }
            Self::Matches(pattern) => write!(out, "~ {}", pattern.as_str()),
            Self::NotMatches(pattern) => write!(out, "!~ {}", pattern.as_str()),
            Self::Equals(text) => {
                let plain = text.parse::<Self>();
                if plain == Ok(Self::Equals(text.clone())) { out.write_str(text) } else { write!(out, "= {text}") }
            }
            Self::NotEquals(text) => write!(out, "!= {text}"),
            Self::Exists => out.write_str("exists"),
            Self::Absent => out.write_str("absent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn cmp(text: &str) -> Comparison {
        text.parse().unwrap()
    }

    #[test]
    fn each_operator_means_what_it_says() {
        for (text, yes, no) in [
            ("> 0", json!(1), json!(0)),
            (">= 3", json!("3"), json!("2.9")),
            ("< 2s", json!("1.5"), json!(2)),
            ("<= 2", json!(2), json!(2.1)),
            ("0.95..1.05", json!(1), json!(1.06)),
            ("..3", json!(-5), json!(4)),
            ("~ ^UNA", json!("UNAVAILABLE"), json!("x UNA")),
            ("!~ UNA", json!("fine"), json!("UNAVAILABLE")),
            ("Healthy", json!("Healthy"), json!("Degraded")),
            ("1", json!(1.0), json!("1x")),
            ("true", json!(true), json!(false)),
            ("!= 1", json!(2), json!(1)),
            ("== 2", json!(2), json!(3)),
            ("=~ ^UNA", json!("UNAVAILABLE"), json!("~ ^UNA")),
            ("= exists", json!("exists"), json!("other")),
        ] {
            assert!(cmp(text).holds(Some(&yes)), "{text} should hold for {yes}");
            assert!(!cmp(text).holds(Some(&no)), "{text} should not hold for {no}");
        }
    }

    #[test]
    fn absence_satisfies_only_absent() {
        for text in ["> 0", "x", "!= x", "~ .*", "!~ x", "exists", "0..1"] {
            assert!(!cmp(text).holds(None), "{text}");
        }
        assert!(cmp("absent").holds(None) && cmp("absent").holds(Some(&Value::Null)));
        assert!(!cmp("absent").holds(Some(&json!(0))));
        assert!(!cmp("exists").holds(Some(&Value::Null)));
    }

    #[test]
    fn bad_comparisons_are_errors_and_texts_with_dots_are_texts() {
        assert!(matches!("> x".parse::<Comparison>(), Err(ComparisonError::NotANumber { .. })));
        assert!(matches!("~ (".parse::<Comparison>(), Err(ComparisonError::BadRegex { .. })));
        assert!(matches!("3..1".parse::<Comparison>(), Err(ComparisonError::EmptyRange(_))));
        assert_eq!(cmp("v1..v2"), Comparison::Equals("v1..v2".into()));
    }

    proptest! {
        #[test]
        fn comparisons_survive_a_round_trip(text in "(> |>= |< |<= |)[0-9]{1,4}(\\.[0-9]{1,2})?|[0-9]{1,2}\\.\\.[0-9]{3}|~ [a-z]{1,5}|!~ [a-z.]{1,5}|!= [a-z]{1,4}|[a-zA-Z/=~><.!-]{1,8}|exists|absent") {
            if let Ok(comparison) = text.parse::<Comparison>() {
                prop_assert_eq!(comparison.to_string().parse::<Comparison>(), Ok(comparison));
            }
        }

        #[test]
        fn a_number_and_its_text_compare_alike(number in -1000i32..1000, limit in -1000i32..1000) {
            for operator in ["<", "<=", ">", ">=", "!=", "="] {
                let comparison = cmp(&format!("{operator} {limit}"));
                prop_assert_eq!(comparison.holds_number(f64::from(number)), comparison.holds_text(&number.to_string()));
            }
        }

        #[test]
        fn no_text_makes_the_comparison_parser_panic(text in ".{0,24}") {
            if let Ok(comparison) = text.parse::<Comparison>() {
                comparison.holds_text(&text);
            }
        }
    }
}
