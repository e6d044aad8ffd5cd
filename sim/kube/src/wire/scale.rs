//! The `scale` subresource: of the built-in workloads, and of custom resources whose definition says where it is kept.
//!
//! Source: the scale subresource of the custom resource documentation, and `autoscaling/v1` Scale.

use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use sim_net::http::Body;

use super::{
    RequestContext,
    negotiate::Output,
    negotiate::{body, patch_kind},
    respond, write,
};
use crate::{
    admission::{Admission, Part},
    engine::{Operation, PatchKind, Target},
    json,
    resources::{ResourceType, ScalePaths},
    server::ApiServer,
    status::{About, Cause, Status},
};

const SCALE: About<'_> = About { group: "autoscaling", plural: "scales", kind: "Scale" };

/// Get, update, patch and apply of a scale.
///
/// # Errors
/// What the engine refuses; 422 for replicas below zero, 500 for a custom resource that does not say how many it wants.
pub(super) async fn answer(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
    output: Output,
) -> Result<Response<Body>, Status> {
    let Some(paths) = &target.resource.scale else { return Err(Status::no_such_resource()) };
    let resource = &*target.resource;
    let options = write::options(context)?;
    // Managed fields name the subresource through which they were written.
    let whole = Target { subresource: String::new(), ..target.clone() };
    let live = server.engine().get(&whole)?;
    let current = scale_of(resource, paths, &live)?;
    let mut wanted = current.clone();
    let mut kind = PatchKind::Merge;
    match context.method {
        Method::GET => return respond::scale(context, output, &current),
        Method::PUT => wanted = body(context)?,
        _ => match patch_kind(context)? {
            PatchKind::Json => crate::patch::json_patch(&mut wanted, &body(context)?)?,
            PatchKind::Merge | PatchKind::Strategic => crate::patch::merge_patch(&mut wanted, &body(context)?),
            PatchKind::Apply => {
                kind = PatchKind::Apply;
                wanted = body(context)?;
            }
        },
    }
    check(target, &mut wanted)?;
    let mut replicas = json::int(&wanted, &["spec", "replicas"]);
    let mut shown = current.clone();
    match replicas {
        Some(replicas) if replicas != 0 => shown["spec"]["replicas"] = replicas.into(),
        // As Go's encoder leaves it out.
        _ => drop(json::child_map(&mut shown, "spec").shift_remove("replicas")),
    }
    let admission = Admission::new(server, &context.user);
    let about = (shown.clone(), Some(current));
    let (admitted, warnings) = admission.admit(target, Part::SCALE, Operation::Update, about, options.dry_run).await?;
    if admitted != shown {
        wanted = admitted;
        check(target, &mut wanted)?;
        replicas = json::int(&wanted, &["spec", "replicas"]);
    }
    let mut change = match (kind, replicas) {
        // What an apply leaves out, its manager gives up.
        (PatchKind::Apply, None) => json!({}),
        (_, replicas) => nested(&paths.wanted, replicas.unwrap_or(0).into()),
    };
    change["metadata"] = json!({});
    for field in ["resourceVersion", "uid"] {
        let given = json::text(&wanted, &["metadata", field]);
        if !given.is_empty() {
            change["metadata"][field] = given.into();
        }
    }
    let mut written = server.engine().patch(target, kind, &change, &options, server.now())?;
    written.warnings.extend(warnings);
    let scale = scale_of(resource, paths, &written.object)?;
    Ok(respond::warned(context, output, StatusCode::OK, &scale, &written.warnings))
}

/// Refuses what is no scale of this object.
fn check(target: &Target, wanted: &mut Value) -> Result<(), Status> {
    for (field, expected) in [("apiVersion", "autoscaling/v1"), ("kind", "Scale")] {
        match json::text(wanted, &[field]) {
            given if given.is_empty() || given == expected => {}
            given => {
                let what = if field == "kind" { "kind" } else { "API version" };
                return Err(Status::bad_request(format!(
                    "the {what} in the data ({given}) does not match the expected {what} ({expected})"
                )));
            }
        }
    }
    let name = json::name(wanted);
    if !name.is_empty() && name != target.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    let replicas = json::at(wanted, &["spec", "replicas"]).cloned().unwrap_or(Value::Null);
    if !replicas.is_null() && replicas.as_i64().and_then(|n| i32::try_from(n).ok()).is_none() {
        return Err(Status::bad_request(format!(
            "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal {} into Go struct field \
             ScaleSpec.spec.replicas of type int32",
            go_type(&replicas)
        )));
    }
    if replicas.as_i64().is_some_and(|n| n < 0) {
        let cause = Cause::new(
            "FieldValueInvalid",
            "spec.replicas",
            format!("Invalid value: {replicas}: must be greater than or equal to 0"),
        );
        return Err(Status::invalid(SCALE, &target.name, &[cause]));
    }
    Ok(())
}

/// A value as Go's decoder names it in its complaints.
fn go_type(value: &Value) -> String {
    match value {
        Value::String(_) => "string".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Number(number) => format!("number {number}"),
        _ => "object".to_owned(),
    }
}

/// An object with one value at a path.
fn nested(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| Value::Object(Map::from_iter([(key.clone(), inner)])))
}

fn found<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key)).filter(|value| !value.is_null())
}

fn scale_of(resource: &ResourceType, paths: &ScalePaths, object: &Value) -> Result<Value, Status> {
    let m = &object["metadata"];
    let replicas = |path: &[String]| found(object, path).and_then(Value::as_i64);
    let wanted = replicas(&paths.wanted);
    if wanted.is_none() && resource.custom() {
        let why = format!("the spec replicas field \".{}\" does not exist", paths.wanted.join("."));
        let mut status = Status::new(500, "InternalError", format!("Internal error occurred: {why}"));
        status.details = Some(Box::new(json!({"causes": [{"message": why}]})));
        return Err(status);
    }
    let selector = match paths.selector.as_ref().and_then(|path| found(object, path)) {
        Some(Value::String(text)) => text.clone(),
        Some(selector) if resource.built_in => selector_text(selector),
        _ => String::new(),
    };
    let mut scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": m["name"], "namespace": m["namespace"], "uid": m["uid"], "resourceVersion": m["resourceVersion"], "creationTimestamp": m["creationTimestamp"]},
        "spec": {}, "status": {"replicas": replicas(&paths.observed).unwrap_or(0)}});
    if m.get("namespace").is_none() {
        json::child_map(&mut scale, "metadata").shift_remove("namespace");
    }
    // Zeros are left out, as by Go's encoder; the status has none that may be.
    if let Some(wanted) = wanted.filter(|n| *n != 0) {
        scale["spec"]["replicas"] = wanted.into();
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    Ok(scale)
}

/// A selector in the form of a query parameter, requirements sorted by key.
fn selector_text(selector: &Value) -> String {
    let plain = |labels: &Map<String, Value>| -> Vec<(String, String)> {
        labels.iter().map(|(k, v)| (k.clone(), format!("{k}={}", v.as_str().unwrap_or("")))).collect()
    };
    let is_new = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let labels = if is_new { json::map(selector, &["matchLabels"]) } else { selector.as_object() };
    let mut parts = labels.map(plain).unwrap_or_default();
    for expression in json::list(selector, &["matchExpressions"]) {
        let key = json::text(expression, &["key"]);
        let mut values: Vec<&str> =
            json::list(expression, &["values"]).iter().map(|v| v.as_str().unwrap_or("")).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match json::text(expression, &["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort();
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_becomes_the_text_that_a_query_takes() {
        let selector = json!({"matchLabels": {"b": "1"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["y", "x"]}, {"key": "a", "operator": "DoesNotExist"},
            {"key": "d", "operator": "Exists"}, {"key": "e", "operator": "NotIn", "values": ["z"]}]});
        assert_eq!(selector_text(&selector), "!a,b=1,c in (x,y),d,e notin (z)");
        assert_eq!(selector_text(&json!({"app": "old"})), "app=old");
        assert!(crate::selectors::LabelSelector::parse(&selector_text(&selector)).is_ok());
    }
}
