//! The UTF-8 grammar: any name, quoted where it holds a reserved character; values quoted or bare.

use super::{MatchType, Matcher, is_reserved};

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open,
    Close,
    Comma,
    Operator(MatchType),
    /// With its quotes.
    Quoted(String),
    Bare(String),
}

/// Several matchers with commas between them, in braces or without.
///
/// Its messages are never seen: where this grammar refuses a text, the classic one's reading or message counts.
pub(super) fn matchers(text: &str) -> Result<Vec<Matcher>, String> {
    let tokens = tokens(text)?;
    let mut rest = tokens.as_slice();
    let braced = rest.first() == Some(&Token::Open);
    if braced {
        rest = &rest[1..];
        match rest.split_last() {
            Some((Token::Close, inside)) => rest = inside,
            _ => return Err("expected close brace".to_owned()),
        }
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let [name, Token::Operator(kind), value, after @ ..] = rest else {
            return Err("expected a matcher".to_owned());
        };
        found.push(Matcher::new(*kind, &text_of(name)?, &text_of(value)?)?);
        rest = match after {
            [] => after,
            [Token::Comma, after @ ..] => after,
            _ => return Err("expected a comma or close brace".to_owned()),
        };
    }
    Ok(found)
}

fn text_of(token: &Token) -> Result<String, String> {
    match token {
        Token::Bare(text) => Ok(text.clone()),
        Token::Quoted(text) => unquote(text),
        _ => Err("expected a label name or value".to_owned()),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '{' => (Token::Open, 1),
            '}' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '=' if rest.starts_with("=~") => (Token::Operator(MatchType::Regexp), 2),
            '=' => (Token::Operator(MatchType::Equal), 1),
            '!' if rest.starts_with("!=") => (Token::Operator(MatchType::NotEqual), 2),
            '!' if rest.starts_with("!~") => (Token::Operator(MatchType::NotRegexp), 2),
            '"' => {
                let length = quoted_length(rest).ok_or("missing end \"")?;
                (Token::Quoted(rest[..length].to_owned()), length)
            }
            c if !is_reserved(c) => {
                let length = rest.find(is_reserved).unwrap_or(rest.len());
                (Token::Bare(rest[..length].to_owned()), length)
            }
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            c => return Err(format!("{c}: invalid input")),
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// How many bytes a quoted text at the start has, both quotes included.
fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Undoes Go's double quotes.
fn unquote(quoted: &str) -> Result<String, String> {
    let invalid = || format!("{quoted}: invalid input");
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(invalid)?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '\n' {
            return Err(invalid());
        }
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let kind = rest.chars().next().ok_or_else(invalid)?;
        // How many digits of which base stand behind a letter; octal escapes have none.
        let (skip, digits, radix) = match kind {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            _ => {
                let byte = match kind {
                    'a' => 7,
                    'b' => 8,
                    'f' => 12,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 11,
                    '\\' => b'\\',
                    '"' => b'"',
                    _ => return Err(invalid()),
                };
                bytes.push(byte);
                rest = &rest[1..];
                continue;
            }
        };
        let number = rest.get(skip..skip + digits).ok_or_else(invalid)?;
        let value = u32::from_str_radix(number, radix).map_err(|_| invalid())?;
        rest = &rest[skip + digits..];
        match kind {
            'u' | 'U' => {
                let scalar = char::from_u32(value).ok_or_else(invalid)?;
                bytes.extend_from_slice(scalar.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => bytes.push(u8::try_from(value).map_err(|_| invalid())?),
        }
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}
