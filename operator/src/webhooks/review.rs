//! `admission.k8s.io/v1` `AdmissionReview`: what is asked, and what is answered.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

use super::WebhookError;

/// Why a body is no review.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// No JSON.
    #[error("the body is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Something else than a review of this version.
    #[error("the body is {0}, not admission.k8s.io/v1 AdmissionReview with a request")]
    Other(String),
}

/// What is asked. The objects stay as they came: as trees of JSON values they would take many times the room, and of most reviews only
/// their names are asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The request's own id, which the answer repeats.
    pub uid: String,
    /// `CREATE`, `UPDATE` or `DELETE`.
    pub operation: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name; what it is to begin with where the API server makes one up.
    pub name: String,
    /// Who asks.
    pub user: String,
    object: Option<Box<RawValue>>,
    old_object: Option<Box<RawValue>>,
    annotations: BTreeMap<String, String>,
}

/// `AdmissionReview`, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    #[serde(default, borrow)]
    api_version: Cow<'a, str>,
    #[serde(default, borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    user_info: UserInfo,
    #[serde(default, borrow)]
    object: Option<&'a RawValue>,
    #[serde(default, borrow)]
    old_object: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct UserInfo {
    #[serde(default)]
    username: String,
}

/// Of an object only how it is called, and what is noted on it.
#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    metadata: NamedMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedMeta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    generate_name: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Named {
    fn of(object: Option<&RawValue>) -> NamedMeta {
        object.and_then(|object| serde_json::from_str::<Self>(object.get()).ok()).unwrap_or_default().metadata
    }
}

impl Ask {
    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, ReviewError> {
        let review: Review<'_> = serde_json::from_slice(body)?;
        let shown = format!("{} {}", review.api_version, review.kind);
        let request = review.request.filter(|request| !request.uid.is_empty());
        let Some(request) = request.filter(|_| shown == "admission.k8s.io/v1 AdmissionReview") else {
            return Err(ReviewError::Other(format!("{:?}", shown.trim())));
        };
        let (object, old) = (Named::of(request.object), Named::of(request.old_object));
        // A deletion of a whole collection names no object: each review has the one that it is about as the old one.
        let names = [request.name, object.name, old.name, object.generate_name];
        let kept = |object: Option<&RawValue>| object.filter(|object| object.get() != "null").map(RawValue::to_owned);
        Ok(Self {
            uid: request.uid,
            operation: request.operation,
            namespace: request.namespace,
            name: names.into_iter().find(|name| !name.is_empty()).unwrap_or_default(),
            user: request.user_info.username,
            object: kept(request.object),
            old_object: kept(request.old_object),
            annotations: object.annotations.unwrap_or_default(),
        })
    }

    /// The object as it is to be.
    pub fn object<K: DeserializeOwned>(&self, kind: &'static str) -> Result<K, WebhookError> {
        let text = self.object.as_ref().map_or("null", |object| object.get());
        serde_json::from_str(text).map_err(|source| WebhookError::Object { kind, source })
    }

    /// The object as it is; nothing where there is none (that can be read).
    pub fn old_object<K: DeserializeOwned>(&self) -> Option<K> {
        serde_json::from_str(self.old_object.as_ref()?.get()).ok()
    }

    /// The annotations of the object as it is to be.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    refusal: Option<(u16, &'static str, String)>,
    patch: Vec<Value>,
    warnings: Vec<String>,
}

impl Verdict {
    /// Yes.
    pub fn allowed() -> Self {
        Self::default()
    }

    /// No.
    pub fn refused(error: &WebhookError) -> Self {
        let (code, reason) = match error {
            WebhookError::Object { .. } => (400, "BadRequest"),
            WebhookError::Api(_) => (500, "InternalError"),
            WebhookError::Late(_) => (504, "Timeout"),
            WebhookError::Invalid(_) => (422, "Invalid"),
            WebhookError::Forbidden(_) => (403, "Forbidden"),
        };
        Self { refusal: Some((code, reason, error.to_string())), ..Self::default() }
    }

    /// Yes, with something to say.
    pub fn warning(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// Replaces a part of the object, or adds it.
    pub fn replace(&mut self, path: &str, value: &impl Serialize) {
        // What came as JSON goes as JSON.
        if let Ok(value) = serde_json::to_value(value) {
            self.patch.push(json!({"op": "add", "path": path, "value": value}));
        }
    }

    /// The review that answers the one with this id.
    pub fn review(&self, uid: &str) -> Value {
        let mut response = json!({"uid": uid, "allowed": self.refusal.is_none()});
        if let Some((code, reason, message)) = &self.refusal {
            response["status"] = json!({"code": code, "reason": reason, "message": message});
        }
        if self.refusal.is_none() && !self.patch.is_empty() {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(BASE64.encode(Value::from(self.patch.clone()).to_string()));
        }
        if !self.warnings.is_empty() {
            response["warnings"] = json!(self.warnings);
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_review_with_a_request_is_read() {
        for body in ["", "{", "[]", "{}", r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#] {
            assert!(Ask::read(body.as_bytes()).is_err(), "{body}");
        }
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u", "operation": "CREATE", "namespace": "n", "userInfo": {"username": "me"},
            "object": {"metadata": {"generateName": "a-", "annotations": {"x": "y"}}}, "oldObject": null}});
        let ask = Ask::read(body.to_string().as_bytes()).unwrap();
        assert_eq!((ask.name.as_str(), ask.user.as_str()), ("a-", "me"));
        assert_eq!(ask.annotations()["x"], "y");
        assert!(ask.old_object::<crate::api::MultigresCluster>().is_none());
    }

    #[test]
    fn of_a_collection_that_is_deleted_each_object_is_known_by_its_own_name() {
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u", "operation": "DELETE", "namespace": "n", "object": null, "oldObject": {"metadata": {"name": "small"}}}});
        assert_eq!(Ask::read(body.to_string().as_bytes()).unwrap().name, "small");
    }

    #[test]
    fn a_refusal_carries_no_patch_and_has_a_code() {
        let mut verdict = Verdict::refused(&WebhookError::Invalid(vec!["a".into(), "b".into()]));
        verdict.replace("/spec", &json!({}));
        let response = &verdict.review("u")["response"];
        assert_eq!(response["allowed"], false);
        assert_eq!(response["status"], json!({"code": 422, "reason": "Invalid", "message": "a; b"}));
        assert!(response.get("patch").is_none());
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Ask::read(&body);
        }
    }
}
