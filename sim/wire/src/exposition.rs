//! Parser of the Prometheus text format 0.0.4 and of OpenMetrics 1.0.
//!
//! Two layers: [`Entries`] walks the body line by line without allocating and hands out the raw text of each series, so that a
//! scraper can look a known series up by that text and never parse its labels twice; [`parse`] is the whole page as values.
//! [`parse_series`] turns the raw text of one series into [`Labels`].
//!
//! Both label syntaxes are read: `name{label="value"}` and, for names outside the legacy set, `{"na.me","la.bel"="value"}`.

use crate::Error;
use crate::labels::{Labels, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use std::collections::BTreeMap;

/// Which of the two formats a body is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`: timestamps in milliseconds, no exemplars, no end mark.
    Text,
    /// `application/openmetrics-text; version=1.0.0`: timestamps in seconds, exemplars, `# EOF` required.
    OpenMetrics,
}

impl Format {
    /// Chooses by a `Content-Type` header; everything that is not OpenMetrics is read as text, as Prometheus falls back.
    pub fn from_content_type(content_type: &str) -> Self {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }
}

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum MetricType {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// Buckets, sum and count that may fall (OpenMetrics).
    GaugeHistogram,
    /// Quantiles, sum and count.
    Summary,
    /// A constant 1 with labels (OpenMetrics).
    Info,
    /// One series a state (OpenMetrics).
    StateSet,
    /// Not stated.
    #[default]
    Unknown,
}

impl MetricType {
    /// The word of the formats and of the metadata API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "unknown" | "untyped" => Self::Unknown,
            _ => return None,
        })
    }
}

/// What a page says about one metric family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Family {
    /// From `# TYPE`.
    pub metric_type: MetricType,
    /// From `# HELP`, unescaped.
    pub help: String,
    /// From `# UNIT`.
    pub unit: String,
}

/// An exemplar of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its labels, e.g. `trace_id`.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
}

/// A sample of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct ExposedSample {
    /// The labels with `__name__`.
    pub labels: Labels,
    /// The value.
    pub value: f64,
    /// Milliseconds since the Unix epoch, where the line has a timestamp.
    pub timestamp_ms: Option<i64>,
    /// The exemplar of the line.
    pub exemplar: Option<Exemplar>,
}

/// A whole page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition {
    /// Metadata by family name.
    pub families: BTreeMap<String, Family>,
    /// The samples in order.
    pub samples: Vec<ExposedSample>,
}

/// One line that carries something.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry<'a> {
    /// `# HELP name text`
    Help(String, String),
    /// `# TYPE name type`
    Type(String, MetricType),
    /// `# UNIT name unit`
    Unit(String, &'a str),
    /// A sample; the series as raw text.
    Sample {
        /// The raw text of name and labels, to be given to [`parse_series`].
        series: &'a str,
        /// The value.
        value: f64,
        /// Milliseconds since the Unix epoch.
        timestamp_ms: Option<i64>,
        /// The exemplar of the line.
        exemplar: Option<Exemplar>,
    },
}

/// Reads a whole page.
///
/// # Errors
/// [`Error::Exposition`] with the one-based line number.
///
/// ```
/// use sim_wire::exposition::{parse, Format};
/// let page = parse("# HELP up Is it up.\nup 1 1700000000000\n", Format::Text).unwrap();
/// assert_eq!(page.families["up"].help, "Is it up.");
/// assert_eq!(page.samples[0].timestamp_ms, Some(1_700_000_000_000));
/// assert_eq!(parse("up one", Format::Text).unwrap_err().to_string(), r#"line 1: expected a float value, got "one""#);
/// ```
pub fn parse(body: &str, format: Format) -> Result<Exposition, Error> {
    let mut page = Exposition::default();
    let mut entries = Entries::new(body, format);
    while let Some(entry) = entries.next_entry()? {
        match entry {
            Entry::Help(name, help) => page.families.entry(name).or_default().help = help,
            Entry::Type(name, metric_type) => page.families.entry(name).or_default().metric_type = metric_type,
            Entry::Unit(name, unit) => unit.clone_into(&mut page.families.entry(name).or_default().unit),
            Entry::Sample { series, value, timestamp_ms, exemplar } => {
                let labels = parse_series(series).map_err(|message| entries.error(message))?;
                page.samples.push(ExposedSample { labels, value, timestamp_ms, exemplar });
            }
        }
    }
    Ok(page)
}

/// Walks a page line by line.
#[derive(Debug)]
pub struct Entries<'a> {
    rest: &'a str,
    format: Format,
    line: usize,
    ended: bool,
}

impl<'a> Entries<'a> {
    /// Starts at the first line.
    pub fn new(body: &'a str, format: Format) -> Self {
        Self { rest: body, format, line: 0, ended: false }
    }

    /// The one-based number of the line last handed out.
    pub fn line(&self) -> usize {
        self.line
    }

    /// An error at the current line.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::Exposition { line: self.line, message: message.into() }
    }

    /// The next line that carries something, `None` at the end.
    ///
    /// # Errors
    /// [`Error::Exposition`]; the walk must stop there.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, Error> {
        loop {
            if self.rest.is_empty() {
                if self.format == Format::OpenMetrics && !self.ended {
                    self.line += 1;
                    return Err(self.error("data does not end with # EOF"));
                }
                return Ok(None);
            }
            self.line += 1;
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            if self.ended {
                return Err(self.error("unexpected data after # EOF"));
            }
            let found = match self.format {
                Format::Text => text_line(line),
                Format::OpenMetrics if line == "# EOF" => {
                    self.ended = true;
                    Ok(None)
                }
                Format::OpenMetrics => open_metrics_line(line),
            };
            if let Some(entry) = found.map_err(|message| self.error(message))? {
                return Ok(Some(entry));
            }
        }
    }
}

fn text_line(line: &str) -> Result<Option<Entry<'_>>, String> {
    // A carriage return is part of the line, as Prometheus reads it: it spoils the value before it.
    let line = line.trim_start_matches([' ', '\t']);
    if line.is_empty() {
        return Ok(None);
    }
    if let Some(comment) = line.strip_prefix('#') {
        let comment = comment.trim_start_matches([' ', '\t']);
        let Some((keyword, rest)) = comment.split_once([' ', '\t']) else { return Ok(None) };
        return match keyword {
            "HELP" | "TYPE" => metadata(keyword, rest.trim_start_matches([' ', '\t']), Format::Text).map(Some),
            _ => Ok(None),
        };
    }
    sample_line(line, Format::Text).map(Some)
}

fn open_metrics_line(line: &str) -> Result<Option<Entry<'_>>, String> {
    if line.is_empty() {
        return Err("unexpected empty line".to_owned());
    }
    if let Some(comment) = line.strip_prefix("# ") {
        let (keyword, rest) = comment.split_once(' ').ok_or_else(|| format!("unexpected comment {line:?}"))?;
        return match keyword {
            "HELP" | "TYPE" | "UNIT" => metadata(keyword, rest, Format::OpenMetrics).map(Some),
            _ => Err(format!("unexpected comment {line:?}")),
        };
    }
    if line.starts_with('#') {
        return Err(format!("unexpected comment {line:?}"));
    }
    sample_line(line, Format::OpenMetrics).map(Some)
}

fn metadata<'a>(keyword: &str, rest: &'a str, format: Format) -> Result<Entry<'a>, String> {
    let (name, tail) = if rest.starts_with('"') {
        let end = quoted_end(rest)?;
        (unescape(&rest[1..end - 1])?, &rest[end..])
    } else {
        let end = rest.find([' ', '\t']).unwrap_or(rest.len());
        let name = &rest[..end];
        if !is_legacy_metric_name(name) {
            return Err(format!("invalid metric name {name:?} after {keyword}"));
        }
        (name.to_owned(), &rest[end..])
    };
    let text = match format {
        Format::Text => tail.trim_start_matches([' ', '\t']),
        Format::OpenMetrics => tail.strip_prefix(' ').unwrap_or(tail),
    };
    match keyword {
        "HELP" => Ok(Entry::Help(name, unescape_help(text, format)?)),
        "UNIT" => {
            if !text.is_empty() && !name.ends_with(&format!("_{text}")) {
                return Err(format!("unit {text:?} not a suffix of metric {name:?}"));
            }
            Ok(Entry::Unit(name, text))
        }
        _ => {
            let word = text.trim_end_matches([' ', '\t']);
            let metric_type = MetricType::from_word(word).ok_or_else(|| format!("invalid metric type {word:?}"))?;
            Ok(Entry::Type(name, metric_type))
        }
    }
}

/// Where a quoted string at the start of `text` ends, past its closing quote.
fn quoted_end(text: &str) -> Result<usize, String> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok(index + 1),
            _ => {}
        }
    }
    Err("unterminated quoted string".to_owned())
}

/// Where the series at the start of a line ends.
fn series_end(line: &str) -> Result<usize, String> {
    let bytes = line.as_bytes();
    let mut index = bytes.iter().position(|b| matches!(b, b' ' | b'\t' | b'{')).unwrap_or(bytes.len());
    // The text format allows blanks between name and brace.
    let after_blanks =
        bytes[index..].iter().position(|b| !matches!(b, b' ' | b'\t')).map_or(bytes.len(), |blanks| index + blanks);
    if bytes.get(after_blanks) != Some(&b'{') {
        return Ok(index);
    }
    index = after_blanks + 1;
    while index < bytes.len() {
        match bytes[index] {
            b'}' => return Ok(index + 1),
            b'"' => index += quoted_end(&line[index..])?,
            _ => index += 1,
        }
    }
    Err("expected } at the end of the labels".to_owned())
}

fn sample_line(line: &str, format: Format) -> Result<Entry<'_>, String> {
    let end = series_end(line)?;
    let (series, rest) = line.split_at(end);
    if series.is_empty() {
        return Err("expected a metric name".to_owned());
    }
    let (rest, exemplar_text) = match (format, rest.split_once(" # ")) {
        (Format::OpenMetrics, Some((rest, exemplar))) => (rest, Some(exemplar)),
        _ => (rest, None),
    };
    let (value, timestamp) = value_and_timestamp(rest, format)?;
    let exemplar = exemplar_text.map(exemplar).transpose()?;
    Ok(Entry::Sample { series, value, timestamp_ms: timestamp, exemplar })
}

fn value_and_timestamp(rest: &str, format: Format) -> Result<(f64, Option<i64>), String> {
    let mut words: Box<dyn Iterator<Item = &str>> = match format {
        Format::Text => Box::new(rest.split([' ', '\t']).filter(|word| !word.is_empty())),
        // Exactly one blank between words, and nothing else.
        Format::OpenMetrics => Box::new(rest.strip_prefix(' ').unwrap_or("\t").split(' ')),
    };
    let value = float(words.next().ok_or("expected a float value, got the end of the line")?)?;
    let timestamp = words.next().map(|word| timestamp_ms(word, format)).transpose()?;
    match words.next() {
        Some(word) => Err(format!("unexpected {word:?} after the sample")),
        None => Ok((value, timestamp)),
    }
}

fn float(word: &str) -> Result<f64, String> {
    word.parse().map_err(|_| format!("expected a float value, got {word:?}"))
}

fn timestamp_ms(word: &str, format: Format) -> Result<i64, String> {
    let malformed = || format!("expected a timestamp, got {word:?}");
    match format {
        // Digits only: a timestamp before 1970 is refused.
        Format::Text if word.bytes().all(|b| b.is_ascii_digit()) => word.parse().map_err(|_| malformed()),
        Format::Text => Err(malformed()),
        Format::OpenMetrics => {
            let seconds: f64 = word.parse().map_err(|_| malformed())?;
            if !seconds.is_finite() {
                return Err(format!("invalid timestamp {word}"));
            }
            // Prometheus cuts here, which turns 1.001 s into 1000 ms.
            Ok((seconds * 1000.0).round() as i64)
        }
    }
}

fn exemplar(text: &str) -> Result<Exemplar, String> {
    let text = text.trim_start_matches(' ');
    if !text.starts_with('{') {
        return Err("expected { at the start of an exemplar".to_owned());
    }
    let end = series_end(text)?;
    let labels = labels_of(&text[..end], false)?;
    let (value, timestamp_ms) = value_and_timestamp(&text[end..], Format::OpenMetrics)?;
    Ok(Exemplar { labels, value, timestamp_ms })
}

/// Turns the raw text of a series into labels with `__name__`.
///
/// # Errors
/// Says what is wrong, without a line number.
pub fn parse_series(series: &str) -> Result<Labels, String> {
    labels_of(series, true)
}

fn labels_of(series: &str, name_required: bool) -> Result<Labels, String> {
    let brace = series.find('{').unwrap_or(series.len());
    let name = series[..brace].trim_end_matches([' ', '\t']);
    let mut pairs: Vec<(std::sync::Arc<str>, std::sync::Arc<str>)> = Vec::new();
    let mut named = false;
    if !name.is_empty() {
        if !is_legacy_metric_name(name) {
            return Err(format!("invalid metric name {name:?}"));
        }
        pairs.push((METRIC_NAME.into(), name.into()));
        named = true;
    }
    let mut rest = series.get(brace + 1..).unwrap_or("").trim_start_matches([' ', '\t']);
    let mut closed = brace == series.len();
    while !closed {
        if let Some(tail) = rest.strip_prefix('}') {
            closed = true;
            rest = tail;
            break;
        }
        let (label, quoted, tail) = label_name(rest)?;
        rest = tail.trim_start_matches([' ', '\t']);
        if let Some(tail) = rest.strip_prefix('=') {
            let tail = tail.trim_start_matches([' ', '\t']);
            if !tail.starts_with('"') {
                return Err(format!("expected a quoted value of label {label:?}"));
            }
            let end = quoted_end(tail)?;
            let value = unescape(&tail[1..end - 1])?;
            if label == METRIC_NAME {
                return Err("metric name not set".to_owned());
            }
            if pairs.iter().any(|(known, _)| **known == *label) {
                return Err(format!("label name {label:?} is not unique: invalid sample"));
            }
            pairs.push((label.into(), value.into()));
            rest = &tail[end..];
        } else if quoted && name_required && !named {
            pairs.push((METRIC_NAME.into(), label.into()));
            named = true;
        } else {
            return Err(format!("expected = after label {label:?}"));
        }
        rest = rest.trim_start_matches([' ', '\t']);
        match rest.strip_prefix(',') {
            Some(tail) => rest = tail.trim_start_matches([' ', '\t']),
            None if rest.starts_with('}') => {}
            None => return Err("expected , or } after a label".to_owned()),
        }
    }
    if !closed || !rest.is_empty() {
        return Err("expected } at the end of the labels".to_owned());
    }
    if name_required && !named {
        return Err("metric name not set".to_owned());
    }
    Ok(Labels::from_pairs(pairs))
}

fn label_name(text: &str) -> Result<(String, bool, &str), String> {
    if text.starts_with('"') {
        let end = quoted_end(text)?;
        let name = unescape(&text[1..end - 1])?;
        if name.is_empty() {
            return Err("a label name must not be empty".to_owned());
        }
        return Ok((name, true, &text[end..]));
    }
    let end = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let name = &text[..end];
    if !is_legacy_label_name(name) {
        return Err(format!("expected a label name at {text:?}"));
    }
    Ok((name.to_owned(), false, &text[end..]))
}

fn unescape(text: &str) -> Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') => out.push('"'),
            // Both formats leave other escapes as they stand.
            Some(other) => out.extend(['\\', other]),
            None => return Err("a string must not end in a backslash".to_owned()),
        }
    }
    Ok(out)
}

fn unescape_help(text: &str, format: Format) -> Result<String, String> {
    match format {
        Format::OpenMetrics => unescape(text),
        // In the text format a help text has two escapes; a quote is not one of them.
        Format::Text => Ok(text.split("\\\\").map(|part| part.replace("\\n", "\n")).collect::<Vec<_>>().join("\\")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(body: &str) -> Exposition {
        parse(body, Format::Text).unwrap()
    }

    #[test]
    fn text_format_reads_metadata_escapes_blanks_and_timestamps() {
        let page = text(concat!(
            "# just a comment\n\n# HELP a A\\nb\\\\c\n# TYPE a histogram\n",
            " a_bucket { le=\"+Inf\" , x=\"q\\\"\\\\\\n\", } 4 7\n\ta_sum\t+Inf\na_count NaN"
        ));
        assert_eq!(
            page.families["a"],
            Family { metric_type: MetricType::Histogram, help: "A\nb\\c".into(), unit: String::new() }
        );
        assert_eq!(
            page.samples[0].labels,
            Labels::from_pairs([("__name__", "a_bucket"), ("le", "+Inf"), ("x", "q\"\\\n")])
        );
        assert_eq!(page.samples[0].timestamp_ms, Some(7));
        assert_eq!(page.samples[1].value, f64::INFINITY);
        assert!(page.samples[2].value.is_nan());
    }

    #[test]
    fn open_metrics_reads_units_exemplars_and_seconds() {
        let body = concat!(
            "# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n# HELP a_seconds Say \\\"hi\\\"\n",
            "a_seconds_bucket{le=\"1.0\"} 3 1700000000.5 # {trace_id=\"0af7\"} 0.5 1700000000.25\n",
            "{\"a.b\",\"c.d\"=\"e # f\"} 1\n# EOF\n"
        );
        let page = parse(body, Format::OpenMetrics).unwrap();
        assert_eq!(page.families["a_seconds"].unit, "seconds");
        assert_eq!(page.families["a_seconds"].help, "Say \"hi\"");
        assert_eq!(page.samples[0].timestamp_ms, Some(1_700_000_000_500));
        let exemplar = page.samples[0].exemplar.clone().unwrap();
        assert_eq!(exemplar.labels.get("trace_id"), Some("0af7"));
        assert_eq!(exemplar.timestamp_ms, Some(1_700_000_000_250));
        assert_eq!(page.samples[1].labels, Labels::from_pairs([("__name__", "a.b"), ("c.d", "e # f")]));
    }

    #[test]
    fn errors_name_the_line() {
        let text_error = |body| parse(body, Format::Text).unwrap_err().to_string();
        let open_error = |body| parse(body, Format::OpenMetrics).unwrap_err().to_string();
        assert_eq!(text_error("a 1\nb{x=\"1\" 2\n"), "line 2: expected } at the end of the labels");
        assert_eq!(text_error("a{x=\"1\",x=\"2\"} 2"), "line 1: label name \"x\" is not unique: invalid sample");
        assert_eq!(text_error("a\n"), "line 1: expected a float value, got the end of the line");
        assert_eq!(text_error("9a 1\n"), "line 1: invalid metric name \"9a\"");
        // Digits only: the text format has no instant before the epoch.
        assert_eq!(text_error("a 1 -1\n"), "line 1: expected a timestamp, got \"-1\"");
        assert_eq!(text_error("a 1 2 3\n"), "line 1: unexpected \"3\" after the sample");
        assert_eq!(open_error("a 1\n"), "line 2: data does not end with # EOF");
        assert_eq!(open_error("a 1\n# EOF\na 1\n"), "line 3: unexpected data after # EOF");
        assert_eq!(open_error("\n# EOF\n"), "line 1: unexpected empty line");
        assert_eq!(open_error("# UNIT a seconds\n# EOF\n"), "line 1: unit \"seconds\" not a suffix of metric \"a\"");
    }

    #[test]
    fn the_content_type_chooses_the_format() {
        assert_eq!(
            Format::from_content_type("application/openmetrics-text; version=1.0.0; charset=utf-8"),
            Format::OpenMetrics
        );
        assert_eq!(Format::from_content_type("text/plain; version=0.0.4"), Format::Text);
        assert_eq!(Format::from_content_type(""), Format::Text);
    }

    fn arbitrary_labels() -> impl Strategy<Value = Labels> {
        ("[a-z_:][a-z0-9_:]{0,6}", proptest::collection::btree_map("[a-z_][a-z0-9_]{0,4}", "\\PC{0,6}", 0..4))
            .prop_map(|(name, map)| Labels::from_pairs(map.into_iter().chain([(METRIC_NAME.to_owned(), name)])))
    }

    /// An encoder of its own, so that the parser is not tested against its own idea of escapes.
    fn line(labels: &Labels, value: f64, timestamp: &str) -> String {
        let escape = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let body: Vec<_> =
            labels.iter().filter(|(n, _)| *n != METRIC_NAME).map(|(n, v)| format!("{n}=\"{}\"", escape(v))).collect();
        format!("{}{{{}}} {value:?}{timestamp}\n", labels.name().unwrap(), body.join(","))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(samples in proptest::collection::vec((arbitrary_labels(), proptest::num::f64::NORMAL, proptest::option::of(0..10_000_i64)), 0..8)) {
            let body: String = samples.iter().map(|(l, v, t)| line(l, *v, &t.map(|t| format!(" {t}")).unwrap_or_default())).collect();
            let page = parse(&body, Format::Text).unwrap();
            prop_assert_eq!(page.samples.len(), samples.len());
            for (read, (labels, value, timestamp)) in page.samples.iter().zip(&samples) {
                prop_assert_eq!(&read.labels, labels);
                prop_assert_eq!(read.value, *value);
                prop_assert_eq!(read.timestamp_ms, *timestamp);
            }
        }

        #[test]
        fn no_body_makes_the_parser_panic(body in "[a-z#{}=\",\\\\ \n0-9é]{0,60}") {
            let _ = parse(&body, Format::Text);
            let _ = parse(&body, Format::OpenMetrics);
        }
    }
}
