//! PagerDuty's Events API v2.

use super::fields::{Fields, truncate};
use super::{Delivery, Notification, Reply, data, post_json, webhook};
use crate::config::Integration;
use crate::config::value::Val;
use crate::template::Templates;
use serde_json::{Value as Json, json};
use sim_clock::Timestamp;
use std::fmt::Write as _;
use std::sync::Arc;

/// Most characters of a summary.
const SUMMARY_CHARS_MAX: usize = 1024;
/// Largest event; a larger one loses its details.
const EVENT_BYTES_MAX: usize = 512_000;
/// PagerDuty asks for patience with this one.
const RETRIED: &[u16] = &[429];

pub(super) fn delivery(
    integration: &Integration,
    notification: &Notification,
    templates: &Templates,
    now: Timestamp,
) -> Result<Delivery, String> {
    let settings = &integration.settings;
    let data = Arc::new(data(notification));
    let render = |text: &str| templates.text(text, &data, now).map_err(|error| error.to_string());
    let field = |name: &str| {
        render(settings.text(name)).map_err(|error| format!("failed to template PagerDuty v2 message: {error}"))
    };
    let details = match settings.get("details") {
        Val::Any(details) => webhook::rendered(details, &render)?,
        _ => Json::Null,
    };
    let routing_key = field("routing_key")?;
    if routing_key.is_empty() {
        return Err("routing key cannot be empty".to_owned());
    }
    let severity = field("severity")?;
    let payload = |details: &Json| -> Result<String, String> {
        let payload = Fields::default()
            .text("summary", &truncate(&field("description")?, SUMMARY_CHARS_MAX))
            .text("source", &field("source")?)
            .text("severity", if severity.is_empty() { "error" } else { &severity })
            .some("class", &field("class")?)
            .some("component", &field("component")?)
            .some("group", &field("group")?);
        let with_details = details.as_object().is_some_and(|details| !details.is_empty());
        Ok(if with_details { payload.raw("custom_details", &webhook::compact(details)) } else { payload }.finish())
    };
    // An image without source and a link without address are none.
    let items = |list: &str, names: &[&'static str]| -> Result<Vec<String>, String> {
        let mut items = Vec::new();
        for record in settings.list(list) {
            let mut item = Vec::new();
            for name in names {
                item.push((*name, render(record.text(name))?));
            }
            if item.first().is_some_and(|(_, first)| !first.is_empty()) {
                let item = item.iter().fold(Fields::default(), |item, (name, value)| item.text(name, value));
                items.push(item.finish());
            }
        }
        Ok(items)
    };
    let (images, links) = (items("images", &["src", "alt", "href"])?, items("links", &["href", "text"])?);
    let event = |details: &Json| -> Result<String, String> {
        let event = Fields::default()
            .text("routing_key", &routing_key)
            .text("dedup_key", &hash(&notification.group_key))
            .text("event_action", if data.status == "firing" { "trigger" } else { "resolve" })
            .raw("payload", &payload(details)?)
            .some("client", &field("client")?)
            .some("client_url", &field("client_url")?)
            .list("images", &images)
            .list("links", &links);
        Ok(event.finish() + "\n")
    };
    let mut body = event(&details)?;
    if body.len() > EVENT_BYTES_MAX {
        let message = "Custom details have been removed because the original event exceeds the maximum size of 512KB";
        body = event(&json!({ "error": message }))?;
    }
    Ok(post_json(settings, settings.text("url").to_owned(), body, RETRIED, Reply::Any))
}

/// The key of a group as a receiver that allows no blanks or long texts gets it: SHA-256 in hexadecimal digits.
fn hash(group_key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, group_key.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut digits, byte| {
        // Writing to a text does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
