//! Silences that a scenario makes, as somebody with amtool would.

use std::time::Duration;

use bytes::Bytes;
use scenario_expectations::BackendError;
use serde_json::{Value, json};
use sim_net::{Host, http::Client};

const ALERTMANAGER: &str = "http://alertmanager.multigres-operator.svc:9093";

/// One matcher of a scenario as the API wants it: `name="value"`, `!=`, `=~`, `!~`.
fn matcher(text: &str) -> Option<Value> {
    let at = text.find(['=', '!'])?;
    let (name, rest) = text.split_at(at);
    let (operator, value) = ["=~", "!=", "!~", "="].iter().find_map(|op| Some((*op, rest.strip_prefix(op)?)))?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    Some(json!({
        "name": name.trim(),
        "value": value,
        "isRegex": operator.ends_with('~'),
        "isEqual": !operator.starts_with('!'),
    }))
}

/// Makes a silence that begins now.
pub(crate) async fn make(from: &Host, matchers: &[String], lasts: Duration) -> Result<(), BackendError> {
    const BACKEND: &str = "Alertmanager";
    let refused = |status: u16, message: String| BackendError::Refused { backend: BACKEND, status, message };
    let mut wanted = Vec::new();
    for text in matchers {
        wanted.push(matcher(text).ok_or_else(|| refused(400, format!("bad matcher format: {text}")))?);
    }
    let now = sim_clock::now();
    let body = json!({
        "matchers": wanted,
        "startsAt": now.rfc3339_millis(),
        "endsAt": (now + lasts).rfc3339_millis(),
        "createdBy": "scenario",
        "comment": "a step of the timeline",
    });
    let request = http::Request::post(format!("{ALERTMANAGER}/api/v2/silences"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body.to_string()))
        .map_err(|error| refused(400, error.to_string()))?;
    let response = Client::new(from.clone())
        .send(request)
        .await
        .map_err(|error| BackendError::Unreachable { backend: BACKEND, reason: error.to_string() })?;
    if response.status().is_success() {
        return Ok(());
    }
    Err(refused(response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_in_all_four_spellings() {
        for (text, value, regex, equal) in [
            ("a=\"b\"", "b", false, true),
            ("a != b", "b", false, false),
            ("a=~\"b|c\"", "b|c", true, true),
            ("a!~b", "b", true, false),
        ] {
            let expected = json!({"name": "a", "value": value, "isRegex": regex, "isEqual": equal});
            assert_eq!(matcher(text), Some(expected), "{text}");
        }
        assert_eq!(matcher("a"), None);
    }
}
