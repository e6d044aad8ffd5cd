//! Trace and span ids as Tempo reads and writes them.

use crate::Error;

/// Bytes of a trace id.
pub const TRACE_ID_BYTES: usize = 16;
/// Bytes of a span id.
pub const SPAN_ID_BYTES: usize = 8;

/// A trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; TRACE_ID_BYTES]);

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// A trace id in hexadecimal; short ones are padded with zeros on the left, as Tempo does.
///
/// ```
/// assert_eq!(sim_tempo::ids::parse_trace_id("abc").unwrap().to_string(), "00000000000000000000000000000abc");
/// assert!(sim_tempo::ids::parse_trace_id("xyz").is_err());
/// ```
pub fn parse_trace_id(text: &str) -> Result<TraceId, Error> {
    let mut id = [0; TRACE_ID_BYTES];
    if let Some((position, c)) = text.chars().enumerate().find(|(_, c)| !c.is_ascii_hexdigit()) {
        return Err(Error::TraceIdCharacter { character: c, position: position + 1 });
    }
    if text.len() > 2 * TRACE_ID_BYTES {
        return Err(Error::TraceIdTooLong);
    }
    let padded = format!("{text:0>32}");
    for (byte, pair) in id.iter_mut().zip(padded.as_bytes().chunks(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).unwrap_or(0) as u8;
        *byte = digit(pair[0]) << 4 | digit(pair[1]);
    }
    Ok(TraceId(id))
}
