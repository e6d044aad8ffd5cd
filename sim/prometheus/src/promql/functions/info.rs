//! `info`: the labels of info metrics (`target_info`) put onto the series of the same instance and job.

use super::Call;
use crate::promql::ast::ExprKind;
use crate::promql::eval::{EvalError, Val, VectorSample};
use crate::store::Value;
use sim_wire::{Labels, METRIC_NAME, Matcher};
use std::collections::{BTreeMap, BTreeSet};

/// What tells which info series belongs to which series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
const TARGET_INFO: &str = "target_info";

/// The name of an info metric and the identifying labels.
type Signature = (String, Labels);

fn identity(labels: &Labels) -> Labels {
    labels.filter(|name| IDENTIFYING.contains(&name))
}

pub(super) fn info(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let base = call.evaluator.vector(&call.args[0], call.t_ms)?;
    let given: Option<Vec<Matcher>> = match call.args.get(1).map(|arg| &arg.kind) {
        Some(ExprKind::Vector(selector)) => Some(selector.matchers.clone()),
        _ => None,
    };
    let is_name = |matcher: &&Matcher| matcher.name == METRIC_NAME;
    let default_name = Matcher::equal(METRIC_NAME, TARGET_INFO);
    let names: Vec<Matcher> = match &given {
        Some(matchers) => matchers.iter().filter(is_name).cloned().collect(),
        None => vec![default_name.clone()],
    };
    let data: Vec<Matcher> = given.iter().flatten().filter(|matcher| !is_name(matcher)).cloned().collect();
    // Info series themselves are left as they are.
    let is_info = |labels: &Labels| names.iter().any(|matcher| matcher.matches(labels.value(METRIC_NAME)));

    let mut wanted = if names.is_empty() { vec![default_name] } else { names.clone() };
    wanted.extend(data.iter().cloned());
    let infos = newest(call, &wanted)?;
    let metrics: BTreeSet<&String> = infos.keys().map(|(name, _)| name).collect();
    let listed: BTreeSet<&str> = data.iter().map(|matcher| matcher.name.as_str()).collect();
    let optional = data.iter().all(|matcher| matcher.matches(""));

    let mut out = Vec::with_capacity(base.len());
    for mut sample in base {
        // As Prometheus 3.5 has it: a name that was to be dropped at the end comes back.
        sample.drop_name = false;
        if is_info(&sample.labels) {
            out.push(sample);
            continue;
        }
        let mut added: BTreeMap<&str, &str> = BTreeMap::new();
        let own = identity(&sample.labels);
        for metric in &metrics {
            let Some(found) = infos.get(&((*metric).clone(), own.clone())).filter(|_| !own.is_empty()) else {
                continue;
            };
            for (name, value) in found.labels.iter() {
                if name == METRIC_NAME || !(listed.is_empty() || listed.contains(name)) {
                    continue;
                }
                if added.get(name).is_some_and(|known| *known != value) {
                    return Err(EvalError(format!("conflicting label: {name}")));
                }
                if sample.labels.get(name).is_none() {
                    added.insert(name, value);
                }
            }
        }
        if added.is_empty() && !optional {
            continue;
        }
        let mut builder = sample.labels.builder();
        for (name, value) in added {
            builder.set(name, value);
        }
        sample.labels = builder.build();
        out.push(sample);
    }
    Ok(Val::Vector(call.evaluator.unique_unless_delayed(out)?))
}

/// The newest info sample of each metric and identity.
fn newest(call: &Call<'_, '_>, matchers: &[Matcher]) -> Result<BTreeMap<Signature, VectorSample>, EvalError> {
    let mut found: BTreeMap<Signature, VectorSample> = BTreeMap::new();
    // Prometheus fetches the info series for the times of the first selector in the argument.
    let mut beside = None;
    call.args[0].for_each_selector(&mut |selector| {
        beside.get_or_insert(selector);
    });
    for sample in call.evaluator.select_beside(matchers, call.t_ms, beside)? {
        if matches!(sample.value, Value::Histogram(_)) {
            return Err(EvalError("info sample should be float".to_owned()));
        }
        let signature = (sample.labels.value(METRIC_NAME).to_owned(), identity(&sample.labels));
        if let Some(known) = found.get(&signature) {
            if known.t_ms == sample.t_ms {
                return Err(EvalError(format!("found duplicate series for info metric {}", signature.0)));
            }
            if known.t_ms > sample.t_ms {
                continue;
            }
        }
        found.insert(signature, sample);
    }
    Ok(found)
}
