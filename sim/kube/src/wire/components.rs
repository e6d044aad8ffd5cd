//! `componentstatuses`: how the parts of the control plane are. Deprecated since 1.19 and stored nowhere; `kubectl get cs` asks
//! for it still.

use http::Response;
use serde_json::json;
use sim_net::http::Body;

use super::{RequestContext, negotiate::Output, read, respond};
use crate::{
    engine::{ListPage, Object, Target},
    json,
    server::ApiServer,
    status::Status,
};

/// Name, and the port on which its health is asked; none for the store, which is part of this server.
const COMPONENTS: &[(&str, Option<u16>)] =
    &[("controller-manager", Some(10257)), ("etcd-0", None), ("scheduler", Some(10259))];

/// Answers a get or a list.
///
/// # Errors
/// 404 for another name, 405 for a watch, 400 for a selector that cannot be read.
pub(super) fn answer(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
    output: Output,
) -> Result<Response<Body>, Status> {
    if context.params.on("watch") || context.info.verb == "watch" {
        let mut status = Status::method_not_allowed(target.resource.about());
        "watch is not supported on resources of kind \"componentstatuses\"".clone_into(&mut status.message);
        return Err(status);
    }
    let paused = server.kubelet().is_some_and(|kubelet| kubelet.outages.controllers_paused());
    let mut all = COMPONENTS.iter().map(|(name, port)| component(name, port.filter(|_| paused)));
    if !target.name.is_empty() {
        let found = all.find(|object| json::name(object) == target.name);
        let object = found.ok_or_else(|| Status::not_found(target.resource.about(), &target.name))?;
        return respond::object(context, output, target, http::StatusCode::OK, &object, &[]);
    }
    let (labels, fields) = read::selectors(context, target)?;
    let items = all.filter(|object| labels.matches(object) && fields.matches(object)).collect();
    let page = ListPage { revision: 0, items, continue_token: String::new(), remaining: None };
    respond::list(context, output, target, &page)
}

/// One of them; `hangs` is the port of one that does not answer.
fn component(name: &str, hangs: Option<u16>) -> Object {
    let condition = match hangs {
        None => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Some(port) => {
            let text = format!("Get \"https://127.0.0.1:{port}/healthz\": context deadline exceeded");
            json!({"type": "Healthy", "status": "False", "message": text})
        }
    };
    Object::new(
        json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]}),
    )
}
