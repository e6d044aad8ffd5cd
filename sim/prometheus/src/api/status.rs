//! What the server knows of itself: rules, alerts, targets, configuration, figures.

use super::params::Params;
use super::{Answer, Failure, plain};
use crate::notify;
use crate::rules::{Alert, AlertState, Group, Health, Rule};
use crate::server::State;
use ring::digest;
use serde_json::{Value as Json, json};
use sim_clock::Timestamp;
use sim_wire::{METRIC_NAME, format_float};
use std::collections::BTreeMap;

/// How many entries each list of `status/tsdb` has unless asked for more.
const TSDB_ENTRIES: usize = 10;

fn sha1(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
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

/// A boolean as Go reads it.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// What tells a group in the pages of a long list: a digest of file and name.
fn page_token(file: &str, group: &str) -> String {
    let digest = sha1(format!("{file};{group}").as_bytes());
    digest.iter().fold(String::new(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

pub(super) fn rules(state: &State, params: &Params) -> Answer {
    let matchers = params.matchers().map_err(Failure::bad_data)?;
    let kind = params.get("type").unwrap_or_default().to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(Failure::parameter("type", format!("not supported value {kind:?}")));
    }
    let exclude_alerts = match params.get("exclude_alerts") {
        None => false,
        Some(text) => parse_bool(text).ok_or_else(|| {
            let why = format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
            Failure::parameter("exclude_alerts", format!("error converting exclude_alerts: {why}"))
        })?,
    };
    let page_size = match params.get("group_limit") {
        None => 0,
        Some(text) => {
            let size = text.parse::<i64>().map_err(|_| {
                let why = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
                Failure::parameter("group_limit", format!("group_limit needs to be a valid number: {why}"))
            })?;
            usize::try_from(size)
                .ok()
                .filter(|size| *size > 0)
                .ok_or_else(|| Failure::parameter("group_limit", "group_limit needs to be greater than 0"))?
        }
    };
    let token = params.get("group_next_token");
    if token.is_some() && page_size == 0 {
        let why = "group_limit needs to be present in order to paginate over the groups";
        return Err(Failure::parameter("group_next_token", why));
    }
    let named = |list: &str, name: &str| params.all(list).next().is_none() || params.all(list).any(|one| one == name);
    let accepted = |rule: &Rule| {
        let labels = sim_wire::Labels::from(&rule.spec.labels);
        (kind.is_empty() || (kind == "alert") == rule.spec.alert)
            && named("rule_name[]", &rule.spec.name)
            && (matchers.is_empty()
                || matchers.iter().any(|list| list.iter().all(|matcher| matcher.matches_labels(&labels))))
    };
    let mut groups = Vec::new();
    let mut next_token = None;
    let mut started = token.is_none();
    for group in state.groups.values() {
        let own_token = || page_token(&group.file, &group.spec.name);
        started = started || token.is_some_and(|token| token == own_token());
        if !started || !named("rule_group[]", &group.spec.name) || !named("file[]", &group.file) {
            continue;
        }
        let rules: Vec<Json> = group
            .rules
            .iter()
            .filter(|rule| accepted(rule))
            .map(|rule| {
                let mut shown = rule_json(rule, group);
                if exclude_alerts && rule.spec.alert {
                    shown["alerts"] = Json::Null;
                }
                shown
            })
            .collect();
        // Groups without a rule left are not shown.
        if rules.is_empty() {
            continue;
        }
        if page_size > 0 && groups.len() == page_size {
            next_token = Some(own_token());
            break;
        }
        groups.push(json!({
            "name": group.spec.name,
            "file": group.file,
            "rules": rules,
            "interval": group.interval.as_secs_f64(),
            "limit": group.spec.limit,
            "evaluationTime": 0,
            "lastEvaluation": time_json(group.last_evaluation_ms),
        }));
    }
    if token.is_some() && !started {
        return Err(Failure::parameter(
            "group_next_token",
            format!("invalid group_next_token '{}'. were rule groups changed?", token.unwrap_or_default()),
        ));
    }
    let mut data = json!({ "groups": groups });
    if let Some(next_token) = next_token {
        data["groupNextToken"] = json!(next_token);
    }
    plain(data)
}

pub(super) fn alerts(state: &State) -> Json {
    let alerts: Vec<Json> =
        state.groups.values().flat_map(|group| &group.rules).flat_map(active).map(alert_json).collect();
    json!({ "alerts": alerts })
}

pub(super) fn alertmanagers(state: &State) -> Json {
    let urls: Vec<Json> = notify::alertmanagers(&state.config).map(|(_, url)| json!({ "url": url })).collect();
    json!({ "activeAlertmanagers": urls, "droppedAlertmanagers": [] })
}

pub(super) fn targets(state: &State, params: &Params) -> Json {
    let wanted = params.get("state").unwrap_or_default().to_lowercase();
    let shows = |kind: &str| matches!(wanted.as_str(), "" | "any") || wanted == kind;
    let pool = params.get("scrapePool");
    let active: Vec<Json> = state
        .targets
        .values()
        .filter(|status| shows("active") && pool.is_none_or(|pool| pool == status.target.job))
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
    if !shows("dropped") {
        return json!({ "activeTargets": active, "droppedTargets": [], "droppedTargetCounts": null });
    }
    let pools = state.config.scrape_configs.iter().map(|scrape| &scrape.job_name);
    let counts: BTreeMap<&String, usize> =
        pools.map(|job| (job, state.dropped.iter().filter(|(dropped, _)| dropped == job).count())).collect();
    let dropped: Vec<Json> = state
        .dropped
        .iter()
        .filter(|(job, _)| pool.is_none_or(|pool| pool == job))
        .map(|(job, labels)| json!({ "discoveredLabels": labels, "scrapePool": job }))
        .collect();
    json!({ "activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts })
}

/// Metadata of families, target by target.
pub(super) fn target_metadata(state: &State, params: &Params) -> Answer {
    let limit = number(params, "limit", "limit must be a number")?;
    let matchers = match params.get("match_target") {
        None => Vec::new(),
        Some(text) => crate::promql::parse_selector(text).map_err(|error| Failure::parameter("match_target", error))?,
    };
    let metric = params.get("metric");
    let mut rows = Vec::new();
    for status in state.targets.values() {
        if !matchers.iter().all(|matcher| matcher.matches_labels(&status.target.labels)) {
            continue;
        }
        for (name, family) in status.memory.families() {
            if metric.is_none_or(|metric| metric == name) && rows.len() < limit {
                let mut row = json!({ "target": status.target.labels });
                if metric.is_none() {
                    row["metric"] = json!(name);
                }
                row["type"] = json!(family.metric_type.as_str());
                row["help"] = json!(family.help);
                row["unit"] = json!(family.unit);
                rows.push(row);
            }
        }
    }
    plain(json!(rows))
}

/// A number of entries; everything without and for less than nothing.
fn number(params: &Params, name: &str, message: &str) -> Result<usize, Failure> {
    let Some(text) = params.get(name) else { return Ok(usize::MAX) };
    let limit = text.parse::<i64>().map_err(|_| Failure::bad_data(message))?;
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

pub(super) fn metadata(state: &State, params: &Params) -> Answer {
    let limit = number(params, "limit", "limit must be a number")?;
    let each = number(params, "limit_per_metric", "limit_per_metric must be a number")?;
    let only = params.get("metric");
    let families =
        state.store.metadata().iter().filter(|(name, _)| only.is_none_or(|only| only == name.as_str())).take(limit);
    let entry = |family: &sim_wire::exposition::Family| json!({ "type": family.metric_type.as_str(), "help": family.help, "unit": family.unit });
    let map: serde_json::Map<String, Json> = families
        .map(|(name, family)| (name.clone(), Json::from([entry(family)].into_iter().take(each).collect::<Vec<_>>())))
        .collect();
    plain(Json::Object(map))
}

pub(super) fn scrape_pools(state: &State) -> Json {
    let mut pools: Vec<&String> = state.config.scrape_configs.iter().map(|scrape| &scrape.job_name).collect();
    pools.sort();
    json!({ "scrapePools": pools })
}

pub(super) fn buildinfo() -> Json {
    json!({ "version": "3.5.0", "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "" })
}

/// The command line, as far as this server has one.
pub(super) fn flags(state: &State) -> Json {
    let options = &state.options;
    let mut features = Vec::new();
    if options.experimental_functions {
        features.push("promql-experimental-functions");
    }
    if options.delayed_name_removal {
        features.push("promql-delayed-name-removal");
    }
    json!({
        "alertmanager.notification-batch-size": "256",
        "alertmanager.notification-queue-capacity": notify::QUEUE_MAX.to_string(),
        "config.file": options.config_file,
        "enable-feature": features.join(","),
        "query.lookback-delta": "5m",
        "query.max-samples": crate::promql::eval::SAMPLES_MAX.to_string(),
        "rules.alert.resend-delay": sim_wire::duration::format(crate::rules::RESEND_DELAY),
        "storage.tsdb.retention.time": sim_wire::duration::format(options.retention),
        "web.enable-otlp-receiver": options.otlp_receiver.to_string(),
        "web.enable-remote-write-receiver": options.remote_write_receiver.to_string(),
        "web.external-url": options.external_url,
        "web.listen-address": format!("0.0.0.0:{}", options.port),
    })
}

pub(super) fn runtimeinfo(state: &State, now: Timestamp) -> Json {
    json!({
        "startTime": time_json(state.started_ms),
        "CWD": "/prometheus",
        "hostname": "prometheus",
        "serverTime": now.rfc3339_millis(),
        "reloadConfigSuccess": state.reload_error.is_none(),
        "lastConfigTime": time_json(state.loaded_ms),
        "corruptionCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": 1,
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": sim_wire::duration::format(state.options.retention),
    })
}

pub(super) fn tsdb(state: &State, params: &Params) -> Answer {
    let limit = match params.get("limit").map(str::parse::<usize>) {
        None => TSDB_ENTRIES,
        Some(Ok(limit)) if limit > 0 => limit,
        Some(_) => return Err(Failure::bad_data("limit must be a positive number")),
    };
    let (mut by_metric, mut by_pair, mut values, mut bytes) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let all = state.store.all();
    let mut times = (i64::MAX, i64::MIN);
    for series in &all {
        for (name, value) in series.labels.iter() {
            if name == METRIC_NAME {
                *by_metric.entry(value.to_owned()).or_insert(0_usize) += 1;
            } else {
                *by_pair.entry(format!("{name}={value}")).or_insert(0_usize) += 1;
            }
            *bytes.entry(name.to_owned()).or_insert(0_usize) += value.len();
            values.entry(name.to_owned()).or_insert_with(std::collections::BTreeSet::new).insert(value);
        }
        if let (Some(first_ms), Some(last)) = (series.first_ms(), series.last()) {
            times = (times.0.min(first_ms), times.1.max(last.t_ms));
        }
    }
    let pairs: usize = values.values().map(std::collections::BTreeSet::len).sum();
    let values: BTreeMap<String, usize> = values.into_iter().map(|(name, set)| (name, set.len())).collect();
    let top = |counts: BTreeMap<String, usize>| {
        let mut sorted: Vec<(String, usize)> = counts.into_iter().collect();
        sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sorted.into_iter().take(limit).map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>()
    };
    plain(json!({
        "headStats": {
            "numSeries": all.len(),
            "numLabelPairs": pairs,
            "chunkCount": all.len(),
            "minTime": times.0,
            "maxTime": times.1,
        },
        "seriesCountByMetricName": top(by_metric),
        "labelValueCountByLabelName": top(values),
        "memoryInBytesByLabelName": top(bytes),
        "seriesCountByLabelValuePair": top(by_pair),
    }))
}
