//! Cuts a template into texts and actions, and actions into tokens.

use crate::print::quote;
use crate::syntax::{At, Literal};

/// What Go trims and skips.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

const KEYWORDS: [&str; 12] =
    [".", "block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"];

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Word(String),
    Variable(String),
    Field(String),
    Dot,
    Literal(Literal),
    /// A quoted text with an escape that there is not.
    BadText,
    /// A number or character that there is not, and why.
    BadNumber(String),
    Symbol(&'static str),
    /// A character that means nothing here.
    Other,
    /// The end of the action.
    Close,
    /// What cannot be read on.
    Error(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub token: Token,
    pub at: At,
    /// Whether a blank stands before it.
    pub blank: bool,
    pub source: String,
}

impl Placed {
    /// As Go's messages name it.
    pub fn shown(&self) -> String {
        if KEYWORDS.contains(&self.source.as_str()) {
            return format!("<{}>", self.source);
        }
        if self.source.len() > 10 {
            return format!("{}...", quote(&self.source.chars().take(10).collect::<String>()));
        }
        quote(&self.source)
    }
}

pub(crate) enum Piece {
    Text(String),
    /// Tokens, of which the last is `Close` or `Error`.
    Action(Vec<Placed>),
}

/// The pieces, and where the text ends. Nothing follows an error.
pub(crate) fn pieces(text: &str) -> (Vec<Piece>, At) {
    let mut lexer = Lexer { text, position: 0, at: At { line: 1, column: 0 } };
    let mut pieces = Vec::new();
    let mut trim = false;
    loop {
        let rest = lexer.rest();
        let open = rest.find("{{");
        let mut before = rest.get(..open.unwrap_or(rest.len())).unwrap_or_default();
        let inside = open.and_then(|open| rest.get(open + 2..)).unwrap_or_default();
        let trims = inside.starts_with('-') && inside.get(1..).is_some_and(|after| after.starts_with(BLANKS));
        if trim {
            before = before.trim_start_matches(BLANKS);
        }
        if trims {
            before = before.trim_end_matches(BLANKS);
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let Some(open) = open else {
            lexer.skip(rest.len());
            return (pieces, lexer.at);
        };
        lexer.skip(open + 2 + if trims { 2 } else { 0 });
        let tokens = if lexer.rest().starts_with("/*") {
            match lexer.comment() {
                Ok(trims) => {
                    trim = trims;
                    continue;
                }
                Err(error) => vec![error],
            }
        } else {
            let (tokens, trims) = lexer.action();
            trim = trims;
            tokens
        };
        let failed = matches!(tokens.last(), Some(Placed { token: Token::Error(_), .. }));
        pieces.push(Piece::Action(tokens));
        if failed {
            return (pieces, lexer.at);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    position: usize,
    at: At,
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn shown(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn skip(&mut self, length: usize) {
        let skipped = self.rest().get(..length).unwrap_or_default();
        match skipped.rfind('\n') {
            Some(last) => {
                self.at.line += skipped.bytes().filter(|byte| *byte == b'\n').count() as u32;
                self.at.column = (skipped.len() - last - 1) as u32;
            }
            None => self.at.column += skipped.len() as u32,
        }
        self.position += length;
    }

    fn error(&self, message: impl Into<String>) -> Placed {
        Placed { token: Token::Error(message.into()), at: self.at, blank: false, source: String::new() }
    }

    /// Whether what follows the comment is to be trimmed.
    fn comment(&mut self) -> Result<bool, Placed> {
        let rest = self.rest();
        let Some(end) = rest.get(2..).and_then(|inside| inside.find("*/")) else {
            return Err(self.error("unclosed comment"));
        };
        let end = end + 4;
        let close = rest.get(end..).unwrap_or_default();
        let trims = close.starts_with(BLANKS) && close.get(1..).is_some_and(|close| close.starts_with("-}}"));
        if !trims && !close.starts_with("}}") {
            return Err(self.error("comment ends before closing delimiter"));
        }
        self.skip(end + if trims { 4 } else { 2 });
        Ok(trims)
    }

    /// The tokens of an action, and whether what follows is to be trimmed.
    fn action(&mut self) -> (Vec<Placed>, bool) {
        let mut tokens = Vec::new();
        let mut open = 0_usize;
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches(BLANKS).len();
            self.skip(blanks);
            let blank = blanks > 0;
            let rest = self.rest();
            let trims = blank && rest.starts_with("-}}");
            if trims || rest.starts_with("}}") {
                if open > 0 {
                    tokens.push(self.error("unclosed left paren"));
                    return (tokens, false);
                }
                tokens.push(Placed { token: Token::Close, at: self.at, blank, source: "}}".to_owned() });
                self.skip(if trims { 3 } else { 2 });
                return (tokens, trims);
            }
            let (token, length) = match token(rest) {
                Ok((Token::Symbol(")"), _)) if open == 0 => (Token::Error("unexpected right paren".to_owned()), 0),
                Ok(found) => found,
                Err(message) => (Token::Error(message), 0),
            };
            match token {
                Token::Symbol("(") => open += 1,
                Token::Symbol(")") => open -= 1,
                _ => {}
            }
            let failed = matches!(token, Token::Error(_));
            let source = rest.get(..length).unwrap_or_default().to_owned();
            tokens.push(Placed { token, at: self.at, blank, source });
            self.skip(length);
            if failed {
                return (tokens, false);
            }
        }
    }
}

/// The token at the start of a text, and its length.
fn token(rest: &str) -> Result<(Token, usize), String> {
    const SYMBOLS: [&str; 6] = [":=", "|", "(", ")", ",", "="];
    let Some(first) = rest.chars().next() else { return Err("unclosed action".to_owned()) };
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        return Ok((Token::Symbol(symbol), symbol.len()));
    }
    let after = rest.get(first.len_utf8()..).unwrap_or_default();
    match first {
        ':' => Err("expected :=".to_owned()),
        '"' | '\'' => {
            let kind = if first == '"' { "quoted string" } else { "character constant" };
            let length = quoted_length(rest, first).ok_or_else(|| format!("unterminated {kind}"))?;
            let inside = unescape(rest.get(1..length - 1).unwrap_or_default(), first);
            let token = if first == '"' {
                inside.map_or(Token::BadText, |text| Token::Literal(Literal::Text(text)))
            } else {
                let mut chars = inside.iter().flat_map(|text| text.chars());
                match (chars.next(), chars.next()) {
                    (Some(c), None) => Token::Literal(Literal::Int(i64::from(u32::from(c)))),
                    (None, _) => Token::BadNumber("invalid syntax".to_owned()),
                    _ => Token::BadNumber(format!(
                        "malformed character constant: {}",
                        rest.get(..length).unwrap_or_default()
                    )),
                }
            };
            Ok((token, length))
        }
        '`' => {
            let end = after.find('`').ok_or("unterminated raw quoted string")?;
            Ok((Token::Literal(Literal::Text(after.get(..end).unwrap_or_default().replace('\r', ""))), end + 2))
        }
        '.' if after.starts_with(|c: char| c.is_ascii_digit()) => number(rest),
        '.' | '$' => {
            let length = word_length(after, 0)? + 1;
            let name = rest.get(..length).unwrap_or_default();
            Ok(match (first, length) {
                ('.', 1) => (Token::Dot, 1),
                ('.', _) => (Token::Field(name.get(1..).unwrap_or_default().to_owned()), length),
                _ => (Token::Variable(name.to_owned()), length),
            })
        }
        '0'..='9' | '+' | '-' => number(rest),
        c if is_word(c) => {
            let length = word_length(rest, 0)?;
            let word = rest.get(..length).unwrap_or_default();
            Ok((
                match word {
                    "true" => Token::Literal(Literal::Bool(true)),
                    "false" => Token::Literal(Literal::Bool(false)),
                    _ => Token::Word(word.to_owned()),
                },
                length,
            ))
        }
        c if c.is_ascii_graphic() => Ok((Token::Other, 1)),
        c => Err(format!("unrecognized character in action: {}", shown(c))),
    }
}

/// How long the word is, which must be followed by what may end one.
fn word_length(text: &str, from: usize) -> Result<usize, String> {
    let tail = text.get(from..).unwrap_or_default();
    let length = tail.find(|c| !is_word(c)).unwrap_or(tail.len());
    let after = tail.get(length..).unwrap_or_default();
    match after.chars().next() {
        None => Ok(from + length),
        Some(c) if BLANKS.contains(&c) || ".,|:)(".contains(c) || after.starts_with("}}") => Ok(from + length),
        Some(c) => Err(format!("bad character {}", shown(c))),
    }
}

fn quoted_length(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str, quote: char) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        let plain = |bytes: &mut Vec<u8>, c: char| bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        if c != '\\' {
            plain(&mut bytes, c);
            continue;
        }
        let kind = rest.chars().next()?;
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0'..='7' => 3,
            _ => {
                let c = match kind {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'v' => '\x0b',
                    '\\' => '\\',
                    c if c == quote => c,
                    _ => return None,
                };
                plain(&mut bytes, c);
                rest = rest.get(1..)?;
                continue;
            }
        };
        let octal = kind.is_ascii_digit();
        if !octal {
            rest = rest.get(1..)?;
        }
        let number = rest.get(..digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        let number = u32::from_str_radix(number, if octal { 8 } else { 16 }).ok()?;
        rest = rest.get(digits..)?;
        // `\x` and octal digits are bytes, and a character is at least what such a byte is.
        if (octal || kind == 'x') && quote == '"' {
            bytes.push(u8::try_from(number).ok()?);
        } else {
            plain(&mut bytes, char::from_u32(number)?);
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let bytes = rest.as_bytes();
    let run = |from: usize, allowed: &dyn Fn(u8) -> bool| {
        from + bytes.iter().skip(from).take_while(|byte| allowed(**byte)).count()
    };
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let base = match (bytes.get(sign), bytes.get(sign + 1)) {
        (Some(b'0'), Some(b'x' | b'X')) => 16,
        (Some(b'0'), Some(b'o' | b'O')) => 8,
        (Some(b'0'), Some(b'b' | b'B')) => 2,
        _ => 10,
    };
    let digit = move |byte: u8| byte == b'_' || char::from(byte).is_digit(base);
    let mut end = run(if base == 10 { sign } else { sign + 2 }, &digit);
    if bytes.get(end) == Some(&b'.') {
        end = run(end + 1, &digit);
    }
    let marks: &[u8] = match base {
        10 => b"eE",
        16 => b"pP",
        _ => b"",
    };
    if bytes.get(end).is_some_and(|byte| marks.contains(byte)) {
        let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = run(end + 1 + signed, &|byte: u8| byte == b'_' || byte.is_ascii_digit());
    }
    let source = rest.get(..end).unwrap_or_default();
    let after = rest.get(end..).and_then(|tail| tail.chars().next());
    if let Some(c) = after.filter(|c| is_word(*c) || matches!(c, '+' | '-')) {
        return Err(format!("bad number syntax: {}", quote(&format!("{source}{c}"))));
    }
    let illegal = || Token::BadNumber(format!("illegal number syntax: {}", quote(source)));
    let (negative, digits) = match source.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, source.strip_prefix('+').unwrap_or(source)),
    };
    let has_digits = digits.bytes().any(|byte| byte.is_ascii_hexdigit());
    let float = digits.contains('.') || (base == 10 && digits.contains(['e', 'E'])) || digits.contains(['p', 'P']);
    let clean = digits.replace('_', "");
    let token = if float {
        // Hexadecimal fractions are left out.
        let value = clean.parse::<f64>().ok().filter(|value| base == 10 && has_digits && value.is_finite());
        value.map_or_else(illegal, |value| Token::Literal(Literal::Float(if negative { -value } else { value })))
    } else {
        let decimal = base == 10 && has_digits;
        let (clean, base) = match base {
            10 if clean.len() > 1 && clean.starts_with('0') => (clean.get(1..).unwrap_or_default(), 8),
            10 => (clean.as_str(), 10),
            base => (clean.get(2..).unwrap_or_default(), base),
        };
        match u64::from_str_radix(clean, base) {
            Ok(value) if negative => match i64::try_from(-i128::from(value)) {
                Ok(value) => Token::Literal(Literal::Int(value)),
                Err(_) => Token::BadNumber(format!("integer overflow: {}", quote(source))),
            },
            Ok(value) => Token::Literal(i64::try_from(value).map_or(Literal::Large, Literal::Int)),
            // What would do as a fraction counts as too large.
            Err(error) if decimal || *error.kind() == std::num::IntErrorKind::PosOverflow => {
                Token::BadNumber(format!("integer overflow: {}", quote(source)))
            }
            Err(_) => illegal(),
        }
    };
    Ok((token, end))
}
