//! Webhooks: the JSON of version 4, or a payload of one's own.

use super::{Delivery, HttpDelivery, Notification, Reply, data};
use crate::config::Integration;
use crate::config::scalar;
use crate::config::value::Val;
use crate::template::Templates;
use crate::template::value::{json_data, quote};
use serde_json::Value as Json;
use sim_clock::Timestamp;
use std::sync::Arc;

pub(super) fn delivery(
    integration: &Integration,
    notification: &Notification,
    templates: &Templates,
    now: Timestamp,
) -> Result<Delivery, String> {
    let settings = &integration.settings;
    let most = usize::try_from(settings.int("max_alerts")).unwrap_or(usize::MAX);
    let mut notification = notification.clone();
    let truncated = if most > 0 { notification.alerts.len().saturating_sub(most) } else { 0 };
    notification.alerts.truncate(notification.alerts.len() - truncated);
    let data = Arc::new(data(&notification));
    let render = |text: &str| templates.text(text, &data, now).map_err(|error| error.to_string());
    let body = match settings.get("payload") {
        Val::Any(payload) => {
            let payload =
                rendered(payload, &render).map_err(|error| format!("failed to render custom payload: {error}"))?;
            compact(&payload)
        }
        _ => format!(
            "{{{},\"version\":\"4\",\"groupKey\":{},\"truncatedAlerts\":{truncated}}}",
            json_data(&data),
            quote(&notification.group_key)
        ),
    };
    let url = render(settings.text("url")).map_err(|error| format!("failed to template webhook URL: {error}"))?;
    if url.is_empty() {
        return Err("webhook URL is empty after templating".to_owned());
    }
    let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    headers.extend(super::authorization(settings));
    Ok(Delivery::Http(HttpDelivery {
        method: "POST",
        url,
        headers,
        body: body + "\n",
        timeout_nanos: settings.nanos("timeout").filter(|nanos| *nanos > 0),
        retried: &[],
        reply: Reply::Any,
    }))
}

/// A payload whose texts are rendered; what is rendered to a number or a list becomes one.
pub(super) fn rendered(value: &Json, render: &dyn Fn(&str) -> Result<String, String>) -> Result<Json, String> {
    Ok(match value {
        Json::String(text) => {
            let text = render(text)?;
            match crate::yaml::read(&text) {
                Ok(Some(node)) => match crate::config::to_json(&node) {
                    Json::String(_) => Json::String(text),
                    other => rendered(&other, render)?,
                },
                Ok(None) => scalar(&text),
                Err(_) => Json::String(text),
            }
        }
        Json::Array(items) => Json::Array(items.iter().map(|item| rendered(item, render)).collect::<Result<_, _>>()?),
        Json::Object(map) => {
            let mut out = serde_json::Map::new();
            for (name, value) in map {
                out.insert(render(name)?, rendered(value, render)?);
            }
            Json::Object(out)
        }
        other => other.clone(),
    })
}

/// As Go's encoder writes it: keys in order, what HTML could misread escaped.
pub(super) fn compact(value: &Json) -> String {
    match value {
        Json::String(text) => quote(text),
        Json::Array(items) => format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(",")),
        Json::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(name, _)| name.as_str());
            let parts: Vec<String> =
                entries.into_iter().map(|(name, value)| format!("{}:{}", quote(name), compact(value))).collect();
            format!("{{{}}}", parts.join(","))
        }
        other => other.to_string(),
    }
}
