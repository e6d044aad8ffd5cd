//! RFC 3339 without a clock.

/// Nanoseconds since the Unix epoch of `2026-01-02T03:04:05.678Z` (or with an offset such as `+01:00`).
pub fn parse_rfc3339_ns(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let zone = rest.rfind(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && (0..24).contains(&hour) && (0..60).contains(&minute);
    if !in_range
        || !(0..=60).contains(&second)
        || !(1..=9999).contains(&year)
        || !fraction.chars().all(|c| c.is_ascii_digit())
    {
        return None;
    }
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let offset_s = match zone.strip_prefix(['Z', 'z']) {
        Some(_) => 0,
        None => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let size = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
            if zone.starts_with('-') { -size } else { size }
        }
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_s;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos.parse().ok()?)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_with_fractions_and_offsets() {
        assert_eq!(parse_rfc3339_ns("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_rfc3339_ns("2026-01-01T00:00:00Z"), Some(1_767_225_600_000_000_000));
        assert_eq!(parse_rfc3339_ns("2024-02-29T12:00:00.25Z"), Some(1_709_208_000_250_000_000));
        assert_eq!(parse_rfc3339_ns("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(parse_rfc3339_ns("1969-12-31T23:59:59Z"), Some(-1_000_000_000));
        for bad in ["", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00Z", "x", "2026-01-01T00:00:00+é"] {
            assert_eq!(parse_rfc3339_ns(bad), None, "{bad}");
        }
    }
}
