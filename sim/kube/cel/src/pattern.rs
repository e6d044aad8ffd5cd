//! Go's regular expressions (RE2 as the `regexp` package has it) written for the `regex` crate.
//!
//! The engines agree on nearly everything; what differs is rewritten: Perl classes and `\b` are ASCII in Go, `[` is
//! ordinary inside a class, a brace that is no repetition is ordinary, and `\Q…\E` quotes.

use regex::{Regex, RegexBuilder};

/// Largest compiled size of one expression, in bytes.
pub const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Compiles a Go regular expression.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translate(text))
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|e| format!("error parsing regexp: {}", reason(&e.to_string())))
}

/// The last line of the library's report says what is wrong; those before it draw a picture.
fn reason(report: &str) -> String {
    let last = report.lines().last().unwrap_or(report).trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// The same expression in the syntax of the `regex` crate.
pub fn translate(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 8);
    let (mut at, mut class) = (0, false);
    while at < chars.len() {
        let c = chars[at];
        match c {
            '\\' => {
                let Some(&next) = chars.get(at + 1) else {
                    out.push('\\');
                    break;
                };
                at += 2;
                match next {
                    'd' => out.push_str(if class { "0-9" } else { "[0-9]" }),
                    'w' => out.push_str(if class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                    's' => out.push_str(if class { r"\t\n\x0C\r " } else { r"[\t\n\x0C\r ]" }),
                    'D' => out.push_str("[^0-9]"),
                    'W' => out.push_str("[^0-9A-Za-z_]"),
                    'S' => out.push_str(r"[^\t\n\x0C\r ]"),
                    'b' => out.push_str(r"(?-u:\b)"),
                    'B' => out.push_str(r"(?-u:\B)"),
                    'Q' => {
                        while at < chars.len() {
                            if chars[at] == '\\' && chars.get(at + 1) == Some(&'E') {
                                at += 2;
                                break;
                            }
                            out.push_str(&regex::escape(&chars[at].to_string()));
                            at += 1;
                        }
                    }
                    other => {
                        out.push('\\');
                        out.push(other);
                        // `\p{Greek}` and `\x{10FFFF}` have braces of their own.
                        if matches!(other, 'p' | 'P' | 'x')
                            && chars.get(at) == Some(&'{')
                            && let Some(end) = (at..chars.len()).find(|i| chars[*i] == '}')
                        {
                            out.extend(&chars[at..=end]);
                            at = end + 1;
                        }
                    }
                }
                continue;
            }
            '[' if class => {
                // `[:alpha:]` is a class of its own; any other bracket in here is ordinary.
                if chars.get(at + 1) == Some(&':')
                    && let Some(end) =
                        (at + 2..chars.len().saturating_sub(1)).find(|i| chars[*i] == ':' && chars[i + 1] == ']')
                {
                    out.extend(&chars[at..=end + 1]);
                    at = end + 2;
                    continue;
                }
                out.push_str(r"\[");
            }
            '[' => {
                class = true;
                out.push('[');
                if chars.get(at + 1) == Some(&'^') {
                    at += 1;
                    out.push('^');
                }
                if chars.get(at + 1) == Some(&']') {
                    at += 1;
                    out.push_str(r"\]");
                }
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            // `&&`, `--` and `~~` are set operations of the crate only.
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            '-' if class && chars.get(at + 1) == Some(&'-') => out.push_str(r"\-"),
            '{' if !class && !repetition(&chars[at..]) => out.push_str(r"\{"),
            '}' if !class && !closes_repetition(&chars[..at]) => out.push_str(r"\}"),
            _ => out.push(c),
        }
        at += 1;
    }
    out
}

/// True if the text starts with `{2}`, `{2,}` or `{2,3}`.
fn repetition(chars: &[char]) -> bool {
    let Some(end) = chars.iter().position(|c| *c == '}') else { return false };
    let inner: String = chars[1..end].iter().collect();
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    match inner.split_once(',') {
        None => digits(&inner),
        Some((low, high)) => digits(low) && (high.is_empty() || digits(high)),
    }
}

/// True if the brace that follows closes a repetition.
fn closes_repetition(before: &[char]) -> bool {
    let Some(open) = before.iter().rposition(|c| *c == '{') else { return false };
    let mut all: Vec<char> = before[open..].to_vec();
    all.push('}');
    repetition(&all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_go_reads_differently_is_read_as_go_does() {
        for (pattern, text, expected) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{0663}", false),
            (r"^[\w.]+$", "a_b.c", true),
            (r"^\w+$", "é", false),
            (r"^[[a]+$", "[a", true),
            (r"^{a}$", "{a}", true),
            (r"^a{2}$", "aa", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^[]a]$", "]", true),
            (r"^[a&&b]+$", "&a", true),
            (r"^([0-9]+)(.+)$", "10Gi", true),
            (r"^\p{Greek}$", "α", true),
            (r"^[^\s]+$", "ab", true),
        ] {
            let regex = compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(regex.is_match(text), expected, "{pattern} on {text}");
        }
        assert!(compile("(").unwrap_err().starts_with("error parsing regexp: "));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = compile(&text);
        }
    }
}
