//! From text to tokens, in the three states of Prometheus's lexer: statements, inside braces, inside brackets.
//!
//! A mistake ends the stream with an error token: it is reported when the parser comes to it, after any mistake before it.

use super::ast::Span;
use super::quote::{go_quoted, go_quoted_char};

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A word; keywords are told apart by the parser, because they are also label and metric names.
    Identifier(String),
    /// A word with a colon: always a metric name.
    MetricIdentifier(String),
    /// A number as it stands.
    Number,
    /// A duration as it stands.
    Duration,
    /// A string with its quotes.
    String,
    /// Punctuation and operators.
    Symbol(&'static str),
    /// The end of the text.
    End,
    /// What the lexer stumbled over.
    Error(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub kind: Kind,
    pub span: Span,
    /// Whether a word stands inside braces, where nothing is a keyword.
    pub braced: bool,
}

const KEYWORDS: [&str; 8] = ["offset", "by", "without", "on", "ignoring", "group_left", "group_right", "bool"];
const OPERATORS: [&str; 4] = ["and", "or", "unless", "atan2"];
const PREPROCESSORS: [&str; 2] = ["start", "end"];

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a word can be no plain identifier outside braces.
pub(crate) fn is_reserved(word: &str) -> bool {
    is_one_of(word, &KEYWORDS)
        || is_one_of(word, &OPERATORS)
        || is_one_of(word, &PREPROCESSORS)
        || super::ast::AggregateOp::from_word(word).is_some()
}

impl Token {
    /// As Prometheus names a token in `unexpected …`.
    pub fn describe(&self, query: &str) -> String {
        let text = query.get(self.span.start..self.span.end).unwrap_or_default();
        let shortened = || {
            let shown: String = text.chars().take(10).collect();
            let dots = if text.len() > 10 { "..." } else { "" };
            format!("{}{dots}", go_quoted(shown.as_bytes()))
        };
        match &self.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Identifier(word) if !self.braced && is_one_of(word, &KEYWORDS) => format!("<{word}>"),
            Kind::Identifier(word) if !self.braced && is_one_of(word, &OPERATORS) => format!("<op:{word}>"),
            Kind::Identifier(word) if !self.braced && is_one_of(word, &PREPROCESSORS) => go_quoted(word.as_bytes()),
            Kind::Identifier(word) if !self.braced && is_reserved(word) => format!("<aggr:{word}>"),
            Kind::Identifier(word) => format!("identifier {}", go_quoted(word.as_bytes())),
            Kind::MetricIdentifier(word) => format!("metric identifier {}", go_quoted(word.as_bytes())),
            Kind::Number => format!("number {}", shortened()),
            Kind::Duration => format!("duration {}", shortened()),
            Kind::String => format!("string {}", shortened()),
            Kind::Symbol("{" | "}" | "(" | ")" | "[" | "]" | "," | ":" | "=") => go_quoted(text.as_bytes()),
            // Prometheus has no name for this one and shows its number in the grammar of 3.5.
            Kind::Symbol("@") => "\"<Item 57400>\" <op:@>".to_owned(),
            Kind::Symbol(_) => format!("<op:{text}>"),
            Kind::Error(message) => message.clone(),
        }
    }
}

/// The tokens up to the end or the first mistake; comments are left out.
pub(crate) fn tokens(query: &str) -> Vec<Token> {
    let mut lexer =
        Lexer { query, at: 0, start: 0, parens: 0, state: State::Statements, bracket: None, tokens: Vec::new() };
    let last = match lexer.run() {
        Ok(()) => Kind::End,
        Err(message) => Kind::Error(message),
    };
    let span = Span { start: lexer.start, end: query.len() };
    lexer.tokens.push(Token { kind: last, span, braced: false });
    lexer.tokens
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Statements,
    Braces,
    /// Right behind an opening bracket, before the first duration is complete.
    Range,
}

/// What has been seen since a bracket was opened.
#[derive(Clone, Copy)]
struct Bracket {
    colon: bool,
    duration: bool,
}

struct Lexer<'a> {
    query: &'a str,
    at: usize,
    start: usize,
    parens: i64,
    state: State,
    bracket: Option<Bracket>,
    tokens: Vec<Token>,
}

type Step = Result<(), String>;

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.query[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, set: &str) -> bool {
        let found = self.peek().is_some_and(|c| set.contains(c));
        self.at += usize::from(found);
        found
    }

    fn emit(&mut self, kind: Kind) {
        let braced = self.state == State::Braces;
        self.tokens.push(Token { kind, span: Span { start: self.start, end: self.at }, braced });
        self.start = self.at;
    }

    fn symbol(&mut self, symbol: &'static str) {
        self.emit(Kind::Symbol(symbol));
    }

    fn text(&self) -> &str {
        &self.query[self.start..self.at]
    }

    fn run(&mut self) -> Step {
        loop {
            while self.peek().is_some_and(is_space) {
                self.at += 1;
            }
            self.start = self.at;
            if self.peek() == Some('#') && self.state != State::Range {
                while self.peek().is_some_and(|c| !matches!(c, '\n' | '\r')) {
                    self.next();
                }
                continue;
            }
            let Some(c) = self.next() else {
                return match self.state {
                    State::Braces => Err("unexpected end of input inside braces".to_owned()),
                    State::Range => Err("unexpected end of input in duration expression".to_owned()),
                    State::Statements if self.parens != 0 => Err("unclosed left parenthesis".to_owned()),
                    State::Statements if self.bracket.is_some() => Err("unclosed left bracket".to_owned()),
                    State::Statements => Ok(()),
                };
            };
            match self.state {
                State::Statements => self.statement(c)?,
                State::Braces => self.braced(c)?,
                State::Range => self.range(c)?,
            }
        }
    }

    fn statement(&mut self, c: char) -> Step {
        match c {
            ',' => self.symbol(","),
            '*' => self.symbol("*"),
            '/' => self.symbol("/"),
            '%' => self.symbol("%"),
            '+' => self.symbol("+"),
            '-' => self.symbol("-"),
            '^' => self.symbol("^"),
            '@' => self.symbol("@"),
            '=' if self.peek() == Some('~') => return Err("unexpected character after '=': '~'".to_owned()),
            '=' if self.accept("=") => self.symbol("=="),
            '=' => self.symbol("="),
            '!' if self.accept("=") => self.symbol("!="),
            '!' => return Err(format!("unexpected character after '!': {}", go_quoted_char(self.next()))),
            '<' if self.accept("=") => self.symbol("<="),
            '<' => self.symbol("<"),
            '>' if self.accept("=") => self.symbol(">="),
            '>' => self.symbol(">"),
            '0'..='9' => self.number_or_duration()?,
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => self.number_or_duration()?,
            '"' | '\'' | '`' => self.string(c)?,
            c if is_alpha(c) || c == ':' => match &mut self.bracket {
                None => self.word(),
                Some(bracket) if bracket.colon => return Err(format!("unexpected colon {}", go_quoted_char(Some(c)))),
                Some(bracket) => {
                    bracket.colon = true;
                    self.symbol(":");
                }
            },
            '(' => self.open_paren(),
            ')' => self.close_paren()?,
            '{' => {
                self.symbol("{");
                self.state = State::Braces;
            }
            '[' if self.bracket.is_some() => return Err("unexpected left bracket '['".to_owned()),
            '[' => {
                self.symbol("[");
                self.bracket = Some(Bracket { colon: false, duration: false });
                self.state = State::Range;
            }
            ']' if self.bracket.is_none() => return Err("unexpected right bracket ']'".to_owned()),
            ']' => {
                self.symbol("]");
                self.bracket = None;
            }
            c => return Err(format!("unexpected character: {}", go_quoted_char(Some(c)))),
        }
        Ok(())
    }

    fn open_paren(&mut self) {
        self.symbol("(");
        self.parens += 1;
    }

    fn close_paren(&mut self) -> Step {
        self.parens -= 1;
        if self.parens < 0 {
            self.start = self.at;
            return Err("unexpected right parenthesis ')'".to_owned());
        }
        self.symbol(")");
        Ok(())
    }

    fn braced(&mut self, c: char) -> Step {
        match c {
            ',' => self.symbol(","),
            '"' | '\'' | '`' => self.string(c)?,
            '=' if self.accept("~") => self.symbol("=~"),
            '=' => self.symbol("="),
            '!' if self.accept("~") => self.symbol("!~"),
            '!' if self.accept("=") => self.symbol("!="),
            '!' => {
                return Err(format!("unexpected character after '!' inside braces: {}", go_quoted_char(self.next())));
            }
            '{' => return Err("unexpected left brace '{'".to_owned()),
            '}' => {
                self.symbol("}");
                self.state = State::Statements;
            }
            c if is_alpha(c) => {
                while self.peek().is_some_and(is_alphanumeric) {
                    self.at += 1;
                }
                let word = self.text().to_owned();
                self.emit(Kind::Identifier(word));
            }
            c => return Err(format!("unexpected character inside braces: {}", go_quoted_char(Some(c)))),
        }
        Ok(())
    }

    fn range(&mut self, c: char) -> Step {
        match c {
            ']' => {
                self.symbol("]");
                self.bracket = None;
                self.state = State::Statements;
            }
            ':' => {
                let bracket = self.bracket.get_or_insert(Bracket { colon: false, duration: false });
                let (duration, colon) = (bracket.duration, bracket.colon);
                bracket.colon = true;
                let before = self.start;
                self.symbol(":");
                if !duration || colon {
                    self.tokens.pop();
                    debug_assert!(before < self.start, "a colon has a width");
                    let which = if duration { "repeated colon" } else { "colon before duration" };
                    return Err(format!("unexpected {which} in duration expression"));
                }
            }
            '(' => self.open_paren(),
            ')' => self.close_paren()?,
            '+' => self.symbol("+"),
            '-' => self.symbol("-"),
            '*' => self.symbol("*"),
            '/' => self.symbol("/"),
            '%' => self.symbol("%"),
            '^' => self.symbol("^"),
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit())) => {
                if let Some(bracket) = &mut self.bracket {
                    bracket.duration = true;
                }
                self.state = State::Statements;
                self.number_or_duration()?;
            }
            c => return Err(format!("unexpected character in duration expression: {}", go_quoted_char(Some(c)))),
        }
        Ok(())
    }

    fn word(&mut self) {
        while self.peek().is_some_and(|c| is_alphanumeric(c) || c == ':') {
            self.at += 1;
        }
        let word = self.text().to_owned();
        let number = word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan");
        self.emit(match word.contains(':') {
            _ if number => Kind::Number,
            true => Kind::MetricIdentifier(word),
            false => Kind::Identifier(word),
        });
    }

    fn number_or_duration(&mut self) -> Step {
        self.at = self.start;
        if self.scan_number() {
            self.emit(Kind::Number);
            return Ok(());
        }
        if self.rest_of_duration() {
            self.emit(Kind::Duration);
            return Ok(());
        }
        Err(format!("bad number or duration syntax: {}", go_quoted(self.text().as_bytes())))
    }

    /// What follows the first digits of a duration. What it does not take is read up to the first wrong character.
    fn rest_of_duration(&mut self) -> bool {
        if !self.accept("smhdwy") {
            return false;
        }
        self.accept("s");
        while self.accept("0123456789") {
            while self.accept("0123456789") {}
            if !self.accept("smhdw") {
                return false;
            }
            self.accept("s");
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            return false;
        }
        true
    }

    fn is(&self, set: &str) -> bool {
        self.peek().is_some_and(|c| set.contains(c))
    }

    fn scan_number(&mut self) -> bool {
        const HEXADECIMAL: &str = "0123456789abcdefABCDEF";
        let initial = self.at;
        let mut digits = "0123456789";
        if self.accept("0") && self.accept("xX") {
            self.accept("_");
            digits = HEXADECIMAL;
        }
        self.accept(".");
        self.accept(digits);
        let (mut dot, mut exponent) = (false, false);
        while self.is(digits) || self.is("._eE") {
            if self.is(".") && dot || self.is("eE") && exponent {
                self.at += 1;
                return false;
            }
            if self.accept(".") {
                dot = true;
                if self.accept("_.") || digits == HEXADECIMAL {
                    return false;
                }
            } else if self.accept("eE") {
                // A hexadecimal digit, too, where it stands first.
                exponent = true;
                self.accept("+-");
                if self.accept("._eE") || self.peek().is_none() {
                    return false;
                }
            } else if self.accept("_") {
                if self.accept("._eE") || self.peek().is_none() {
                    return false;
                }
            } else {
                while self.accept(digits) {}
            }
        }
        self.at != initial && !self.peek().is_some_and(is_alphanumeric)
    }

    /// The text up to the closing quote; escapes are checked here and read by the parser.
    fn string(&mut self, quote: char) -> Step {
        loop {
            match self.next() {
                None if quote == '`' => return Err("unterminated raw string".to_owned()),
                None => return Err("unterminated quoted string".to_owned()),
                Some('\n') if quote != '`' => return Err("unterminated quoted string".to_owned()),
                Some('\\') if quote != '`' => self.escape(quote)?,
                Some(c) if c == quote => break,
                Some(char::REPLACEMENT_CHARACTER) => return Err("invalid UTF-8 rune".to_owned()),
                Some(_) => {}
            }
        }
        self.emit(Kind::String);
        Ok(())
    }

    fn escape(&mut self, quote: char) -> Step {
        let unterminated = || "escape sequence not terminated".to_owned();
        let code =
            |c: char| if c.is_control() { format!("U+{:04X}", c as u32) } else { format!("U+{:04X} '{c}'", c as u32) };
        let c = self.next().ok_or_else(unterminated)?;
        let (count, radix, most) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
            c if c == quote => return Ok(()),
            '0'..='7' => (3, 8, 255),
            'x' => (2, 16, 255),
            'u' => (4, 16, 0x10_FFFF),
            'U' => (8, 16, 0x10_FFFF),
            c => return Err(format!("unknown escape sequence {}", code(c))),
        };
        let mut value = 0_u64;
        let mut pending = (radix == 8).then_some(c);
        for _ in 0..count {
            let c = pending.take().or_else(|| self.next()).ok_or_else(unterminated)?;
            let digit = c.to_digit(radix).ok_or_else(|| format!("illegal character {} in escape sequence", code(c)))?;
            value = value * u64::from(radix) + u64::from(digit);
        }
        if value > most || (0xD800..0xE000).contains(&value) {
            return Err("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }
}

/// Decimal, hexadecimal, octal and binary numbers as Go reads them.
///
/// # Errors
/// What Go's `strconv` says.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let refuse = |why: &str| Err(format!("strconv.ParseFloat: parsing {}: {why}", go_quoted(text.as_bytes())));
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    let plain = text.replace('_', "");
    let (sign, digits) = plain.strip_prefix('-').map_or((1, plain.as_str()), |rest| (-1, rest));
    let lower = digits.to_ascii_lowercase();
    let integer = if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16)
    } else if lower.len() > 1 && lower.starts_with('0') {
        i64::from_str_radix(&lower, 8)
    } else {
        lower.parse()
    };
    if let Ok(value) = integer {
        return Ok((sign * value) as f64);
    }
    let decimal = lower.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'+' | b'-'));
    match digits.parse::<f64>() {
        Ok(value) if decimal && value.is_finite() => Ok(f64::from(sign as i32) * value),
        Ok(_) if decimal => refuse("value out of range"),
        _ => refuse("invalid syntax"),
    }
}

/// The bytes of a string literal that the lexer has accepted.
pub(crate) fn unquoted(literal: &str) -> Vec<u8> {
    let inside = literal.get(1..literal.len().saturating_sub(1)).unwrap_or_default();
    if literal.starts_with('`') {
        return inside.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        out.extend(&rest.as_bytes()[..at]);
        let mut tail = rest[at + 1..].chars();
        let Some(c) = tail.next() else { break };
        let (skip, radix) = match c {
            '0'..='7' => (0, 8),
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            _ => {
                match c {
                    'a' => out.push(7),
                    'b' => out.push(8),
                    'f' => out.push(12),
                    'n' => out.push(b'\n'),
                    'r' => out.push(b'\r'),
                    't' => out.push(b'\t'),
                    'v' => out.push(11),
                    other => out.extend(other.to_string().bytes()),
                }
                rest = tail.as_str();
                continue;
            }
        };
        let from = at + 1 + usize::from(radix == 16);
        let to = from + if radix == 8 { 3 } else { skip };
        let value = rest.get(from..to).and_then(|digits| u32::from_str_radix(digits, radix).ok()).unwrap_or_default();
        match char::from_u32(value) {
            Some(c) if skip > 2 => out.extend(c.to_string().bytes()),
            _ => out.push(value as u8),
        }
        rest = rest.get(to..).unwrap_or_default();
    }
    out.extend(rest.as_bytes());
    out
}
