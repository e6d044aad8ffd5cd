//! Slack: incoming webhooks and `chat.postMessage`.

use super::fields::{Fields, truncate};
use super::{Delivery, Notification, Reply, data, post_json};
use crate::config::Integration;
use crate::config::value::{Record, Val};
use crate::template::Templates;
use crate::template::value::quote;
use sim_clock::Timestamp;
use std::sync::Arc;

/// Most characters of a title.
const TITLE_CHARS_MAX: usize = 1024;
/// Where an attachment has Slack's markup unless told otherwise.
const MARKDOWN_IN: [&str; 3] = ["fallback", "pretext", "text"];

pub(super) fn delivery(
    integration: &Integration,
    notification: &Notification,
    templates: &Templates,
    now: Timestamp,
) -> Result<Delivery, String> {
    let settings = &integration.settings;
    let data = Arc::new(data(notification));
    let render = |text: &str| templates.text(text, &data, now).map_err(|error| error.to_string());
    let field = |name: &str| render(settings.text(name));
    let markdown: Vec<String> = match settings.texts("mrkdwn_in") {
        [] => MARKDOWN_IN.iter().map(|name| quote(name)).collect(),
        named => named.iter().map(|name| quote(name)).collect(),
    };
    let fields: Vec<String> =
        settings.list("fields").map(|record| message_field(settings, record, &render)).collect::<Result<_, _>>()?;
    let actions: Vec<String> =
        settings.list("actions").map(|record| action(record, &render)).collect::<Result<_, _>>()?;
    let attachment = Fields::default()
        .some("title", &truncate(&field("title")?, TITLE_CHARS_MAX))
        .some("title_link", &field("title_link")?)
        .some("pretext", &field("pretext")?)
        .text("text", &field("text")?)
        .text("fallback", &field("fallback")?)
        .text("callback_id", &field("callback_id")?)
        .list("fields", &fields)
        .list("actions", &actions)
        .some("image_url", &field("image_url")?)
        .some("thumb_url", &field("thumb_url")?)
        .text("footer", &field("footer")?)
        .some("color", &field("color")?)
        .list("mrkdwn_in", &markdown)
        .finish();
    let message = Fields::default()
        .some("channel", &field("channel")?)
        .some("username", &field("username")?)
        .some("icon_emoji", &field("icon_emoji")?)
        .some("icon_url", &field("icon_url")?);
    let message = if settings.bool("link_names") { message.raw("link_names", "true") } else { message };
    let message = message.some("text", &field("message_text")?).raw("attachments", &format!("[{attachment}]"));
    Ok(post_json(settings, settings.text("api_url").to_owned(), message.finish() + "\n", &[], Reply::Slack))
}

type Render<'r> = dyn Fn(&str) -> Result<String, String> + 'r;

fn message_field(settings: &Record, record: &Record, render: &Render<'_>) -> Result<String, String> {
    let short = match record.get("short") {
        Val::Bool(short) => *short,
        _ => settings.bool("short_fields"),
    };
    let field =
        Fields::default().some("title", &render(record.text("title"))?).some("value", &render(record.text("value"))?);
    Ok(field.raw("short", &short.to_string()).finish())
}

fn action(record: &Record, render: &Render<'_>) -> Result<String, String> {
    let texts = |record: &Record, names: &[&str]| -> Result<Fields, String> {
        let mut fields = Fields::default();
        for name in names {
            fields = fields.some(name, &render(record.text(name))?);
        }
        Ok(fields)
    };
    let fields = texts(record, &["type", "text", "url", "style", "name", "value"])?;
    let fields = match record.record("confirm") {
        Some(confirm) => {
            fields.raw("confirm", &texts(confirm, &["text", "title", "ok_text", "dismiss_text"])?.finish())
        }
        None => fields,
    };
    Ok(fields.finish())
}

/// Why an answer of status 2xx is none: Slack says so in the body.
pub(crate) fn refusal(content_type: &str, body: &[u8]) -> Option<(bool, String)> {
    if !content_type.starts_with("application/json") {
        let text = String::from_utf8_lossy(body);
        return (text != "ok").then(|| (false, format!("received an error response from Slack: {text}")));
    }
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else {
        return Some((true, format!("could not unmarshal JSON response {:?}", String::from_utf8_lossy(body))));
    };
    (answer["ok"] != true)
        .then(|| (false, format!("error response from Slack: {}", answer["error"].as_str().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slack_refuses_in_the_body() {
        assert_eq!(refusal("text/plain", b"ok"), None);
        assert_eq!(refusal("application/json", br#"{"ok": true}"#), None);
        let (retry, why) = refusal("text/plain", b"no_text").unwrap();
        assert_eq!((retry, why.as_str()), (false, "received an error response from Slack: no_text"));
        let (retry, why) = refusal("application/json; charset=utf-8", br#"{"ok":false,"error":"gone"}"#).unwrap();
        assert_eq!((retry, why.as_str()), (false, "error response from Slack: gone"));
        assert!(refusal("application/json", b"{").unwrap().0);
    }
}
