//! URLs as Go's `net/url.ParseRequestURI` reads them: absolute, or a rooted path.

use std::rc::Rc;

use super::Result;
use crate::{
    EvalError,
    value::{Value, error},
};

#[derive(Debug)]
pub(crate) struct Url {
    pub(crate) text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(super) fn parse(text: &str) -> std::result::Result<Url, EvalError> {
    let refuse = |why: &str| error(format!("URL parse error during conversion from string: parse {text:?}: {why}"));
    if text.is_empty() {
        return Err(refuse("empty url"));
    }
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(refuse("net/url: invalid control character in URL"));
    }
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) =>
        {
            (scheme.to_ascii_lowercase(), rest)
        }
        Some(("", _)) => return Err(refuse("missing protocol scheme")),
        _ => (String::new(), text),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        if scheme.is_empty() {
            return Err(refuse("invalid URI for request"));
        }
        return Ok(Url {
            text: text.to_owned(),
            scheme,
            host: String::new(),
            path: String::new(),
            query: query.to_owned(),
        });
    }
    let (host, path) = match rest.strip_prefix("//") {
        Some(after) if !scheme.is_empty() => {
            let end = after.find('/').unwrap_or(after.len());
            let authority = &after[..end];
            (authority.rsplit_once('@').map_or(authority, |(_, h)| h).to_owned(), after[end..].to_owned())
        }
        _ => (String::new(), rest.to_owned()),
    };
    if host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}']) {
        return Err(refuse("invalid character in host name"));
    }
    let port = if host.starts_with('[') {
        match host.split_once(']') {
            Some((_, after)) => after.strip_prefix(':').unwrap_or(after).to_owned(),
            None => return Err(refuse("missing ']' in host")),
        }
    } else {
        host.split_once(':').map_or(String::new(), |(_, p)| p.to_owned())
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refuse(&format!("invalid port \":{port}\" after host")));
    }
    let bytes = path.as_bytes();
    let escapes = bytes.iter().enumerate().filter(|(_, b)| **b == b'%');
    for (i, _) in escapes {
        if !bytes.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return Err(refuse("invalid URL escape"));
        }
    }
    Ok(Url { text: text.to_owned(), scheme, host, path, query: query.to_owned() })
}

impl Url {
    fn split_host(&self) -> (String, String) {
        if let Some((name, after)) = self.host.strip_prefix('[').and_then(|h| h.split_once(']')) {
            return (name.to_owned(), after.strip_prefix(':').unwrap_or("").to_owned());
        }
        let (name, port) = self.host.split_once(':').unwrap_or((&self.host, ""));
        (name.to_owned(), port.to_owned())
    }

    fn escaped_path(&self) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/$&+,:;=@%!'()*".contains(&b);
        self.path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    }

    fn query<'a>(&self) -> Value<'a> {
        let mut found: Vec<(String, Vec<Value<'a>>)> = Vec::new();
        for pair in self.query.split('&').filter(|p| !p.is_empty() && !p.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(key), Some(value)) = (decode(key), decode(value)) else { continue };
            match found.iter_mut().find(|(k, _)| *k == key) {
                Some((_, values)) => values.push(Value::text(value)),
                None => found.push((key, vec![Value::text(value)])),
            }
        }
        Value::Map(Rc::new(found.into_iter().map(|(k, v)| (Value::text(k), Value::list(v))).collect()))
    }
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

pub(super) fn call<'a>(name: &str, member: bool, args: &[Value<'a>]) -> Option<Result<'a>> {
    Some(Ok(match (name, member, args) {
        ("url", false, [Value::String(s)]) => match parse(s) {
            Ok(url) => Value::Url(Rc::new(url)),
            Err(e) => return Some(Err(e)),
        },
        ("isURL", false, [Value::String(s)]) => Value::Bool(parse(s).is_ok()),
        ("getScheme", true, [Value::Url(u)]) => Value::text(u.scheme.clone()),
        ("getHost", true, [Value::Url(u)]) => Value::text(u.host.clone()),
        ("getHostname", true, [Value::Url(u)]) => Value::text(u.split_host().0),
        ("getPort", true, [Value::Url(u)]) => Value::text(u.split_host().1),
        ("getEscapedPath", true, [Value::Url(u)]) => Value::text(u.escaped_path()),
        ("getQuery", true, [Value::Url(u)]) => u.query(),
        _ => return None,
    }))
}
