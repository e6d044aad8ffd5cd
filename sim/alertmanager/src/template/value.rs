//! What templates compute with.

use crate::alert::ALERT_NAME;
use crate::config::go_duration;
use sim_clock::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An alert as templates see it.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertData {
    /// `firing` or `resolved`.
    pub status: &'static str,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Since when.
    pub starts_at: Timestamp,
    /// Until when; `None` while it fires.
    pub ends_at: Option<Timestamp>,
    /// What raised it.
    pub generator_url: String,
    /// Its identity.
    pub fingerprint: String,
}

/// A notification as templates see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// The receiver's name, as a regular expression that matches it.
    pub receiver: String,
    /// `firing` as long as one of the alerts is.
    pub status: &'static str,
    /// The alerts, in order.
    pub alerts: Vec<Arc<AlertData>>,
    /// Why it is sent.
    pub reason: &'static str,
    /// The labels of the group.
    pub group_labels: BTreeMap<String, String>,
    /// The labels that all alerts share.
    pub common_labels: BTreeMap<String, String>,
    /// The annotations that all alerts share.
    pub common_annotations: BTreeMap<String, String>,
    /// Where this Alertmanager is reached.
    pub external_url: String,
}

/// A value of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Text that HTML takes as it is.
    Safe(String),
    List(Vec<Value>),
    Texts(Vec<String>),
    Map(BTreeMap<String, Value>),
    /// Labels or annotations.
    Kv(BTreeMap<String, String>),
    Pair(String, String),
    Pairs(Vec<(String, String)>),
    Alert(Arc<AlertData>),
    /// All alerts of a notification; they know which of them fire.
    Alerts(Vec<Arc<AlertData>>),
    Data(Arc<Data>),
    /// An instant, seconds that its zone is ahead of UTC, the zone's short name.
    Time(Option<Timestamp>, i32, String),
    /// Nanoseconds.
    Duration(i64),
}

pub(super) fn sorted_pairs(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let named = map.get_key_value(ALERT_NAME);
    let rest = map.iter().filter(|(name, _)| *name != ALERT_NAME);
    named.into_iter().chain(rest).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn pairs_text(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn utc(at: Option<Timestamp>) -> Value {
    Value::Time(at, 0, "UTC".to_owned())
}

impl Value {
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Duration(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Safe(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Texts(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Kv(map) => !map.is_empty(),
            Self::Pairs(pairs) => !pairs.is_empty(),
            Self::Alerts(alerts) => !alerts.is_empty(),
            Self::Pair(..) | Self::Alert(_) | Self::Data(_) | Self::Time(..) => true,
        }
    }

    /// How many items there are, where there are items.
    pub fn len(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) | Self::Safe(text) => text.len(),
            Self::List(list) => list.len(),
            Self::Texts(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Kv(map) => map.len(),
            Self::Pairs(pairs) => pairs.len(),
            Self::Alerts(alerts) => alerts.len(),
            _ => return None,
        })
    }

    /// Keys and values to go over, where that can be done.
    pub fn items(&self) -> Option<Vec<(Value, Value)>> {
        let numbered = |values: Vec<Value>| {
            values.into_iter().enumerate().map(|(at, value)| (Value::Int(at as i64), value)).collect()
        };
        Some(match self {
            Self::Nil => Vec::new(),
            Self::Int(count) => (0..(*count).min(100_000)).map(|at| (Value::Int(at), Value::Int(at))).collect(),
            Self::List(list) => numbered(list.clone()),
            Self::Texts(list) => numbered(list.iter().cloned().map(Value::Text).collect()),
            Self::Pairs(pairs) => {
                numbered(pairs.iter().map(|(name, value)| Value::Pair(name.clone(), value.clone())).collect())
            }
            Self::Alerts(alerts) => numbered(alerts.iter().cloned().map(Value::Alert).collect()),
            Self::Map(map) => map.iter().map(|(name, value)| (Value::Text(name.clone()), value.clone())).collect(),
            Self::Kv(map) => {
                map.iter().map(|(name, value)| (Value::Text(name.clone()), Value::Text(value.clone()))).collect()
            }
            _ => return None,
        })
    }

    /// The name of its Go type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Safe(_) => "template.HTML",
            Self::List(_) => "[]interface {}",
            Self::Texts(_) => "[]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Kv(_) => "template.KV",
            Self::Pair(..) => "template.Pair",
            Self::Pairs(_) => "template.Pairs",
            Self::Alert(_) => "template.Alert",
            Self::Alerts(_) => "template.Alerts",
            Self::Data(_) => "*template.Data",
            Self::Time(..) => "time.Time",
            Self::Duration(_) => "time.Duration",
        }
    }

    /// As Go prints it.
    pub fn print(&self) -> String {
        let bracketed = |parts: Vec<String>| format!("[{}]", parts.join(" "));
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => float(*value),
            Self::Text(text) | Self::Safe(text) => text.clone(),
            Self::List(list) => bracketed(list.iter().map(Self::print).collect()),
            Self::Texts(list) => bracketed(list.clone()),
            Self::Map(map) => {
                let parts: Vec<String> = map.iter().map(|(name, value)| format!("{name}:{}", value.print())).collect();
                format!("map[{}]", parts.join(" "))
            }
            Self::Kv(map) => pairs_text(&sorted_pairs(map)),
            Self::Pair(name, value) => format!("{{{name} {value}}}"),
            Self::Pairs(pairs) => pairs_text(pairs),
            Self::Alert(alert) => print_alert(alert),
            Self::Alerts(alerts) => bracketed(alerts.iter().map(|alert| print_alert(alert)).collect()),
            Self::Data(data) => {
                let alerts = bracketed(data.alerts.iter().map(|alert| print_alert(alert)).collect());
                format!(
                    "{{{} {} {alerts} {} {} {} {} {}}}",
                    data.receiver,
                    data.status,
                    data.reason,
                    pairs_text(&sorted_pairs(&data.group_labels)),
                    pairs_text(&sorted_pairs(&data.common_labels)),
                    pairs_text(&sorted_pairs(&data.common_annotations)),
                    data.external_url
                )
            }
            Self::Time(at, offset, zone) => super::time::print(*at, *offset, zone),
            Self::Duration(nanos) => go_duration::format(*nanos),
        }
    }

    /// As Go's encoder writes it.
    pub fn json(&self) -> String {
        let list = |parts: Vec<String>| format!("[{}]", parts.join(","));
        match self {
            Self::Nil => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) | Self::Duration(value) => value.to_string(),
            Self::Float(value) => serde_json::Number::from_f64(*value).map_or("null".to_owned(), |n| n.to_string()),
            Self::Text(text) | Self::Safe(text) => quote(text),
            Self::List(values) => list(values.iter().map(Self::json).collect()),
            Self::Texts(values) => list(values.iter().map(|text| quote(text)).collect()),
            Self::Map(map) => {
                let parts: Vec<String> =
                    map.iter().map(|(name, value)| format!("{}:{}", quote(name), value.json())).collect();
                format!("{{{}}}", parts.join(","))
            }
            Self::Kv(map) => json_map(map),
            Self::Pair(name, value) => json_pair(name, value),
            Self::Pairs(pairs) => list(pairs.iter().map(|(name, value)| json_pair(name, value)).collect()),
            Self::Alert(alert) => json_alert(alert),
            Self::Alerts(alerts) => list(alerts.iter().map(|alert| json_alert(alert)).collect()),
            Self::Data(data) => format!("{{{}}}", json_data(data)),
            Self::Time(at, ..) => quote(&super::time::rfc3339_nano(*at)),
        }
    }
}

fn json_pair(name: &str, value: &str) -> String {
    format!("{{\"Name\":{},\"Value\":{}}}", quote(name), quote(value))
}

fn print_alert(alert: &AlertData) -> String {
    format!(
        "{{{} {} {} {} {} {} {}}}",
        alert.status,
        pairs_text(&sorted_pairs(&alert.labels)),
        pairs_text(&sorted_pairs(&alert.annotations)),
        super::time::print(Some(alert.starts_at), 0, "UTC"),
        super::time::print(alert.ends_at, 0, "UTC"),
        alert.generator_url,
        alert.fingerprint
    )
}

fn json_map(map: &BTreeMap<String, String>) -> String {
    let parts: Vec<String> = map.iter().map(|(name, value)| format!("{}:{}", quote(name), quote(value))).collect();
    format!("{{{}}}", parts.join(","))
}

fn json_alert(alert: &AlertData) -> String {
    format!(
        "{{\"status\":{},\"labels\":{},\"annotations\":{},\"startsAt\":{},\"endsAt\":{},\"generatorURL\":{},\"fingerprint\":{}}}",
        quote(alert.status),
        json_map(&alert.labels),
        json_map(&alert.annotations),
        quote(&super::time::rfc3339_nano(Some(alert.starts_at))),
        quote(&super::time::rfc3339_nano(alert.ends_at)),
        quote(&alert.generator_url),
        quote(&alert.fingerprint)
    )
}

/// The fields of a notification, without the braces.
pub(crate) fn json_data(data: &Data) -> String {
    let alerts: Vec<String> = data.alerts.iter().map(|alert| json_alert(alert)).collect();
    format!(
        "\"receiver\":{},\"status\":{},\"alerts\":[{}],\"notification_reason\":{},\"groupLabels\":{},\"commonLabels\":{},\"commonAnnotations\":{},\"externalURL\":{}",
        quote(&data.receiver),
        quote(data.status),
        alerts.join(","),
        quote(data.reason),
        json_map(&data.group_labels),
        json_map(&data.common_labels),
        json_map(&data.common_annotations),
        quote(&data.external_url)
    )
}

/// A JSON string as Go's encoder writes it, with what HTML could misread escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// As Go prints a float with `%v`.
pub(super) fn float(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_finite() && magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        return sim_wire::sample::exponent_form(value);
    }
    sim_wire::format_float(value)
}
