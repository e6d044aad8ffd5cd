//! Instants and durations in templates: their methods, Go's layouts.

use crate::value::{Extra, Outcome, Signature, Type, Value};
use jiff::civil;
use sim_clock::Timestamp;
use std::fmt::{self, Write};
use std::sync::Arc;

/// `time.Time`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// The instant; Go's zero time for none.
    pub at: Option<Timestamp>,
    /// Seconds that its zone is ahead of UTC.
    pub offset: i32,
    /// The zone's short name.
    pub zone: Arc<str>,
    /// Whether it is a pointer in Go, which only its type's name tells.
    pub pointer: bool,
}

/// The seconds of Go's zero time.
const ZERO_SECS: i64 = -62_135_596_800;

impl Time {
    /// An instant in UTC.
    pub fn utc(at: Option<Timestamp>) -> Self {
        Self { at, offset: 0, zone: Arc::from("UTC"), pointer: false }
    }

    /// Nanoseconds since the Unix epoch, 0 for the zero time.
    pub fn nanos(&self) -> i64 {
        self.at.map_or(0, Timestamp::as_nanos)
    }

    /// As Go prints it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn print(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }

    /// In a layout of Go's.
    pub fn format(&self, layout: &str) -> String {
        format(self.at, self.offset, &self.zone, layout)
    }

    pub(crate) fn call<X: Extra>(&self, name: &str, args: &[Value<X>]) -> Outcome<X> {
        let number = |layout: &str| self.format(layout).trim().parse().map_or(Value::Nil, Value::Int);
        Ok(match (name, args) {
            ("Format", [Value::Text(layout)]) => Value::Text(self.format(layout)),
            ("Sub", [Value::Time(other)]) => Value::Duration(self.nanos().saturating_sub(other.nanos())),
            ("Add", [Value::Duration(by)]) => {
                let at = Some(Timestamp::from_nanos(self.nanos().saturating_add(*by)));
                Value::Time(Self { at, pointer: false, ..self.clone() })
            }
            ("Before", [Value::Time(other)]) => Value::Bool(self.at < other.at),
            ("After", [Value::Time(other)]) => Value::Bool(self.at > other.at),
            ("Equal", [Value::Time(other)]) => Value::Bool(self.at == other.at),
            ("UTC" | "Local", _) => Value::Time(Self::utc(self.at)),
            ("IsZero", _) => Value::Bool(self.at.is_none()),
            ("Unix", _) => Value::Int(self.at.map_or(ZERO_SECS, Timestamp::as_secs)),
            ("UnixMilli", _) => Value::Int(self.nanos().div_euclid(1_000_000)),
            ("UnixNano", _) => Value::Int(self.nanos()),
            ("Year", _) => number("2006"),
            ("Day", _) => number("2"),
            ("Hour", _) => number("15"),
            ("Minute", _) => number("4"),
            ("Second", _) => number("5"),
            ("YearDay", _) => number("__2"),
            ("Month", _) => Value::Text(self.format("January")),
            ("Weekday", _) => Value::Text(self.format("Monday")),
            _ => Value::Text(self.format("2006-01-02 15:04:05.999999999 -0700 MST")),
        })
    }
}

/// What a method of an instant takes.
pub(crate) fn method(name: &str) -> Option<Signature> {
    Some(match name {
        "Format" => Signature::of(&[Type::TEXT]),
        "Sub" | "Before" | "After" | "Equal" => Signature::of(&[Type::TIME]),
        "Add" => Signature::of(&[Type::DURATION]),
        "UTC" | "Local" | "IsZero" | "Unix" | "UnixMilli" | "UnixNano" | "Year" | "Day" | "Hour" | "Minute"
        | "Second" | "YearDay" | "Month" | "Weekday" | "String" => Signature::of(&[]),
        _ => return None,
    })
}

/// What a method of a duration takes.
pub(crate) fn duration_method(name: &str) -> Option<Signature> {
    matches!(name, "Seconds" | "Minutes" | "Hours" | "Milliseconds" | "Nanoseconds" | "String")
        .then(|| Signature::of(&[]))
}

pub(crate) fn call_duration<X: Extra>(nanos: i64, name: &str, _: &[Value<X>]) -> Outcome<X> {
    Ok(match name {
        "Seconds" => Value::Float(nanos as f64 / 1e9),
        "Minutes" => Value::Float(nanos as f64 / 60e9),
        "Hours" => Value::Float(nanos as f64 / 3600e9),
        "Milliseconds" => Value::Int(nanos / 1_000_000),
        "Nanoseconds" => Value::Int(nanos),
        _ => Value::Text(crate::duration::format(nanos)),
    })
}

/// The local date and time of an instant; Go's zero time for none.
fn civil(at: Option<Timestamp>, offset: i32) -> civil::DateTime {
    let zero = civil::date(1, 1, 1).at(0, 0, 0, 0);
    let Some(at) = at else { return zero };
    let instant = jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())).ok();
    let offset = jiff::tz::Offset::from_seconds(offset).unwrap_or(jiff::tz::Offset::UTC);
    instant.map_or(zero, |instant| offset.to_datetime(instant))
}

/// `2026-02-11T17:50:07.5Z`: as many decimals as there are.
pub fn rfc3339_nano(at: Option<Timestamp>) -> String {
    let local = civil(at, 0);
    let base = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    );
    format!("{base}{}Z", fraction(local.subsec_nanosecond(), 9, true))
}

fn fraction(nanos: i32, digits: usize, trim: bool) -> String {
    let all = format!("{nanos:09}");
    let kept = all.get(..digits.min(9)).unwrap_or(&all);
    let kept = if trim { kept.trim_end_matches('0') } else { kept };
    if kept.is_empty() { String::new() } else { format!(".{kept}") }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The parts of a layout, longer ones before their beginnings.
const PARTS: [&str; 38] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    "002",
    "__2",
    "_2006",
    "_2",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "1",
    "2",
    "3",
    "4",
    "5",
    ".000000000",
    ".999999999",
    ",000",
    ",999",
];

/// An instant in a layout of Go's.
pub fn format(at: Option<Timestamp>, offset: i32, zone: &str, layout: &str) -> String {
    let local = civil(at, offset);
    let mut out = String::new();
    let mut rest = layout;
    while !rest.is_empty() {
        if let Some((text, length)) = fractional(rest, &local) {
            out.push_str(&text);
            rest = rest.get(length..).unwrap_or_default();
            continue;
        }
        let part = PARTS.iter().find(|part| {
            rest.starts_with(**part)
                // `Jan` and `Mon` only as words of their own.
                && !(matches!(**part, "Jan" | "Mon")
                    && rest.get(3..).is_some_and(|tail| tail.starts_with(|c: char| c.is_ascii_lowercase())))
                && !part.starts_with(['.', ','])
        });
        match part {
            Some(part) => {
                out.push_str(&written(part, &local, offset, zone));
                rest = rest.get(part.len()..).unwrap_or_default();
            }
            None => {
                let first = rest.chars().next().unwrap_or_default();
                out.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out
}

/// `.000` and `.999` (or with a comma), where no digit follows.
fn fractional(rest: &str, local: &civil::DateTime) -> Option<(String, usize)> {
    let mut chars = rest.chars();
    let mark = chars.next().filter(|c| matches!(c, '.' | ','))?;
    let digit = chars.next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = rest[1..].chars().take_while(|c| *c == digit).count();
    if rest.get(1 + digits..).is_some_and(|tail| tail.starts_with(|c: char| c.is_ascii_digit())) {
        return None;
    }
    let text = fraction(local.subsec_nanosecond(), digits, digit == '9');
    Some((text.replacen('.', &mark.to_string(), 1), 1 + digits))
}

fn written(part: &str, local: &civil::DateTime, offset: i32, zone: &str) -> String {
    let hour_12 = match local.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let month =
        usize::try_from(local.month() - 1).ok().and_then(|place| MONTHS.get(place)).copied().unwrap_or_default();
    let weekday = usize::try_from(local.weekday().to_sunday_zero_offset())
        .ok()
        .and_then(|place| DAYS.get(place))
        .copied()
        .unwrap_or_default();
    let sign = if offset < 0 { '-' } else { '+' };
    let ahead = offset.abs();
    let (hours, minutes, seconds) = (ahead / 3600, ahead / 60 % 60, ahead % 60);
    match part {
        "January" => month.to_owned(),
        "Jan" => month.get(..3).unwrap_or(month).to_owned(),
        "Monday" => weekday.to_owned(),
        "Mon" => weekday.get(..3).unwrap_or(weekday).to_owned(),
        "MST" => zone.to_owned(),
        "2006" => format!("{:04}", local.year()),
        "_2006" => format!("_{:04}", local.year()),
        "06" => format!("{:02}", local.year().rem_euclid(100)),
        "01" => format!("{:02}", local.month()),
        "1" => local.month().to_string(),
        "02" => format!("{:02}", local.day()),
        "_2" => format!("{:2}", local.day()),
        "2" => local.day().to_string(),
        "002" => format!("{:03}", local.date().day_of_year()),
        "__2" => format!("{:3}", local.date().day_of_year()),
        "15" => format!("{:02}", local.hour()),
        "03" => format!("{hour_12:02}"),
        "3" => hour_12.to_string(),
        "04" => format!("{:02}", local.minute()),
        "4" => local.minute().to_string(),
        "05" => format!("{:02}", local.second()),
        "5" => local.second().to_string(),
        "PM" => if local.hour() >= 12 { "PM" } else { "AM" }.to_owned(),
        "pm" => if local.hour() >= 12 { "pm" } else { "am" }.to_owned(),
        zoned if zoned.starts_with('Z') && offset == 0 => "Z".to_owned(),
        zoned => match zoned.trim_start_matches(['Z', '-']) {
            "07:00:00" => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
            "070000" => format!("{sign}{hours:02}{minutes:02}{seconds:02}"),
            "07:00" => format!("{sign}{hours:02}:{minutes:02}"),
            "0700" => format!("{sign}{hours:02}{minutes:02}"),
            _ => format!("{sign}{hours:02}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_gos() {
        let at = Some(Timestamp::from_nanos(1_770_832_207_050_000_000));
        for (layout, expected) in [
            ("2006-01-02T15:04:05Z07:00", "2026-02-11T17:50:07Z"),
            ("Mon, 02 Jan 2006 15:04:05 MST", "Wed, 11 Feb 2026 17:50:07 UTC"),
            ("Monday January _2 3:04PM .000", "Wednesday February 11 5:50PM .050"),
            ("2006-01-02 15:04:05.999999999 -0700 MST", "2026-02-11 17:50:07.05 +0000 UTC"),
        ] {
            assert_eq!(format(at, 0, "UTC", layout), expected);
        }
        assert_eq!(format(at, 3600, "CET", "15:04 -07:00 MST"), "18:50 +01:00 CET");
        assert_eq!(rfc3339_nano(None), "0001-01-01T00:00:00Z");
    }
}
