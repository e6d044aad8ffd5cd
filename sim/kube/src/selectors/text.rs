//! The text form of a label selector: its tokens, its grammar, and what the real parser says of the rest.
//!
//! Source: the grammar of `labels.Parse` of apimachinery, as its documentation has it.

use super::Requirement;
use crate::validation::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    End,
    Comma,
    Open,
    Close,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
    Word,
}

type Token<'a> = (Kind, &'a str);

const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

fn tokens(text: &str) -> Vec<Token<'_>> {
    let symbol = |c: char| "=!(),><".contains(c);
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if symbol(first) {
            if rest.starts_with("==") || rest.starts_with("!=") { 2 } else { 1 }
        } else {
            rest.find(|c: char| symbol(c) || c.is_whitespace()).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(length);
        let kind = match token {
            "," => Kind::Comma,
            "(" => Kind::Open,
            ")" => Kind::Close,
            "!" => Kind::Not,
            "=" | "==" => Kind::Equals,
            "!=" => Kind::NotEquals,
            ">" => Kind::Greater,
            "<" => Kind::Less,
            "in" => Kind::In,
            "notin" => Kind::NotIn,
            _ => Kind::Word,
        };
        found.push((kind, token));
        rest = after.trim_start();
    }
    found
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next token, where a key or a value is looked for: `in` and `notin` are words there.
    fn peek(&self) -> Token<'a> {
        let (kind, text) = self.tokens.get(self.at).copied().unwrap_or((Kind::End, ""));
        (if matches!(kind, Kind::In | Kind::NotIn) { Kind::Word } else { kind }, text)
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn operator(&mut self) -> Token<'a> {
        let token = self.tokens.get(self.at).copied().unwrap_or((Kind::End, ""));
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut absent = false;
        let (mut kind, mut key) = self.take();
        if kind == Kind::Not {
            absent = true;
            (kind, key) = self.take();
        }
        if kind != Kind::Word {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let problems = names::qualified(key);
        if !problems.is_empty() {
            return Err(format!("<nil>: Invalid value: {key:?}: {}", problems.join("; ")));
        }
        let key = key.to_owned();
        if absent {
            return Ok(Requirement::Absent(key));
        }
        if matches!(self.peek().0, Kind::End | Kind::Comma) {
            return Ok(Requirement::Exists(key));
        }
        let (operator, said) = self.operator();
        let values = match operator {
            Kind::In | Kind::NotIn => self.values()?,
            Kind::Equals | Kind::NotEquals | Kind::Greater | Kind::Less => vec![self.value()?],
            _ => return Err(format!("found '{said}', expected: {OPERATORS}")),
        };
        for (i, value) in values.iter().enumerate() {
            let problems = names::label_value(value);
            if !problems.is_empty() {
                return Err(format!("values[{i}][{key}]: Invalid value: {value:?}: {}", problems.join("; ")));
            }
        }
        let number = || {
            values[0].parse::<i64>().map_err(|_| {
                format!(
                    "values[0]: Invalid value: {:?}: for 'Gt', 'Lt' operators, the value must be an integer",
                    values[0]
                )
            })
        };
        Ok(match operator {
            Kind::Greater => Requirement::Greater(key, number()?),
            Kind::Less => Requirement::Less(key, number()?),
            Kind::In | Kind::Equals => Requirement::In(key, values),
            _ => Requirement::NotIn(key, values),
        })
    }

    /// One value, which may be nothing.
    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            (Kind::End | Kind::Comma, _) => Ok(String::new()),
            (Kind::Word, text) => {
                self.at += 1;
                Ok(text.to_owned())
            }
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    /// `(a,b)`.
    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.take() {
            (Kind::Open, _) => {}
            (_, text) => return Err(format!("found '{text}' expected: '('")),
        }
        let mut values = vec![String::new()];
        let mut filled = false;
        loop {
            match self.take() {
                (Kind::Word, text) if !filled => {
                    if let Some(last) = values.last_mut() {
                        text.clone_into(last);
                    }
                    filled = true;
                }
                (Kind::Comma, _) => {
                    values.push(String::new());
                    filled = false;
                }
                (Kind::Close, _) => break,
                (_, text) if filled => return Err(format!("found '{text}', expected: ',' or ')'")),
                (_, text) => return Err(format!("found '{text}', expected: ',', ')' or identifier")),
            }
        }
        values.sort();
        values.dedup();
        Ok(values)
    }
}

/// Reads a selector.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            (Kind::End, _) => return Ok(requirements),
            (Kind::Word | Kind::Not, _) => {
                let read = parser.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
                requirements.push(read);
            }
            (_, found) => return Err(format!("found '{found}', expected: !, identifier, or 'end of string'")),
        }
        match parser.take() {
            (Kind::End, _) => return Ok(requirements),
            (Kind::Comma, _) => match parser.peek() {
                (Kind::Word | Kind::Not, _) => {}
                (_, found) => return Err(format!("found '{found}', expected: identifier after ','")),
            },
            (_, found) => return Err(format!("found '{found}', expected: ',' or 'end of string'")),
        }
    }
}
