//! kubectl's JSONPath dialect, as far as printer columns use it: fields, indices, slices, wildcards, unions, recursive
//! descent and filters; missing keys select nothing.

use serde_json::Value;

/// Longest path that is read.
pub const PATH_BYTES_MAX: usize = 4096;
/// Deepest nesting of filters in a path.
const FILTER_DEPTH_MAX: usize = 8;
/// Most values that one step may select; the rest is dropped.
const VALUES_MAX: usize = 100_000;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    Descend,
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Union(Vec<Selector>),
    Filter(Box<Filter>),
}

#[derive(Clone, Debug, PartialEq)]
enum Selector {
    Index(i64),
    Field(String),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    test: Option<(Operator, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why a path cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PathError(String);

fn bad<T>(text: impl Into<String>) -> Result<T, PathError> {
    Err(PathError(text.into()))
}

impl JsonPath {
    /// Reads a path such as `.status.conditions[?(@.type=="Ready")].status`, with or without braces and `$`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return bad(format!("a path may have {PATH_BYTES_MAX} bytes"));
        }
        let text = text.trim();
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        Parser { chars: inner.chars().collect(), at: 0, depth: 0 }.path(true)
    }

    /// The values it selects, in order.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        self.0.iter().fold(vec![root], |found, step| {
            let mut next = Vec::new();
            for value in found {
                step.select(value, &mut next);
                if next.len() > VALUES_MAX {
                    next.truncate(VALUES_MAX);
                    break;
                }
            }
            next
        })
    }
}

impl Step {
    fn select<'a>(&self, value: &'a Value, out: &mut Vec<&'a Value>) {
        match self {
            Step::Field(name) => out.extend(value.get(name)),
            Step::Wildcard => match value {
                Value::Array(items) => out.extend(items),
                Value::Object(map) => out.extend(sorted(map)),
                _ => {}
            },
            Step::Descend => descend(value, out),
            Step::Slice { start, end, step } => {
                let Value::Array(items) = value else { return };
                let length = items.len() as i64;
                let clamp = |at: i64| if at < 0 { at.saturating_add(length) } else { at }.clamp(0, length);
                let (mut at, end) = (clamp(start.unwrap_or(0)), clamp(end.unwrap_or(length)));
                while at < end {
                    out.push(&items[at as usize]);
                    at = at.saturating_add((*step).max(1));
                }
            }
            Step::Union(selectors) => {
                for selector in selectors {
                    match (selector, value) {
                        (Selector::Index(index), Value::Array(items)) => {
                            let at = if *index < 0 { index.saturating_add(items.len() as i64) } else { *index };
                            out.extend(usize::try_from(at).ok().and_then(|at| items.get(at)));
                        }
                        (Selector::Field(name), Value::Object(map)) => out.extend(map.get(name)),
                        _ => {}
                    }
                }
            }
            Step::Filter(filter) => match value {
                Value::Array(items) => out.extend(items.iter().filter(|item| filter.holds(item))),
                Value::Object(map) => out.extend(sorted(map).into_iter().filter(|item| filter.holds(item))),
                _ => {}
            },
        }
    }
}

/// Values of a map by key: Go's maps have no order, this has one.
fn sorted(map: &serde_json::Map<String, Value>) -> Vec<&Value> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.into_iter().map(|(_, value)| value).collect()
}

fn descend<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    if out.len() > VALUES_MAX {
        return;
    }
    out.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| descend(item, out)),
        Value::Object(map) => sorted(map).into_iter().for_each(|item| descend(item, out)),
        _ => {}
    }
}

impl Filter {
    fn holds(&self, item: &Value) -> bool {
        let left = self.left.value(item);
        let Some((operator, right)) = &self.test else { return left.is_some() };
        let (Some(left), Some(right)) = (left, right.value(item)) else { return false };
        let order = match (left, right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) if *operator == Operator::Equal || *operator == Operator::NotEqual => {
                return (a == b) == (*operator == Operator::Equal);
            }
            _ => None,
        };
        order.is_some_and(|order| match operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
        })
    }
}

impl Operand {
    fn value<'a>(&'a self, item: &'a Value) -> Option<&'a Value> {
        match self {
            Operand::Path(path) => path.find(item).into_iter().next(),
            Operand::Literal(value) => Some(value),
        }
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), PathError> {
        self.spaces();
        if self.take(wanted) { Ok(()) } else { bad(format!("expected {wanted:?} at {}", self.at)) }
    }

    /// Steps to the end of the text, or (in a filter) to the first character that starts none.
    fn path(&mut self, whole: bool) -> Result<JsonPath, PathError> {
        let mut steps = Vec::new();
        if matches!(self.peek(), Some('$' | '@')) {
            self.at += 1;
        }
        loop {
            match self.peek() {
                Some('.') => {
                    self.at += 1;
                    if self.take('.') {
                        steps.push(Step::Descend);
                    }
                    match self.peek() {
                        Some('*') => {
                            self.at += 1;
                            steps.push(Step::Wildcard);
                        }
                        Some('[') => {}
                        _ => {
                            let name = self.name();
                            if !name.is_empty() {
                                steps.push(Step::Field(name));
                            } else if steps.last() == Some(&Step::Descend) || self.peek().is_some() {
                                return bad(format!("a field's name is missing at {}", self.at));
                            }
                        }
                    }
                }
                Some('[') => {
                    self.at += 1;
                    steps.push(self.bracket()?);
                }
                Some(c) if whole && steps.is_empty() && !c.is_whitespace() => {
                    let name = self.name();
                    if name.is_empty() {
                        return bad(format!("unexpected {c:?} at {}", self.at));
                    }
                    steps.push(Step::Field(name));
                }
                Some(c) if whole => return bad(format!("unexpected {c:?} at {}", self.at)),
                _ => return Ok(JsonPath(steps)),
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            match c {
                '\\' => {
                    self.at += 1;
                    name.extend(self.peek());
                }
                '.' | '[' | ']' | '(' | ')' | '{' | '}' | '=' | '!' | '<' | '>' | ',' | '"' | '\'' => break,
                c if c.is_whitespace() => break,
                c => name.push(c),
            }
            self.at += 1;
        }
        name
    }

    fn quoted(&mut self, quote: char) -> Result<String, PathError> {
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '\\' => {
                    text.extend(self.peek());
                    self.at += 1;
                }
                c if c == quote => return Ok(text),
                c => text.push(c),
            }
        }
        bad("unterminated quoted string")
    }

    fn integer(&mut self) -> Result<Option<i64>, PathError> {
        self.spaces();
        let start = self.at;
        self.take('-');
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let text: String = self.chars[start..self.at.min(self.chars.len())].iter().collect();
        self.spaces();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).or_else(|_| bad(format!("invalid array index {text}")))
    }

    fn bracket(&mut self) -> Result<Step, PathError> {
        self.spaces();
        match self.peek() {
            Some('*') => {
                self.at += 1;
                self.expect(']')?;
                return Ok(Step::Wildcard);
            }
            Some('?') => {
                self.at += 1;
                return self.filter();
            }
            _ => {}
        }
        let mut selectors = Vec::new();
        loop {
            self.spaces();
            if let Some(quote @ ('\'' | '"')) = self.peek() {
                selectors.push(Selector::Field(self.quoted(quote)?));
            } else {
                let first = self.integer()?;
                if self.peek() == Some(':') && selectors.is_empty() {
                    return self.slice(first);
                }
                let Some(index) = first else { return bad(format!("invalid array index at {}", self.at)) };
                selectors.push(Selector::Index(index));
            }
            self.spaces();
            if !self.take(',') {
                break;
            }
        }
        self.expect(']')?;
        Ok(Step::Union(selectors))
    }

    fn slice(&mut self, start: Option<i64>) -> Result<Step, PathError> {
        self.at += 1;
        let end = self.integer()?;
        let step = if self.take(':') { self.integer()?.unwrap_or(1) } else { 1 };
        if step <= 0 {
            return bad("step must be > 0");
        }
        self.expect(']')?;
        Ok(Step::Slice { start, end, step })
    }

    fn filter(&mut self) -> Result<Step, PathError> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return bad(format!("filters may be nested {FILTER_DEPTH_MAX} deep"));
        }
        self.expect('(')?;
        let left = self.operand()?;
        self.spaces();
        let operator = self.operator()?;
        let test = match operator {
            Some(operator) => Some((operator, self.operand()?)),
            None => None,
        };
        self.expect(')')?;
        self.expect(']')?;
        self.depth -= 1;
        Ok(Step::Filter(Box::new(Filter { left, test })))
    }

    fn operator(&mut self) -> Result<Option<Operator>, PathError> {
        let Some(first @ ('=' | '!' | '<' | '>')) = self.peek() else { return Ok(None) };
        self.at += 1;
        let equal = self.take('=');
        Ok(Some(match (first, equal) {
            ('=', true) => Operator::Equal,
            ('!', true) => Operator::NotEqual,
            ('<', true) => Operator::LessOrEqual,
            ('<', false) => Operator::Less,
            ('>', true) => Operator::GreaterOrEqual,
            ('>', false) => Operator::Greater,
            _ => return bad(format!("unrecognized filter operator at {}", self.at)),
        }))
    }

    fn operand(&mut self) -> Result<Operand, PathError> {
        self.spaces();
        match self.peek() {
            Some('@' | '$' | '.') => Ok(Operand::Path(self.path(false)?)),
            Some(quote @ ('\'' | '"')) => Ok(Operand::Literal(self.quoted(quote)?.into())),
            _ => {
                let start = self.at;
                while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) {
                    self.at += 1;
                }
                let text: String = self.chars[start..self.at].iter().collect();
                match text.as_str() {
                    "true" => Ok(Operand::Literal(true.into())),
                    "false" => Ok(Operand::Literal(false.into())),
                    text => match serde_json::from_str::<serde_json::Number>(text) {
                        Ok(number) => Ok(Operand::Literal(number.into())),
                        Err(_) => bad(format!("unrecognized filter operand {text:?} at {start}")),
                    },
                }
            }
        }
    }
}

/// A value as the templates of kubectl print it: texts bare, numbers and booleans as they are, the rest as JSON.
pub fn print(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn found(path: &str, value: &Value) -> String {
        let path = JsonPath::parse(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        path.find(value).into_iter().map(print).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_steps_of_printer_columns_select_what_kubectl_selects() {
        let v = json!({"status": {"phase": "Up", "n": 3, "conditions": [
            {"type": "Ready", "status": "True", "since": 5}, {"type": "Idle", "status": "False", "since": 9}]},
            "metadata": {"annotations": {"a.b/c": "x"}}});
        for (path, expected) in [
            (".status.phase", "Up"),
            ("{.status.phase}", "Up"),
            ("$.status.n", "3"),
            (".status.nothing.at.all", ""),
            (".status.conditions[0].type", "Ready"),
            (".status.conditions[-1].type", "Idle"),
            (".status.conditions[*].type", "Ready Idle"),
            (".status.conditions[0:1].type", "Ready"),
            (".status.conditions[0,1].status", "True False"),
            (".status.conditions[?(@.type==\"Ready\")].status", "True"),
            (".status.conditions[?(@.type == 'Idle')].status", "False"),
            (".status.conditions[?(@.since>5)].type", "Idle"),
            (".status.conditions[?(@.since)].type", "Ready Idle"),
            (".status.conditions[?(@.type!='Ready')].type", "Idle"),
            (".metadata.annotations.a\\.b/c", "x"),
            (".metadata.annotations['a.b/c']", "x"),
            ("..type", "Ready Idle"),
            (".status.conditions[9].type", ""),
        ] {
            assert_eq!(found(path, &v), expected, "{path}");
        }
    }

    #[test]
    fn a_broken_path_is_refused() {
        for path in [
            ".a[",
            ".a[?(@.b==)]",
            ".a[x]",
            ".a['b]",
            ".a b",
            ".a[?(@.b",
            ".a[0:1:0]",
            "..",
            ".a[99999999999999999999]",
        ] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_value_brings_it_down(text in "[.\\[\\]()?@$*'\":,=<>!a0-9\\\\ -]{0,40}") {
            if let Ok(path) = JsonPath::parse(&text) {
                path.find(&json!({"a": [{"a": 1}, [0, {"0": null}]], "0": {"a": "a"}}));
            }
        }
    }
}
