//! The built-in kinds: names, scope, verbs, subresources, field selectors.
//!
//! Facts of Kubernetes' discovery documents. Reviews, which are only answered, are not here.

use super::{ResourceType, ScalePaths, Subresource, api_version};
use crate::status::About;

/// Verbs of a resource that is stored.
pub(super) const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Namespaces are deleted one by one.
const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CHANGE: &[&str] = &["get", "patch", "update"];

/// A built-in kind.
#[derive(Clone, Copy)]
pub(super) struct BuiltIn {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
    generation: bool,
    all: bool,
    fields: &'static [&'static str],
    verbs: &'static [&'static str],
    subresources: &'static [Subresource],
    warning: &'static str,
}

const fn cluster(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> BuiltIn {
    BuiltIn {
        group,
        version,
        kind,
        plural,
        short: &[],
        namespaced: false,
        status: false,
        generation: false,
        all: false,
        fields: &[],
        verbs: ALL_VERBS,
        subresources: &[],
        warning: "",
    }
}

const fn namespaced(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> BuiltIn {
    BuiltIn { namespaced: true, ..cluster(group, version, kind, plural) }
}

impl BuiltIn {
    const fn short(self, short: &'static [&'static str]) -> Self {
        Self { short, ..self }
    }

    const fn status(self) -> Self {
        Self { status: true, ..self }
    }

    const fn generation(self) -> Self {
        Self { generation: true, ..self }
    }

    const fn all(self) -> Self {
        Self { all: true, ..self }
    }

    const fn fields(self, fields: &'static [&'static str]) -> Self {
        Self { fields, ..self }
    }

    const fn verbs(self, verbs: &'static [&'static str]) -> Self {
        Self { verbs, ..self }
    }

    const fn warns(self, warning: &'static str) -> Self {
        Self { warning, ..self }
    }

    const fn with(self, subresources: &'static [Subresource]) -> Self {
        Self { subresources, ..self }
    }

    /// The entry of the registry.
    pub(super) fn resource(&self) -> ResourceType {
        let Self { group, version, kind, plural, .. } = *self;
        // Both groups of events, and both versions of a kind, share a table.
        let table = if plural == "events" { "events".into() } else { About { group, plural, kind }.qualified() };
        let storage = match plural {
            "events" => "v1".to_owned(),
            "horizontalpodautoscalers" => "autoscaling/v2".to_owned(),
            _ => api_version(group, version),
        };
        let categories: &[&str] = match plural {
            _ if self.all => &["all"],
            "customresourcedefinitions" | "validatingwebhookconfigurations" | "mutatingwebhookconfigurations" => {
                &["api-extensions"]
            }
            "validatingadmissionpolicies"
            | "validatingadmissionpolicybindings"
            | "mutatingadmissionpolicies"
            | "mutatingadmissionpolicybindings"
            | "apiservices" => &["api-extensions"],
            _ => &[],
        };
        let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        ResourceType {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_ascii_lowercase(),
            short_names: owned(self.short),
            categories: owned(categories),
            namespaced: self.namespaced,
            status: self.status,
            generation: self.generation,
            built_in: true,
            schema: None,
            compiled: None,
            table: table.into(),
            storage_api_version: storage,
            fields: self.fields.iter().map(|f| (*f).into()).collect(),
            scale: (self.subresources == SCALE).then(ScalePaths::built_in),
            verbs: self.verbs,
            subresources: self.subresources,
            printer_columns: Vec::new(),
            warning: (!self.warning.is_empty()).then(|| self.warning.to_owned()),
            structure: std::sync::OnceLock::new(),
        }
    }
}

const fn sub(
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, kind, group, version, verbs }
}

pub(super) const SCALE: &[Subresource] = &[sub("scale", "autoscaling", "v1", "Scale", CHANGE)];

const POD_SUBRESOURCES: &[Subresource] = &[
    sub("attach", "", "v1", "PodAttachOptions", &["create", "get"]),
    sub("binding", "", "v1", "Binding", &["create"]),
    sub("ephemeralcontainers", "", "v1", "Pod", CHANGE),
    sub("eviction", "policy", "v1", "Eviction", &["create"]),
    sub("exec", "", "v1", "PodExecOptions", &["create", "get"]),
    sub("log", "", "v1", "Pod", &["get"]),
    sub("portforward", "", "v1", "PodPortForwardOptions", &["create", "get"]),
    sub("proxy", "", "v1", "PodProxyOptions", &["create", "delete", "get", "patch", "update"]),
    sub("resize", "", "v1", "Pod", CHANGE),
];

const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

const ADMISSION: &str = "admissionregistration.k8s.io";
const DEVICES: &str = "resource.k8s.io";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const STORAGE: &str = "storage.k8s.io";

/// Every built-in kind that is stored; and two that are not: Bindings are taken, ComponentStatuses made up when asked for.
pub(super) const BUILT_IN: &[BuiltIn] = &[
    namespaced("", "v1", "Binding", "bindings").verbs(&["create"]),
    cluster("", "v1", "ComponentStatus", "componentstatuses")
        .short(&["cs"])
        .verbs(&["get", "list"])
        .warns("v1 ComponentStatus is deprecated in v1.19+"),
    namespaced("", "v1", "ConfigMap", "configmaps").short(&["cm"]),
    namespaced("", "v1", "Endpoints", "endpoints")
        .short(&["ep"])
        .warns("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    namespaced("", "v1", "Event", "events").short(&["ev"]).fields(EVENT_FIELDS),
    namespaced("", "v1", "LimitRange", "limitranges").short(&["limits"]),
    cluster("", "v1", "Namespace", "namespaces")
        .short(&["ns"])
        .status()
        .verbs(NO_COLLECTION)
        .fields(&["status.phase"])
        .with(&[sub("finalize", "", "v1", "Namespace", &["update"])]),
    cluster("", "v1", "Node", "nodes").short(&["no"]).status().fields(&["spec.unschedulable"]).with(&[sub(
        "proxy",
        "",
        "v1",
        "NodeProxyOptions",
        PROXY,
    )]),
    namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).status(),
    cluster("", "v1", "PersistentVolume", "persistentvolumes").short(&["pv"]).status(),
    namespaced("", "v1", "Pod", "pods")
        .short(&["po"])
        .status()
        .generation()
        .all()
        .fields(POD_FIELDS)
        .with(POD_SUBRESOURCES),
    namespaced("", "v1", "PodTemplate", "podtemplates").generation(),
    namespaced("", "v1", "ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .status()
        .generation()
        .all()
        .fields(&["status.replicas"])
        .with(SCALE),
    namespaced("", "v1", "ResourceQuota", "resourcequotas").short(&["quota"]).status(),
    namespaced("", "v1", "Secret", "secrets").fields(&["type"]),
    namespaced("", "v1", "ServiceAccount", "serviceaccounts").short(&["sa"]).with(&[sub(
        "token",
        "authentication.k8s.io",
        "v1",
        "TokenRequest",
        &["create"],
    )]),
    namespaced("", "v1", "Service", "services")
        .short(&["svc"])
        .status()
        .all()
        .fields(&["spec.clusterIP", "spec.type"])
        .with(&[sub("proxy", "", "v1", "ServiceProxyOptions", PROXY)]),
    namespaced("apps", "v1", "ControllerRevision", "controllerrevisions"),
    namespaced("apps", "v1", "DaemonSet", "daemonsets").short(&["ds"]).status().generation().all(),
    namespaced("apps", "v1", "Deployment", "deployments").short(&["deploy"]).status().generation().all().with(SCALE),
    namespaced("apps", "v1", "ReplicaSet", "replicasets")
        .short(&["rs"])
        .status()
        .generation()
        .all()
        .fields(&["status.replicas"])
        .with(SCALE),
    namespaced("apps", "v1", "StatefulSet", "statefulsets").short(&["sts"]).status().generation().all().with(SCALE),
    namespaced("batch", "v1", "CronJob", "cronjobs").short(&["cj"]).status().generation().all(),
    namespaced("batch", "v1", "Job", "jobs").status().generation().all().fields(&["status.successful"]),
    namespaced("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .status()
        .all(),
    namespaced("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .status()
        .all(),
    cluster(RBAC, "v1", "ClusterRole", "clusterroles"),
    cluster(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings"),
    namespaced(RBAC, "v1", "Role", "roles"),
    namespaced(RBAC, "v1", "RoleBinding", "rolebindings"),
    cluster("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests")
        .short(&["csr"])
        .status()
        .fields(&["spec.signerName"])
        .with(&[sub("approval", "certificates.k8s.io", "v1", "CertificateSigningRequest", CHANGE)]),
    cluster("certificates.k8s.io", "v1", "ClusterTrustBundle", "clustertrustbundles").fields(&["spec.signerName"]),
    namespaced("certificates.k8s.io", "v1", "PodCertificateRequest", "podcertificaterequests").status().fields(&[
        "spec.signerName",
        "spec.podName",
        "spec.nodeName",
    ]),
    namespaced("coordination.k8s.io", "v1", "Lease", "leases"),
    namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices").generation(),
    namespaced("events.k8s.io", "v1", "Event", "events").short(&["ev"]).fields(EVENT_FIELDS),
    cluster(FLOW_CONTROL, "v1", "FlowSchema", "flowschemas").status().generation(),
    cluster(FLOW_CONTROL, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations").status().generation(),
    namespaced(NETWORKING, "v1", "Ingress", "ingresses").short(&["ing"]).status().generation(),
    cluster(NETWORKING, "v1", "IngressClass", "ingressclasses").generation(),
    cluster(NETWORKING, "v1", "IPAddress", "ipaddresses").short(&["ip"]),
    namespaced(NETWORKING, "v1", "NetworkPolicy", "networkpolicies").short(&["netpol"]).generation(),
    cluster(NETWORKING, "v1", "ServiceCIDR", "servicecidrs").status(),
    namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]).status().generation(),
    cluster(DEVICES, "v1", "DeviceClass", "deviceclasses").generation(),
    cluster(DEVICES, "v1", "DeviceTaintRule", "devicetaintrules").status().generation(),
    namespaced(DEVICES, "v1", "ResourceClaim", "resourceclaims").status(),
    namespaced(DEVICES, "v1", "ResourceClaimTemplate", "resourceclaimtemplates"),
    cluster(DEVICES, "v1", "ResourceSlice", "resourceslices").generation().fields(&["spec.driver", "spec.nodeName"]),
    cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses").short(&["pc"]).generation(),
    cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses"),
    cluster(STORAGE, "v1", "CSIDriver", "csidrivers"),
    cluster(STORAGE, "v1", "CSINode", "csinodes"),
    namespaced(STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities"),
    cluster(STORAGE, "v1", "StorageClass", "storageclasses").short(&["sc"]),
    cluster(STORAGE, "v1", "VolumeAttachment", "volumeattachments").status(),
    cluster(STORAGE, "v1", "VolumeAttributesClass", "volumeattributesclasses").short(&["vac"]),
    cluster("storagemigration.k8s.io", "v1", "StorageVersionMigration", "storageversionmigrations").status(),
    cluster(ADMISSION, "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies").generation(),
    cluster(ADMISSION, "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings").generation(),
    cluster(ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations").generation(),
    cluster(ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations").generation(),
    cluster(ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies").status().generation(),
    cluster(ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings").generation(),
    cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
        .short(&["crd", "crds"])
        .status()
        .generation(),
    cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices").status(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_table_has_a_structure_and_its_status_if_it_says_so() {
        for kind in BUILT_IN {
            let resource = kind.resource();
            let structure = resource.structure().unwrap_or_else(|| panic!("{} has a structure", kind.kind));
            assert!(!kind.status || structure.field("status").is_some(), "{} has a status", kind.kind);
            assert_eq!(structure.field("metadata").map(|f| &*f.name), Some("metadata"));
        }
    }

    #[test]
    fn plurals_and_short_names_are_unique_within_a_version() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in BUILT_IN {
            for name in kind.short.iter().chain([&kind.plural]) {
                assert!(seen.insert((kind.group, kind.version, *name)), "{name} in {}", kind.group);
            }
        }
    }
}
