//! The steps of the handler chain that ask who and whether: authentication, impersonation, authorisation.

use http::HeaderMap;

use super::{
    Connection, UserInfo,
    rbac::{Attributes, On},
    user::{AUTHENTICATED, UNAUTHENTICATED},
};
use crate::{
    engine::{Engine, Target},
    faults::RequestInfo,
    server::ApiServer,
    status::Status,
};

/// Most headers that name groups or extra values of somebody to act as.
const IMPERSONATION_HEADERS_MAX: usize = 1000;

/// 401 as the server says it: without a reason for outsiders to learn from.
fn unauthorized() -> Status {
    Status::new(401, "Unauthorized", "Unauthorized")
}

/// Who makes a request.
///
/// # Errors
/// 401 for credentials that are not good, or none where they are needed.
pub(crate) fn authenticate(
    server: &ApiServer,
    headers: &HeaderMap,
    connection: Option<&Connection>,
) -> Result<UserInfo, Status> {
    let authorization = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("");
    if authorization.is_empty() && connection.is_none() {
        return Ok(UserInfo::admin());
    }
    let engine = server.engine();
    server.access().authenticate(&engine, connection, authorization, sim_clock::now()).ok_or_else(unauthorized)
}

/// 403 in the server's words.
pub(crate) fn forbidden(user: &UserInfo, asked: &Attributes<'_>, reason: &str) -> Status {
    let tail = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let name = &user.name;
    let clean = |text: String| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let verb = asked.verb;
    match asked.on {
        On::Path(path) => {
            let text = clean(format!("User {name:?} cannot {verb} path {path:?}"));
            let mut status = Status::new(403, "Forbidden", format!("forbidden: {text}{tail}"));
            status.details = Some(Box::new(serde_json::json!({})));
            status
        }
        On::Resource { group, resource, subresource, namespace, name: object } => {
            let what = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
            let place = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {namespace:?}")
            };
            let text = clean(format!("User {name:?} cannot {verb} resource {what:?} in API group {group:?} {place}"));
            let about = crate::status::About { group, plural: resource, kind: resource };
            let mut status = Status::forbidden(about, object, &format!("{text}{tail}"));
            if object.is_empty() {
                // The real text has no empty quotes for a collection.
                status.message = format!("{} is forbidden: {text}{tail}", about.qualified());
            }
            status
        }
    }
}

/// Whether a user may.
///
/// # Errors
/// 403 in the server's words.
pub(crate) fn authorize(server: &ApiServer, user: &UserInfo, asked: &Attributes<'_>) -> Result<(), Status> {
    let decision = server.access().decide(&mut server.engine(), user, asked, true);
    if decision.allowed() { Ok(()) } else { Err(forbidden(user, asked, decision.reason())) }
}

/// Whether a user whose update or patch would make a new object may create it. The server asks this late, when it knows,
/// and refuses in other words than before the request.
///
/// # Errors
/// 403.
pub(crate) fn authorize_creation(
    server: &ApiServer,
    engine: &mut Engine,
    user: &UserInfo,
    target: &Target,
) -> Result<(), Status> {
    let resource = &*target.resource;
    let asked = Attributes::resource("create", &resource.group, &resource.plural, &target.namespace, &target.name);
    let decision = server.access().decide(engine, user, &asked, true);
    if decision.allowed() { Ok(()) } else { Err(Status::forbidden(resource.about(), &target.name, decision.reason())) }
}

/// What a request asks for, as authorisation sees it.
pub(crate) fn attributes(info: &RequestInfo) -> Attributes<'_> {
    if info.resource.is_empty() {
        return Attributes::path(info.verb, &info.path);
    }
    let on = On::Resource {
        group: &info.group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
    };
    Attributes { verb: info.verb, on }
}

/// The user somebody acts as by `Impersonate-…` headers, or the user itself.
///
/// # Errors
/// 403 if that is not granted; 500 for groups without a user, as the real server answers.
pub(crate) fn impersonate(server: &ApiServer, headers: &HeaderMap, user: UserInfo) -> Result<UserInfo, Status> {
    let all = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|v| v.to_str().ok().map(str::to_owned)).collect()
    };
    let wanted = all("impersonate-user").into_iter().next().unwrap_or_default();
    let uid = all("impersonate-uid").into_iter().next().unwrap_or_default();
    let groups = all("impersonate-group");
    let mut extra: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix("impersonate-extra-")
            && let Ok(value) = value.to_str()
        {
            extra.push((unescape(key).to_ascii_lowercase(), value.to_owned()));
        }
    }
    if groups.len() + extra.len() > IMPERSONATION_HEADERS_MAX {
        return Err(Status::bad_request("too many impersonation headers"));
    }
    if wanted.is_empty() {
        if groups.is_empty() && extra.is_empty() && uid.is_empty() {
            return Ok(user);
        }
        return Err(Status::new(500, "InternalError", "requested impersonation without impersonating a user"));
    }
    let account = wanted.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let may = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let on = On::Resource { group, resource, subresource, namespace, name };
        authorize(server, &user, &Attributes { verb: "impersonate", on })
    };
    match account {
        Some((namespace, name)) => may("", "serviceaccounts", "", namespace, name)?,
        None => may("", "users", "", "", &wanted)?,
    }
    for group in &groups {
        may("", "groups", "", "", group)?;
    }
    for (key, value) in &extra {
        may("authentication.k8s.io", "userextras", key, "", value)?;
    }
    if !uid.is_empty() {
        may("authentication.k8s.io", "uids", "", "", &uid)?;
    }
    let mut acting = match account {
        Some((namespace, name)) if groups.is_empty() => {
            UserInfo { uid, ..UserInfo::service_account(namespace, name, "") }
        }
        _ => UserInfo { name: wanted.clone(), uid, groups, ..UserInfo::default() },
    };
    let missing = if wanted == "system:anonymous" { UNAUTHENTICATED } else { AUTHENTICATED };
    if !acting.belongs(AUTHENTICATED) && !acting.belongs(UNAUTHENTICATED) {
        acting.groups.push(missing.to_owned());
    }
    for (key, value) in extra {
        acting.extra.entry(key).or_default().push(value);
    }
    Ok(acting)
}

/// A header's name may carry characters that headers cannot, percent-encoded.
fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'%').then(|| tail.get(..2).and_then(|h| std::str::from_utf8(h).ok())).flatten();
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
