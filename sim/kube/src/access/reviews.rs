//! Reviews: questions about users and rights, answered from values to values.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sim_clock::{Timestamp, now};

use super::{
    Access, UserInfo,
    rbac::{Attributes, On, Rule},
    tokens::{Claims, ISSUER},
    user::MASTERS,
};
use crate::{
    engine::Engine,
    json,
    server::ApiServer,
    status::{About, Cause, Status},
};

/// Shortest life of a token that may be asked for, in seconds.
const TOKEN_SECONDS_MIN: i64 = 600;
/// Longest life of a token that may be asked for, in seconds.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
/// The life of a token whose request names none, in seconds.
const TOKEN_SECONDS_DEFAULT: i64 = 3600;

const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// A user as reviews write it.
pub(crate) fn user_value(user: &UserInfo) -> Value {
    let mut out = json!({"username": user.name});
    if !user.uid.is_empty() {
        out["uid"] = user.uid.clone().into();
    }
    if !user.groups.is_empty() {
        out["groups"] = user.groups.clone().into();
    }
    if !user.extra.is_empty() {
        out["extra"] = json!(user.extra);
    }
    out
}

fn strings(value: &Value, path: &[&str]) -> Vec<String> {
    json::list(value, path).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn answered(review: &Value, kind: &str, group: &str, status: Value) -> Value {
    let metadata = review.get("metadata").filter(|m| m.is_object()).cloned().unwrap_or_else(|| json!({}));
    let mut out = json!({"kind": kind, "apiVersion": format!("{group}/v1"), "metadata": metadata});
    if let Some(spec) = review.get("spec") {
        out["spec"] = spec.clone();
    }
    out["status"] = status;
    out
}

fn invalid(group: &str, kind: &str, causes: &[Cause]) -> Status {
    Status::invalid(About { group, plural: "", kind }, "", causes)
}

/// `TokenReview`.
///
/// # Errors
/// 400 without a token.
pub(crate) fn token_review(server: &ApiServer, review: &Value) -> Result<Value, Status> {
    let token = json::text(review, &["spec", "token"]);
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let mut audiences = strings(review, &["spec", "audiences"]);
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let status = match server.access().token(&server.engine(), token, &audiences, now()) {
        Ok((user, shared)) => json!({"authenticated": true, "user": user_value(&user), "audiences": shared}),
        Err(refused) => json!({"user": {}, "error": refused.message()}),
    };
    Ok(answered(review, "TokenReview", AUTHENTICATION, status))
}

/// `SelfSubjectReview`: who am I.
pub(crate) fn self_subject_review(user: &UserInfo, review: &Value) -> Value {
    let mut out = answered(review, "SelfSubjectReview", AUTHENTICATION, json!({"userInfo": user_value(user)}));
    json::ensure_map(&mut out).shift_remove("spec");
    out
}

/// Which access review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessReview<'a> {
    /// `SubjectAccessReview`.
    Subject,
    /// `SelfSubjectAccessReview` of this user.
    Own(&'a UserInfo),
    /// `LocalSubjectAccessReview` in this namespace.
    Local(&'a str),
}

impl AccessReview<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Subject => "SubjectAccessReview",
            Self::Own(_) => "SelfSubjectAccessReview",
            Self::Local(_) => "LocalSubjectAccessReview",
        }
    }
}

/// The access reviews: may this user do that?
///
/// # Errors
/// 422 for a review that asks about nothing, about two things, or about nobody.
pub(crate) fn access_review(server: &ApiServer, which: AccessReview<'_>, review: &Value) -> Result<Value, Status> {
    let kind = which.kind();
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut causes = Vec::new();
    let mut cause = |field: &str, message: &str| causes.push(Cause::new("FieldValueInvalid", field, message));
    match (resource.is_object(), path.is_object()) {
        (true, true) => cause(
            "spec.nonResourceAttributes",
            &format!("Invalid value: {path}: cannot be specified in combination with resourceAttributes"),
        ),
        (false, false) => cause(
            "spec.resourceAttributes",
            "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        _ => {}
    }
    let asked_user = UserInfo {
        name: json::text(spec, &["user"]).to_owned(),
        uid: json::text(spec, &["uid"]).to_owned(),
        groups: strings(spec, &["groups"]),
        extra: BTreeMap::new(),
    };
    if !matches!(which, AccessReview::Own(_)) && asked_user.name.is_empty() && asked_user.groups.is_empty() {
        cause("spec.user", "Invalid value: \"\": at least one of user or group must be specified");
    }
    if let AccessReview::Local(namespace) = which {
        if json::text(resource, &["namespace"]) != namespace {
            cause(
                "spec.resourceAttributes.namespace",
                &format!("Invalid value: {:?}: must match metadata.namespace", json::text(resource, &["namespace"])),
            );
        }
        if path.is_object() {
            cause("spec.nonResourceAttributes", &format!("Invalid value: {path}: disallowed on this kind of request"));
        }
    }
    if !causes.is_empty() {
        return Err(invalid(AUTHORIZATION, kind, &causes));
    }
    let user = match which {
        AccessReview::Own(user) => user,
        _ => &asked_user,
    };
    let asked = if resource.is_object() {
        let text = |key: &str| json::text(resource, &[key]);
        let on = On::Resource {
            group: text("group"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
        };
        Attributes { verb: text("verb"), on }
    } else {
        Attributes::path(json::text(path, &["verb"]), json::text(path, &["path"]))
    };
    let decision = server.access().decide(&mut server.engine(), user, &asked, false);
    let mut status = json!({"allowed": decision.allowed()});
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    Ok(answered(review, kind, AUTHORIZATION, status))
}

/// `SelfSubjectRulesReview`: what may I do in this namespace.
///
/// # Errors
/// 400 without a namespace.
pub(crate) fn rules_review(server: &ApiServer, user: &UserInfo, review: &Value) -> Result<Value, Status> {
    let namespace = json::text(review, &["spec", "namespace"]);
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let everything = user.belongs(MASTERS) || server.access().mode() == super::Authorization::AlwaysAllow;
    let all = || vec!["*".to_owned()];
    let mut rules = Vec::new();
    if everything {
        rules.push(Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() });
        rules.push(Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() });
    }
    let (held, errors) = server.access().rules_for(&mut server.engine(), user, namespace);
    rules.extend(held);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in rules {
        let value = |list: &[String]| Value::from(list.to_vec());
        if rule.resources.is_empty() {
            paths.push(json!({"verbs": value(&rule.verbs), "nonResourceURLs": value(&rule.non_resource_urls)}));
        } else {
            let mut out = json!({"verbs": value(&rule.verbs), "apiGroups": value(&rule.api_groups), "resources": value(&rule.resources)});
            if !rule.resource_names.is_empty() {
                out["resourceNames"] = value(&rule.resource_names);
            }
            resources.push(out);
        }
    }
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": !errors.is_empty()});
    if !errors.is_empty() {
        status["evaluationError"] = errors.join(", ").into();
    }
    Ok(answered(review, "SelfSubjectRulesReview", AUTHORIZATION, status))
}

/// `TokenRequest`: the `token` subresource of a service account.
///
/// # Errors
/// 404 without the account or the object to bind to, 409 if that is another of its name, 422 for a life out of bounds.
pub(crate) fn token_request(
    server: &ApiServer,
    namespace: &str,
    name: &str,
    request: &Value,
    now: Timestamp,
) -> Result<Value, Status> {
    let spec = &request["spec"];
    let seconds = json::int(spec, &["expirationSeconds"]).unwrap_or(TOKEN_SECONDS_DEFAULT);
    let out_of_bounds = if seconds < TOKEN_SECONDS_MIN {
        Some("may not specify a duration less than 10 minutes")
    } else if seconds > TOKEN_SECONDS_MAX {
        Some("may not specify a duration larger than 2^32 seconds")
    } else {
        None
    };
    if let Some(why) = out_of_bounds {
        let cause =
            Cause::new("FieldValueInvalid", "spec.expirationSeconds", format!("Invalid value: {seconds}: {why}"));
        return Err(invalid(AUTHENTICATION, "TokenRequest", &[cause]));
    }
    let mut audiences = strings(spec, &["audiences"]);
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let bound = &spec["boundObjectRef"];
    let pod = match json::text(bound, &["kind"]) {
        "" => None,
        "Pod" => Some(json::text(bound, &["name"])),
        other => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {name:?} to type {:?}",
                format!("{other} of this server")
            )));
        }
    };
    let token = issue(
        server.access(),
        &server.engine(),
        namespace,
        name,
        pod,
        json::text(bound, &["uid"]),
        audiences.clone(),
        seconds,
        now,
    )?;
    let mut spec = json!({"audiences": audiences, "expirationSeconds": seconds});
    spec["boundObjectRef"] = if bound.is_object() { bound.clone() } else { Value::Null };
    let expires = (now + std::time::Duration::from_secs(seconds.max(0) as u64)).rfc3339();
    Ok(json!({"kind": "TokenRequest", "apiVersion": format!("{AUTHENTICATION}/v1"),
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": now.rfc3339()},
        "spec": spec, "status": {"token": token, "expirationTimestamp": expires}}))
}

/// Makes a token of a service account, bound to a pod if one is named.
///
/// # Errors
/// 404, 409.
#[expect(clippy::too_many_arguments, reason = "what a token request says, and when")]
pub(crate) fn issue(
    access: &Access,
    engine: &Engine,
    namespace: &str,
    name: &str,
    pod: Option<&str>,
    pod_uid: &str,
    audiences: Vec<String>,
    seconds: i64,
    now: Timestamp,
) -> Result<String, Status> {
    /// The life that the admission plugin asks for; such a token lives on for a year, for clients that never read it again.
    const WARN_ONLY_SECONDS: i64 = 3607;
    const EXTENDED_SECONDS: i64 = 365 * 86_400;
    let about = |plural| About { group: "", plural, kind: "" };
    let account = engine
        .peek("serviceaccounts", namespace, name)
        .cloned()
        .ok_or_else(|| Status::not_found(about("serviceaccounts"), name))?;
    let pod = match pod {
        None => None,
        Some(pod) => {
            let found = engine.peek("pods", namespace, pod).cloned();
            Some(found.ok_or_else(|| Status::not_found(about("pods"), pod))?)
        }
    };
    let mut node = None;
    if let Some(pod) = &pod {
        if !pod_uid.is_empty() && json::uid(pod) != pod_uid {
            let why = format!(
                "the UID in the bound object reference ({pod_uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict(about("pods"), json::name(pod), &why));
        }
        if json::text(pod, &["spec", "serviceAccountName"]) != name {
            let used = json::text(pod, &["spec", "serviceAccountName"]);
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {name:?} to pod running with different serviceaccount name {used:?}."
            )));
        }
        let node_name = json::text(pod, &["spec", "nodeName"]);
        node = engine.peek("nodes", "", node_name).map(|n| (node_name.to_owned(), json::uid(n).to_owned()));
    }
    let extended = pod.is_some() && seconds == WARN_ONLY_SECONDS && audiences == [ISSUER];
    let id = access.token_id();
    let claims = Claims {
        account: &account,
        pod: pod.as_deref(),
        node,
        audiences,
        now,
        seconds: if extended { EXTENDED_SECONDS } else { seconds },
        warn_after: extended.then_some(seconds),
        id,
    };
    Ok(access.signer().issue(&claims))
}
