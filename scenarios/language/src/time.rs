//! Durations and windows of virtual time, as they are written.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// Why a text is not a duration or a window.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimeError {
    /// Nothing was written.
    #[error("an empty text is not a duration")]
    Empty,
    /// A number has no unit.
    #[error("`{0}` has no unit")]
    NoUnit(String),
    /// A unit that does not exist.
    #[error("`{0}` is not a unit of time")]
    UnknownUnit(String),
    /// A unit that is not smaller than the one before it.
    #[error("the units of `{0}` are not in falling order")]
    Order(String),
    /// Not a number where one was expected.
    #[error("`{0}` is not a duration")]
    NotADuration(String),
    /// Too long for the simulated clock.
    #[error("`{0}` is longer than a hundred years")]
    TooLong(String),
    /// A window without `..`.
    #[error("`{0}` is not a window")]
    NotAWindow(String),
}

/// What a good duration looks like; the help of every message about one.
pub const DURATION_HELP: &str = "durations are written as Prometheus writes them: `90s`, `15m`, `1h30m`, `500ms`";
/// What a good window looks like.
pub const WINDOW_HELP: &str = "windows are written `5m..6m5s`, `..65s`, `5m..` or `never`";

const UNITS_MS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
const DURATION_MS_MAX: u64 = 100 * 365 * 24 * 3_600_000;

/// Reads a duration in the style of Prometheus: `1h30m`, `90s`, `0s`; a bare `0` is allowed.
pub fn parse_duration(text: &str) -> Result<Duration, TimeError> {
    let whole = text.trim();
    if whole.is_empty() {
        return Err(TimeError::Empty);
    }
    if whole == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = whole;
    let mut total_ms: u64 = 0;
    let mut last_unit = None;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return Err(TimeError::NotADuration(whole.to_string()));
        }
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            let plain = after.is_empty();
            let whole = whole.to_string();
            return Err(if plain { TimeError::NoUnit(whole) } else { TimeError::NotADuration(whole) });
        }
        let Some(index) = UNITS_MS.iter().position(|(name, _)| *name == unit) else {
            return Err(TimeError::UnknownUnit(unit.to_string()));
        };
        if last_unit.is_some_and(|last| index <= last) {
            return Err(TimeError::Order(whole.to_string()));
        }
        last_unit = Some(index);
        let part = number.parse::<u64>().ok().and_then(|count| count.checked_mul(UNITS_MS[index].1));
        total_ms = part
            .and_then(|part| total_ms.checked_add(part))
            .filter(|total| *total <= DURATION_MS_MAX)
            .ok_or_else(|| TimeError::TooLong(whole.to_string()))?;
        rest = after;
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration so that [`parse_duration`] reads the same one; below a millisecond is cut off.
pub fn format_duration(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest_ms == 0 {
        return "0s".to_string();
    }
    let mut text = String::new();
    // Years and weeks are left out: nobody reads `1w3d` faster than `10d`.
    for (unit, size_ms) in &UNITS_MS[2..] {
        let count = rest_ms / size_ms;
        rest_ms %= size_ms;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    text
}

/// A stretch of virtual time, both ends included, open at either end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first instant; open when absent.
    pub from: Option<Duration>,
    /// The last instant; open when absent.
    pub to: Option<Duration>,
}

impl Window {
    /// Whether `instant` lies in the window.
    pub fn contains(&self, instant: Duration) -> bool {
        self.from.is_none_or(|from| instant >= from) && self.to.is_none_or(|to| instant <= to)
    }

    /// Whether no instant lies in the window.
    pub fn is_empty(&self) -> bool {
        matches!((self.from, self.to), (Some(from), Some(to)) if to < from)
    }

    /// The window with its open ends closed: the start of the run and its end.
    pub fn within(&self, end: Duration) -> (Duration, Duration) {
        (self.from.unwrap_or(Duration::ZERO), self.to.unwrap_or(end).min(end))
    }
}

impl FromStr for Window {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let Some((from, to)) = text.trim().split_once("..") else {
            return Err(TimeError::NotAWindow(text.trim().to_string()));
        };
        let end = |part: &str| -> Result<Option<Duration>, TimeError> {
            let part = part.trim();
            if part.is_empty() { Ok(None) } else { parse_duration(part).map(Some) }
        };
        let window = Self { from: end(from)?, to: end(to)? };
        if window.from.is_none() && window.to.is_none() {
            return Err(TimeError::NotAWindow(text.trim().to_string()));
        }
        Ok(window)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(from) = self.from {
            out.write_str(&format_duration(from))?;
        }
        out.write_str("..")?;
        if let Some(to) = self.to {
            out.write_str(&format_duration(to))?;
        }
        Ok(())
    }
}

/// When one stage of an alert's life has to begin: within a window, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageWindow {
    /// It begins in this window.
    In(Window),
    /// It does not begin during the run.
    Never,
}

impl FromStr for StageWindow {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        if text.trim() == "never" { Ok(Self::Never) } else { text.parse().map(Self::In) }
    }
}

impl fmt::Display for StageWindow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(window) => window.fmt(out),
            Self::Never => out.write_str("never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_prometheus_reads_them() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("15"), Err(TimeError::NoUnit("15".into())));
        assert_eq!(parse_duration("15 m"), Err(TimeError::NotADuration("15 m".into())));
        assert_eq!(parse_duration("15min"), Err(TimeError::UnknownUnit("min".into())));
        assert_eq!(parse_duration("1m1h"), Err(TimeError::Order("1m1h".into())));
        assert_eq!(parse_duration("1m1m"), Err(TimeError::Order("1m1m".into())));
        assert_eq!(parse_duration("-1m"), Err(TimeError::NotADuration("-1m".into())));
        assert!(matches!(parse_duration("99999999999999999999h"), Err(TimeError::TooLong(_))));
        assert!(matches!(parse_duration("101y"), Err(TimeError::TooLong(_))));
    }

    #[test]
    fn windows_are_closed_at_both_ends_and_may_be_open() {
        let window: Window = "5m..6m5s".parse().unwrap();
        assert!(window.contains(Duration::from_secs(300)) && window.contains(Duration::from_secs(365)));
        assert!(!window.contains(Duration::from_secs(366)) && !window.contains(Duration::from_secs(299)));
        assert!("..65s".parse::<Window>().unwrap().contains(Duration::ZERO));
        assert!("5m..".parse::<Window>().unwrap().contains(Duration::from_secs(99_999)));
        assert!("6m..5m".parse::<Window>().unwrap().is_empty());
        assert!(!"5m..5m".parse::<Window>().unwrap().is_empty());
        assert!("..".parse::<Window>().is_err() && "5m".parse::<Window>().is_err());
        assert_eq!("never".parse(), Ok(StageWindow::Never));
    }

    proptest! {
        #[test]
        fn durations_survive_a_round_trip(ms in 0u64..DURATION_MS_MAX) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn windows_survive_a_round_trip(from in proptest::option::of(0u64..10_000_000), to in proptest::option::of(0u64..10_000_000)) {
            prop_assume!(from.is_some() || to.is_some());
            let window = Window { from: from.map(Duration::from_millis), to: to.map(Duration::from_millis) };
            prop_assert_eq!(window.to_string().parse::<Window>(), Ok(window));
            prop_assert_eq!(StageWindow::In(window).to_string().parse(), Ok(StageWindow::In(window)));
        }

        #[test]
        fn no_text_makes_the_duration_parser_panic(text in ".{0,24}") {
            let _ = parse_duration(&text);
            let _ = text.parse::<StageWindow>();
        }
    }
}
