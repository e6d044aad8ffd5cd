//! Tokens.

use crate::{Issue, ast::Literal};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Ident(String),
    /// `` `a-b` ``: a field's name that is no identifier.
    Quoted(String),
    Literal(Literal),
    /// Punctuation and operators.
    Sign(&'static str),
    End,
}

const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// Words that are no identifiers.
pub(crate) const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

impl Token {
    /// As a syntax error names it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Token::Ident(name) => name.clone(),
            Token::Quoted(name) => format!("`{name}`"),
            Token::Literal(literal) => literal.to_string(),
            Token::Sign(sign) => (*sign).to_owned(),
            Token::End => "<EOF>".to_owned(),
        }
    }
}

/// Splits a text into tokens with their places (in characters).
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Issue> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_ascii_whitespace() || c == '\u{c}' {
            at += 1;
            continue;
        }
        if c == '/' && chars.get(at + 1) == Some(&'/') {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
            continue;
        }
        let start = at;
        let (token, end) = if let Some(found) = string(&chars, at)? {
            found
        } else if c.is_ascii_digit() || (c == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit)) {
            number(&chars, at)?
        } else if c.is_ascii_alphabetic() || c == '_' {
            let end = (at..chars.len()).find(|i| !(chars[*i].is_ascii_alphanumeric() || chars[*i] == '_'));
            let end = end.unwrap_or(chars.len());
            let name: String = chars[at..end].iter().collect();
            let token = match name.as_str() {
                "true" => Token::Literal(Literal::Bool(true)),
                "false" => Token::Literal(Literal::Bool(false)),
                "null" => Token::Literal(Literal::Null),
                "in" => Token::Sign("in"),
                _ => Token::Ident(name),
            };
            (token, end)
        } else if c == '`' {
            let end = (at + 1..chars.len()).find(|i| chars[*i] == '`');
            let Some(end) = end else { return Err(unknown(&chars, at)) };
            (Token::Quoted(chars[at + 1..end].iter().collect()), end + 1)
        } else {
            let sign = SIGNS.iter().find(|s| s.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c)));
            let Some(sign) = sign else { return Err(unknown(&chars, at)) };
            (Token::Sign(sign), at + sign.len())
        };
        out.push((token, start));
        at = end;
    }
    out.push((Token::End, chars.len()));
    Ok(out)
}

fn unknown(chars: &[char], at: usize) -> Issue {
    Issue { at, message: format!("Syntax error: token recognition error at: '{}'", chars[at]) }
}

fn number(chars: &[char], start: usize) -> Result<(Token, usize), Issue> {
    let mut at = start;
    let digits = |mut at: usize| {
        while chars.get(at).is_some_and(char::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let bad = |what: &str| Issue { at: start, message: format!("Syntax error: invalid {what} literal") };
    if chars[at] == '0' && matches!(chars.get(at + 1), Some('x' | 'X')) {
        let mut end = at + 2;
        while chars.get(end).is_some_and(char::is_ascii_hexdigit) {
            end += 1;
        }
        let hex: String = chars[at + 2..end].iter().collect();
        if matches!(chars.get(end), Some('u' | 'U')) {
            let value = u64::from_str_radix(&hex, 16).map_err(|_| bad("uint"))?;
            return Ok((Token::Literal(Literal::Uint(value)), end + 1));
        }
        // The sign is an operator of its own, so that the lowest int has to fit without it, too.
        let value =
            u64::from_str_radix(&hex, 16).ok().filter(|v| i64::try_from(*v).is_ok()).ok_or_else(|| bad("int"))?;
        return Ok((Token::Literal(Literal::Int(value as i64)), end));
    }
    at = digits(at);
    let mut double = false;
    if chars.get(at) == Some(&'.') && chars.get(at + 1).is_some_and(char::is_ascii_digit) {
        double = true;
        at = digits(at + 1);
    }
    if matches!(chars.get(at), Some('e' | 'E')) {
        let sign = usize::from(matches!(chars.get(at + 1), Some('+' | '-')));
        if chars.get(at + 1 + sign).is_some_and(char::is_ascii_digit) {
            double = true;
            at = digits(at + 1 + sign);
        }
    }
    let text: String = chars[start..at].iter().collect();
    if double {
        let value = text.parse::<f64>().map_err(|_| bad("double"))?;
        return Ok((Token::Literal(Literal::Double(value)), at));
    }
    if matches!(chars.get(at), Some('u' | 'U')) {
        return Ok((Token::Literal(Literal::Uint(text.parse().map_err(|_| bad("uint"))?)), at + 1));
    }
    if text == "9223372036854775808" {
        // Only good behind a minus, which the parser sees to.
        return Ok((Token::Literal(Literal::Int(i64::MIN)), at));
    }
    Ok((Token::Literal(Literal::Int(text.parse().map_err(|_| bad("int"))?)), at))
}

/// A string or bytes literal, if one starts here.
fn string(chars: &[char], start: usize) -> Result<Option<(Token, usize)>, Issue> {
    let (mut raw, mut bytes, mut at) = (false, false, start);
    while let Some(c) = chars.get(at) {
        match c {
            'r' | 'R' if !raw => raw = true,
            'b' | 'B' if !bytes => bytes = true,
            _ => break,
        }
        at += 1;
    }
    let Some(&quote) = chars.get(at).filter(|c| matches!(c, '"' | '\'')) else { return Ok(None) };
    let triple = chars.get(at + 1) == Some(&quote) && chars.get(at + 2) == Some(&quote);
    at += if triple { 3 } else { 1 };
    let mut text: Vec<u8> = Vec::new();
    let push = |text: &mut Vec<u8>, c: char| {
        let mut buffer = [0; 4];
        text.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
    };
    let bad = |at: usize, what: &str| Issue { at, message: format!("Syntax error: {what}") };
    loop {
        let Some(&c) = chars.get(at) else { return Err(unknown(chars, start)) };
        if c == quote && (!triple || (chars.get(at + 1) == Some(&quote) && chars.get(at + 2) == Some(&quote))) {
            at += if triple { 3 } else { 1 };
            break;
        }
        if !triple && (c == '\n' || c == '\r') {
            return Err(unknown(chars, start));
        }
        if c != '\\' || raw {
            push(&mut text, c);
            at += 1;
            continue;
        }
        let Some(&escape) = chars.get(at + 1) else { return Err(unknown(chars, start)) };
        let digits = |count: usize, radix: u32, from: usize| -> Option<u32> {
            let digits: String = chars.get(from..from + count)?.iter().collect();
            u32::from_str_radix(&digits, radix).ok()
        };
        let point = |text: &mut Vec<u8>, code: Option<u32>, byte: bool| -> Result<(), Issue> {
            let code = code.ok_or_else(|| bad(at, "invalid escape sequence"))?;
            if byte && bytes {
                text.push(u8::try_from(code).map_err(|_| bad(at, "invalid escape sequence"))?);
            } else {
                push(text, char::from_u32(code).ok_or_else(|| bad(at, "invalid unicode code point"))?);
            }
            Ok(())
        };
        match escape {
            'a' => text.push(7),
            'b' => text.push(8),
            'f' => text.push(12),
            'n' => text.push(b'\n'),
            'r' => text.push(b'\r'),
            't' => text.push(b'\t'),
            'v' => text.push(11),
            '\\' | '?' | '"' | '\'' | '`' => push(&mut text, escape),
            'x' | 'X' => {
                point(&mut text, digits(2, 16, at + 2), true)?;
                at += 2;
            }
            'u' if !bytes => {
                point(&mut text, digits(4, 16, at + 2), false)?;
                at += 4;
            }
            'U' if !bytes => {
                point(&mut text, digits(8, 16, at + 2), false)?;
                at += 8;
            }
            '0'..='3' => {
                point(&mut text, digits(3, 8, at + 1), true)?;
                at += 2;
            }
            _ => return Err(unknown(chars, start)),
        }
        at += 2;
    }
    let literal = if bytes {
        Literal::Bytes(text)
    } else {
        Literal::String(String::from_utf8(text).map_err(|_| bad(start, "invalid UTF-8"))?)
    };
    Ok(Some((Token::Literal(literal), at)))
}
