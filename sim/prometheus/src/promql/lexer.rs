//! From text to tokens.

use super::ParseError;
use super::ast::Span;

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A word; keywords are told apart by the parser, because they are also label and metric names.
    Identifier(String),
    /// A word with a colon: always a metric name.
    MetricIdentifier(String),
    Number(f64),
    /// A duration in milliseconds.
    Duration(i64),
    String(Vec<u8>),
    /// Punctuation and operators.
    Symbol(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub kind: Kind,
    pub span: Span,
}

impl Token {
    /// As Prometheus names a token in `unexpected …`.
    pub fn describe(&self, query: &str) -> String {
        let text = &query[self.span.start..self.span.end];
        match &self.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Identifier(word) if is_keyword(word) => format!("<{}>", word.to_ascii_lowercase()),
            Kind::Identifier(word) => format!("identifier {word:?}"),
            Kind::MetricIdentifier(word) => format!("metric identifier {word:?}"),
            Kind::Number(_) => format!("number {text:?}"),
            Kind::Duration(_) => format!("duration {text:?}"),
            Kind::String(_) => format!("string {text:?}"),
            Kind::Symbol("{" | "}" | "(" | ")" | "[" | "]" | "," | ":" | "=" | "@") => format!("{text:?}"),
            Kind::Symbol(_) => format!("<op:{text}>"),
        }
    }
}

const KEYWORDS: [&str; 10] =
    ["offset", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "start", "end"];

pub(crate) fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// Longest first, so that `=~` is not read as `=` and `~`.
const SYMBOLS: [&str; 25] = [
    "=~", "!~", "==", "!=", ">=", "<=", "{", "}", "(", ")", "[", "]", ",", ":", "=", "@", "+", "-", "*", "/", "%", "^",
    ">", "<", "!",
];

pub(crate) fn tokens(query: &str) -> Result<Vec<Token>, ParseError> {
    let bytes = query.as_bytes();
    let mut tokens = Vec::new();
    let mut open: Vec<(&'static str, usize)> = Vec::new();
    let mut at = 0;
    loop {
        while at < bytes.len() && matches!(bytes[at], b' ' | b'\t' | b'\n' | b'\r') {
            at += 1;
        }
        if bytes.get(at) == Some(&b'#') {
            while at < bytes.len() && bytes[at] != b'\n' {
                at += 1;
            }
            continue;
        }
        if at >= bytes.len() {
            break;
        }
        let start = at;
        let kind = match bytes[at] {
            quote @ (b'"' | b'\'' | b'`') => {
                let (value, end) = string(query, at, quote)?;
                at = end;
                Kind::String(value)
            }
            b'0'..=b'9' => number_or_duration(query, &mut at)?,
            b'.' if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => number_or_duration(query, &mut at)?,
            b if b.is_ascii_alphabetic() || b == b'_' || (b == b':' && starts_metric_name(bytes, at, &open)) => {
                word(query, &mut at, &open)
            }
            _ => {
                let symbol = SYMBOLS.iter().find(|symbol| query[at..].starts_with(**symbol));
                let Some(symbol) = symbol else {
                    let c = query[at..].chars().next().unwrap_or(' ');
                    let place = if open.last().is_some_and(|(s, _)| *s == "{") { " inside braces" } else { "" };
                    return Err(ParseError::new(
                        format!("unexpected character{place}: {c:?}"),
                        query,
                        Span { start, end: at + c.len_utf8() },
                    ));
                };
                at += symbol.len();
                bracket(query, symbol, start, &mut open)?;
                Kind::Symbol(symbol)
            }
        };
        tokens.push(Token { kind, span: Span { start, end: at } });
    }
    if let Some((symbol, start)) = open.last() {
        let what = match *symbol {
            "{" => "unexpected end of input inside braces",
            "(" => "unclosed left parenthesis",
            _ => "unexpected end of input in brackets",
        };
        let position = if *symbol == "(" { *start } else { query.len() };
        return Err(ParseError::new(what, query, Span { start: position, end: position }));
    }
    tokens.push(Token { kind: Kind::End, span: Span { start: query.len(), end: query.len() } });
    Ok(tokens)
}

fn bracket(
    query: &str,
    symbol: &'static str,
    start: usize,
    open: &mut Vec<(&'static str, usize)>,
) -> Result<(), ParseError> {
    let (opening, name, character) = match symbol {
        "{" | "(" | "[" => {
            open.push((symbol, start));
            return Ok(());
        }
        "}" => ("{", "right brace", '}'),
        ")" => ("(", "right parenthesis", ')'),
        "]" => ("[", "right bracket", ']'),
        _ => return Ok(()),
    };
    if open.pop().is_some_and(|(symbol, _)| symbol == opening) {
        return Ok(());
    }
    Err(ParseError::new(format!("unexpected {name} '{character}'"), query, Span { start, end: start + 1 }))
}

/// A colon starts a metric name except between the two durations of a subquery.
fn starts_metric_name(bytes: &[u8], at: usize, open: &[(&'static str, usize)]) -> bool {
    open.last().is_none_or(|(symbol, _)| *symbol != "[")
        && bytes.get(at + 1).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b':')
}

fn word(query: &str, at: &mut usize, open: &[(&'static str, usize)]) -> Kind {
    let bytes = query.as_bytes();
    let in_brackets = open.last().is_some_and(|(symbol, _)| *symbol == "[");
    let start = *at;
    while *at < bytes.len()
        && (bytes[*at].is_ascii_alphanumeric() || bytes[*at] == b'_' || (bytes[*at] == b':' && !in_brackets))
    {
        *at += 1;
    }
    let word = &query[start..*at];
    if word.contains(':') {
        return Kind::MetricIdentifier(word.to_owned());
    }
    let in_braces = open.last().is_some_and(|(symbol, _)| *symbol == "{");
    if !in_braces && word.eq_ignore_ascii_case("inf") {
        return Kind::Number(f64::INFINITY);
    }
    if !in_braces && word.eq_ignore_ascii_case("nan") {
        return Kind::Number(f64::NAN);
    }
    Kind::Identifier(word.to_owned())
}

fn number_or_duration(query: &str, at: &mut usize) -> Result<Kind, ParseError> {
    let bytes = query.as_bytes();
    let start = *at;
    let mut end = start;
    while end < bytes.len() {
        let b = bytes[end];
        let hex = query[start..end].starts_with("0x") || query[start..end].starts_with("0X");
        let sign_of_exponent = matches!(b, b'+' | b'-') && !hex && matches!(bytes[end - 1], b'e' | b'E') && end > start;
        if b.is_ascii_alphanumeric() || b == b'.' || b == b'_' || sign_of_exponent {
            end += 1;
        } else {
            break;
        }
    }
    *at = end;
    let text = &query[start..end];
    let malformed = || ParseError::new(format!("bad number or duration syntax: {text:?}"), query, Span { start, end });
    if let Ok(duration) = sim_wire::duration::parse(text)
        && text != "0"
    {
        return i64::try_from(duration.as_millis()).map(Kind::Duration).map_err(|_| malformed());
    }
    number(text).map(Kind::Number).ok_or_else(malformed)
}

/// Decimal, hexadecimal and octal numbers with Go's underscores.
pub(crate) fn number(text: &str) -> Option<f64> {
    let plain = text.replace('_', "");
    if text.contains("__") || text.ends_with('_') || text.starts_with('_') || plain.is_empty() {
        return None;
    }
    if let Some(hex) = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok().map(|value| value as f64);
    }
    if plain.len() > 1 && plain.starts_with('0') && plain.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return u64::from_str_radix(&plain, 8).ok().map(|value| value as f64);
    }
    let digits_only = plain.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if digits_only { plain.parse().ok() } else { None }
}

/// A string literal; back quotes take everything as it stands.
fn string(query: &str, start: usize, quote: u8) -> Result<(Vec<u8>, usize), ParseError> {
    let bytes = query.as_bytes();
    let error = |message: &str, at: usize| ParseError::new(message, query, Span { start: at, end: at + 1 });
    let mut out = Vec::new();
    let mut at = start + 1;
    loop {
        let Some(&byte) = bytes.get(at) else {
            let what = if quote == b'`' { "unterminated raw string" } else { "unterminated quoted string" };
            return Err(error(what, start));
        };
        at += 1;
        if byte == quote {
            return Ok((out, at));
        }
        if byte == b'\n' && quote != b'`' {
            return Err(error("unterminated quoted string", start));
        }
        if byte != b'\\' || quote == b'`' {
            out.push(byte);
            continue;
        }
        let Some(&escape) = bytes.get(at) else { return Err(error("escape sequence not terminated", start)) };
        at += 1;
        let from = at;
        let mut digits = |count: usize, radix: u32, from: usize| -> Result<u32, ParseError> {
            let value = query.get(from..from + count).and_then(|text| u32::from_str_radix(text, radix).ok());
            at = from + count;
            value.ok_or_else(|| error("invalid escape sequence", start))
        };
        let unicode = |value: u32| {
            char::from_u32(value).ok_or_else(|| error("escape sequence is an invalid Unicode code point", start))
        };
        match escape {
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'\\' => out.push(b'\\'),
            _ if escape == quote => out.push(quote),
            b'x' => out.push(digits(2, 16, from)? as u8),
            b'0'..=b'7' => {
                let value = digits(3, 8, from - 1)?;
                if value > 255 {
                    return Err(error("octal escape value > 255", start));
                }
                out.push(value as u8);
            }
            b'u' => out.extend(unicode(digits(4, 16, from)?)?.to_string().bytes()),
            b'U' => out.extend(unicode(digits(8, 16, from)?)?.to_string().bytes()),
            other => return Err(error(&format!("unknown escape sequence {:?}", other as char), start)),
        }
    }
}
