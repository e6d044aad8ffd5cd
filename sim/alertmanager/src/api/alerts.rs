//! Alerts, groups and receivers.

use super::request::{passes, time};
use super::{Answer, Context, Refusal, empty, json, problem, refused};
use crate::alert::Alert;
use crate::engine::{AlertStatus, Engine, PostedAlert};
use crate::matcher::{self, Matcher};
use crate::template::value::quote;
use http::StatusCode;
use regex::Regex;
use serde_json::Value as Json;
use sim_wire::Labels;
use std::collections::{BTreeMap, BTreeSet};

/// The filters of a request.
struct Filter {
    labels: Vec<Matcher>,
    receiver: Option<Regex>,
    receiver_labels: Vec<Matcher>,
    active: bool,
    silenced: bool,
    inhibited: bool,
}

impl Filter {
    fn of(context: &Context<'_>) -> Result<Self, Refusal> {
        let query = &context.query;
        let labels = query.matchers("filter").map_err(|error| refused(&error))?;
        let receiver = match query.first("receiver") {
            Some(text) => Some(
                matcher::compile(text).map_err(|error| refused(&format!("failed to parse receiver param: {error}")))?,
            ),
            None => None,
        };
        let receiver_labels = query
            .matchers("receiver_matchers")
            .map_err(|error| refused(&format!("failed to parse receiver_matchers param: {error}")))?;
        Ok(Self {
            labels,
            receiver,
            receiver_labels,
            active: query.on("active"),
            silenced: query.on("silenced"),
            inhibited: query.on("inhibited"),
        })
    }

    fn receiver_passes(&self, engine: &Engine, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|receiver| receiver.is_match(name))
            && (self.receiver_labels.is_empty()
                || engine
                    .config()
                    .receiver(name)
                    .is_some_and(|receiver| passes(&self.receiver_labels, &Labels::from(&receiver.labels))))
    }

    /// The status of an alert that passes.
    fn alert(&self, engine: &Engine, alert: &Alert, context: &Context<'_>) -> Option<AlertStatus> {
        if alert.ends_at < context.now || !passes(&self.labels, &alert.labels) {
            return None;
        }
        let status = engine.status(&alert.labels, context.now);
        let hidden = (!self.active && status.state() == "active")
            || (!self.silenced && !status.silenced_by.is_empty())
            || (!self.inhibited && status.inhibited_by.is_some());
        (!hidden).then_some(status)
    }
}

fn label_set(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{}:{}", quote(name), quote(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn strings<'s>(list: impl IntoIterator<Item = &'s String>) -> String {
    let all: Vec<String> = list.into_iter().map(|text| quote(text)).collect();
    format!("[{}]", all.join(","))
}

fn shown(alert: &Alert, status: &AlertStatus, receivers: &[&str], muted_by: &[String]) -> String {
    let receivers: Vec<String> = receivers.iter().map(|name| format!("{{\"name\":{}}}", quote(name))).collect();
    let inhibited: Vec<String> = status.inhibited_by.iter().map(ToString::to_string).collect();
    let state = if muted_by.is_empty() { status.state() } else { "suppressed" };
    let generator = if alert.generator_url.is_empty() {
        String::new()
    } else {
        format!("\"generatorURL\":{},", quote(&alert.generator_url))
    };
    format!(
        "{{\"annotations\":{},\"endsAt\":\"{}\",\"fingerprint\":\"{}\",\"receivers\":[{}],\"startsAt\":\"{}\",\"status\":{{\"inhibitedBy\":{},\"mutedBy\":{},\"silencedBy\":{},\"state\":\"{state}\"}},\"updatedAt\":\"{}\",{generator}\"labels\":{}}}",
        label_set(&alert.annotations),
        alert.ends_at.rfc3339_millis(),
        alert.fingerprint(),
        receivers.join(","),
        alert.starts_at.rfc3339_millis(),
        strings(&inhibited),
        strings(muted_by),
        strings(&status.silenced_by),
        alert.updated_at.rfc3339_millis(),
        label_set(&alert.labels),
    )
}

pub(super) fn get_alerts(engine: &mut Engine, context: &Context<'_>) -> Answer {
    let filter = Filter::of(context)?;
    let mut all = Vec::new();
    for (_, alert) in engine.alerts() {
        let receivers = engine.routes().receivers(&alert.labels);
        if !receivers.iter().any(|name| filter.receiver_passes(engine, name)) {
            continue;
        }
        if let Some(status) = filter.alert(engine, alert, context) {
            all.push(shown(alert, &status, &receivers, &[]));
        }
    }
    Ok(json(StatusCode::OK, &format!("[{}]", all.join(","))))
}

pub(super) fn get_groups(engine: &mut Engine, context: &Context<'_>) -> Answer {
    let filter = Filter::of(context)?;
    let muted = context.query.on("muted");
    let groups = engine.groups();
    // Every receiver that a group with the alert has, among the groups that pass.
    let mut receivers: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    let mut kept = Vec::new();
    for group in &groups {
        if !filter.receiver_passes(engine, group.receiver) {
            continue;
        }
        let alerts: Vec<_> = group
            .alerts
            .iter()
            .filter_map(|alert| filter.alert(engine, alert, context).map(|status| (*alert, status)))
            .collect();
        for (alert, _) in &alerts {
            receivers.entry(alert.fingerprint()).or_default().push(group.receiver);
        }
        if !alerts.is_empty() {
            kept.push((group, alerts));
        }
    }
    for names in receivers.values_mut() {
        names.sort_unstable();
    }
    let mut all = Vec::new();
    for (group, alerts) in kept {
        if !muted && !group.muted_by.is_empty() {
            continue;
        }
        let alerts: Vec<String> = alerts
            .iter()
            .map(|(alert, status)| {
                let names = receivers.get(&alert.fingerprint()).map(Vec::as_slice).unwrap_or_default();
                shown(alert, status, names, group.muted_by)
            })
            .collect();
        all.push(format!(
            "{{\"alerts\":[{}],\"labels\":{},\"receiver\":{{\"name\":{}}}}}",
            alerts.join(","),
            label_set(group.labels),
            quote(group.receiver)
        ));
    }
    Ok(json(StatusCode::OK, &format!("[{}]", all.join(","))))
}

pub(super) fn get_receivers(engine: &mut Engine, context: &Context<'_>) -> Answer {
    let matchers = context
        .query
        .matchers("receiver_matchers")
        .map_err(|error| refused(&format!("failed to parse receiver_matchers param: {error}")))?;
    let receivers = engine.config().receivers.iter();
    let all: Vec<String> = receivers
        .map(|receiver| (receiver, Labels::from(&receiver.labels)))
        .filter(|(_, labels)| matchers.is_empty() || passes(&matchers, labels))
        .map(|(receiver, labels)| format!("{{\"labels\":{},\"name\":{}}}", label_set(&labels), quote(&receiver.name)))
        .collect();
    Ok(json(StatusCode::OK, &format!("[{}]", all.join(","))))
}

fn unparsable(reason: &str) -> Refusal {
    problem(StatusCode::BAD_REQUEST, 400, &format!("parsing alerts body from \"\" failed, because {reason}"))
}

fn posted(value: &Json, place: usize) -> Result<PostedAlert, Refusal> {
    let fields = value
        .as_object()
        .ok_or_else(|| unparsable("json: cannot unmarshal into Go value of type models.PostableAlert"))?;
    let labels = |name: &str| -> Result<Labels, Refusal> {
        let Some(map) = fields.get(name).and_then(Json::as_object) else { return Ok(Labels::empty()) };
        let mut names = BTreeSet::new();
        let mut pairs = Vec::new();
        for (label, value) in map {
            let value = value.as_str().ok_or_else(|| {
                unparsable(&format!("json: cannot unmarshal into Go struct field .{name} of type string"))
            })?;
            names.insert(label);
            pairs.push((label.as_str(), value));
        }
        Ok(Labels::from_pairs(pairs))
    };
    if !fields.get("labels").is_some_and(Json::is_object) {
        return Err(problem(StatusCode::UNPROCESSABLE_ENTITY, 602, &format!("{place}.labels in body is required")));
    }
    let at = |name: &str| match fields.get(name) {
        Some(Json::String(text)) => time(text).map_err(|error| unparsable(&error)),
        None | Some(Json::Null) => Ok(None),
        Some(_) => Err(unparsable(&format!("{name} is no time"))),
    };
    Ok(PostedAlert {
        labels: labels("labels")?,
        annotations: labels("annotations")?,
        starts_at: at("startsAt")?,
        ends_at: at("endsAt")?,
        generator_url: fields.get("generatorURL").and_then(Json::as_str).unwrap_or_default().to_owned(),
    })
}

pub(super) fn post_alerts(engine: &mut Engine, context: &Context<'_>) -> Answer {
    let body: Json = match serde_json::from_slice(context.body) {
        Ok(body) => body,
        Err(_) if context.body.is_empty() => {
            return Err(problem(StatusCode::UNPROCESSABLE_ENTITY, 602, "alerts in body is required"));
        }
        Err(error) => return Err(unparsable(&error.to_string())),
    };
    let Some(list) = body.as_array() else {
        return Err(unparsable("json: cannot unmarshal object into Go value of type models.PostableAlerts"));
    };
    let mut alerts = Vec::with_capacity(list.len());
    for (place, value) in list.iter().enumerate() {
        alerts.push(posted(value, place)?);
    }
    match engine.post(alerts, context.now) {
        Ok(()) => Ok(empty(StatusCode::OK)),
        Err(errors) => Err(refused(&errors.join("\n"))),
    }
}
