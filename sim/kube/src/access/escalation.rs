//! Nobody grants by roles and bindings what they do not hold themselves, unless they may `escalate` or `bind`.

use serde_json::Value;

use super::{
    Authorization, UserInfo,
    rbac::{Attributes, On, Rule, missing, quoted},
    user::MASTERS,
};
use crate::{
    engine::{Engine, Plan},
    json,
    server::ApiServer,
    status::{About, Status},
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Judges what a write that is about to be committed would store.
///
/// # Errors
/// 403 naming what the user does not hold; 404 for a binding to a role that does not exist.
pub(crate) fn check(server: &ApiServer, engine: &mut Engine, user: &UserInfo, plan: &Plan) -> Result<(), Status> {
    let target = &plan.target;
    if target.resource.group != GROUP || user.belongs(MASTERS) || server.access().mode() != Authorization::Rbac {
        return Ok(());
    }
    let (old, new) = (plan.live.as_deref(), plan.object());
    let access = server.access();
    let name = json::name(new);
    let same = |key: &str| old.is_some_and(|old| old.get(key) == new.get(key));
    let wanted = match target.resource.kind.as_str() {
        "Role" | "ClusterRole" => {
            if same("rules") && same("aggregationRule") {
                return Ok(());
            }
            let asked = Attributes::resource("escalate", GROUP, &target.resource.plural, &target.namespace, name);
            if access.decide(engine, user, &asked, true).allowed() {
                return Ok(());
            }
            let mut rules: Vec<Rule> = json::list(new, &["rules"]).iter().map(Rule::of).collect();
            if new.get("aggregationRule").is_some_and(Value::is_object) {
                // Whoever aggregates may come to hold anything.
                let all = || vec!["*".to_owned()];
                rules = vec![
                    Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
                    Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
                ];
            }
            rules
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            if same("roleRef") && same("subjects") {
                return Ok(());
            }
            let role = json::text(new, &["roleRef", "name"]);
            let cluster = json::text(new, &["roleRef", "kind"]) == "ClusterRole";
            let (plural, home) = if cluster { ("clusterroles", "") } else { ("roles", target.namespace.as_str()) };
            let on = On::Resource {
                group: GROUP,
                resource: plural,
                subresource: "",
                namespace: &target.namespace,
                name: role,
            };
            if access.decide(engine, user, &Attributes { verb: "bind", on }, true).allowed() {
                return Ok(());
            }
            let about = About { group: GROUP, plural, kind: "" };
            access.rules_of(engine, home, role).ok_or_else(|| Status::not_found(about, role))?
        }
        _ => return Ok(()),
    };
    let (held, errors) = access.rules_for(engine, user, &target.namespace);
    let lacking = missing(&held, &wanted);
    if lacking.is_empty() {
        return Ok(());
    }
    let mut why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        lacking.join("\n")
    );
    if !errors.is_empty() {
        why.push_str(&format!("; resolution errors: [{}]", errors.join(", ")));
    }
    Err(Status::forbidden(target.resource.about(), name, &why))
}
