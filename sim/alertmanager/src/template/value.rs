//! What templates compute with.

use crate::alert::ALERT_NAME;
use sim_clock::Timestamp;
use sim_template::time::rfc3339_nano;
use sim_template::{Extra, Outcome, Shape, Signature, Time, Type, print};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

/// A value of a template.
pub(super) type Value = sim_template::Value<Special>;

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

/// What Alertmanager adds to Go's values.
#[derive(Debug, Clone)]
pub(super) enum Special {
    /// Labels or annotations.
    Kv(Arc<BTreeMap<String, String>>),
    Pair(String, String),
    Pairs(Arc<Vec<(String, String)>>),
    Alert(Arc<AlertData>),
    /// All alerts of a notification; they know which of them fire.
    Alerts(Arc<Vec<Arc<AlertData>>>),
    /// Some of them.
    AlertList(Arc<Vec<Arc<AlertData>>>),
    Data(Arc<Data>),
}

fn sorted_pairs(map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let named = map.get_key_value(ALERT_NAME);
    let rest = map.iter().filter(|(name, _)| *name != ALERT_NAME);
    named.into_iter().chain(rest).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn pairs_text(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn utc(at: Option<Timestamp>) -> Value {
    Value::Time(Time::utc(at))
}

fn kv(map: &BTreeMap<String, String>) -> Value {
    Value::Extra(Special::Kv(Arc::new(map.clone())))
}

impl Extra for Special {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Kv(_) => "template.KV",
            Self::Pair(..) => "template.Pair",
            Self::Pairs(_) => "template.Pairs",
            Self::Alert(_) => "template.Alert",
            Self::Alerts(_) => "template.Alerts",
            Self::AlertList(_) => "[]template.Alert",
            Self::Data(_) => "*template.Data",
        }
    }

    fn shape(&self) -> Shape {
        match self {
            Self::Kv(_) => Shape::Map,
            Self::Pairs(_) | Self::Alerts(_) | Self::AlertList(_) => Shape::List,
            Self::Pair(..) | Self::Alert(_) | Self::Data(_) => Shape::Struct,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Kv(map) => map.len(),
            Self::Pairs(pairs) => pairs.len(),
            Self::Alerts(alerts) | Self::AlertList(alerts) => alerts.len(),
            Self::Pair(..) | Self::Alert(_) | Self::Data(_) => 0,
        }
    }

    fn items(&self) -> Vec<(Value, Value)> {
        let numbered = |items: Vec<Self>| {
            items.into_iter().zip(0..).map(|(item, at)| (Value::Int(at), Value::Extra(item))).collect()
        };
        match self {
            Self::Kv(map) => {
                map.iter().map(|(name, value)| (Value::Text(name.clone()), Value::Text(value.clone()))).collect()
            }
            Self::Pairs(pairs) => {
                numbered(pairs.iter().map(|(name, value)| Self::Pair(name.clone(), value.clone())).collect())
            }
            Self::Alerts(alerts) | Self::AlertList(alerts) => {
                numbered(alerts.iter().cloned().map(Self::Alert).collect())
            }
            Self::Pair(..) | Self::Alert(_) | Self::Data(_) => Vec::new(),
        }
    }

    fn slice(&self, from: usize, to: usize) -> Option<Self> {
        Some(match self {
            Self::Pairs(pairs) => Self::Pairs(Arc::new(pairs.get(from..to)?.to_vec())),
            Self::Alerts(alerts) => Self::Alerts(Arc::new(alerts.get(from..to)?.to_vec())),
            Self::AlertList(alerts) => Self::AlertList(Arc::new(alerts.get(from..to)?.to_vec())),
            Self::Kv(_) | Self::Pair(..) | Self::Alert(_) | Self::Data(_) => return None,
        })
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(match (self, name) {
            (Self::Pair(name, _), "Name") => Value::Text(name.clone()),
            (Self::Pair(_, value), "Value") => Value::Text(value.clone()),
            // A map of texts answers a missing key with the empty text.
            (Self::Kv(map), _) => Value::Text(map.get(name).cloned().unwrap_or_default()),
            (Self::Alert(alert), "Status") => Value::from(alert.status),
            (Self::Alert(alert), "Labels") => kv(&alert.labels),
            (Self::Alert(alert), "Annotations") => kv(&alert.annotations),
            (Self::Alert(alert), "StartsAt") => utc(Some(alert.starts_at)),
            (Self::Alert(alert), "EndsAt") => utc(alert.ends_at),
            (Self::Alert(alert), "GeneratorURL") => Value::Text(alert.generator_url.clone()),
            (Self::Alert(alert), "Fingerprint") => Value::Text(alert.fingerprint.clone()),
            (Self::Data(data), "Receiver") => Value::Text(data.receiver.clone()),
            (Self::Data(data), "Status") => Value::from(data.status),
            (Self::Data(data), "Alerts") => Value::Extra(Self::Alerts(Arc::new(data.alerts.clone()))),
            (Self::Data(data), "NotificationReason") => Value::from(data.reason),
            (Self::Data(data), "GroupLabels") => kv(&data.group_labels),
            (Self::Data(data), "CommonLabels") => kv(&data.common_labels),
            (Self::Data(data), "CommonAnnotations") => kv(&data.common_annotations),
            (Self::Data(data), "ExternalURL") => Value::Text(data.external_url.clone()),
            _ => return None,
        })
    }

    fn method(&self, name: &str) -> Option<Signature> {
        match (self, name) {
            (Self::Kv(_), "Remove") => Some(Signature::of(&[Type::TEXTS])),
            (Self::Kv(_), "SortedPairs" | "Names" | "Values" | "String")
            | (Self::Pairs(_), "Names" | "Values" | "String")
            | (Self::Alerts(_), "Firing" | "Resolved") => Some(Signature::of(&[])),
            _ => None,
        }
    }

    fn call(&self, name: &str, args: &[Value]) -> Outcome<Self> {
        let of_pairs = |pairs: Vec<(String, String)>| match name {
            "Names" => Value::texts(pairs.into_iter().map(|(name, _)| name)),
            "Values" => Value::texts(pairs.into_iter().map(|(_, value)| value)),
            "SortedPairs" => Value::Extra(Self::Pairs(Arc::new(pairs))),
            _ => Value::Text(pairs_text(&pairs)),
        };
        Ok(match self {
            Self::Kv(map) if name == "Remove" => {
                let mut left = BTreeMap::clone(map);
                if let Some(Value::Texts(keys)) = args.first() {
                    left.retain(|name, _| !keys.contains(name));
                }
                Value::Extra(Self::Kv(Arc::new(left)))
            }
            Self::Kv(map) => of_pairs(sorted_pairs(map)),
            Self::Pairs(pairs) => of_pairs(pairs.to_vec()),
            Self::Alerts(alerts) => {
                let wanted = if name == "Firing" { "firing" } else { "resolved" };
                let found = alerts.iter().filter(|alert| alert.status == wanted).cloned();
                Value::Extra(Self::AlertList(Arc::new(found.collect())))
            }
            _ => return Err(format!("no method {name}")),
        })
    }

    fn print(&self, out: &mut dyn Write) -> fmt::Result {
        match self {
            Self::Kv(map) => out.write_str(&pairs_text(&sorted_pairs(map))),
            Self::Pair(name, value) => write!(out, "{{{name} {value}}}"),
            Self::Pairs(pairs) => out.write_str(&pairs_text(pairs)),
            Self::Alert(alert) => print_alert(out, alert),
            Self::Alerts(alerts) | Self::AlertList(alerts) => print_alerts(out, alerts),
            Self::Data(data) => {
                write!(out, "{{{} {} ", data.receiver, data.status)?;
                print_alerts(out, &data.alerts)?;
                write!(
                    out,
                    " {} {} {} {} {}}}",
                    data.reason,
                    pairs_text(&sorted_pairs(&data.group_labels)),
                    pairs_text(&sorted_pairs(&data.common_labels)),
                    pairs_text(&sorted_pairs(&data.common_annotations)),
                    data.external_url
                )
            }
        }
    }
}

fn print_alerts(out: &mut dyn Write, alerts: &[Arc<AlertData>]) -> fmt::Result {
    print::list(out, alerts.iter(), |out, alert| print_alert(out, alert))
}

fn print_alert(out: &mut dyn Write, alert: &AlertData) -> fmt::Result {
    let labels = |labels| pairs_text(&sorted_pairs(labels));
    write!(out, "{{{} {} {} ", alert.status, labels(&alert.labels), labels(&alert.annotations))?;
    Time::utc(Some(alert.starts_at)).print(out)?;
    out.write_str(" ")?;
    Time::utc(alert.ends_at).print(out)?;
    write!(out, " {} {}}}", alert.generator_url, alert.fingerprint)
}

/// A value as Go's encoder writes it.
///
/// # Errors
/// Those of the writer.
pub(super) fn json(value: &Value, out: &mut dyn Write) -> fmt::Result {
    match value {
        Value::Nil | Value::NilInterface => out.write_str("null"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) | Value::Duration(value) => write!(out, "{value}"),
        Value::Float(value) => {
            out.write_str(&serde_json::Number::from_f64(*value).map_or("null".to_owned(), |number| number.to_string()))
        }
        Value::Text(text) | Value::Safe(text) => out.write_str(&quote(text)),
        Value::List(values) => separated(out, ('[', ']'), values.iter(), |out, value| json(value, out)),
        Value::Texts(values) => separated(out, ('[', ']'), values.iter(), |out, text| out.write_str(&quote(text))),
        Value::Map(map) => separated(out, ('{', '}'), map.iter(), |out, (name, value)| {
            write!(out, "{}:", quote(name))?;
            json(value, out)
        }),
        Value::Time(time) => out.write_str(&quote(&rfc3339_nano(time.at))),
        Value::Extra(special) => match special {
            Special::Kv(map) => out.write_str(&json_map(map)),
            Special::Pair(name, value) => out.write_str(&json_pair(name, value)),
            Special::Pairs(pairs) => {
                separated(out, ('[', ']'), pairs.iter(), |out, (name, value)| out.write_str(&json_pair(name, value)))
            }
            Special::Alert(alert) => out.write_str(&json_alert(alert)),
            Special::Alerts(alerts) | Special::AlertList(alerts) => {
                separated(out, ('[', ']'), alerts.iter(), |out, alert| out.write_str(&json_alert(alert)))
            }
            Special::Data(data) => write!(out, "{{{}}}", json_data(data)),
        },
    }
}

/// Items with commas between two of the braces.
fn separated<T>(
    out: &mut dyn Write,
    (open, close): (char, char),
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut dyn Write, T) -> fmt::Result,
) -> fmt::Result {
    out.write_char(open)?;
    for (place, item) in items.enumerate() {
        out.write_str(if place > 0 { "," } else { "" })?;
        write(out, item)?;
    }
    out.write_char(close)
}

fn json_pair(name: &str, value: &str) -> String {
    format!("{{\"Name\":{},\"Value\":{}}}", quote(name), quote(value))
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
        quote(&rfc3339_nano(Some(alert.starts_at))),
        quote(&rfc3339_nano(alert.ends_at)),
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
