//! Silences.

use super::request::time;
use super::{Answer, Context, Refusal, empty, json, problem, refused};
use crate::engine::Engine;
use crate::matcher::{MatchType, Matcher};
use crate::silence::{SetError, Silence, SilenceState};
use crate::template::value::quote;
use http::StatusCode;
use serde_json::{Map, Value as Json};
use sim_clock::Timestamp;
use std::collections::BTreeMap;

fn shown(silence: &Silence, now: Timestamp) -> String {
    let matchers: Vec<String> = silence
        .matchers
        .iter()
        .map(|matcher| {
            format!(
                "{{\"isEqual\":{},\"isRegex\":{},\"name\":{},\"value\":{}}}",
                matcher.kind.is_equal(),
                matcher.kind.is_regex(),
                quote(&matcher.name),
                quote(&matcher.value)
            )
        })
        .collect();
    let annotations: Vec<String> =
        silence.annotations.iter().map(|(name, value)| format!("{}:{}", quote(name), quote(value))).collect();
    format!(
        "{{\"id\":{},\"status\":{{\"state\":\"{}\"}},\"updatedAt\":\"{}\",\"annotations\":{{{}}},\"comment\":{},\"createdBy\":{},\"endsAt\":\"{}\",\"matchers\":[{}],\"startsAt\":\"{}\"}}",
        quote(&silence.id),
        silence.state(now).as_str(),
        silence.updated_at.rfc3339_millis(),
        annotations.join(","),
        quote(&silence.comment),
        quote(&silence.created_by),
        silence.ends_at.rfc3339_millis(),
        matchers.join(","),
        silence.starts_at.rfc3339_millis(),
    )
}

pub(super) fn get_all(engine: &mut Engine, context: &Context<'_>) -> Answer {
    let matchers = context.query.matchers("filter").map_err(|error| refused(&error))?;
    let now = context.now;
    let mut all: Vec<&Silence> =
        engine.silences().iter().filter(|silence| matchers.iter().all(|one| silence.matchers.contains(one))).collect();
    // Those that mute first, the ones that end or begin soonest before others; of those that are over, the latest.
    all.sort_by_key(|silence| {
        let state = silence.state(now);
        let at = match state {
            SilenceState::Active => silence.ends_at.as_nanos(),
            SilenceState::Pending => silence.starts_at.as_nanos(),
            SilenceState::Expired => silence.ends_at.as_nanos().saturating_neg(),
        };
        (state, at)
    });
    let all: Vec<String> = all.into_iter().map(|silence| shown(silence, now)).collect();
    Ok(json(StatusCode::OK, &format!("[{}]", all.join(","))))
}

/// The id in the path, which has to be one.
fn id<'c>(context: &Context<'c>) -> Result<&'c str, Refusal> {
    let id = context.parameter;
    let is_uuid = id.len() == 36
        && id
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() });
    if is_uuid {
        return Ok(id);
    }
    let message = format!("silenceID in path must be of type uuid: {}", quote(id));
    Err(problem(StatusCode::UNPROCESSABLE_ENTITY, 601, &message))
}

pub(super) fn get_one(engine: &mut Engine, context: &Context<'_>) -> Answer {
    Ok(match engine.silences().get(id(context)?) {
        Some(silence) => json(StatusCode::OK, &shown(silence, context.now)),
        None => empty(StatusCode::NOT_FOUND),
    })
}

pub(super) fn delete(engine: &mut Engine, context: &Context<'_>) -> Answer {
    Ok(match engine.expire_silence(id(context)?, context.now) {
        Ok(()) => empty(StatusCode::OK),
        Err(_) => empty(StatusCode::NOT_FOUND),
    })
}

fn required(name: &str) -> Refusal {
    problem(StatusCode::UNPROCESSABLE_ENTITY, 602, &format!("{name} in body is required"))
}

fn unparsable(reason: &str) -> Refusal {
    problem(StatusCode::BAD_REQUEST, 400, &format!("parsing silence body from \"\" failed, because {reason}"))
}

fn text_of(fields: &Map<String, Json>, name: &str) -> Result<Option<String>, Refusal> {
    match fields.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(unparsable(&format!("json: cannot unmarshal into Go struct field .{name} of type string"))),
    }
}

fn matcher(value: &Json, place: usize) -> Result<Matcher, Refusal> {
    let empty = Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    let named = |name: &str| format!("matchers.{place}.{name}");
    let regex = fields.get("isRegex").and_then(Json::as_bool).ok_or_else(|| required(&named("isRegex")))?;
    let name = text_of(fields, "name")?.ok_or_else(|| required(&named("name")))?;
    let value = text_of(fields, "value")?.ok_or_else(|| required(&named("value")))?;
    let equal = fields.get("isEqual").and_then(Json::as_bool).unwrap_or(true);
    Matcher::new(MatchType::from_flags(equal, regex), &name, &value).map_err(|error| {
        refused(&format!(
            "invalid silence: invalid label matcher {place} in set 0: invalid regular expression {}: {error}",
            sim_template::print::quote(&value)
        ))
    })
}

fn posted(body: &[u8]) -> Result<Silence, Refusal> {
    let body: Json = serde_json::from_slice(body).map_err(|error| unparsable(&error.to_string()))?;
    let fields = body.as_object().ok_or_else(|| unparsable("json: cannot unmarshal into Go value"))?;
    let annotations: BTreeMap<String, String> = fields
        .get("annotations")
        .and_then(Json::as_object)
        .map(|map| {
            let texts = map.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            texts.collect()
        })
        .unwrap_or_default();
    let at = |name: &str| -> Result<Option<Timestamp>, Refusal> {
        match text_of(fields, name)? {
            None => Err(required(name)),
            Some(text) => time(&text).map_err(|error| unparsable(&error)),
        }
    };
    // In the order in which the real program looks.
    let comment = text_of(fields, "comment")?.ok_or_else(|| required("comment"))?;
    let created_by = text_of(fields, "createdBy")?.ok_or_else(|| required("createdBy"))?;
    let ends_at = at("endsAt")?;
    let matchers = fields.get("matchers").and_then(Json::as_array).ok_or_else(|| required("matchers"))?;
    if matchers.is_empty() {
        let message = "matchers in body should have at least 1 items";
        return Err(problem(StatusCode::UNPROCESSABLE_ENTITY, 612, message));
    }
    let matchers = matchers.iter().enumerate().map(|(at, value)| matcher(value, at)).collect::<Result<_, _>>()?;
    let starts_at = at("startsAt")?;
    Ok(Silence {
        id: text_of(fields, "id")?.unwrap_or_default(),
        matchers,
        starts_at: starts_at.unwrap_or_default(),
        ends_at: ends_at.unwrap_or_default(),
        updated_at: Timestamp::default(),
        created_by,
        comment,
        annotations,
    })
}

pub(super) fn post(engine: &mut Engine, context: &Context<'_>) -> Answer {
    let silence = posted(context.body)?;
    if silence.starts_at >= silence.ends_at {
        return Err(refused("Failed to create silence: start time must be before end time"));
    }
    if silence.ends_at < context.now {
        return Err(refused("Failed to create silence: end time can't be in the past"));
    }
    match engine.set_silence(silence, context.now) {
        Ok(id) => Ok(json(StatusCode::OK, &format!("{{\"silenceID\":{}}}", quote(&id)))),
        Err(SetError::NotFound) => Ok(json(StatusCode::NOT_FOUND, &quote("silence not found"))),
        Err(SetError::Invalid(message)) => Err(refused(&message)),
    }
}
