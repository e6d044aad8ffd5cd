//! `certificatesigningrequests/approval`: the conditions of a request, written by who may approve for its signer.

use serde_json::Value;

use super::RequestContext;
use crate::{access, engine::Target, faults::RequestInfo, json, server::ApiServer, status::Status};

/// Who made a request, as the server fills it into a new one whatever it says.
pub(super) fn sign_off(context: &RequestContext, object: &mut Value) {
    let spec = json::child_map(object, "spec");
    for field in ["username", "uid", "groups", "extra"] {
        spec.shift_remove(field);
    }
    let user = &context.user;
    spec.insert("username".into(), user.name.clone().into());
    if !user.uid.is_empty() {
        spec.insert("uid".into(), user.uid.clone().into());
    }
    if !user.groups.is_empty() {
        spec.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        spec.insert("extra".into(), serde_json::json!(user.extra));
    }
}

/// What a request to the subresource is about: a write of the status, if the user may approve for the signer.
///
/// # Errors
/// 404 without the request, 403 for who may not.
pub(super) fn target(server: &ApiServer, context: &RequestContext, target: &Target) -> Result<Target, Status> {
    let live = server.engine().get(&Target { subresource: String::new(), ..target.clone() })?;
    if !matches!(context.info.verb, "get") {
        let signer = RequestInfo {
            verb: "approve",
            resource: "signers".into(),
            subresource: String::new(),
            name: json::text(&live, &["spec", "signerName"]).to_owned(),
            ..context.info.clone()
        };
        access::authorize(server, &context.user, &access::attributes(&signer))?;
    }
    Ok(Target { subresource: "status".into(), ..target.clone() })
}
