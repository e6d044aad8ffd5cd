//! Prometheus-style durations.
//!
//! The grammar is Prometheus's: every unit at most once and in falling order (`y w d h m s ms`), whole numbers only, `0` alone
//! without a unit. A year is 365 days, a week 7 days, a day 24 hours.

use crate::Error;
use std::time::Duration;

/// The units in falling order with their length in milliseconds and whether formatting uses them only for exact multiples.
const UNITS: [(&str, u64, bool); 7] = [
    ("y", 365 * 24 * 3600 * 1000, true),
    ("w", 7 * 24 * 3600 * 1000, true),
    ("d", 24 * 3600 * 1000, true),
    ("h", 3600 * 1000, false),
    ("m", 60 * 1000, false),
    ("s", 1000, false),
    ("ms", 1, false),
];

/// Longest duration that Prometheus can hold: `i64::MAX` nanoseconds, here in milliseconds.
const DURATION_MS_MAX: u64 = i64::MAX as u64 / 1_000_000;

/// Reads a duration such as `1h30m`, `15s`, `500ms` or `0`.
///
/// # Errors
/// [`Error::Duration`] for text outside the grammar, [`Error::DurationUnit`] for a unit that there is not, [`Error::DurationRange`] for more than `i64::MAX` nanoseconds.
///
/// ```
/// assert_eq!(sim_wire::duration::parse("1m30s").unwrap().as_secs(), 90);
/// assert!(sim_wire::duration::parse("30s1m").is_err());
/// ```
pub fn parse(text: &str) -> Result<Duration, Error> {
    let malformed = || Error::Duration { text: text.to_owned() };
    let out_of_range = || Error::DurationRange { text: text.to_owned() };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(malformed());
    }
    let mut rest = text;
    let mut next_unit = 0;
    let mut total_ms = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(malformed());
        }
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if unit.is_empty() {
            return Err(malformed());
        }
        let unknown = || Error::DurationUnit { unit: unit.to_owned(), text: text.to_owned() };
        let index = UNITS.iter().position(|(name, ..)| *name == unit).ok_or_else(unknown)?;
        if index < next_unit {
            return Err(malformed());
        }
        next_unit = index + 1;
        let number: u64 = number.parse().map_err(|_| out_of_range())?;
        total_ms =
            number.checked_mul(UNITS[index].1).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(out_of_range)?;
        if total_ms > DURATION_MS_MAX {
            return Err(out_of_range());
        }
        rest = tail;
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration the shortest way Prometheus does: `1h30m`, `1d`, `0s`. Parts below a millisecond are cut.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(sim_wire::duration::format(Duration::from_secs(5400)), "1h30m");
/// ```
pub fn format(duration: Duration) -> String {
    let mut ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, length, only_exact) in UNITS {
        if only_exact && ms % length != 0 {
            continue;
        }
        let count = ms / length;
        if count > 0 {
            text.push_str(&format!("{count}{name}"));
            ms -= count * length;
        }
    }
    text
}

/// The same for milliseconds with a sign, as `offset -5m` needs it.
pub fn format_ms(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}", format(Duration::from_millis(ms.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_unit_is_read() {
        let ms = |text| parse(text).unwrap().as_millis();
        assert_eq!(ms("0"), 0);
        assert_eq!(ms("0s"), 0);
        assert_eq!(ms("324ms"), 324);
        assert_eq!(ms("3s"), 3000);
        assert_eq!(ms("5m"), 300_000);
        assert_eq!(ms("1h30m"), 5_400_000);
        assert_eq!(ms("4d1h"), 349_200_000);
        assert_eq!(ms("3w"), 1_814_400_000);
        assert_eq!(ms("10y"), 315_360_000_000);
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        for text in [
            "",
            "1",
            "s",
            "1 s",
            "1.5h",
            "-1m",
            "30s1m",
            "1m1m",
            "1sm",
            "5µs",
            " 1s",
            "1S",
            "300y",
            "99999999999999999999s",
        ] {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn weeks_days_and_years_only_appear_for_exact_multiples() {
        assert_eq!(format(Duration::from_secs(86400)), "1d");
        assert_eq!(format(Duration::from_secs(90000)), "25h");
        assert_eq!(format(Duration::from_secs(7 * 86400)), "1w");
        assert_eq!(format(Duration::from_secs(300)), "5m");
        assert_eq!(format_ms(-1500), "-1s500ms");
    }

    proptest! {
        #[test]
        fn formatting_then_parsing_gives_the_same_duration(ms in 0..DURATION_MS_MAX) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse(&format(duration)).unwrap(), duration);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9a-z. ]{0,12}") {
            let _ = parse(&text);
        }
    }
}
