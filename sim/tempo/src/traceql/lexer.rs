//! Text to tokens. An attribute (`span.k8s.pod-name`, `."odd name"`) is one token: dots, dashes and slashes belong to its
//! name until a space, a bracket, a comma or an operator sign (section "Attribute fields").

use super::ast::{Field, Intrinsic, Kind, Position, Scope, Static, Status};
use super::{ParseError, ParseErrorKind};

/// A token and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub at: Position,
}

/// The kinds of token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A literal: string, number, duration, boolean, status, kind, nil.
    Static(Static),
    /// An intrinsic or an attribute.
    Field(Field),
    /// A word that is none of the above: functions and mistakes.
    Word(String),
    /// Brackets, commas, operators.
    Sign(&'static str),
    /// The end of the text.
    End,
}

impl TokenKind {
    /// How an error names it.
    pub fn describe(&self) -> String {
        match self {
            TokenKind::Static(value) => value.to_string(),
            TokenKind::Field(field) => field.to_string(),
            TokenKind::Word(word) => format!("identifier {word}"),
            TokenKind::Sign(sign) => (*sign).to_owned(),
            TokenKind::End => "$end".to_owned(),
        }
    }
}

/// Longest first, so that `>>` is not read as two `>`.
const SIGNS: &[&str] = &[
    "!>>", "!<<", "&>>", "&<<", "&&", "||", "!=", "=~", "!~", ">=", "<=", ">>", "<<", "!>", "!<", "&>", "&<", "&~",
    "{", "}", "(", ")", ",", "|", "=", ">", "<", "~", "!", "+", "-", "*", "/", "%", "^",
];

const NANOS_PER_UNIT: &[(&str, f64)] = &[
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 24.0 * 3600e9),
    ("w", 7.0 * 24.0 * 3600e9),
    ("y", 365.0 * 24.0 * 3600e9),
];

/// Whether a character may stand unquoted in an attribute's name.
pub(super) fn is_attribute_char(c: char) -> bool {
    !c.is_whitespace() && !matches!(c, '{' | '}' | '(' | ')' | '=' | '~' | '!' | '<' | '>' | '&' | '|' | '^' | ',')
}

struct Lexer<'a> {
    rest: &'a str,
    at: Position,
}

/// All tokens of a query, the last one being [`TokenKind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut lexer = Lexer { rest: text, at: Position { line: 1, column: 1 } };
    let mut out = Vec::new();
    loop {
        lexer.skip_space()?;
        let at = lexer.at;
        let kind = lexer.next_kind()?;
        let done = kind == TokenKind::End;
        out.push(Token { kind, at });
        if done {
            return Ok(out);
        }
    }
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.at.line += 1;
            self.at.column = 1;
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = &self.rest[..bytes];
        for _ in taken.chars() {
            self.bump();
        }
        taken
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    fn error<T>(at: Position, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError { at, kind: ParseErrorKind::Syntax, message: message.into() })
    }

    /// White space and comments (`// …` and `/* … */`).
    fn skip_space(&mut self) -> Result<(), ParseError> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest.starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest.starts_with("/*") {
                let at = self.at;
                match self.rest.find("*/") {
                    Some(end) => {
                        self.take(end + 2);
                    }
                    None => return Self::error(at, "comment not terminated"),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn next_kind(&mut self) -> Result<TokenKind, ParseError> {
        let Some(c) = self.peek() else {
            return Ok(TokenKind::End);
        };
        if c == '"' || c == '`' {
            return self.string().map(|s| TokenKind::Static(Static::String(s)));
        }
        if c == '.' {
            self.bump();
            return self.attribute(Scope::Any);
        }
        if c.is_ascii_digit() {
            return self.number();
        }
        if c.is_alphabetic() || c == '_' {
            return self.word();
        }
        for sign in SIGNS {
            if self.rest.starts_with(sign) {
                self.take(sign.len());
                return Ok(TokenKind::Sign(sign));
            }
        }
        Self::error(self.at, format!("syntax error: unexpected character {c:?}"))
    }

    fn word(&mut self) -> Result<TokenKind, ParseError> {
        let at = self.at;
        let word = self.take_while(|c| c.is_alphanumeric() || c == '_');
        if self.peek() == Some('.') {
            if let Some(scope) = Scope::from_text(word) {
                self.bump();
                return self.attribute(scope);
            }
            if word == "parent" {
                return Err(ParseError {
                    at,
                    kind: ParseErrorKind::Unsupported,
                    message: "parent attributes not yet supported".into(),
                });
            }
        }
        if self.peek() == Some(':') && matches!(word, "span" | "trace" | "event" | "link" | "instrumentation") {
            self.bump();
            let name = self.take_while(|c| c.is_alphanumeric() || c == '_');
            let whole = format!("{word}:{name}");
            return match Intrinsic::from_text(&whole) {
                Some(intrinsic) => Ok(TokenKind::Field(Field::Intrinsic(intrinsic))),
                None => Self::error(at, format!("syntax error: unknown intrinsic {whole}")),
            };
        }
        Ok(match word {
            "nil" => TokenKind::Static(Static::Nil),
            "true" => TokenKind::Static(Static::Bool(true)),
            "false" => TokenKind::Static(Static::Bool(false)),
            "error" => TokenKind::Static(Static::Status(Status::Error)),
            "ok" => TokenKind::Static(Static::Status(Status::Ok)),
            "unset" => TokenKind::Static(Static::Status(Status::Unset)),
            "unspecified" => TokenKind::Static(Static::Kind(Kind::Unspecified)),
            "internal" => TokenKind::Static(Static::Kind(Kind::Internal)),
            "server" => TokenKind::Static(Static::Kind(Kind::Server)),
            "client" => TokenKind::Static(Static::Kind(Kind::Client)),
            "producer" => TokenKind::Static(Static::Kind(Kind::Producer)),
            "consumer" => TokenKind::Static(Static::Kind(Kind::Consumer)),
            "parent" => {
                return Err(ParseError {
                    at,
                    kind: ParseErrorKind::Unsupported,
                    message: "intrinsic (parent) not yet supported".into(),
                });
            }
            _ => match Intrinsic::from_text(word) {
                Some(intrinsic) => TokenKind::Field(Field::Intrinsic(intrinsic)),
                None => TokenKind::Word(word.to_owned()),
            },
        })
    }

    /// The name after the scope's dot; parts of it may be quoted (section "Attribute fields": quoted attribute names).
    fn attribute(&mut self, scope: Scope) -> Result<TokenKind, ParseError> {
        let at = self.at;
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if c == '"' {
                self.quoted_name_part(&mut name)?;
            } else if is_attribute_char(c) {
                name.push(c);
                self.bump();
            } else {
                break;
            }
        }
        if name.is_empty() {
            let found = self.peek().map_or_else(|| "$end".to_owned(), |c| c.to_string());
            return Self::error(at, format!("syntax error: unexpected {found}, expecting an attribute name"));
        }
        Ok(TokenKind::Field(Field::Attribute { scope, name }))
    }

    fn quoted_name_part(&mut self, name: &mut String) -> Result<(), ParseError> {
        self.bump();
        loop {
            match self.bump() {
                None => return Self::error(self.at, "unexpected EOF, expecting \""),
                Some('"') => return Ok(()),
                Some('\\') => match self.bump() {
                    Some(c @ ('"' | '\\')) => name.push(c),
                    _ => return Self::error(self.at, "invalid escape sequence"),
                },
                Some(c) => name.push(c),
            }
        }
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let at = self.at;
        let quote = self.bump();
        let mut out = String::new();
        loop {
            match self.bump() {
                None => return Self::error(at, "literal not terminated"),
                Some(c) if Some(c) == quote => return Ok(out),
                Some('\n') if quote == Some('"') => return Self::error(at, "literal not terminated"),
                Some('\\') if quote == Some('"') => out.push(self.escape()?),
                Some(c) => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let at = self.at;
        let digits = match self.bump() {
            Some('n') => return Ok('\n'),
            Some('t') => return Ok('\t'),
            Some('r') => return Ok('\r'),
            Some('a') => return Ok('\u{7}'),
            Some('b') => return Ok('\u{8}'),
            Some('f') => return Ok('\u{c}'),
            Some('v') => return Ok('\u{b}'),
            Some(c @ ('\\' | '"')) => return Ok(c),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => return Self::error(at, "invalid char escape"),
        };
        let hex = self.rest.get(..digits).filter(|hex| hex.chars().all(|c| c.is_ascii_hexdigit()));
        let decoded = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        match decoded {
            Some(c) => {
                self.take(digits);
                Ok(c)
            }
            None => Self::error(at, "invalid char escape"),
        }
    }

    /// An integer, a float, or a duration such as `1h30m`, `1.5s`, `100ms` (section "Comparison operators").
    fn number(&mut self) -> Result<TokenKind, ParseError> {
        let at = self.at;
        let first = self.digits();
        if !self.peek().is_some_and(|c| c.is_alphabetic()) {
            let value = if first.contains(['.', 'e', 'E']) {
                first.parse().ok().filter(|x: &f64| x.is_finite()).map(Static::Float)
            } else {
                first.parse().ok().map(Static::Int)
            };
            return match value {
                Some(value) => Ok(TokenKind::Static(value)),
                None => Self::error(at, format!("invalid number {first}: value out of range")),
            };
        }
        let mut nanos = 0.0;
        let mut number = first.to_owned();
        loop {
            let unit = self.take_while(char::is_alphabetic);
            let factor = NANOS_PER_UNIT.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
            match (number.parse::<f64>(), factor) {
                (Ok(number), Some(factor)) => nanos += number * factor,
                _ => return Self::error(at, format!("unknown unit {unit:?} in duration")),
            }
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                break;
            }
            number = self.digits().to_owned();
        }
        if nanos >= i64::MAX as f64 {
            return Self::error(at, "duration out of range");
        }
        Ok(TokenKind::Static(Static::Duration(nanos.round() as i64)))
    }

    fn digits(&mut self) -> &'a str {
        let bytes = self.rest.as_bytes();
        let run = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut end = run(0);
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            end = run(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                end = run(end + 1 + sign);
            }
        }
        self.take(end)
    }
}
