//! Defaults that the real server fills into built-in kinds, where clients see them.

use serde_json::{Value, json};

use crate::json::{child_map, default_to, ensure_map};

mod kinds;

/// Fills in the defaults of a built-in kind.
pub fn apply(kind: &str, object: &mut Value) {
    match kind {
        "Pod" => {
            if let Some(spec) = object.get_mut("spec") {
                pod_spec(spec);
                default_tolerations(spec);
                default_to(spec, "enableServiceLinks", true);
                default_to(spec, "preemptionPolicy", "PreemptLowerPriority");
                default_to(spec, "priority", 0);
                default_to(spec, "serviceAccountName", "default");
                let account = spec["serviceAccountName"].clone();
                default_to(spec, "serviceAccount", account);
            }
        }
        "Deployment" => deployment(object),
        "ReplicaSet" => {
            if let Some(spec) = object.get_mut("spec") {
                default_to(spec, "replicas", 1);
                template(spec);
            }
        }
        "StatefulSet" => stateful_set(object),
        "DaemonSet" => {
            if let Some(spec) = object.get_mut("spec") {
                default_to(spec, "revisionHistoryLimit", 10);
                default_to(spec, "updateStrategy", json!({}));
                let strategy = &mut spec["updateStrategy"];
                default_to(strategy, "type", "RollingUpdate");
                if strategy["type"] == "RollingUpdate" {
                    default_to(strategy, "rollingUpdate", json!({}));
                    default_to(&mut strategy["rollingUpdate"], "maxUnavailable", 1);
                    default_to(&mut strategy["rollingUpdate"], "maxSurge", 0);
                }
                template(spec);
            }
        }
        "Job" => {
            if let Some(spec) = object.get_mut("spec") {
                if spec.get("parallelism").is_none() && spec.get("completions").is_none() {
                    default_to(spec, "completions", 1);
                }
                default_to(spec, "parallelism", 1);
                default_to(spec, "backoffLimit", 6);
                default_to(spec, "completionMode", "NonIndexed");
                default_to(spec, "suspend", false);
                default_to(spec, "podReplacementPolicy", "TerminatingOrFailed");
                template(spec);
            }
        }
        "Service" => service(object),
        "PersistentVolumeClaim" => {
            if let Some(spec) = object.get_mut("spec") {
                default_to(spec, "volumeMode", "Filesystem");
                default_to(spec, "storageClassName", "standard");
            }
        }
        "Secret" => {
            default_to(object, "type", "Opaque");
            string_data(object);
        }
        "Namespace" => {
            let name = crate::json::name(object).to_owned();
            let metadata = object.get_mut("metadata").map(ensure_map);
            if let Some(metadata) = metadata {
                let labels = ensure_map(metadata.entry("labels").or_insert_with(|| json!({})));
                labels.insert("kubernetes.io/metadata.name".into(), name.into());
            }
            let spec = child_map(object, "spec");
            spec.entry("finalizers").or_insert_with(|| json!(["kubernetes"]));
        }
        "CustomResourceDefinition" => definition(object),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            let mutating = kind.starts_with('M');
            for webhook in items(object, "webhooks") {
                default_to(webhook, "failurePolicy", "Fail");
                default_to(webhook, "matchPolicy", "Equivalent");
                default_to(webhook, "namespaceSelector", json!({}));
                default_to(webhook, "objectSelector", json!({}));
                default_to(webhook, "timeoutSeconds", 10);
                if mutating {
                    default_to(webhook, "reinvocationPolicy", "Never");
                }
                for rule in items(webhook, "rules") {
                    default_to(rule, "scope", "*");
                }
                if let Some(service) = webhook.get_mut("clientConfig").and_then(|c| c.get_mut("service")) {
                    default_to(service, "port", 443);
                }
            }
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            if let Some(role) = object.get_mut("roleRef") {
                default_to(role, "apiGroup", "rbac.authorization.k8s.io");
            }
        }
        "NetworkPolicy" => {
            if let Some(spec) = object.get_mut("spec") {
                let types =
                    if spec.get("egress").is_some() { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
                default_to(spec, "policyTypes", types);
            }
        }
        other => kinds::apply(other, object),
    }
}

/// Five minutes on a node that is not ready or not reachable (the admission plugin `DefaultTolerationSeconds`).
fn default_tolerations(spec: &mut Value) {
    let list = ensure_map(spec).entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    for name in ["not-ready", "unreachable"] {
        let key = format!("node.kubernetes.io/{name}");
        let covered = |t: &Value| {
            let (k, effect) = (crate::json::text(t, &["key"]), crate::json::text(t, &["effect"]));
            (k == key || k.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if !list.iter().any(covered) {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

fn definition(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec") {
        default_to(spec, "conversion", json!({"strategy": "None"}));
        let kind = crate::json::text(spec, &["names", "kind"]).to_owned();
        let names = child_map(spec, "names");
        names.entry("singular").or_insert_with(|| kind.to_ascii_lowercase().into());
        names.entry("listKind").or_insert_with(|| format!("{kind}List").into());
    }
}

/// `stringData` is write-only: merged into `data` as base64.
fn string_data(object: &mut Value) {
    use base64::Engine as _;
    if let Some(Value::Object(strings)) = ensure_map(object).shift_remove("stringData") {
        let data = child_map(object, "data");
        for (key, value) in strings {
            data.insert(key, base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or("")).into());
        }
    }
}

fn deployment(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    default_to(spec, "replicas", 1);
    default_to(spec, "revisionHistoryLimit", 10);
    default_to(spec, "progressDeadlineSeconds", 600);
    default_to(spec, "strategy", json!({}));
    let strategy = &mut spec["strategy"];
    default_to(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        default_to(strategy, "rollingUpdate", json!({}));
        default_to(&mut strategy["rollingUpdate"], "maxUnavailable", "25%");
        default_to(&mut strategy["rollingUpdate"], "maxSurge", "25%");
    }
    template(spec);
}

fn stateful_set(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    default_to(spec, "replicas", 1);
    default_to(spec, "revisionHistoryLimit", 10);
    default_to(spec, "podManagementPolicy", "OrderedReady");
    default_to(spec, "updateStrategy", json!({}));
    let strategy = &mut spec["updateStrategy"];
    default_to(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        default_to(strategy, "rollingUpdate", json!({}));
        default_to(&mut strategy["rollingUpdate"], "partition", 0);
    }
    default_to(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    let policy = &mut spec["persistentVolumeClaimRetentionPolicy"];
    default_to(policy, "whenDeleted", "Retain");
    default_to(policy, "whenScaled", "Retain");
    for claim in items(spec, "volumeClaimTemplates") {
        default_to(claim, "apiVersion", "v1");
        default_to(claim, "kind", "PersistentVolumeClaim");
        default_to(claim, "status", json!({"phase": "Pending"}));
        if let Some(inner) = claim.get_mut("spec") {
            default_to(inner, "volumeMode", "Filesystem");
        }
    }
    template(spec);
}

fn items<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter(|v| v.is_object())
}

fn service(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    default_to(spec, "type", "ClusterIP");
    if spec["type"] == "ExternalName" {
        return;
    }
    default_to(spec, "sessionAffinity", "None");
    default_to(spec, "internalTrafficPolicy", "Cluster");
    default_to(spec, "ipFamilyPolicy", "SingleStack");
    default_to(spec, "ipFamilies", json!(["IPv4"]));
    for port in items(spec, "ports") {
        default_to(port, "protocol", "TCP");
        let own = port.get("port").cloned().unwrap_or(Value::Null);
        default_to(port, "targetPort", own);
    }
}

fn template(spec: &mut Value) {
    if let Some(inner) = spec.get_mut("template").and_then(|t| t.get_mut("spec")) {
        pod_spec(inner);
        if let Some(account) = inner.get("serviceAccountName").cloned() {
            default_to(inner, "serviceAccount", account);
        }
    }
}

fn pod_spec(spec: &mut Value) {
    default_to(spec, "restartPolicy", "Always");
    default_to(spec, "dnsPolicy", "ClusterFirst");
    default_to(spec, "terminationGracePeriodSeconds", 30);
    default_to(spec, "securityContext", json!({}));
    default_to(spec, "schedulerName", "default-scheduler");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for c in items(spec, list) {
            container(c);
        }
    }
    for volume in items(spec, "volumes") {
        if let Some(projected) = volume.get_mut("projected").filter(|v| v.is_object()) {
            for source in items(projected, "sources") {
                if let Some(token) = source.get_mut("serviceAccountToken").filter(|v| v.is_object()) {
                    default_to(token, "expirationSeconds", 3600);
                }
            }
        }
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if let Some(inner) = volume.get_mut(source).filter(|v| v.is_object()) {
                default_to(inner, "defaultMode", 420);
            }
        }
        if let Some(path) = volume.get_mut("hostPath").filter(|v| v.is_object()) {
            default_to(path, "type", "");
        }
    }
}

fn container(c: &mut Value) {
    default_to(c, "terminationMessagePath", "/dev/termination-log");
    default_to(c, "terminationMessagePolicy", "File");
    default_to(c, "resources", json!({}));
    let image = crate::json::text(c, &["image"]).to_owned();
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    let latest = !image.contains('@') && tag.is_none_or(|t| t == "latest");
    default_to(c, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    for port in items(c, "ports") {
        default_to(port, "protocol", "TCP");
    }
    for variable in items(c, "env") {
        if let Some(field) = variable.get_mut("valueFrom").and_then(|v| v.get_mut("fieldRef")) {
            default_to(field, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = c.get_mut(name).filter(|v| v.is_object()) {
            default_to(probe, "timeoutSeconds", 1);
            default_to(probe, "periodSeconds", 10);
            default_to(probe, "successThreshold", 1);
            default_to(probe, "failureThreshold", 3);
            if let Some(get) = probe.get_mut("httpGet").filter(|v| v.is_object()) {
                default_to(get, "path", "/");
                default_to(get, "scheme", "HTTP");
            }
            if let Some(grpc) = probe.get_mut("grpc").filter(|v| v.is_object()) {
                default_to(grpc, "service", "");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaulting_twice_is_defaulting_once() {
        let mut d = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "a", "image": "x/y:1", "ports": [{"containerPort": 1}], "readinessProbe": {"httpGet": {"port": 1}}},
            {"name": "b", "image": "x:5000/y"}]}}}});
        apply("Deployment", &mut d);
        let once = d.clone();
        apply("Deployment", &mut d);
        assert_eq!(d, once);
        assert_eq!(d["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["failureThreshold"], 3);
        assert_eq!(d["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(d["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"], "Always");
        assert_eq!(d["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    }

    #[test]
    fn string_data_becomes_base64_data() {
        let mut s = json!({"stringData": {"a": "hi"}});
        apply("Secret", &mut s);
        assert_eq!(s, json!({"type": "Opaque", "data": {"a": "aGk="}}));
    }
}
