//! Text in quotes as Go's `%q` writes it, which Prometheus's error texts show.

/// A string in double quotes; bytes, because it may not be UTF-8.
pub(crate) fn go_quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut text, c, '"');
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('"');
    text
}

/// A character in single quotes; `None` stands for the end of the input.
pub(crate) fn go_quoted_char(c: Option<char>) -> String {
    let mut text = String::from("'");
    push(&mut text, c.unwrap_or(char::REPLACEMENT_CHARACTER), '\'');
    text.push('\'');
    text
}

fn push(text: &mut String, c: char, quote: char) {
    match c {
        '\\' => text.push_str("\\\\"),
        c if c == quote => {
            text.push('\\');
            text.push(c);
        }
        '\x07' => text.push_str("\\a"),
        '\x08' => text.push_str("\\b"),
        '\x0c' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\x0b' => text.push_str("\\v"),
        c if (c as u32) < 0x20 || c as u32 == 0x7f => text.push_str(&format!("\\x{:02x}", c as u32)),
        // Rust escapes what is not printable by the same Unicode classes as Go, in another notation.
        c if !c.is_ascii() && c.escape_debug().len() > 1 => {
            let code = c as u32;
            text.push_str(&if code < 0x1_0000 { format!("\\u{code:04x}") } else { format!("\\U{code:08x}") });
        }
        c => text.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_those_of_go() {
        assert_eq!(go_quoted(b"a'\"\\\n\x01\xff\xc3\xbc"), r#""a'\"\\\n\x01\xffü""#);
        assert_eq!(go_quoted("\u{a0}".as_bytes()), r#""\u00a0""#);
        assert_eq!(go_quoted_char(Some('\'')), r"'\''");
        assert_eq!(go_quoted_char(Some('"')), "'\"'");
        assert_eq!(go_quoted_char(None), "'\u{fffd}'");
    }
}
