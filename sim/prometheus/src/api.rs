//! HTTP API v1: a function from a request to a response.

use crate::histogram::Histogram;
use crate::notify;
use crate::otlp;
use crate::promql::{self, Annotations, EvalError, ParseError, QueryValue, Series, VectorSample};
use crate::remote::receive;
use crate::rules::{Alert, AlertState, Group, Health, Rule};
use crate::server::State;
use crate::store::Value;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value as Json, json};
use sim_clock::Timestamp;
use sim_wire::{Labels, Matcher, format_float};
use std::collections::BTreeSet;

/// Most steps of a range query.
const STEPS_MAX: i64 = 11_000;
/// Most warnings, and most remarks, of an answer.
const ANNOTATIONS_MAX: usize = 10;
/// Largest time or duration in milliseconds; far from where arithmetic overflows.
const TIME_MS_MAX: f64 = 9e15;

struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Failure {
    fn bad_data(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }

    fn parameter(name: &str, message: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {message}"))
    }
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "execution", message: error.to_string() }
    }
}

type Answer = Result<(Json, Annotations), Failure>;

fn plain(data: Json) -> Answer {
    Ok((data, Annotations::default()))
}

/// Parameters of the URL and of a form, in order.
struct Params(Vec<(String, String)>);

impl Params {
    fn of(request: &Request<Bytes>) -> Self {
        let mut pairs = Vec::new();
        let is_form = request.method() == Method::POST;
        if is_form {
            pairs.extend(decode_pairs(&String::from_utf8_lossy(request.body())));
        }
        pairs.extend(decode_pairs(request.uri().query().unwrap_or_default()));
        Self(pairs)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn time(&self, name: &str, default_ms: i64) -> Result<i64, Failure> {
        self.get(name)
            .map_or(Ok(default_ms), |text| parse_time(text).map_err(|message| Failure::parameter(name, message)))
    }

    /// The lists of matchers of `match[]`.
    fn matchers(&self) -> Result<Vec<Vec<Matcher>>, Failure> {
        let parse = |text: &str| match promql::parse(text).map_err(|error| Failure::parameter("match[]", error))?.kind {
            promql::ExprKind::Vector(selector) => Ok(selector.matchers),
            _ => Err(Failure::parameter("match[]", "expected a series selector")),
        };
        self.all("match[]").map(parse).collect()
    }

    fn limit(&self) -> Result<usize, Failure> {
        let limit = self.get("limit").map_or(Ok(0), |text| {
            text.parse().map_err(|_| Failure::parameter("limit", "limit must be a non-negative number"))
        })?;
        Ok(if limit == 0 { usize::MAX } else { limit })
    }
}

fn decode_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name, true), percent_decode(value, true))
        })
        .collect()
}

fn percent_decode(text: &str, plus_is_blank: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) if plus_is_blank => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Seconds since the Unix epoch, or RFC 3339.
fn parse_time(text: &str) -> Result<i64, String> {
    let invalid = || format!("cannot parse {text:?} to a valid timestamp");
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds * 1000.0;
        return if ms.abs() < TIME_MS_MAX { Ok(ms.round() as i64) } else { Err(invalid()) };
    }
    text.parse::<jiff::Timestamp>().map(|time| time.as_millisecond()).map_err(|_| invalid())
}

/// Seconds, or a Prometheus-style duration.
fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let invalid = || format!("cannot parse {text:?} to a valid duration");
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds * 1000.0;
        return if ms.abs() < TIME_MS_MAX { Ok(ms as i64) } else { Err(invalid()) };
    }
    let duration = sim_wire::duration::parse(text).map_err(|_| invalid())?;
    i64::try_from(duration.as_millis()).map_err(|_| invalid())
}

/// Answers one request.
pub(crate) fn answer(state: &mut State, request: &Request<Bytes>, now: Timestamp) -> Response<Bytes> {
    let path = request.uri().path();
    let text = |status: StatusCode, body: &str| respond(status, "text/plain; charset=utf-8", body.to_owned());
    match path {
        "/-/ready" => return text(StatusCode::OK, "Prometheus Server is Ready.\n"),
        "/-/healthy" => return text(StatusCode::OK, "Prometheus Server is Healthy.\n"),
        _ => {}
    }
    let Some(endpoint) = path.strip_prefix("/api/v1/") else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    if endpoint == "write" && request.method() == Method::POST {
        if !state.options.remote_write_receiver {
            let message = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver";
            return receive::refuse(StatusCode::NOT_FOUND, message);
        }
        let window = state.write_window(now.as_millis());
        return receive::answer(&mut state.store, window, request);
    }
    if endpoint == "otlp/v1/metrics" && request.method() == Method::POST {
        if !state.options.otlp_receiver {
            let message = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver";
            return receive::refuse(StatusCode::NOT_FOUND, message);
        }
        let window = state.write_window(now.as_millis());
        let state = &mut *state;
        return otlp::receive::answer(&mut state.store, window, &state.config.otlp, request);
    }
    let state = &*state;
    if request.method() != Method::GET && request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    }
    let params = Params::of(request);
    let outcome = match endpoint {
        "query" => query(state, &params, now),
        "query_range" => query_range(state, &params),
        "format_query" => parse_query(state, &params).and_then(|(_, expr)| plain(Json::String(expr.to_string()))),
        "series" => series(state, &params),
        "labels" => label_names(state, &params),
        "rules" => plain(rules(state, &params)),
        "alerts" => plain(alerts(state)),
        "alertmanagers" => plain(alertmanagers(state)),
        "targets" => plain(targets(state)),
        "metadata" => metadata(state, &params),
        "query_exemplars" => exemplars(state, &params),
        "status/config" => plain(json!({ "yaml": state.config_text })),
        "status/buildinfo" => plain(json!({
            "version": "3.5.0", "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
        })),
        _ => match endpoint.strip_prefix("label/").and_then(|rest| rest.strip_suffix("/values")) {
            Some(name) => label_values(state, &params, &percent_decode(name, false)),
            None => return text(StatusCode::NOT_FOUND, "404 page not found\n"),
        },
    };
    let (status, body) = match outcome {
        Ok((data, notes)) => {
            let mut body = json!({ "status": "success", "data": data });
            for (field, kind, list) in [("warnings", "warning", &notes.warnings), ("infos", "info", &notes.infos)] {
                if !list.is_empty() {
                    let mut shown: Vec<String> = list.iter().take(ANNOTATIONS_MAX).cloned().collect();
                    if list.len() > ANNOTATIONS_MAX {
                        let more = list.len() - ANNOTATIONS_MAX;
                        shown.push(format!("{more} more {kind} annotations omitted"));
                    }
                    body[field] = json!(shown);
                }
            }
            (StatusCode::OK, body)
        }
        Err(failure) => {
            (failure.status, json!({ "status": "error", "errorType": failure.kind, "error": failure.message }))
        }
    };
    respond(status, "application/json", body.to_string())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn parse_query<'p>(state: &State, params: &'p Params) -> Result<(&'p str, promql::Expr), Failure> {
    let text = params.get("query").unwrap_or_default();
    let expr = promql::parse_with(text, state.parse_options())
        .map_err(|error: ParseError| Failure::parameter("query", error))?;
    Ok((text, expr))
}

fn query(state: &State, params: &Params, now: Timestamp) -> Answer {
    let t_ms = params.time("time", now.as_millis())?;
    let (text, expr) = parse_query(state, params)?;
    let (value, notes) = promql::eval::instant(&state.store, text, &expr, t_ms, state.eval_options())?;
    Ok((query_json(&value), notes))
}

fn query_range(state: &State, params: &Params) -> Answer {
    let required = |name: &str| {
        params.get(name).ok_or_else(|| Failure::parameter(name, format!("cannot parse {:?} to a valid timestamp", "")))
    };
    required("start")?;
    required("end")?;
    let (start, end) = (params.time("start", 0)?, params.time("end", 0)?);
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
    let (text, expr) = parse_query(state, params)?;
    if !matches!(expr.value_type(), promql::ValueType::Scalar | promql::ValueType::Vector) {
        let got = expr.value_type().documented();
        return Err(Failure::parameter(
            "query",
            format!("invalid expression type {got:?} for range query, must be Scalar or instant Vector"),
        ));
    }
    let (value, notes) = promql::eval::range(&state.store, text, &expr, (start, end, step), state.eval_options())?;
    Ok((query_json(&value), notes))
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

fn found(state: &State, params: &Params) -> Result<BTreeSet<Labels>, Failure> {
    let (start, end) = (params.time("start", i64::MIN)?, params.time("end", i64::MAX)?);
    Ok(state.store.series_in(&params.matchers()?, start, end))
}

fn series(state: &State, params: &Params) -> Answer {
    if params.all("match[]").next().is_none() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let series: Vec<Labels> = found(state, params)?.into_iter().take(params.limit()?).collect();
    plain(json!(series))
}

fn label_names(state: &State, params: &Params) -> Answer {
    let found = found(state, params)?;
    let names: BTreeSet<&str> = found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    plain(json!(names.into_iter().take(params.limit()?).collect::<Vec<_>>()))
}

fn label_values(state: &State, params: &Params, name: &str) -> Answer {
    if name.is_empty() {
        return Err(Failure::bad_data(format!("invalid label name: {name:?}")));
    }
    let found = found(state, params)?;
    let values: BTreeSet<&str> = found.iter().filter_map(|labels| labels.get(name)).collect();
    plain(json!(values.into_iter().take(params.limit()?).collect::<Vec<_>>()))
}

fn time_json(ms: Option<i64>) -> Json {
    // Go's zero time stands for never.
    ms.map_or_else(|| json!("0001-01-01T00:00:00Z"), |ms| json!(Timestamp::from_millis(ms).rfc3339_millis()))
}

fn alert_json(alert: &Alert) -> Json {
    let mut body = json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "state": alert.state.as_str(),
        "activeAt": time_json(Some(alert.active_at_ms)),
        "value": sim_wire::sample::exponent_form(alert.value),
    });
    if !alert.value.is_finite() {
        body["value"] = json!(format_float(alert.value));
    }
    if let Some(since) = alert.keep_firing_since_ms {
        body["keepFiringSince"] = time_json(Some(since));
    }
    body
}

fn active(rule: &Rule) -> impl Iterator<Item = &Alert> {
    rule.alerts().filter(|alert| alert.state != AlertState::Inactive)
}

fn rule_json(rule: &Rule, group: &Group) -> Json {
    let (health, error) = match &rule.health {
        Health::Unknown => ("unknown", None),
        Health::Ok => ("ok", None),
        Health::Failed(error) => ("err", Some(error)),
    };
    let mut body = if rule.spec.alert {
        json!({
            "state": rule.state().as_str(),
            "name": rule.spec.name,
            "query": rule.query(),
            "duration": rule.spec.for_duration.as_secs_f64(),
            "keepFiringFor": rule.spec.keep_firing_for.as_secs_f64(),
            "labels": rule.spec.labels,
            "annotations": rule.spec.annotations,
            "alerts": active(rule).map(alert_json).collect::<Vec<_>>(),
            "health": health,
        })
    } else {
        json!({ "name": rule.spec.name, "query": rule.query(), "labels": rule.spec.labels, "health": health })
    };
    if let Some(error) = error {
        body["lastError"] = json!(error);
    }
    // An evaluation takes no virtual time.
    body["evaluationTime"] = json!(0);
    body["lastEvaluation"] = time_json(group.last_evaluation_ms);
    body["type"] = json!(if rule.spec.alert { "alerting" } else { "recording" });
    body
}

fn rules(state: &State, params: &Params) -> Json {
    let wanted = |rule: &&Rule| match params.get("type") {
        Some("alert") => rule.spec.alert,
        Some("record") => !rule.spec.alert,
        _ => true,
    };
    let groups: Vec<Json> = state
        .groups
        .values()
        .map(|group| {
            json!({
                "name": group.spec.name,
                "file": group.file,
                "rules": group.rules.iter().filter(wanted).map(|rule| rule_json(rule, group)).collect::<Vec<_>>(),
                "interval": group.interval.as_secs_f64(),
                "limit": group.spec.limit,
                "evaluationTime": 0,
                "lastEvaluation": time_json(group.last_evaluation_ms),
            })
        })
        .collect();
    json!({ "groups": groups })
}

fn alerts(state: &State) -> Json {
    let alerts: Vec<Json> =
        state.groups.values().flat_map(|group| &group.rules).flat_map(active).map(alert_json).collect();
    json!({ "alerts": alerts })
}

fn alertmanagers(state: &State) -> Json {
    let urls: Vec<Json> = notify::alertmanagers(&state.config).map(|(_, url)| json!({ "url": url })).collect();
    json!({ "activeAlertmanagers": urls, "droppedAlertmanagers": [] })
}

fn targets(state: &State) -> Json {
    let active: Vec<Json> = state
        .targets
        .values()
        .map(|status| {
            let target = &status.target;
            let (last_ms, duration, error) = match &status.last {
                Some((ms, duration, summary)) => (Some(*ms), duration.as_secs_f64(), summary.error.clone()),
                None => (None, 0.0, None),
            };
            let health = match &status.last {
                None => "unknown",
                Some((_, _, summary)) if summary.error.is_none() => "up",
                Some(_) => "down",
            };
            json!({
                "discoveredLabels": target.discovered,
                "labels": target.labels,
                "scrapePool": target.job,
                "scrapeUrl": target.url,
                "globalUrl": target.url,
                "lastError": error.unwrap_or_default(),
                "lastScrape": time_json(last_ms),
                "lastScrapeDuration": duration,
                "health": health,
                "scrapeInterval": sim_wire::duration::format(target.interval),
                "scrapeTimeout": sim_wire::duration::format(target.timeout),
            })
        })
        .collect();
    json!({ "activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {} })
}

fn metadata(state: &State, params: &Params) -> Answer {
    let only = params.get("metric");
    let limit = params.limit()?;
    let families =
        state.store.metadata().iter().filter(|(name, _)| only.is_none_or(|only| only == name.as_str())).take(limit);
    let entry = |family: &sim_wire::exposition::Family| json!([{ "type": family.metric_type.as_str(), "help": family.help, "unit": family.unit }]);
    let map: serde_json::Map<String, Json> = families.map(|(name, family)| (name.clone(), entry(family))).collect();
    plain(Json::Object(map))
}

fn exemplars(state: &State, params: &Params) -> Answer {
    let (start, end) = (params.time("start", i64::MIN)?, params.time("end", i64::MAX)?);
    if end < start {
        return Err(Failure::bad_data("end timestamp must not be before start timestamp"));
    }
    let (_, expr) = parse_query(state, params)?;
    let mut lists = Vec::new();
    expr.for_each_selector(&mut |selector| lists.push(selector.matchers.clone()));
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

#[cfg(test)]
mod histogram_tests {
    use super::*;
    use crate::histogram::parse_notation;
    use crate::store::Point;

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
