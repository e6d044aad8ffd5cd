//! Results of queries as JSON, written straight into the answer: they may have millions of samples.

use crate::histogram::Histogram;
use crate::promql::{QueryValue, Series, VectorSample};
use crate::store::{Point, Value};
use serde::Serialize;
use sim_wire::format_float;

/// `{"resultType":…,"result":…}`
pub(super) fn result(value: &QueryValue) -> String {
    let mut out = Output(Vec::with_capacity(64));
    match value {
        QueryValue::Scalar(point) => {
            out.text("{\"resultType\":\"scalar\",\"result\":");
            out.pair(point.t_ms, point.value.float());
        }
        QueryValue::String { t_ms, text } => {
            out.text("{\"resultType\":\"string\",\"result\":[");
            out.seconds(*t_ms);
            out.text(",");
            out.json(text);
            out.text("]");
        }
        QueryValue::Vector(vector) => {
            out.text("{\"resultType\":\"vector\",\"result\":");
            out.list(vector.iter(), Output::sample);
        }
        QueryValue::Matrix(series) => {
            // About what a sample takes: memory that grows by doubling would be copied again and again.
            out.0.reserve(series.iter().map(|one| 200 + one.points.len() * 24).sum());
            out.text("{\"resultType\":\"matrix\",\"result\":");
            out.list(series.iter(), Output::series);
        }
    }
    out.text("}");
    // Only text was written.
    String::from_utf8(out.0).unwrap_or_default()
}

struct Output(Vec<u8>);

impl Output {
    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn json(&mut self, value: &(impl Serialize + ?Sized)) {
        // Writing into memory does not fail.
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    fn list<T>(&mut self, items: impl Iterator<Item = T>, each: impl Fn(&mut Self, T)) {
        self.text("[");
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.text(",");
            }
            each(self, item);
        }
        self.text("]");
    }

    fn integer(&mut self, mut value: u64) {
        let mut digits = [0_u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
    }

    /// Milliseconds as seconds with up to three decimals.
    fn seconds(&mut self, t_ms: i64) {
        if t_ms < 0 {
            self.text("-");
        }
        let (whole, rest) = (t_ms.unsigned_abs() / 1000, t_ms.unsigned_abs() % 1000);
        self.integer(whole);
        if rest > 0 {
            let decimals = format!(".{rest:03}");
            self.text(decimals.trim_end_matches('0'));
        }
    }

    /// A float as a string.
    fn float(&mut self, value: f64) {
        self.text("\"");
        let whole = value as i64;
        if value.abs() < 1e15 && whole as f64 == value && (whole != 0 || value.is_sign_positive()) {
            if whole < 0 {
                self.text("-");
            }
            self.integer(whole.unsigned_abs());
        } else {
            let mut buffer = zmij::Buffer::new();
            match if value.is_finite() { buffer.format_finite(value) } else { "e" } {
                // Exponents, and what is no number, are written in Go's way.
                shortest if shortest.contains('e') => self.text(&format_float(value)),
                shortest => self.text(shortest.strip_suffix(".0").unwrap_or(shortest)),
            }
        }
        self.text("\"");
    }

    fn pair(&mut self, t_ms: i64, value: f64) {
        self.text("[");
        self.seconds(t_ms);
        self.text(",");
        self.float(value);
        self.text("]");
    }

    /// A native histogram: each bucket that counts anything with its bounds and how they are meant.
    fn histogram(&mut self, histogram: &Histogram) {
        self.text("{\"count\":");
        self.float(histogram.count);
        self.text(",\"sum\":");
        self.float(histogram.sum);
        let buckets = histogram.buckets();
        let mut buckets = buckets.iter().filter(|bucket| bucket.count != 0.0).peekable();
        if buckets.peek().is_some() {
            self.text(",\"buckets\":");
            self.list(buckets, |out, bucket| {
                out.text(match (bucket.lower_inclusive, bucket.upper_inclusive) {
                    (false, true) => "[0,",
                    (true, false) => "[1,",
                    (false, false) => "[2,",
                    (true, true) => "[3,",
                });
                out.float(bucket.lower);
                out.text(",");
                out.float(bucket.upper);
                out.text(",");
                out.float(bucket.count);
                out.text("]");
            });
        }
        self.text("}");
    }

    fn histogram_pair(&mut self, t_ms: i64, histogram: &Histogram) {
        self.text("[");
        self.seconds(t_ms);
        self.text(",");
        self.histogram(histogram);
        self.text("]");
    }

    /// A sample under `value` or `histogram`.
    fn sample(&mut self, sample: &VectorSample) {
        self.text("{\"metric\":");
        self.json(&sample.labels);
        match &sample.value {
            Value::Float(value) => {
                self.text(",\"value\":");
                self.pair(sample.t_ms, *value);
            }
            Value::Histogram(histogram) => {
                self.text(",\"histogram\":");
                self.histogram_pair(sample.t_ms, histogram);
            }
        }
        self.text("}");
    }

    /// A series with its floats under `values` and its histograms under `histograms`, either only if there are any.
    fn series(&mut self, series: &Series) {
        self.text("{\"metric\":");
        self.json(&series.labels);
        let float = |point: &Point| Some((point.t_ms, point.value.as_float()?));
        let mut floats = series.points.iter().filter_map(float).peekable();
        if floats.peek().is_some() {
            self.text(",\"values\":");
            self.list(floats, |out, (t_ms, value)| out.pair(t_ms, value));
        }
        let mut histograms =
            series.points.iter().filter_map(|point| Some((point.t_ms, point.value.as_histogram()?))).peekable();
        if histograms.peek().is_some() {
            self.text(",\"histograms\":");
            self.list(histograms, |out, (t_ms, histogram)| out.histogram_pair(t_ms, histogram));
        }
        self.text("}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::parse_notation;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};
    use sim_wire::Labels;

    fn parsed(value: &QueryValue) -> Json {
        serde_json::from_str(&result(value)).unwrap()
    }

    #[test]
    fn a_native_histogram_is_shown_bucket_by_bucket() {
        let notation = "schema:0 sum:1.5 count:5 z_bucket:1 z_bucket_w:0.25 buckets:[2 0 1] n_buckets:[1]";
        let value = Value::from(parse_notation(notation).unwrap());
        let expected = json!({ "count": "5", "sum": "1.5", "buckets": [
            [1, "-1", "-0.5", "1"], [3, "-0.25", "0.25", "1"], [0, "0.5", "1", "2"], [0, "2", "4", "1"]] });
        let series = |points| Series { labels: Labels::empty(), points, drop_name: false };
        let both = series(vec![Point { t_ms: 1500, value: value.clone() }, Point::float(2000, 3.0)]);
        let shown = &parsed(&QueryValue::Matrix(vec![both]))["result"][0];
        assert_eq!(shown["histograms"], json!([[1.5, expected]]));
        assert_eq!(shown["values"], json!([[2, "3"]]));
        let empty = series(vec![Point { t_ms: 0, value: Value::from(Histogram::default()) }]);
        let shown = &parsed(&QueryValue::Matrix(vec![empty]))["result"][0];
        assert_eq!(shown["histograms"], json!([[0, { "count": "0", "sum": "0" }]]));
        assert!(shown.get("values").is_none());
    }

    #[test]
    fn odd_times_and_floats_are_written_as_prometheus_writes_them() {
        let shown = |t_ms: i64, value: f64| {
            let mut out = Output(Vec::new());
            out.pair(t_ms, value);
            String::from_utf8(out.0).unwrap()
        };
        assert_eq!(shown(-1500, -0.0), r#"[-1.5,"-0"]"#);
        assert_eq!(shown(1_700_000_000_120, 1e21), r#"[1700000000.12,"1e+21"]"#);
        assert_eq!(shown(1_001, f64::NEG_INFINITY), r#"[1.001,"-Inf"]"#);
        assert_eq!(shown(999, 1e15), r#"[0.999,"1000000000000000"]"#);
        assert!(shown(i64::MIN, f64::NAN).ends_with("\"NaN\"]"));
    }

    proptest! {
        #[test]
        fn any_float_is_written_as_everywhere_else(value in prop_oneof![any::<f64>(), -1e7..1e7, (-1_000_000..1_000_000_i64).prop_map(|v| v as f64 / 100.0)]) {
            let mut out = Output(Vec::new());
            out.float(value);
            prop_assert_eq!(String::from_utf8(out.0).unwrap(), format!("\"{}\"", format_float(value)));
        }
    }
}
