//! What requests carry: query parameters, times, filters.

use crate::matcher::Matcher;
use sim_clock::Timestamp;
use sim_wire::Labels;

/// The parameters of a request, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A flag that is on unless it is told to be off.
    pub fn on(&self, name: &str) -> bool {
        // The real program reads only these as false, and whatever else as it likes: true.
        !matches!(self.first(name), Some("false" | "0" | "f" | "F" | "no" | "off" | "FALSE" | "False"))
    }

    /// The matchers of all parameters of a name.
    pub fn matchers(&self, name: &str) -> Result<Vec<Matcher>, String> {
        let texts = self.0.iter().filter(|(known, _)| known == name);
        texts.map(|(_, text)| Matcher::parse(text)).collect()
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'+', _) => out.push(b' '),
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (byte, _) => out.push(*byte),
        }
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether labels pass a filter. Unlike in a route, `name=""` passes only where the label is absent, and `name!=""`
/// wherever it is there.
pub(super) fn passes(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| {
        let value = labels.get(&matcher.name);
        if matcher.value.is_empty() && (value.is_some() != matcher.kind.is_equal()) {
            return true;
        }
        matcher.matches_value(value.unwrap_or_default())
    })
}

/// An instant as the API takes it; the year one stands for none.
pub(super) fn time(text: &str) -> Result<Option<Timestamp>, String> {
    if text.is_empty() || text.starts_with("0001-01-01T00:00:00") {
        return Ok(None);
    }
    let instant: jiff::Timestamp = text.parse().map_err(|_| format!("parsing time {text:?} failed"))?;
    let nanos = i64::try_from(instant.as_nanosecond()).map_err(|_| format!("time {text:?} is out of range"))?;
    Ok(Some(Timestamp::from_nanos(nanos)))
}
