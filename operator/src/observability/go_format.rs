//! Numbers as Go prints them: log lines and exposition formats that dashboards, alerts and people know are written that way.

use std::{fmt::Write as _, time::Duration};

/// A duration as Go's `time.Duration.String` prints it: `0s`, `17.788233ms`, `1.5s`, `2m0.5s`, `1h0m3s`.
///
/// ```
/// use multigres_operator::observability::go_format::go_duration;
/// assert_eq!(go_duration(std::time::Duration::from_nanos(17_788_233)), "17.788233ms");
/// ```
pub fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            const SECOND: u128 = 1_000_000_000;
            let minutes = nanos / (60 * SECOND);
            let seconds = decimal(nanos % (60 * SECOND), SECOND);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `value / unit` without trailing zeros; `unit` is a power of ten.
fn decimal(value: u128, unit: u128) -> String {
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// A float as Go's `strconv.FormatFloat(f, 'g', -1, 64)` prints it, with the infinities and NaN of the exposition formats.
///
/// ```
/// use multigres_operator::observability::go_format::go_float;
/// assert_eq!(go_float(1e-8), "1e-08");
/// assert_eq!(go_float(0.005), "0.005");
/// assert_eq!(go_float(f64::INFINITY), "+Inf");
/// ```
pub fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let Ok(exponent) = exponent.parse::<i32>() else { return scientific };
    if value != 0.0 && !(-4..GO_EXPONENT_MIN).contains(&exponent) {
        let mut text = mantissa.to_owned();
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(text, "e{sign}{:02}", exponent.abs());
        return text;
    }
    format!("{value}")
}

/// From this decimal exponent on, Go's shortest `g` form writes an exponent (its `%v` only from 21 on).
const GO_EXPONENT_MIN: i32 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (17_788_233, "17.788233ms"),
            (1_000_000_000, "1s"),
            (3_300_000_000, "3.3s"),
            (60_000_000_000, "1m0s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (u64::MAX, "5124095h34m33.709551615s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }

    fn parse(text: &str) -> Option<u128> {
        const UNITS: [(&str, u128); 6] = [
            ("h", 3_600_000_000_000),
            ("ms", 1_000_000),
            ("µs", 1_000),
            ("ns", 1),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
        ];
        let mut rest = text;
        let mut total = 0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let (number, tail) = rest.split_at(end);
            let (name, unit) = UNITS.iter().find(|(name, _)| tail.starts_with(name))?;
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            total += whole.parse::<u128>().ok()? * unit;
            let mut scale = *unit;
            for digit in fraction.chars() {
                scale /= 10;
                total += u128::from(digit.to_digit(10)?) * scale;
            }
            rest = &tail[name.len()..];
        }
        Some(total)
    }

    proptest! {
        #[test]
        fn no_nanosecond_of_a_duration_is_lost(nanos in any::<u64>()) {
            prop_assert_eq!(parse(&go_duration(Duration::from_nanos(nanos))), Some(u128::from(nanos)));
        }

        #[test]
        fn a_float_reads_back_as_itself(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            prop_assert_eq!(go_float(value).parse::<f64>().unwrap(), value);
        }
    }

    #[test]
    fn floats_read_as_in_go() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (9.999_999_999_999_999e-6, "9.999999999999999e-06"),
            (1000.0, "1000"),
            (1_770_832_214.0, "1.770832214e+09"),
            (1_000_000.0, "1e+06"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(go_float(value), text);
        }
    }
}
