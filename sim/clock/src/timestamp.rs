//! An instant as nanoseconds since the Unix epoch.

use std::{
    fmt,
    ops::{Add, Sub},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// An instant: nanoseconds since 1970-01-01T00:00:00Z. Virtual inside a world.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

/// The present instant: the world's clock on a world's thread, the real clock elsewhere.
pub fn now() -> Timestamp {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp(since.as_nanos() as i64),
        Err(before) => Timestamp(-(before.duration().as_nanos() as i64)),
    }
}

impl Timestamp {
    /// From nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis * 1_000_000)
    }

    /// From seconds since the Unix epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * NANOS_PER_SECOND)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch (rounded down).
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole seconds since the Unix epoch (rounded down).
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(NANOS_PER_SECOND)
    }

    /// Seconds since the Unix epoch.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SECOND as f64
    }

    /// The instant `after` this one, or `None` beyond the year 2262.
    pub fn checked_add(self, after: Duration) -> Option<Self> {
        let nanos = i64::try_from(after.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }

    /// How long ago `earlier` was; zero when it was not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `2026-01-02T03:04:05Z`, whole seconds (rounded down).
    pub fn rfc3339(self) -> String {
        let (date, time) = self.civil();
        format!("{date}T{time}Z")
    }

    /// `2026-01-02T03:04:05.678Z`.
    pub fn rfc3339_millis(self) -> String {
        let (date, time) = self.civil();
        format!("{date}T{time}.{:03}Z", self.0.rem_euclid(NANOS_PER_SECOND) / 1_000_000)
    }

    /// `2026-01-02T03:04:05.678901Z`.
    pub fn rfc3339_micros(self) -> String {
        let (date, time) = self.civil();
        format!("{date}T{time}.{:06}Z", self.0.rem_euclid(NANOS_PER_SECOND) / 1_000)
    }

    fn civil(self) -> (String, String) {
        let secs = self.as_secs();
        let (days, second) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
        // Days to a proleptic Gregorian date, counted from 0000-03-01 so that leap days end a year.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (
            format!("{year:04}-{month:02}-{day:02}"),
            format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60),
        )
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    /// # Panics
    /// Beyond the year 2262, which no world reaches.
    fn add(self, after: Duration) -> Self {
        self.checked_add(after).expect("an instant before the year 2262")
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(before.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_dates_as_another_library_does() {
        for nanos in [
            0_i64,
            -1,
            951_782_400_000_000_000,   // 2000-02-29
            1_709_164_800_000_000_001, // 2024-02-29
            1_770_832_214_123_456_789,
            4_102_444_799_999_999_999, // 2099-12-31T23:59:59
            -62_135_596_800_000_000,
        ] {
            let expected = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
            let day = expected.to_zoned(jiff::tz::TimeZone::UTC);
            let ours = Timestamp::from_nanos(nanos).rfc3339();
            let theirs = day
                .round(jiff::ZonedRound::new().smallest(jiff::Unit::Second).mode(jiff::RoundMode::Floor))
                .unwrap()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string();
            assert_eq!(ours, theirs, "{nanos}");
        }
    }

    #[test]
    fn since_never_goes_below_zero() {
        let (a, b) = (Timestamp::from_secs(5), Timestamp::from_secs(7));
        assert_eq!(b.since(a), Duration::from_secs(2));
        assert_eq!(a.since(b), Duration::ZERO);
    }
}
