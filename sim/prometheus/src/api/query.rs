//! Queries, and how their results are written.

use super::params::{Params, parse_duration_ms, parse_time};
use super::{Answer, Failure, Reply, TRUNCATED, plain};
use crate::histogram::Histogram;
use crate::promql::{self, Annotations, EvalOptions, QueryValue, Series, VectorSample};
use crate::server::State;
use crate::store::Value;
use serde_json::{Value as Json, json};
use sim_clock::Timestamp;
use sim_wire::format_float;

/// Most steps of a range query.
const STEPS_MAX: i64 = 11_000;

pub(super) fn parse<'p>(state: &State, params: &'p Params) -> Result<(&'p str, promql::Expr), Failure> {
    let text = params.get("query").unwrap_or_default();
    let expr = promql::parse_with(text, state.parse_options()).map_err(|error| Failure::parameter("query", error))?;
    Ok((text, expr))
}

fn options(state: &State, params: &Params) -> Result<EvalOptions, Failure> {
    let mut options = state.eval_options();
    if let Some(text) = params.get("lookback_delta") {
        let delta = parse_duration_ms(text)
            .map_err(|why| Failure::bad_data(format!("error parsing lookback delta duration: {why}")))?;
        if delta > 0 {
            options.lookback_ms = delta;
        }
    }
    Ok(options)
}

/// A result within its limit, with a warning where something was cut.
fn limited(mut value: QueryValue, mut notes: Annotations, limit: usize) -> Answer {
    let cut = match &mut value {
        QueryValue::Vector(vector) => {
            let cut = vector.len() > limit;
            vector.truncate(limit);
            cut
        }
        QueryValue::Matrix(series) => {
            let cut = series.len() > limit;
            series.truncate(limit);
            cut
        }
        QueryValue::Scalar(_) | QueryValue::String { .. } => false,
    };
    if cut {
        notes.warnings.insert(TRUNCATED.to_owned());
    }
    Ok(Reply { data: query_json(&value), notes })
}

pub(super) fn instant(state: &State, params: &Params, now: Timestamp) -> Answer {
    let limit = params.limit()?;
    let t_ms = params.time("time", now.as_millis())?;
    params.check_timeout()?;
    let options = options(state, params)?;
    let (text, expr) = parse(state, params)?;
    let (value, notes) = promql::eval::instant(&state.store, text, &expr, t_ms, options)?;
    limited(value, notes, limit)
}

pub(super) fn range(state: &State, params: &Params) -> Answer {
    let limit = params.limit()?;
    let time = |name: &str| {
        parse_time(params.get(name).unwrap_or_default()).map_err(|message| Failure::parameter(name, message))
    };
    let (start, end) = (time("start")?, time("end")?);
    if end < start {
        return Err(Failure::parameter("end", "end timestamp must not be before start time"));
    }
    let step = parse_duration_ms(params.get("step").unwrap_or_default())
        .map_err(|message| Failure::parameter("step", message))?;
    if step <= 0 {
        return Err(Failure::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if (end - start) / step > STEPS_MAX {
        let message = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(Failure::bad_data(message));
    }
    params.check_timeout()?;
    let options = options(state, params)?;
    let (text, expr) = parse(state, params)?;
    if !matches!(expr.value_type(), promql::ValueType::Scalar | promql::ValueType::Vector) {
        let got = expr.value_type().documented();
        return Err(Failure::parameter(
            "query",
            format!("invalid expression type {got:?} for range query, must be Scalar or instant Vector"),
        ));
    }
    let (value, notes) = promql::eval::range(&state.store, text, &expr, (start, end, step), options)?;
    limited(value, notes, limit)
}

pub(super) fn exemplars(state: &State, params: &Params) -> Answer {
    let (start, end) = (params.time("start", i64::MIN)?, params.time("end", i64::MAX)?);
    if end < start {
        return Err(Failure::bad_data("end timestamp must not be before start timestamp"));
    }
    let text = params.get("query").unwrap_or_default();
    let expr = promql::parse_with(text, state.parse_options()).map_err(|error| Failure::bad_data(error.to_string()))?;
    let mut lists = Vec::new();
    expr.for_each_selector(&mut |selector| lists.push(selector.matchers.clone()));
    if lists.is_empty() {
        return Err(Failure::no_content());
    }
    let found = state.store.exemplars(&lists, start, end);
    let data: Vec<Json> = found
        .into_iter()
        .map(|(series, exemplars)| {
            let exemplars: Vec<Json> = exemplars
                .into_iter()
                .map(|one| json!({ "labels": one.labels, "value": format_float(one.value), "timestamp": seconds(one.timestamp_ms.unwrap_or_default()) }))
                .collect();
            json!({ "seriesLabels": series, "exemplars": exemplars })
        })
        .collect();
    plain(json!(data))
}

fn seconds(ms: i64) -> Json {
    if ms % 1000 == 0 { json!(ms / 1000) } else { json!(ms as f64 / 1000.0) }
}

fn pair(t_ms: i64, value: f64) -> Json {
    json!([seconds(t_ms), format_float(value)])
}

/// A native histogram as the API shows it: each bucket that counts anything with its bounds and how they are meant.
fn histogram_json(histogram: &Histogram) -> Json {
    let buckets: Vec<Json> = histogram
        .buckets()
        .iter()
        .filter(|bucket| bucket.count != 0.0)
        .map(|bucket| {
            let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            json!([rule, format_float(bucket.lower), format_float(bucket.upper), format_float(bucket.count)])
        })
        .collect();
    let mut shown = json!({ "count": format_float(histogram.count), "sum": format_float(histogram.sum) });
    if !buckets.is_empty() {
        shown["buckets"] = buckets.into();
    }
    shown
}

/// A sample under `value` or `histogram`.
fn sample_json(sample: &VectorSample) -> Json {
    match &sample.value {
        Value::Float(value) => json!({ "metric": sample.labels, "value": pair(sample.t_ms, *value) }),
        Value::Histogram(histogram) => {
            json!({ "metric": sample.labels, "histogram": [seconds(sample.t_ms), histogram_json(histogram)] })
        }
    }
}

/// A series with its floats under `values` and its histograms under `histograms`, either only if there are any.
fn series_json(series: &Series) -> Json {
    let mut shown = json!({ "metric": series.labels });
    let points = || series.points.iter();
    let floats: Vec<Json> = points().filter_map(|point| Some(pair(point.t_ms, point.value.as_float()?))).collect();
    let histograms: Vec<Json> = points()
        .filter_map(|point| Some(json!([seconds(point.t_ms), histogram_json(point.value.as_histogram()?)])))
        .collect();
    for (name, list) in [("values", floats), ("histograms", histograms)] {
        if !list.is_empty() {
            shown[name] = list.into();
        }
    }
    shown
}

fn query_json(value: &QueryValue) -> Json {
    match value {
        QueryValue::Scalar(point) => json!({ "resultType": "scalar", "result": pair(point.t_ms, point.value.float()) }),
        QueryValue::String { t_ms, text } => json!({ "resultType": "string", "result": [seconds(*t_ms), text] }),
        QueryValue::Vector(vector) => {
            let result: Vec<Json> = vector.iter().map(sample_json).collect();
            json!({ "resultType": "vector", "result": result })
        }
        QueryValue::Matrix(series) => {
            let result: Vec<Json> = series.iter().map(series_json).collect();
            json!({ "resultType": "matrix", "result": result })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::parse_notation;
    use crate::store::Point;
    use sim_wire::Labels;

    #[test]
    fn a_native_histogram_is_shown_bucket_by_bucket() {
        let notation = "schema:0 sum:1.5 count:5 z_bucket:1 z_bucket_w:0.25 buckets:[2 0 1] n_buckets:[1]";
        let value = Value::from(parse_notation(notation).unwrap());
        let expected = json!({ "count": "5", "sum": "1.5", "buckets": [
            [1, "-1", "-0.5", "1"], [3, "-0.25", "0.25", "1"], [0, "0.5", "1", "2"], [0, "2", "4", "1"]] });
        let series = Series {
            labels: Labels::empty(),
            points: vec![Point { t_ms: 1500, value: value.clone() }, Point::float(2000, 3.0)],
            drop_name: false,
        };
        let shown = series_json(&series);
        assert_eq!(shown["histograms"], json!([[1.5, expected]]));
        assert_eq!(shown["values"], json!([[2, "3"]]));
        let empty = histogram_json(&Histogram::default());
        assert_eq!(empty, json!({ "count": "0", "sum": "0" }));
    }
}
