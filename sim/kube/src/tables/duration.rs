//! Ages as people read them: `duration.HumanDuration` of apimachinery.

use sim_clock::Timestamp;

/// A span of seconds in the one or two largest units that matter: `5s`, `3m20s`, `7h5m`, `2d3h`, `400d`.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |major: i64, major_unit: &str, minor: i64, minor_unit: &str| {
        if minor == 0 { format!("{major}{major_unit}") } else { format!("{major}{major_unit}{minor}{minor_unit}") }
    };
    match () {
        // Clocks may differ by a second.
        () if seconds < -1 => "<invalid>".into(),
        () if seconds < 0 => "0s".into(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(hours / 24, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        () if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        () => format!("{}y", hours / 24 / 365),
    }
}

/// Seconds from an RFC 3339 instant until now; `None` if it is none.
pub fn seconds_since(text: &str, now: Timestamp) -> Option<i64> {
    let then: jiff::Timestamp = text.parse().ok()?;
    let nanos = i128::from(now.as_nanos()) - then.as_nanosecond();
    i64::try_from(nanos / 1_000_000_000).ok()
}

/// The age of an instant; `<unknown>` if there is none, `<invalid>` if it cannot be read.
pub fn age(text: &str, now: Timestamp) -> String {
    if text.is_empty() {
        return "<unknown>".into();
    }
    seconds_since(text, now).map_or_else(|| "<invalid>".into(), human_duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_the_units_that_matter() {
        for (seconds, expected) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (8 * 3600, "8h"),
            (48 * 3600, "2d"),
            (51 * 3600, "2d3h"),
            (8 * 86_400, "8d"),
            (729 * 86_400, "729d"),
            (730 * 86_400, "2y"),
            (735 * 86_400, "2y5d"),
            (9 * 365 * 86_400, "9y"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }
}
