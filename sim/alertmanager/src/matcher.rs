//! Matchers of labels: `name="value"`, `!=`, `=~`, `!~`.

mod classic;
mod utf8;

use regex::Regex;
use sim_template::print::quote;
use sim_wire::Labels;
use std::fmt;

/// How a matcher compares; the order is the one in which the real program sorts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchType {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regexp,
    /// `!~`
    NotRegexp,
}

impl MatchType {
    /// The operator as it is written.
    pub fn operator(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regexp => "=~",
            Self::NotRegexp => "!~",
        }
    }

    /// From the operator as it is written.
    pub fn from_operator(operator: &str) -> Option<Self> {
        [Self::Equal, Self::NotEqual, Self::Regexp, Self::NotRegexp]
            .into_iter()
            .find(|kind| kind.operator() == operator)
    }

    /// From the two flags of the API.
    pub fn from_flags(is_equal: bool, is_regex: bool) -> Self {
        match (is_equal, is_regex) {
            (true, false) => Self::Equal,
            (false, false) => Self::NotEqual,
            (true, true) => Self::Regexp,
            (false, true) => Self::NotRegexp,
        }
    }

    /// Whether the value is a regular expression.
    pub fn is_regex(self) -> bool {
        matches!(self, Self::Regexp | Self::NotRegexp)
    }

    /// Whether a match is what is asked for, and not its absence.
    pub fn is_equal(self) -> bool {
        matches!(self, Self::Equal | Self::Regexp)
    }
}

/// One condition on one label. An absent label has the empty value.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// How to compare.
    pub kind: MatchType,
    /// The label.
    pub name: String,
    /// The value or the expression.
    pub value: String,
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.value, self.kind) == (&other.name, &other.value, other.kind)
    }
}

impl Eq for Matcher {}

impl PartialOrd for Matcher {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Matcher {
    /// By name, then value, then operator.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.name, &self.value, self.kind).cmp(&(&other.name, &other.value, other.kind))
    }
}

/// Characters that a name may not hold without quotes.
pub(crate) fn is_reserved(c: char) -> bool {
    c.is_whitespace() || "{}!=~,\\\"'`".contains(c)
}

impl Matcher {
    /// A matcher.
    ///
    /// # Errors
    /// What is wrong with the regular expression.
    pub fn new(kind: MatchType, name: &str, value: &str) -> Result<Self, String> {
        let regex = if kind.is_regex() { Some(compile(value)?) } else { None };
        Ok(Self { kind, name: name.to_owned(), value: value.to_owned(), regex })
    }

    /// Whether a label's value meets the condition.
    pub fn matches_value(&self, value: &str) -> bool {
        let met = match &self.regex {
            Some(regex) => regex.is_match(value),
            None => value == self.value,
        };
        met == self.kind.is_equal()
    }

    /// Whether a label set meets the condition.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_value(labels.value(&self.name))
    }

    /// Reads one matcher as the real program does by default: by the UTF-8 grammar, and by the classic one where the
    /// two disagree or the first refuses.
    ///
    /// # Errors
    /// What the classic grammar says.
    ///
    /// ```
    /// use sim_alertmanager::matcher::Matcher;
    /// assert_eq!(Matcher::parse("severity=~\"warn.*\"").unwrap().to_string(), "severity=~\"warn.*\"");
    /// assert_eq!(Matcher::parse("foo").unwrap_err(), "bad matcher format: foo");
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('{') || text.ends_with('}') {
            return Err(format!("unexpected open or close brace: {text}"));
        }
        let modern = utf8::matchers(text).and_then(|mut found| match found.len() {
            1 => found.pop().ok_or_else(|| "no matchers".to_owned()),
            0 => Err("no matchers".to_owned()),
            count => Err(format!("expected 1 matcher, found {count}")),
        });
        let classic = classic::matcher(text);
        agreed(modern, classic)
    }
}

/// A text with one or more matchers, in braces or without: `{a="b",c=~"d"}`.
///
/// # Errors
/// What the classic grammar says.
pub fn parse_all(text: &str) -> Result<Vec<Matcher>, String> {
    agreed(utf8::matchers(text), classic::matchers(text))
}

/// The UTF-8 grammar's reading, unless the classic one reads it otherwise.
fn agreed<T: PartialEq>(modern: Result<T, String>, classic: Result<T, String>) -> Result<T, String> {
    match (modern, classic) {
        (Err(_), classic) => classic,
        (Ok(modern), Ok(classic)) if modern != classic => Ok(classic),
        (Ok(modern), _) => Ok(modern),
    }
}

/// An expression that has to match the whole value.
pub(crate) fn compile(expression: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(&format!("^(?:{expression})$"))
        .size_limit(1 << 20)
        .build()
        .map_err(|error| go_regex_error(expression, &error))
}

/// The message of Go's regexp package for the mistakes that people make.
fn go_regex_error(expression: &str, error: &regex::Error) -> String {
    let whole = format!("^(?:{expression})$");
    let text = error.to_string();
    let reason = if text.contains("unclosed group") {
        format!("missing closing ): `{whole}`")
    } else if text.contains("unopened group") {
        format!("unexpected ): `{whole}`")
    } else if text.contains("unclosed character class") {
        let from = whole.rfind('[').unwrap_or(0);
        format!("missing closing ]: `{}`", &whole[from..])
    } else if text.contains("repetition operator missing expression") {
        let operator = expression.chars().find(|c| "*+?{".contains(*c)).unwrap_or('*');
        format!("missing argument to repetition operator: `{operator}`")
    } else {
        let last = text.lines().last().unwrap_or_default();
        format!("{}: `{whole}`", last.trim_start_matches("error: "))
    };
    format!("error parsing regexp: {reason}")
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(is_reserved) {
            return write!(f, "{}{}{}", quote(&self.name), self.kind.operator(), quote(&self.value));
        }
        let value = self.value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
        write!(f, "{}{}\"{value}\"", self.name, self.kind.operator())
    }
}

/// Several matchers that all have to hold, in their canonical order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matchers(Vec<Matcher>);

impl Matchers {
    /// Sorted by name, value and operator.
    pub fn new(mut matchers: Vec<Matcher>) -> Self {
        matchers.sort();
        Self(matchers)
    }

    /// Whether all hold; without any they do.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels))
    }

    /// The matchers in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Matcher> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds others and sorts again.
    pub(crate) fn extend(&mut self, others: impl IntoIterator<Item = Matcher>) {
        self.0.extend(others);
        self.0.sort();
    }
}

impl<'m> IntoIterator for &'m Matchers {
    type Item = &'m Matcher;
    type IntoIter = std::slice::Iter<'m, Matcher>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(Matcher::to_string).collect();
        write!(f, "{{{}}}", parts.join(","))
    }
}

#[cfg(test)]
mod tests;
