//! Series, labels, and federation.

use super::params::Params;
use super::{Answer, Data, Failure, Reply, TRUNCATED};
use crate::promql::Annotations;
use crate::server::State;
use crate::store::Value;
use http::StatusCode;
use serde_json::json;
use sim_clock::Timestamp;
use sim_wire::{Labels, METRIC_NAME, Matcher, format_float};
use std::collections::BTreeSet;

fn found(state: &State, params: &Params, lists: &[Vec<Matcher>]) -> Result<BTreeSet<Labels>, Failure> {
    let (start, end) = (params.time("start", i64::MIN)?, params.time("end", i64::MAX)?);
    Ok(state.store.series_in(lists, start, end))
}

/// A list within its limit, with a warning where something was cut.
fn limited<T: serde::Serialize>(mut list: Vec<T>, limit: usize) -> Answer {
    let mut notes = Annotations::default();
    if list.len() > limit {
        list.truncate(limit);
        notes.warnings.insert(TRUNCATED.to_owned());
    }
    Ok(Reply { data: Data::Json(json!(list)), notes })
}

pub(super) fn series(state: &State, params: &Params) -> Answer {
    if params.all("match[]").next().is_none() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let limit = params.limit()?;
    let lists = params.matchers().map_err(|why| Failure::parameter("match[]", why))?;
    limited(found(state, params, &lists)?.into_iter().collect(), limit)
}

pub(super) fn names(state: &State, params: &Params) -> Answer {
    let limit = params.limit()?;
    let lists = params.matchers().map_err(Failure::bad_data)?;
    let found = found(state, params, &lists)?;
    let names: BTreeSet<&str> = found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    limited(names.into_iter().collect(), limit)
}

pub(super) fn values(state: &State, params: &Params, name: &str) -> Answer {
    let name = unescaped(name);
    if name.is_empty() {
        return Err(Failure::bad_data(format!("invalid label name: {name:?}")));
    }
    let limit = params.limit()?;
    let lists = params.matchers().map_err(Failure::bad_data)?;
    let found = found(state, params, &lists)?;
    let values: BTreeSet<&str> = found.iter().filter_map(|labels| labels.get(&name)).collect();
    limited(values.into_iter().collect(), limit)
}

/// A name in the escaping that URLs use: `U__`, then `__` for an underscore and `_hex_` for what legacy names do not have.
fn unescaped(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('_') {
            out.push('_');
            rest = tail;
            continue;
        }
        let Some((code, tail)) = rest.split_once('_') else { return name.to_owned() };
        let Some(c) = u32::from_str_radix(code, 16).ok().and_then(char::from_u32) else { return name.to_owned() };
        out.push(c);
        rest = tail;
    }
    out + rest
}

/// `/federate`: the newest samples of some series in the text format.
pub(super) fn federate(state: &State, params: &Params, now: Timestamp) -> (StatusCode, String) {
    let mut lists = Vec::new();
    for text in params.all("match[]") {
        match crate::promql::parse_selector(text) {
            Ok(matchers) => lists.push(matchers),
            Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }
    let now_ms = now.as_millis();
    let after_ms = now_ms.saturating_sub(state.eval_options().lookback_ms);
    let mut rows: BTreeSet<(String, String)> = BTreeSet::new();
    let external = &state.config.global.external_labels;
    for series in lists.iter().flat_map(|matchers| state.store.select(matchers)) {
        let Some(point) = series.newest(after_ms - 1, now_ms).filter(|point| !point.is_stale()) else {
            continue;
        };
        let (Some(name), Value::Float(value)) = (series.labels.name(), &point.value) else { continue };
        let mut labels = series.labels.builder();
        for (label, text) in external {
            if series.labels.get(label).is_none() {
                labels.set(label, text);
            }
        }
        let mut shown: Vec<String> = Vec::new();
        for (label, text) in labels.build().iter().filter(|(label, _)| *label != METRIC_NAME) {
            shown.push(format!("{label}={}", quoted(text)));
        }
        if series.labels.get("instance").is_none() && !external.contains_key("instance") {
            // So that the federating server does not put its own there.
            shown.push("instance=\"\"".to_owned());
        }
        let line = format!("{name}{{{}}} {} {}\n", shown.join(","), format_float(*value), point.t_ms);
        rows.insert((name.to_owned(), line));
    }
    let mut text = String::new();
    let mut last: Option<&str> = None;
    for (name, line) in &rows {
        if last != Some(name) {
            text.push_str(&format!("# TYPE {name} untyped\n"));
            last = Some(name);
        }
        text.push_str(line);
    }
    (StatusCode::OK, text)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn names_are_unescaped() {
        assert_eq!(unescaped("U__weird_2e_label"), "weird.label");
        assert_eq!(unescaped("U__a__b"), "a_b");
        assert_eq!(unescaped("job"), "job");
        assert_eq!(unescaped("U__a_zz_"), "U__a_zz_");
    }
}
