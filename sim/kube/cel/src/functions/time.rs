//! Timestamps and durations.

use jiff::{
    Timestamp,
    tz::{Offset, TimeZone},
};

use super::Result;
use crate::value::{Value, error};

const NANOS: i64 = 1_000_000_000;

/// Nanoseconds of a Go duration (`1h30m`, `-1.5s`); `None` if it is none or does not fit in 64 bits.
///
/// ```
/// assert_eq!(sim_kube_cel::go_duration("1h1.5s"), Some(3_601_500_000_000));
/// assert_eq!(sim_kube_cel::go_duration("1 hour"), None);
/// ```
pub fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|e| *e > 0)?;
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, left) = after.split_at(unit_end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        let mut place = scale;
        for digit in fraction.bytes() {
            place /= 10;
            total += i128::from(digit - b'0') * place;
        }
        rest = left;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// An RFC 3339 instant, or a date.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    if text.len() == 10 {
        let date: jiff::civil::Date = text.parse().ok()?;
        return date.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
    }
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20 && matches!(bytes[10], b'T' | b't') && bytes[4] == b'-' && bytes[13] == b':';
    text.parse().ok().filter(|_| shaped)
}

pub(super) fn rfc3339(t: Timestamp) -> String {
    t.to_string()
}

/// A duration in seconds, as `string(duration)` has it: `5400s`, `1.5s`.
pub(super) fn seconds(nanos: i64) -> String {
    let text = format!(
        "{}{}.{:09}",
        if nanos < 0 { "-" } else { "" },
        nanos.unsigned_abs() / NANOS as u64,
        nanos.unsigned_abs() % NANOS as u64
    );
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

pub(super) fn arithmetic<'a>(name: &str, a: &Value<'a>, b: &Value<'a>) -> Option<Result<'a>> {
    let shifted = |t: &Timestamp, nanos: i64| {
        let sum = t.as_nanosecond() + i128::from(nanos);
        Timestamp::from_nanosecond(sum).map(Value::Timestamp).map_err(|_| error("timestamp overflow"))
    };
    let duration = |d: Option<i64>| d.map(Value::Duration).ok_or_else(|| error("duration overflow"));
    Some(match (name, a, b) {
        ("_+_", Value::Timestamp(t), Value::Duration(d)) | ("_+_", Value::Duration(d), Value::Timestamp(t)) => {
            shifted(t, *d)
        }
        ("_-_", Value::Timestamp(t), Value::Duration(d)) => match d.checked_neg() {
            Some(d) => shifted(t, d),
            None => Err(error("duration overflow")),
        },
        ("_-_", Value::Timestamp(t), Value::Timestamp(u)) => {
            duration(i64::try_from(t.as_nanosecond() - u.as_nanosecond()).ok())
        }
        ("_+_", Value::Duration(x), Value::Duration(y)) => duration(x.checked_add(*y)),
        ("_-_", Value::Duration(x), Value::Duration(y)) => duration(x.checked_sub(*y)),
        _ => return None,
    })
}

/// `UTC`, or an offset like `+02:00`. Names of zones would need the machine's time zone database.
fn zone(name: &str) -> std::result::Result<TimeZone, crate::EvalError> {
    if matches!(name, "" | "UTC" | "Z") {
        return Ok(TimeZone::UTC);
    }
    let (sign, digits) = match name.as_bytes().first() {
        Some(b'-') => (-1, &name[1..]),
        Some(b'+') => (1, &name[1..]),
        _ => (1, name),
    };
    let parsed = digits.split_once(':').and_then(|(h, m)| Some((h.parse::<i32>().ok()?, m.parse::<i32>().ok()?)));
    let offset = parsed
        .filter(|(h, m)| (0..=14).contains(h) && (0..60).contains(m))
        .and_then(|(h, m)| Offset::from_seconds(sign * (h * 3600 + m * 60)).ok());
    offset.map(TimeZone::fixed).ok_or_else(|| error(format!("unknown time zone {name}")))
}

pub(super) fn call<'a>(name: &str, member: bool, args: &[Value<'a>]) -> Option<Result<'a>> {
    if !member || !name.starts_with("get") {
        return None;
    }
    match args {
        [Value::Duration(d)] => Some(Ok(Value::Int(match name {
            "getHours" => d / (3600 * NANOS),
            "getMinutes" => d / (60 * NANOS),
            "getSeconds" => d / NANOS,
            "getMilliseconds" => d % NANOS / 1_000_000,
            _ => return None,
        }))),
        [Value::Timestamp(t), rest @ ..] => {
            let name_of_zone = match rest {
                [] => "",
                [Value::String(z)] => z,
                _ => return None,
            };
            let at = match zone(name_of_zone) {
                Ok(zone) => t.to_zoned(zone),
                Err(e) => return Some(Err(e)),
            };
            Some(Ok(Value::Int(match name {
                "getFullYear" => i64::from(at.year()),
                "getMonth" => i64::from(at.month()) - 1,
                "getDayOfYear" => i64::from(at.day_of_year()) - 1,
                "getDayOfMonth" => i64::from(at.day()) - 1,
                "getDate" => i64::from(at.day()),
                "getDayOfWeek" => i64::from(at.weekday().to_sunday_zero_offset()),
                "getHours" => i64::from(at.hour()),
                "getMinutes" => i64::from(at.minute()),
                "getSeconds" => i64::from(at.second()),
                "getMilliseconds" => i64::from(at.millisecond()),
                _ => return None,
            })))
        }
        _ => None,
    }
}
