//! Durations in Go's notation: `1h0m0s`, `1.5s`, `300ms`.

/// A duration as Go prints it.
///
/// ```
/// assert_eq!(sim_template::duration::format(5_400_250_000_000), "1h30m0.25s");
/// ```
pub fn format(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let whole = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let rest = format!("{:0digits$}", value % unit);
        let rest = rest.trim_end_matches('0');
        if rest.is_empty() || unit == 1 { format!("{}", value / unit) } else { format!("{}.{rest}", value / unit) }
    };
    let text = match whole {
        0..1_000 => format!("{whole}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(whole, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(whole, 1_000_000)),
        _ => {
            let (minutes, rest) = (whole / 60_000_000_000, whole % 60_000_000_000);
            let seconds = fraction(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}
