//! Names: units and types as suffixes, characters that legacy names do not have escaped.
//!
//! Source: the OpenTelemetry specification's chapter on Prometheus compatibility, as Prometheus 3.5 reads it.

use serde::Deserialize;

/// `otlp.translation_strategy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Strategy {
    /// Legacy names, with the suffixes of unit and type.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Names as they are, with the suffixes of unit and type.
    NoUTF8EscapingWithSuffixes,
    /// Names as they are.
    NoTranslation,
}

impl Strategy {
    fn suffixes(self) -> bool {
        self != Self::NoTranslation
    }

    fn utf8(self) -> bool {
        self != Self::UnderscoreEscapingWithSuffixes
    }
}

/// What a suffix may follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// `_ratio` for the unit `1`.
    Gauge,
    /// `_total`
    MonotonicCounter,
    /// Nothing.
    Other,
}

const UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

const PER_UNITS: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

fn word<'a>(table: &[(&str, &'a str)], unit: &'a str) -> &'a str {
    table.iter().find(|(known, _)| *known == unit).map_or(unit, |(_, word)| word)
}

/// The suffixes of a unit: the unit itself, and what it is per; empty for none.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let usable = |text: &&str| !text.is_empty() && !text.contains(['{', '}']);
    let main = Some(main.trim()).filter(usable).map(|unit| word(&UNITS, unit)).unwrap_or_default();
    let per = Some(per.trim()).filter(usable).map(|unit| word(&PER_UNITS, unit)).unwrap_or_default();
    (main.to_owned(), if per.is_empty() { String::new() } else { format!("per_{per}") })
}

/// The name of a metric.
///
/// ```
/// use sim_prometheus::otlp::names::{MetricKind, Strategy, metric_name};
/// let name = |strategy| metric_name("http.server.duration", "s", MetricKind::Other, strategy);
/// assert_eq!(name(Strategy::UnderscoreEscapingWithSuffixes), "http_server_duration_seconds");
/// assert_eq!(name(Strategy::NoUTF8EscapingWithSuffixes), "http.server.duration_seconds");
/// assert_eq!(name(Strategy::NoTranslation), "http.server.duration");
/// ```
pub fn metric_name(name: &str, unit: &str, kind: MetricKind, strategy: Strategy) -> String {
    if strategy.utf8() { plain_name(name, unit, kind, strategy) } else { legacy_name(name, unit, kind) }
}

fn is_ratio(unit: &str, kind: MetricKind) -> bool {
    unit == "1" && kind == MetricKind::Gauge
}

fn plain_name(name: &str, unit: &str, kind: MetricKind, strategy: Strategy) -> String {
    let mut name = name.to_owned();
    if strategy.suffixes() {
        let (main, per) = unit_suffixes(unit);
        let total = if kind == MetricKind::MonotonicCounter { "total" } else { "" };
        let ratio = if is_ratio(unit, kind) { "ratio" } else { "" };
        for suffix in [main.as_str(), per.as_str(), total, ratio].into_iter().filter(|suffix| !suffix.is_empty()) {
            name.push('_');
            name.push_str(suffix);
        }
    }
    name
}

fn legacy_name(name: &str, unit: &str, kind: MetricKind) -> String {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let mut tokens: Vec<String> =
        name.split(|c| !is_valid(c)).filter(|token| !token.is_empty()).map(str::to_owned).collect();
    let (main, per) = unit_suffixes(unit);
    let (mut main, per) = (clean(&main), clean(&per));
    let has = |tokens: &[String], suffix: &str| tokens.iter().any(|token| token == suffix);
    if has(&tokens, &main) {
        main.clear();
    }
    let mut per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    if has(&tokens, per) {
        per = "";
    }
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(&main).to_owned();
    }
    tokens.extend([main, per.to_owned()].into_iter().filter(|suffix| !suffix.is_empty()));
    for (suffix, wanted) in [("total", kind == MetricKind::MonotonicCounter), ("ratio", is_ratio(unit, kind))] {
        if wanted {
            tokens.retain(|token| token != suffix);
            tokens.push(suffix.to_owned());
        }
    }
    let joined = tokens.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

/// A unit with what names do not have as single underscores, none of them at its start.
fn clean(unit: &str) -> String {
    let mut text = String::new();
    for c in unit.chars() {
        if c.is_ascii_alphanumeric() || c == ':' {
            text.push(c);
        } else if !text.ends_with('_') {
            text.push('_');
        }
    }
    text.strip_prefix('_').unwrap_or(&text).to_owned()
}

/// The name of a label.
///
/// ```
/// use sim_prometheus::otlp::names::{Strategy, label_name};
/// assert_eq!(label_name("http.method", Strategy::UnderscoreEscapingWithSuffixes), "http_method");
/// assert_eq!(label_name("2xx", Strategy::UnderscoreEscapingWithSuffixes), "key_2xx");
/// assert_eq!(label_name("http.method", Strategy::NoTranslation), "http.method");
/// ```
pub fn label_name(name: &str, strategy: Strategy) -> String {
    if strategy.utf8() || name.is_empty() {
        return name.to_owned();
    }
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if clean.starts_with(|c: char| c.is_ascii_digit()) {
        format!("key_{clean}")
    } else if clean.starts_with('_') && !clean.starts_with("__") {
        format!("key{clean}")
    } else {
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_follow_from_unit_and_type() {
        let legacy = Strategy::UnderscoreEscapingWithSuffixes;
        for (name, unit, kind, expected) in [
            ("system.io", "By", MetricKind::MonotonicCounter, "system_io_bytes_total"),
            ("system.network.io", "By/s", MetricKind::Gauge, "system_network_io_bytes_per_second"),
            ("cpu.utilization", "1", MetricKind::Gauge, "cpu_utilization_ratio"),
            ("requests", "1", MetricKind::MonotonicCounter, "requests_total"),
            ("requests_total", "{request}", MetricKind::MonotonicCounter, "requests_total"),
            ("total.of.things", "", MetricKind::MonotonicCounter, "of_things_total"),
            ("request_duration_seconds", "s", MetricKind::Other, "request_duration_seconds"),
            ("__a..b__", "", MetricKind::Other, "a_b"),
            ("5xx", "", MetricKind::Gauge, "_5xx"),
            ("speed", "m/s", MetricKind::Gauge, "speed_meters_per_second"),
            ("odd", "a__b//s", MetricKind::Other, "odd_a_b_per_s"),
            ("ünits", "°C", MetricKind::Other, "nits_C"),
        ] {
            assert_eq!(metric_name(name, unit, kind, legacy), expected, "{name} {unit}");
        }
        let plain = Strategy::NoUTF8EscapingWithSuffixes;
        assert_eq!(metric_name("a.b_total", "By", MetricKind::MonotonicCounter, plain), "a.b_total_bytes_total");
        assert_eq!(metric_name("load", "1", MetricKind::Gauge, plain), "load_ratio");
    }

    #[test]
    fn labels_are_legal() {
        let legacy = Strategy::UnderscoreEscapingWithSuffixes;
        for (name, expected) in [("a.b", "a_b"), ("_a", "key_a"), ("__a", "__a"), ("1a", "key_1a"), ("ä", "key_")] {
            assert_eq!(label_name(name, legacy), expected);
        }
    }
}
