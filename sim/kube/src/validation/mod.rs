//! What the real server checks of built-in kinds beyond their types, in its words: one file a group of kinds.
//!
//! All functions are pure: they read an object that was decoded and defaulted, and report [`Cause`]s in the order in
//! which the real server finds them.
//!
//! ```
//! use serde_json::json;
//! let mut errors = sim_kube::validation::Errors::default();
//! sim_kube::validation::config_map(&json!({"data": {"a b": "1"}}), &mut errors);
//! assert!(errors.causes()[0].message.starts_with("Invalid value: \"a b\": a valid config key must consist of"));
//! ```

mod cluster;
mod config;
mod ephemeral;
mod errors;
mod flow;
mod jobs;
mod metadata;
pub(crate) mod names;
mod network;
mod pod;
mod pod_update;
mod quota;
mod rbac;
mod resize;
mod selector;
mod service;
mod storage;
mod webhooks;
mod workload;

use serde_json::Value;

pub use config::config_map;
pub use errors::Errors;

use crate::{resources::ResourceType, status::Cause};

/// Checks `metadata` of an object to be stored.
pub(crate) fn metadata(resource: &ResourceType, object: &Value) -> Vec<Cause> {
    let mut errors = Errors::default();
    metadata::check(resource, object, &mut errors);
    errors.into_causes()
}

/// Checks the content of a built-in kind.
pub(crate) fn content(resource: &ResourceType, object: &Value) -> Vec<Cause> {
    let mut errors = Errors::default();
    match resource.kind.as_str() {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
            workload::check(&resource.kind, object, &mut errors);
        }
        "ReplicationController" => workload::replication_controller(object, &mut errors),
        "FlowSchema" => flow::schema(object, &mut errors),
        "PriorityLevelConfiguration" => flow::level(object, &mut errors),
        "Pod" => {
            let spec = object.get("spec").unwrap_or(&Value::Null);
            pod::check(spec, "spec", pod::Owner::Nobody, &mut errors);
            ephemeral::check(spec, &mut errors);
        }
        "Service" => service::check(object, &mut errors),
        "ConfigMap" => config_map(object, &mut errors),
        "Secret" => config::secret(object, &mut errors),
        "PersistentVolume" => storage::volume(object, &mut errors),
        "PersistentVolumeClaim" => storage::claim(object, &mut errors),
        "Role" | "ClusterRole" => rbac::role(&resource.kind, object, &mut errors),
        "RoleBinding" | "ClusterRoleBinding" => rbac::binding(&resource.kind, object, &mut errors),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            webhooks::check(&resource.kind, object, &mut errors);
        }
        "PodDisruptionBudget" => cluster::budget(object, &mut errors),
        "HorizontalPodAutoscaler" => cluster::autoscaler(object, &mut errors),
        "ResourceQuota" => quota::check(object, &mut errors),
        "Lease" => cluster::lease(object, &mut errors),
        "StorageClass" => cluster::storage_class(object, &mut errors),
        "PriorityClass" => cluster::priority_class(object, &mut errors),
        "Job" => jobs::job(object, &mut errors),
        "CronJob" => jobs::cron_job(object, &mut errors),
        "Ingress" => network::ingress(object, &mut errors),
        "NetworkPolicy" => network::policy(object, &mut errors),
        "EndpointSlice" => network::endpoint_slice(object, &mut errors),
        _ => {}
    }
    errors.into_causes()
}

/// What an object may not have from the start.
pub(crate) fn new(resource: &ResourceType, object: &Value) -> Vec<Cause> {
    let mut errors = Errors::default();
    if resource.kind == "Pod" && !crate::json::list(object, &["spec", "ephemeralContainers"]).is_empty() {
        errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
    }
    errors.into_causes()
}

/// Fields that may not change once written, through the object itself or one of its subresources.
pub(crate) fn immutable(resource: &ResourceType, subresource: &str, old: &Value, new: &Value) -> Vec<Cause> {
    let mut errors = Errors::default();
    metadata::update(old, new, &mut errors);
    if subresource == "ephemeralcontainers" {
        ephemeral::update(old, new, &mut errors);
        return errors.into_causes();
    }
    if subresource == "resize" {
        resize::update(old, new, &mut errors);
        return errors.into_causes();
    }
    match resource.kind.as_str() {
        "Deployment" | "ReplicaSet" | "DaemonSet" => errors.fixed(old, new, &["spec", "selector"]),
        "StatefulSet" => workload::stateful_set_update(old, new, &mut errors),
        "RoleBinding" | "ClusterRoleBinding" if old.get("roleRef") != new.get("roleRef") => {
            errors.invalid("roleRef", new.get("roleRef").unwrap_or(&Value::Null), "cannot change roleRef");
        }
        "Service" => service::update(old, new, &mut errors),
        "ConfigMap" => config::frozen(old, new, &["data", "binaryData"], &mut errors),
        "Secret" => {
            errors.fixed(old, new, &["type"]);
            config::frozen(old, new, &["data"], &mut errors);
        }
        "PersistentVolume" => storage::volume_update(old, new, &mut errors),
        "PersistentVolumeClaim" => storage::claim_update(old, new, &mut errors),
        "Job" => jobs::job_update(old, new, &mut errors),
        "StorageClass" => cluster::storage_class_update(old, new, &mut errors),
        "PriorityClass" => cluster::priority_class_update(old, new, &mut errors),
        "EndpointSlice" => errors.fixed(old, new, &["addressType"]),
        "Pod" => pod_update::check(old, new, &mut errors),
        _ => {}
    }
    errors.into_causes()
}

#[cfg(test)]
mod tests;
