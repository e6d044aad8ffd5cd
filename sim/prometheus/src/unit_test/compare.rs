//! What a test expects held against what there is, and what differs in promtool's words.

use super::{ExpectedSample, ExprCase, ms};
use crate::histogram::Histogram;
use crate::promql::{self, EvalOptions, QueryValue, parse_metric};
use crate::promqltest::describe;
use crate::store::{Store, Value};
use sim_wire::labels::push_quoted;
use sim_wire::{Labels, duration};
use std::collections::BTreeMap;

/// Annotations as labels are shown; unlike those, an empty one is there.
fn shown_annotations(annotations: &BTreeMap<String, String>) -> String {
    let mut text = String::from("{");
    for (place, (name, value)) in annotations.iter().enumerate() {
        text.push_str(if place > 0 { ", " } else { "" });
        text.push_str(name);
        text.push('=');
        push_quoted(&mut text, value);
    }
    text + "}"
}

pub(super) fn shown_alerts(alerts: &[(Labels, BTreeMap<String, String>)]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let one = |(index, (labels, annotations)): (usize, &(Labels, BTreeMap<String, String>))| {
        let annotations = shown_annotations(annotations);
        format!("            {index}:\n              Labels:{labels}\n              Annotations:{annotations}")
    };
    format!("[\n{}\n            ]", alerts.iter().enumerate().map(one).collect::<Vec<_>>().join(",\n"))
}

/// A sample as it is compared: a histogram by what counts in it.
#[derive(Debug, Clone)]
struct Sample {
    labels: Labels,
    value: f64,
    histogram: Option<Histogram>,
}

impl Sample {
    fn same(&self, other: &Self, fuzzy: bool) -> bool {
        let values = self.value == other.value
            || (self.value.is_nan() && other.value.is_nan())
            || (fuzzy && (self.value.next_up() == other.value || self.value.next_down() == other.value));
        let histograms = match (&self.histogram, &other.histogram) {
            (None, None) => true,
            (Some(a), Some(b)) => a.same(b),
            _ => false,
        };
        self.labels == other.labels && values && histograms
    }
}

fn shown_samples(samples: &[Sample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let one = |sample: &Sample| match &sample.histogram {
        // promtool writes the name as a label, too.
        Some(histogram) => format!("{} {histogram}", sample.labels),
        None => format!("{} {}", sample.labels, scientific(sample.value)),
    };
    samples.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `1.5E+01`, as promtool prints values.
fn scientific(value: f64) -> String {
    if value.is_finite() {
        sim_wire::sample::exponent_form(value).to_uppercase()
    } else {
        sim_wire::format_float(value)
    }
}

pub(super) fn check_expression(case: &ExprCase, store: &Store, options: EvalOptions, fuzzy: bool) -> Option<String> {
    let at = ms(case.eval_time);
    let head = format!("    expr: {:?}, time: {},", case.expr, duration::format_ms(at));
    let wrong = |error: String| Some(format!("{head} err: {error}"));
    let mut expected = Vec::new();
    for sample in &case.exp_samples {
        match expected_sample(sample) {
            Ok(sample) => expected.push(sample),
            Err(error) => return wrong(format!("labels {:?}: {error}", sample.labels)),
        }
    }
    let outcome = promql::parse(&case.expr).map_err(|error| error.to_string()).and_then(|expr| {
        promql::eval::instant(store, &case.expr, &expr, at, options).map_err(|error| error.to_string())
    });
    let compact = |value: Value| match value {
        Value::Float(value) => (value, None),
        Value::Histogram(histogram) => {
            let mut histogram = Histogram::clone(&histogram);
            histogram.compact();
            (0.0, Some(histogram))
        }
    };
    let sample = |labels: Labels, value: Value| {
        let (value, histogram) = compact(value);
        Sample { labels, value, histogram }
    };
    let mut got: Vec<Sample> = match outcome {
        Ok((QueryValue::Vector(vector), _)) => vector.into_iter().map(|one| sample(one.labels, one.value)).collect(),
        Ok((QueryValue::Scalar(point), _)) => vec![sample(Labels::empty(), point.value)],
        Ok(_) => return wrong("rule result is not a vector or scalar".to_owned()),
        Err(error) => return wrong(error),
    };
    expected.sort_by(|a, b| a.labels.cmp(&b.labels));
    got.sort_by(|a, b| a.labels.cmp(&b.labels));
    let same = got.len() == expected.len() && expected.iter().zip(&got).all(|(a, b)| a.same(b, fuzzy));
    (!same).then(|| format!("{head}\n        exp: {}\n        got: {}", shown_samples(&expected), shown_samples(&got)))
}

fn expected_sample(sample: &ExpectedSample) -> Result<Sample, String> {
    let labels = parse_metric(sample.labels.trim()).map_err(|error| error.to_string())?;
    if sample.histogram.is_empty() {
        return Ok(Sample { labels, value: sample.value, histogram: None });
    }
    let values = describe(&format!("{{}} {}", sample.histogram))?.values;
    match values.as_slice() {
        [Some(Value::Histogram(histogram))] => {
            let mut histogram = Histogram::clone(histogram.as_ref());
            histogram.compact();
            Ok(Sample { labels, value: 0.0, histogram: Some(histogram) })
        }
        [_] => Err("expected histogram".to_owned()),
        many => Err(format!("expected 1 value, got {}", many.len())),
    }
}
