//! What makes pods speak for a service account: admission, the controllers' objects, the projected files.

use serde_json::{Value, json};

use crate::{
    engine::{Engine, Object},
    json,
    status::{About, Status},
};

/// Where containers find their token, the authority and their namespace.
pub const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The account of pods that name none.
pub const DEFAULT_ACCOUNT: &str = "default";
/// The ConfigMap that holds the authority's certificate in every namespace.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// The life of a projected token, in seconds: an hour and a little, by which the server knows that it may extend it.
pub const PROJECTED_TOKEN_SECONDS: i64 = 3607;
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// The admission plugin `ServiceAccount`: names the account, refuses a pod whose account does not exist, mounts its
/// token, and copies its pull secrets.
///
/// # Errors
/// 403 in the server's words.
pub(crate) fn admit_pod(engine: &Engine, namespace: &str, pod: &mut Value) -> Result<(), Status> {
    let shown = match json::name(pod) {
        "" => json::text(pod, &["metadata", "generateName"]).to_owned(),
        name => name.to_owned(),
    };
    let forbidden =
        |why: String| Err(Status::forbidden(About { group: "", plural: "pods", kind: "Pod" }, &shown, &why));
    if json::at(pod, &["metadata", "annotations", MIRROR_POD]).is_some() {
        if !json::text(pod, &["spec", "serviceAccountName"]).is_empty() {
            return forbidden("a mirror pod may not reference service accounts".into());
        }
        return Ok(());
    }
    let account = match json::text(pod, &["spec", "serviceAccountName"]) {
        "" => DEFAULT_ACCOUNT.to_owned(),
        given => given.to_owned(),
    };
    let Some(found) = engine.peek("serviceaccounts", namespace, &account).cloned() else {
        return forbidden(format!(
            "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
        ));
    };
    let seed = format!("{namespace}/{shown}/{}", engine.revision());
    let spec = json::child_map_value(pod, "spec");
    spec["serviceAccountName"] = account.clone().into();
    spec["serviceAccount"] = account.into();
    let wanted = spec["automountServiceAccountToken"].as_bool().or(found["automountServiceAccountToken"].as_bool());
    if wanted.unwrap_or(true) {
        mount(spec, &seed);
    }
    let secrets = &found["imagePullSecrets"];
    if json::list(spec, &["imagePullSecrets"]).is_empty() && secrets.as_array().is_some_and(|s| !s.is_empty()) {
        spec["imagePullSecrets"] = secrets.clone();
    }
    Ok(())
}

/// Five characters of the alphabet of generated names. They follow from what the pod is, not from the server's chance:
/// names and uids of everything else stay what they are without a token.
fn suffix(seed: &str) -> String {
    const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut rest = json::fnv(seed);
    (0..5)
        .map(|_| {
            let at = rest % SAFE.len() as u64;
            rest /= SAFE.len() as u64;
            char::from(SAFE[at as usize])
        })
        .collect()
}

fn mount(spec: &mut Value, seed: &str) {
    let existing = json::list(spec, &["volumes"])
        .iter()
        .map(|v| json::text(v, &["name"]))
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let known = existing.is_some();
    let name = existing.unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", suffix(seed)));
    let mut needed = false;
    for kind in ["initContainers", "containers"] {
        for container in spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
            if json::list(container, &["volumeMounts"]).iter().any(|m| m["mountPath"] == MOUNT_PATH) {
                continue;
            }
            needed = true;
            let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
            match container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                Some(mounts) => mounts.push(mount),
                None => container["volumeMounts"] = json!([mount]),
            }
        }
    }
    if known || !needed {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": PROJECTED_TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    match spec.get_mut("volumes").and_then(Value::as_array_mut) {
        Some(volumes) => volumes.push(volume),
        None => spec["volumes"] = json!([volume]),
    }
}

/// What the service account controller and the publisher of the authority want in a namespace.
pub(crate) fn namespace_contents(namespace: &str, authority_pem: &str) -> [Value; 2] {
    const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT_ACCOUNT, "namespace": namespace}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": ROOT_CA, "namespace": namespace, "annotations": {"kubernetes.io/description": DESCRIPTION}},
            "data": {"ca.crt": authority_pem}}),
    ]
}

/// The rules an aggregated ClusterRole should hold, if they are not those it holds: the union of all it selects, by name.
pub(crate) fn aggregated(engine: &Engine, role: &Value) -> Option<Vec<Value>> {
    let selectors = json::list(role, &["aggregationRule", "clusterRoleSelectors"]);
    if selectors.is_empty() {
        return None;
    }
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        let Some(selector) = crate::selectors::LabelSelector::from_object(Some(selector)) else { continue };
        for other in engine.scan("clusterroles.rbac.authorization.k8s.io", None) {
            if json::name(other) == json::name(role) || !selector.matches(other) {
                continue;
            }
            for rule in json::list(other, &["rules"]) {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    (rules != json::list(role, &["rules"])).then_some(rules)
}

/// One step of the controllers of this module for an object that changed or went: what to create, what to update.
pub(crate) fn step(engine: &Engine, table: &str, object: &Object, authority_pem: &str) -> (Vec<Value>, Vec<Value>) {
    let namespace = json::namespace(object);
    let living = |name: &str| engine.peek("namespaces", "", name).is_some_and(|n| !json::deleting(n));
    let (mut create, mut update) = (Vec::new(), Vec::new());
    match table {
        "serviceaccounts" | "configmaps" => {
            let name = json::name(object);
            if ![DEFAULT_ACCOUNT, ROOT_CA].contains(&name) || !living(namespace) {
                return (create, update);
            }
            for wanted in namespace_contents(namespace, authority_pem) {
                let kind = if wanted["kind"] == "ConfigMap" { "configmaps" } else { "serviceaccounts" };
                match engine.peek(kind, namespace, json::name(&wanted)) {
                    None if kind == table && name == json::name(&wanted) => create.push(wanted),
                    Some(stored) if kind == "configmaps" && table == kind && stored["data"] != wanted["data"] => {
                        let mut next = stored.to_content();
                        next["data"] = wanted["data"].clone();
                        update.push(next);
                    }
                    _ => {}
                }
            }
        }
        _ => {
            for role in engine.scan("clusterroles.rbac.authorization.k8s.io", None) {
                if let Some(rules) = aggregated(engine, role) {
                    let mut next = role.to_content();
                    next["rules"] = rules.into();
                    update.push(next);
                }
            }
        }
    }
    (create, update)
}
