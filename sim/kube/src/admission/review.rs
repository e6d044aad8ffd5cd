//! `admission.k8s.io/v1` `AdmissionReview`: what a webhook is asked, and what its answer means.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::{Attributes, Part, webhook::Phase};
use crate::{engine::Object, json, resources::ResourceType, status::Status};

/// What a webhook said.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The refusal, if it refused.
    pub refusal: Option<Status>,
    /// A JSON patch (mutating webhooks only).
    pub patch: Option<Value>,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

fn kind_of(resource: &ResourceType) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

fn resource_of(resource: &ResourceType) -> Value {
    json!({"group": resource.group, "version": resource.version, "resource": resource.plural})
}

/// The request's body; `seen_as` is the version that the webhook's rules name.
pub(super) fn request(
    uid: &str,
    request: &Attributes<'_>,
    seen_as: &ResourceType,
    object: Option<Value>,
    old: Option<&Object>,
) -> Value {
    let target = &request.target;
    let user = request.user;
    let mut info = Map::new();
    info.insert("username".into(), user.name.clone().into());
    if !user.uid.is_empty() {
        info.insert("uid".into(), user.uid.clone().into());
    }
    if !user.groups.is_empty() {
        info.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        info.insert("extra".into(), json!(user.extra));
    }
    let mut body = Map::new();
    body.insert("uid".into(), uid.into());
    let kind = |resource: &ResourceType| request.part.map_or_else(|| kind_of(resource), Part::shown);
    body.insert("kind".into(), kind(seen_as));
    body.insert("resource".into(), resource_of(seen_as));
    if !target.subresource.is_empty() {
        body.insert("subResource".into(), target.subresource.clone().into());
    }
    body.insert("requestKind".into(), kind(&target.resource));
    body.insert("requestResource".into(), resource_of(&target.resource));
    if !target.subresource.is_empty() {
        body.insert("requestSubResource".into(), target.subresource.clone().into());
    }
    if !target.name.is_empty() {
        body.insert("name".into(), target.name.clone().into());
    }
    // A namespace is in itself, as far as admission is concerned.
    let namespace = if target.resource.kind == "Namespace" { &target.name } else { &target.namespace };
    if !namespace.is_empty() {
        body.insert("namespace".into(), namespace.clone().into());
    }
    body.insert("operation".into(), request.operation.as_str().into());
    body.insert("userInfo".into(), Value::Object(info));
    body.insert("object".into(), object.unwrap_or(Value::Null));
    body.insert(
        "oldObject".into(),
        old.map_or(Value::Null, |old| match request.part {
            Some(_) => old.to_value(),
            None => crate::engine::view(seen_as, old.clone()).to_value(),
        }),
    );
    body.insert("dryRun".into(), request.dry_run.into());
    body.insert("options".into(), request.options.clone());
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": body})
}

/// Reads a webhook's answer.
///
/// # Errors
/// Why it is none, in the real server's words: the call then counts as failed.
pub(super) fn answer(webhook: &str, phase: Phase, uid: &str, body: &[u8]) -> Result<Answer, String> {
    let invalid = |why: String| format!("received invalid webhook response: {why}");
    let review: Value = serde_json::from_slice(body).map_err(|e| {
        // What client-go says of a body that is no object; the position is ours.
        format!("failed to call webhook: couldn't get version/kind; json parse error: {e}")
    })?;
    let (version, kind) = (json::text(&review, &["apiVersion"]), json::text(&review, &["kind"]));
    if kind.is_empty() {
        return Err("failed to call webhook: Object 'Kind' is missing in '".to_owned()
            + &String::from_utf8_lossy(body)
            + "'");
    }
    let response = review.get("response").filter(|r| r.is_object());
    let Some(response) = response else { return Err(invalid("webhook response was absent".into())) };
    let given = json::text(response, &["uid"]);
    if given != uid {
        return Err(invalid(format!("expected response.uid={uid:?}, got {given:?}")));
    }
    if (version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
        return Err(invalid(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {version}, Kind={kind}"
        )));
    }
    let patch = json::text(response, &["patch"]);
    let patch_type = json::at(response, &["patchType"]).filter(|t| !t.is_null()).and_then(Value::as_str);
    let patch = match (phase, patch, patch_type) {
        (_, "", None) => None,
        (Phase::Validating, p, _) if !p.is_empty() => {
            return Err(invalid("validating webhook may not return response.patch".into()));
        }
        (Phase::Validating, ..) => return Err(invalid("validating webhook may not return response.patchType".into())),
        (_, _, None) => return Err(invalid("webhook returned response.patch but not response.patchType".into())),
        (_, "", Some(_)) => {
            return Err(invalid("webhook returned response.patchType but not response.patch".into()));
        }
        (_, _, Some(other)) if other != "JSONPatch" => {
            return Err(invalid(format!("webhook returned invalid response.patchType of {other:?}")));
        }
        (_, text, _) => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|e| invalid(format!("illegal base64 data: {e}")))?;
            Some(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
        }
    };
    let warnings = json::list(response, &["warnings"]).iter().filter_map(|w| w.as_str().map(str::to_owned)).collect();
    let allowed = response.get("allowed") == Some(&Value::Bool(true));
    let refusal = (!allowed).then(|| refusal(webhook, response.get("status").unwrap_or(&Value::Null)));
    Ok(Answer { refusal, patch, warnings })
}

/// The status a refusal becomes: never below 400, its text under the webhook's name.
fn refusal(webhook: &str, status: &Value) -> Status {
    let denied = format!("admission webhook \"{webhook}\" denied the request");
    let (message, reason) = (json::text(status, &["message"]), json::text(status, &["reason"]));
    let text = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = json::int(status, &["code"]).and_then(|c| u16::try_from(c).ok()).filter(|c| (400..600).contains(c));
    let mut refusal = Status::new(code.unwrap_or(400), reason, text);
    refusal.details = status.get("details").filter(|d| d.is_object()).map(|d| Box::new(d.clone()));
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(phase: Phase, response: Value) -> Result<Answer, String> {
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        answer("a.b.c", phase, "u", body.to_string().as_bytes())
    }

    #[test]
    fn a_refusal_says_who_and_why_and_is_never_a_success() {
        let cases = [
            (json!({}), 400, "", "admission webhook \"a.b.c\" denied the request without explanation"),
            (json!({"code": 200, "message": "no"}), 400, "", "admission webhook \"a.b.c\" denied the request: no"),
            (
                json!({"code": 403, "reason": "Forbidden"}),
                403,
                "Forbidden",
                "admission webhook \"a.b.c\" denied the request: Forbidden",
            ),
            (
                json!({"code": 422, "reason": "Invalid", "message": "bad"}),
                422,
                "Invalid",
                "admission webhook \"a.b.c\" denied the request: bad",
            ),
        ];
        for (status, code, reason, message) in cases {
            let answer = read(Phase::Validating, json!({"uid": "u", "allowed": false, "status": status})).unwrap();
            let refusal = answer.refusal.unwrap();
            assert_eq!((refusal.code, refusal.reason.as_str(), refusal.message.as_str()), (code, reason, message));
        }
    }

    #[test]
    fn an_answer_that_is_none_is_named() {
        let m = |r: Value| read(Phase::Mutating, r).unwrap_err();
        let v = |r: Value| read(Phase::Validating, r).unwrap_err();
        let invalid = "received invalid webhook response: ";
        assert_eq!(m(Value::Null), format!("{invalid}webhook response was absent"));
        assert_eq!(m(json!({"uid": "x"})), format!("{invalid}expected response.uid=\"u\", got \"x\""));
        assert_eq!(
            m(json!({"uid": "u", "allowed": true, "patch": "W10="})),
            format!("{invalid}webhook returned response.patch but not response.patchType")
        );
        assert_eq!(
            m(json!({"uid": "u", "allowed": true, "patchType": "JSONPatch"})),
            format!("{invalid}webhook returned response.patchType but not response.patch")
        );
        assert_eq!(
            m(json!({"uid": "u", "allowed": true, "patchType": "X", "patch": "W10="})),
            format!("{invalid}webhook returned invalid response.patchType of \"X\"")
        );
        assert_eq!(
            v(json!({"uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": "W10="})),
            format!("{invalid}validating webhook may not return response.patch")
        );
        let other =
            json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "response": {"uid": "u"}});
        assert_eq!(
            answer("a", Phase::Mutating, "u", other.to_string().as_bytes()).unwrap_err(),
            format!(
                "{invalid}expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview"
            )
        );
    }
}
