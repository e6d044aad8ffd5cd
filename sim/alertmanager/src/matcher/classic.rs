//! The classic grammar: names of the legacy set, values with or without quotes.

use super::{MatchType, Matcher};

/// Several matchers with commas between them, in braces or without.
pub(super) fn matchers(text: &str) -> Result<Vec<Matcher>, String> {
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    let (mut quoted, mut escaped) = (false, false);
    let mut parts = Vec::new();
    let mut part = String::new();
    for c in text.chars() {
        match c {
            ',' if !quoted => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            '"' => escaped = false,
            '\\' => escaped = !escaped,
            ',' => {}
            _ => escaped = false,
        }
        part.push(c);
    }
    let last = part.trim();
    if !last.is_empty() {
        parts.push(last.to_owned());
    }
    parts.iter().map(|part| matcher(part)).collect()
}

/// One matcher.
pub(super) fn matcher(text: &str) -> Result<Matcher, String> {
    let bad = || format!("bad matcher format: {text}");
    // The classic expression's blanks are ASCII.
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c');
    let trimmed = text.trim_start_matches(blank);
    let name_end = trimmed.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).ok_or_else(bad)?;
    let (name, rest) = trimmed.split_at(name_end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(bad());
    }
    let rest = rest.trim_start_matches(blank);
    let operators =
        [("=~", MatchType::Regexp), ("!=", MatchType::NotEqual), ("!~", MatchType::NotRegexp), ("=", MatchType::Equal)];
    let (kind, rest) = operators
        .iter()
        .find_map(|(operator, kind)| rest.strip_prefix(operator).map(|rest| (*kind, rest)))
        .ok_or_else(bad)?;
    let raw = rest.trim_matches(blank);
    let quote_error = || format!("matcher value contains unescaped double quote: {raw}");
    let (inner, mut expects_quote) = raw.strip_prefix('"').map_or((raw, false), |inner| (inner, true));
    let mut value = String::new();
    let mut escaped = false;
    let last = inner.len().saturating_sub(1);
    for (at, c) in inner.char_indices() {
        if escaped {
            escaped = false;
            match c {
                'n' => value.push('\n'),
                '"' | '\\' => value.push(c),
                _ => {
                    value.push('\\');
                    value.push(c);
                }
            }
            continue;
        }
        match c {
            '\\' if at < last => escaped = true,
            '"' if !expects_quote || at < last => return Err(quote_error()),
            '"' => expects_quote = false,
            c => value.push(c),
        }
    }
    if expects_quote {
        return Err(quote_error());
    }
    Matcher::new(kind, name, &value)
}
