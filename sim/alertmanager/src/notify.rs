//! Notifications: what a receiver is told, as the request that goes over the wire.

mod fields;
mod pagerduty;
pub(crate) mod slack;
mod webhook;

use crate::alert::Alert;
use crate::config::Integration;
use crate::config::value::{Record, Val};
use crate::template::{AlertData, Data, Templates};
use sim_clock::Timestamp;
use sim_wire::Labels;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is to be told.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The receiver's name.
    pub receiver: String,
    /// The key of the group.
    pub group_key: String,
    /// The labels of the group.
    pub group_labels: Labels,
    /// Why it is sent.
    pub reason: &'static str,
    /// Where this Alertmanager is reached.
    pub external_url: String,
    /// At this instant it was decided which alerts are over.
    pub judged_at: Timestamp,
    /// The alerts, in order.
    pub alerts: Vec<Alert>,
}

/// Something to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Over HTTP; 2xx means that it arrived.
    Http(HttpDelivery),
    /// By other means, which the simulated world has not: it is only recorded.
    Recorded {
        /// What is said, by field.
        fields: BTreeMap<String, String>,
    },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpDelivery {
    /// The method.
    pub method: &'static str,
    /// Where to.
    pub url: String,
    /// Headers beside the user agent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// How long one attempt may take; none: as long as there is time.
    pub timeout_nanos: Option<i64>,
    /// Statuses beside 5xx after which it is tried again.
    pub retried: &'static [u16],
    /// What an answer of status 2xx has to say.
    pub reply: Reply,
}

/// What an answer of status 2xx has to say to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Anything.
    Any,
    /// `ok`, or JSON whose `ok` is true.
    Slack,
}

/// What templates see of a notification.
pub fn data(notification: &Notification) -> Data {
    let map = |labels: &Labels| -> BTreeMap<String, String> {
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let alerts: Vec<Arc<AlertData>> = notification
        .alerts
        .iter()
        .map(|alert| {
            let resolved = alert.resolved_at(notification.judged_at);
            Arc::new(AlertData {
                status: if resolved { "resolved" } else { "firing" },
                labels: map(&alert.labels),
                annotations: map(&alert.annotations),
                starts_at: alert.starts_at,
                ends_at: resolved.then_some(alert.ends_at),
                generator_url: alert.generator_url.clone(),
                fingerprint: alert.fingerprint().to_string(),
            })
        })
        .collect();
    let common = |of: &dyn Fn(&AlertData) -> &BTreeMap<String, String>| {
        let mut alerts = alerts.iter();
        let mut shared = alerts.next().map(|first| of(first).clone()).unwrap_or_default();
        for alert in alerts {
            let labels = of(alert);
            shared.retain(|name, value| labels.get(name) == Some(value));
        }
        shared
    };
    Data {
        receiver: quote_meta(&notification.receiver),
        status: if alerts.iter().any(|alert| alert.status == "firing") { "firing" } else { "resolved" },
        reason: notification.reason,
        group_labels: map(&notification.group_labels),
        common_labels: common(&|alert| &alert.labels),
        common_annotations: common(&|alert| &alert.annotations),
        external_url: notification.external_url.clone(),
        alerts,
    }
}

/// A text as a regular expression that matches it.
fn quote_meta(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

/// The request that tells an integration.
///
/// # Errors
/// What is wrong with a template; it makes no sense to try again.
pub fn delivery(
    integration: &Integration,
    notification: &Notification,
    templates: &Templates,
    now: Timestamp,
) -> Result<Delivery, String> {
    match integration.kind {
        "webhook" => webhook::delivery(integration, notification, templates, now),
        "slack" => slack::delivery(integration, notification, templates, now),
        // The older API's address cannot be chosen: nobody in a world could answer there.
        "pagerduty" if integration.settings.has("routing_key") => {
            pagerduty::delivery(integration, notification, templates, now)
        }
        _ => recorded(integration, notification, templates, now),
    }
}

/// JSON posted to an address. Where that is https it goes to a service on the Internet, which no world has: what would be sent
/// is recorded.
fn post_json(settings: &Record, url: String, body: String, retried: &'static [u16], reply: Reply) -> Delivery {
    if url.starts_with("https:") {
        let fields = [("url", url), ("body", body)].map(|(name, value)| (name.to_owned(), value));
        return Delivery::Recorded { fields: BTreeMap::from(fields) };
    }
    let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    headers.extend(authorization(settings));
    let timeout_nanos = settings.nanos("timeout").filter(|nanos| *nanos > 0);
    Delivery::Http(HttpDelivery { method: "POST", url, headers, body, timeout_nanos, retried, reply })
}

/// Every text of the integration's settings, rendered.
fn recorded(
    integration: &Integration,
    notification: &Notification,
    templates: &Templates,
    now: Timestamp,
) -> Result<Delivery, String> {
    let data = Arc::new(data(notification));
    let mut fields = BTreeMap::new();
    for (field, value) in integration.settings.schema.fields.iter().zip(&integration.settings.values) {
        if let (crate::config::schema::Kind::Text, Val::Text(text)) = (field.kind, value) {
            let html = integration.kind == "email" && field.name == "html";
            let rendered = if html { templates.html(text, &data, now) } else { templates.text(text, &data, now) };
            let rendered = rendered.map_err(|error| error.to_string())?;
            if !rendered.is_empty() {
                fields.insert(field.name.to_owned(), rendered);
            }
        }
    }
    if let Val::TextMap(headers) = integration.settings.find("headers") {
        for (name, text) in headers {
            let rendered = templates.text(text, &data, now).map_err(|error| error.to_string())?;
            fields.insert(name.clone(), rendered);
        }
    }
    Ok(Delivery::Recorded { fields })
}

/// The header that `http_config` asks for.
fn authorization(settings: &Record) -> Option<(String, String)> {
    let http = settings.record("http_config")?;
    let value = match (http.record("authorization"), http.record("basic_auth")) {
        (Some(authorization), _) => {
            format!("{} {}", authorization.text("type"), authorization.text("credentials"))
        }
        (None, Some(basic)) => {
            let pair = format!("{}:{}", basic.text("username"), basic.text("password"));
            format!("Basic {}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair))
        }
        (None, None) => return None,
    };
    Some(("Authorization".to_owned(), value))
}
