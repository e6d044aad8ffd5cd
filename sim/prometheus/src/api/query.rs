//! Queries.

use super::params::{Params, parse_duration_ms, parse_time};
use super::{Answer, Data, Failure, Reply, TRUNCATED, encode, plain};
use crate::promql::{self, Annotations, EvalOptions, QueryValue};
use crate::server::State;
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
    Ok(Reply { data: Data::Written(encode::result(&value)), notes })
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
