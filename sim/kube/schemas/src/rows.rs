//! The root types: everything that has a group, a version and a kind.

use k8s_openapi::{
    ListableResource, Resource, api, apiextensions_apiserver::pkg::apis::apiextensions, apimachinery::pkg::apis::meta,
    kube_aggregator::pkg::apis::apiregistration,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// A type that is an object of its own on the wire.
pub struct Root {
    /// API group; empty for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// True for a list of objects of the kind before it.
    pub list: bool,
    name: fn() -> std::borrow::Cow<'static, str>,
    make: fn(&mut SchemaGenerator) -> Schema,
}

impl Root {
    const fn of<T: Resource + JsonSchema>() -> Self {
        Self {
            group: T::GROUP,
            version: T::VERSION,
            kind: T::KIND,
            list: false,
            name: T::schema_name,
            make: SchemaGenerator::subschema_for::<T>,
        }
    }

    /// The list of a kind: k8s-openapi has one generic type for all of them, without a schema.
    const fn list_of<T: ListableResource + JsonSchema>() -> Self {
        Self { kind: T::LIST_KIND, list: true, ..Self::of::<T>() }
    }

    /// Name of its definition, `io.k8s.api.apps.v1.Deployment`.
    pub fn definition(&self) -> String {
        let item = (self.name)();
        match item.rsplit_once('.') {
            Some((package, _)) if self.list => format!("{package}.{}", self.kind),
            _ => item.into_owned(),
        }
    }

    /// Makes its definition and those it names, unless the generator has them.
    pub(crate) fn generate(&self, generator: &mut SchemaGenerator) {
        let item = (self.make)(generator).to_value();
        let name = self.definition();
        if !self.list || generator.definitions().contains_key(&name) {
            return;
        }
        let metadata = generator.subschema_for::<meta::v1::ListMeta>().to_value();
        let of_kind = (self.name)();
        let plain = of_kind.rsplit('.').next().unwrap_or("");
        let schema = json!({
            "description": format!("{} is a list of {plain} objects.", self.kind),
            "type": "object",
            "properties": {
                "apiVersion": {"description": "The version of the schema of this representation of an object.", "type": "string"},
                "items": {"description": format!("The {plain} objects of this list."), "type": "array", "items": item},
                "kind": {"description": "The kind of this list, in CamelCase.", "type": "string"},
                "metadata": with_description(metadata, "Metadata of the list: resource version, continue token."),
            },
            "required": ["items"],
        });
        generator.definitions_mut().insert(name, schema);
    }
}

/// What every document of the API refers to beside its kinds: made at once, so that no document depends on another.
pub(crate) fn generate_meta(generator: &mut SchemaGenerator) {
    let _ = generator.subschema_for::<meta::v1::ObjectMeta>();
    let _ = generator.subschema_for::<meta::v1::ListMeta>();
    let _ = generator.subschema_for::<meta::v1::DeleteOptions>();
    let _ = generator.subschema_for::<meta::v1::Status>();
    let patch = json!({
        "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.",
        "type": "object",
    });
    generator.definitions_mut().insert("io.k8s.apimachinery.pkg.apis.meta.v1.Patch".into(), patch);
}

fn with_description(mut schema: Value, text: &str) -> Value {
    if let Some(map) = schema.as_object_mut() {
        map.insert("description".into(), text.into());
    }
    schema
}

macro_rules! roots {
    ($($module:path { $($kind:ident)* } $({ $($alone:ident)* })?)*) => {
        /// Every root type, lists included, by group as Kubernetes' source orders them.
        static ROOTS: &[Root] = &[$(
            $({ use $module as m; Root::of::<m::$kind>() }, { use $module as m; Root::list_of::<m::$kind>() },)*
            $($({ use $module as m; Root::of::<m::$alone>() },)*)?
        )*];
    };
}

// Kinds with a list of their own; then kinds without (reviews and other virtual ones).
roots! {
    api::core::v1 {
        ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod PodTemplate
        ReplicationController ResourceQuota Secret Service ServiceAccount ComponentStatus
    } { Binding }
    api::apps::v1 { ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet }
    api::batch::v1 { CronJob Job }
    api::autoscaling::v1 { HorizontalPodAutoscaler } { Scale }
    api::autoscaling::v2 { HorizontalPodAutoscaler }
    api::policy::v1 { PodDisruptionBudget } { Eviction }
    api::networking::v1 { Ingress IngressClass IPAddress NetworkPolicy ServiceCIDR }
    api::discovery::v1 { EndpointSlice }
    api::coordination::v1 { Lease }
    api::events::v1 { Event }
    api::rbac::v1 { ClusterRole ClusterRoleBinding Role RoleBinding }
    api::scheduling::v1 { PriorityClass }
    api::node::v1 { RuntimeClass }
    api::storage::v1 { CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass }
    api::certificates::v1 { CertificateSigningRequest ClusterTrustBundle PodCertificateRequest }
    api::flowcontrol::v1 { FlowSchema PriorityLevelConfiguration }
    api::resource::v1 { DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate ResourceSlice }
    api::storagemigration::v1 { StorageVersionMigration }
    api::admissionregistration::v1 {
        MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration ValidatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding
    }
    api::authentication::v1 {} { TokenRequest TokenReview SelfSubjectReview }
    api::authorization::v1 {} { LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview }
    apiextensions::v1 { CustomResourceDefinition }
    apiregistration::v1 { APIService }
    meta::v1 {} { Status }
}

/// Every root type of the built-in kinds and their lists.
pub fn roots() -> &'static [Root] {
    ROOTS
}
