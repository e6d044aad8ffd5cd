//! Parameters of a request, as the API reads them.

use super::Failure;
use crate::promql;
use bytes::Bytes;
use http::{Method, Request};
use sim_wire::Matcher;

/// Largest time or duration in milliseconds; far from where arithmetic overflows.
const TIME_MS_MAX: f64 = 9e15;

/// Parameters of the URL and of a form, in order.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub fn of(request: &Request<Bytes>) -> Self {
        let mut pairs = Vec::new();
        let is_form = request.method() == Method::POST;
        if is_form {
            pairs.extend(decode_pairs(&String::from_utf8_lossy(request.body())));
        }
        pairs.extend(decode_pairs(request.uri().query().unwrap_or_default()));
        Self(pairs)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A time in milliseconds.
    pub fn time(&self, name: &str, default_ms: i64) -> Result<i64, Failure> {
        self.get(name).map_or(Ok(default_ms), |text| {
            parse_time(text).map_err(|why| Failure::parameter(name, format!("invalid time value for '{name}': {why}")))
        })
    }

    /// The lists of matchers of `match[]`, or what is wrong with the first wrong one.
    pub fn matchers(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let parse = |text: &str| {
            let matchers = promql::parse_selector(text).map_err(|error| error.to_string())?;
            if matchers.iter().all(|matcher| matcher.matches("")) {
                return Err("match[] must contain at least one non-empty matcher".to_owned());
            }
            Ok(matchers)
        };
        self.all("match[]").map(parse).collect()
    }

    /// `limit`; everything for 0 and without.
    pub fn limit(&self) -> Result<usize, Failure> {
        let Some(text) = self.get("limit") else { return Ok(usize::MAX) };
        match text.parse::<i64>() {
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => usize::try_from(limit).map_err(|_| Failure::parameter("limit", "limit must be non-negative")),
            Err(_) => Err(Failure::parameter("limit", format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
        }
    }

    /// Checks `timeout`. Evaluations take no virtual time: they never exceed it.
    pub fn check_timeout(&self) -> Result<(), Failure> {
        let parsed = self.get("timeout").map(parse_duration_ms).transpose();
        parsed.map(|_| ()).map_err(|why| Failure::parameter("timeout", why))
    }
}

fn decode_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name, true), percent_decode(value, true))
        })
        .collect()
}

pub(super) fn percent_decode(text: &str, plus_is_blank: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) if plus_is_blank => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Seconds since the Unix epoch, or RFC 3339.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    let invalid = || format!("cannot parse {text:?} to a valid timestamp");
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds * 1000.0;
        // Go wraps what does not fit; nothing is stored so far away.
        return if ms.is_nan() { Err(invalid()) } else { Ok(ms.clamp(-TIME_MS_MAX, TIME_MS_MAX).round() as i64) };
    }
    text.parse::<jiff::Timestamp>().map(|time| time.as_millisecond()).map_err(|_| invalid())
}

/// Seconds, or a Prometheus-style duration.
pub(super) fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let invalid = || format!("cannot parse {text:?} to a valid duration");
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds * 1000.0;
        return if ms.abs() < TIME_MS_MAX { Ok(ms as i64) } else { Err(invalid()) };
    }
    let duration = sim_wire::duration::parse(text).map_err(|_| invalid())?;
    i64::try_from(duration.as_millis()).map_err(|_| invalid())
}
