//! The tables of bootstrap roles, in the short form that `bootstrap` reads.
//!
//! Source: the default roles that <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings>
//! describes. Roles of controllers that are off by default are left out.

/// A cluster role.
pub(super) struct ClusterRole {
    pub name: &'static str,
    /// The `aggregate-to-…` labels it carries.
    pub aggregates_to: &'static [&'static str],
    /// The label whose bearers it takes in.
    pub aggregates: Option<&'static str>,
    pub rules: &'static [&'static str],
}

const fn role(name: &'static str, rules: &'static [&'static str]) -> ClusterRole {
    ClusterRole { name, aggregates_to: &[], aggregates: None, rules }
}

const EVENTS: &str = "create,patch,update @ core,events.k8s.io @ events";

/// Cluster roles; one that aggregates stands behind those it takes in.
pub(super) const CLUSTER_ROLES: &[ClusterRole] = &[
    role("cluster-admin", &["* @ * @ *", "* @ *"]),
    role(
        "system:discovery",
        &["get @ /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/"],
    ),
    role("system:monitoring", &["get @ /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*"]),
    role(
        "system:basic-user",
        &[
            "create @ authorization.k8s.io @ selfsubjectaccessreviews,selfsubjectrulesreviews",
            "create @ authentication.k8s.io @ selfsubjectreviews",
        ],
    ),
    role("system:public-info-viewer", &["get @ /healthz,/livez,/readyz,/version,/version/"]),
    ClusterRole {
        name: "system:aggregate-to-view",
        aggregates_to: &["view"],
        aggregates: None,
        rules: &[
            "read @ core @ configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status",
            "read @ core @ bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status",
            "read @ core @ namespaces",
            "read @ discovery.k8s.io @ endpointslices",
            "read @ apps @ controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status",
            "read @ autoscaling @ horizontalpodautoscalers,horizontalpodautoscalers/status",
            "read @ batch @ cronjobs,cronjobs/status,jobs,jobs/status",
            "read @ extensions @ daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale",
            "read @ policy @ poddisruptionbudgets,poddisruptionbudgets/status",
            "read @ networking.k8s.io @ ingresses,ingresses/status,networkpolicies",
        ],
    },
    ClusterRole { name: "view", aggregates_to: &["edit"], aggregates: Some("view"), rules: &[] },
    ClusterRole {
        name: "system:aggregate-to-edit",
        aggregates_to: &["edit"],
        aggregates: None,
        rules: &[
            "read @ core @ pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy",
            "impersonate @ core @ serviceaccounts",
            "write @ core @ pods,pods/attach,pods/exec,pods/portforward,pods/proxy",
            "create @ core @ pods/eviction",
            "write @ core @ configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy",
            "create @ core @ serviceaccounts/token",
            "write @ apps @ daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale",
            "write @ autoscaling @ horizontalpodautoscalers",
            "write @ batch @ cronjobs,jobs",
            "write @ extensions @ daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale",
            "write @ policy @ poddisruptionbudgets",
            "write @ networking.k8s.io @ ingresses,networkpolicies",
            "read,write @ coordination.k8s.io @ leases",
        ],
    },
    ClusterRole { name: "edit", aggregates_to: &["admin"], aggregates: Some("edit"), rules: &[] },
    ClusterRole {
        name: "system:aggregate-to-admin",
        aggregates_to: &["admin"],
        aggregates: None,
        rules: &[
            "create @ authorization.k8s.io @ localsubjectaccessreviews",
            "read,write @ rbac.authorization.k8s.io @ rolebindings,roles",
        ],
    },
    ClusterRole { name: "admin", aggregates_to: &[], aggregates: Some("admin"), rules: &[] },
    role("system:heapster", &["read @ core @ events,namespaces,nodes,pods", "read @ extensions @ deployments"]),
    role(
        "system:node",
        &[
            "create @ authentication.k8s.io @ tokenreviews",
            "create @ authorization.k8s.io @ localsubjectaccessreviews,subjectaccessreviews",
            "read @ core @ services",
            "create,get,list,watch @ core @ nodes",
            "patch,update @ core @ nodes/status",
            "patch,update @ core @ nodes",
            EVENTS,
            "read @ core @ pods",
            "create,delete @ core @ pods",
            "patch,update @ core @ pods/status",
            "create @ core @ pods/eviction",
            "read @ core @ configmaps,secrets",
            "get @ core @ persistentvolumeclaims,persistentvolumes",
            "get @ core @ endpoints",
            "create,get,list,watch @ certificates.k8s.io @ certificatesigningrequests",
            "create,delete,get,patch,update @ coordination.k8s.io @ leases",
            "get @ storage.k8s.io @ volumeattachments",
            "get,patch,update @ core @ persistentvolumeclaims/status",
            "create @ core @ serviceaccounts/token",
            "read @ storage.k8s.io @ csidrivers",
            "create,delete,get,patch,update @ storage.k8s.io @ csinodes",
            "read @ node.k8s.io @ runtimeclasses",
            "deletecollection,list,watch @ resource.k8s.io @ resourceslices",
            "get @ resource.k8s.io @ resourceclaims",
        ],
    ),
    role("system:node-problem-detector", &["get @ core @ nodes", "patch @ core @ nodes/status", EVENTS]),
    role(
        "system:kubelet-api-admin",
        &["read @ core @ nodes", "proxy @ core @ nodes", "* @ core @ nodes/log,nodes/metrics,nodes/proxy,nodes/stats"],
    ),
    role("system:node-bootstrapper", &["create,get,list,watch @ certificates.k8s.io @ certificatesigningrequests"]),
    role(
        "system:auth-delegator",
        &["create @ authentication.k8s.io @ tokenreviews", "create @ authorization.k8s.io @ subjectaccessreviews"],
    ),
    role("system:kube-aggregator", &["read @ core @ endpoints,services"]),
    role(
        "system:kube-controller-manager",
        &[
            EVENTS,
            "create @ coordination.k8s.io @ leases",
            "get,update @ coordination.k8s.io @ leases @ kube-controller-manager",
            "create @ core @ secrets,serviceaccounts",
            "delete @ core @ secrets",
            "get @ core @ configmaps,namespaces,secrets,serviceaccounts",
            "update @ core @ secrets,serviceaccounts",
            "create @ authentication.k8s.io @ tokenreviews",
            "create @ authorization.k8s.io @ subjectaccessreviews",
            "list,watch @ * @ *",
            "create @ core @ serviceaccounts/token",
        ],
    ),
    role("system:kube-dns", &["list,watch @ core @ endpoints,services"]),
    role(
        "system:persistent-volume-provisioner",
        &[
            "create,delete,get,list,watch @ core @ persistentvolumes",
            "get,list,update,watch @ core @ persistentvolumeclaims",
            "read @ storage.k8s.io @ storageclasses",
            "watch @ core @ events",
            EVENTS,
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["create @ certificates.k8s.io @ certificatesigningrequests/nodeclient"],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["create @ certificates.k8s.io @ certificatesigningrequests/selfnodeclient"],
    ),
    role(
        "system:volume-scheduler",
        &[
            "get,list,patch,update,watch @ core @ persistentvolumes",
            "read @ storage.k8s.io @ storageclasses",
            "get,list,patch,update,watch @ core @ persistentvolumeclaims",
        ],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &["approve @ certificates.k8s.io @ signers @ kubernetes.io/legacy-unknown"],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &["approve @ certificates.k8s.io @ signers @ kubernetes.io/kubelet-serving"],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &["approve @ certificates.k8s.io @ signers @ kubernetes.io/kube-apiserver-client"],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &["approve @ certificates.k8s.io @ signers @ kubernetes.io/kube-apiserver-client-kubelet"],
    ),
    role("system:service-account-issuer-discovery", &["get @ /.well-known/openid-configuration,/openid/v1/jwks"]),
    role(
        "system:node-proxier",
        &[
            "list,watch @ core @ endpoints,services",
            "read @ core @ nodes",
            EVENTS,
            "list,watch @ discovery.k8s.io @ endpointslices",
            "list,watch @ networking.k8s.io @ servicecidrs",
        ],
    ),
    role(
        "system:kube-scheduler",
        &[
            EVENTS,
            "create @ coordination.k8s.io @ leases",
            "get,list,update,watch @ coordination.k8s.io @ leases @ kube-scheduler",
            "create @ coordination.k8s.io @ leasecandidates",
            "read @ core @ nodes",
            "delete,get,list,watch @ core @ pods",
            "create @ core @ bindings,pods/binding",
            "patch,update @ core @ pods/status",
            "read @ core @ replicationcontrollers,services",
            "read @ apps,extensions @ replicasets",
            "read @ apps @ statefulsets",
            "read @ policy @ poddisruptionbudgets",
            "read @ core @ persistentvolumeclaims,persistentvolumes",
            "create @ authentication.k8s.io @ tokenreviews",
            "create @ authorization.k8s.io @ subjectaccessreviews",
            "read @ storage.k8s.io @ csinodes",
            "read @ core @ namespaces",
            "read @ storage.k8s.io @ csidrivers",
            "read @ storage.k8s.io @ csistoragecapacities",
            "read @ storage.k8s.io @ volumeattachments",
            "read @ resource.k8s.io @ deviceclasses,resourceclaims,resourceslices",
            "patch,update @ resource.k8s.io @ resourceclaims/status",
            "patch,update @ resource.k8s.io @ resourceclaims",
        ],
    ),
];

/// Roles of the controllers, bound to the service account of the same name in `kube-system`.
pub(super) const CONTROLLERS: &[(&str, &[&str])] = &[
    (
        "attachdetach-controller",
        &[
            "list,watch @ core @ persistentvolumeclaims,persistentvolumes",
            "read @ core @ nodes",
            "patch,update @ core @ nodes/status",
            "list,watch @ core @ pods",
            EVENTS,
            "create,delete,get,list,watch @ storage.k8s.io @ volumeattachments",
            "read @ storage.k8s.io @ csidrivers",
            "read @ storage.k8s.io @ csinodes",
        ],
    ),
    (
        "clusterrole-aggregation-controller",
        &["escalate,get,list,patch,update,watch @ rbac.authorization.k8s.io @ clusterroles"],
    ),
    (
        "cronjob-controller",
        &[
            "get,list,update,watch @ batch @ cronjobs",
            "create,delete,get,list,patch,update,watch @ batch @ jobs",
            "update @ batch @ cronjobs/status",
            "update @ batch @ cronjobs/finalizers",
            "delete,list @ core @ pods",
            EVENTS,
        ],
    ),
    (
        "daemon-set-controller",
        &[
            "read @ apps,extensions @ daemonsets",
            "update @ apps,extensions @ daemonsets/status",
            "update @ apps,extensions @ daemonsets/finalizers",
            "list,watch @ core @ nodes",
            "create,delete,list,patch,watch @ core @ pods",
            "create @ core @ pods/binding",
            "create,delete,get,list,patch,update,watch @ apps @ controllerrevisions",
            EVENTS,
        ],
    ),
    (
        "deployment-controller",
        &[
            "get,list,update,watch @ apps,extensions @ deployments",
            "update @ apps,extensions @ deployments/status",
            "update @ apps,extensions @ deployments/finalizers",
            "create,delete,get,list,patch,update,watch @ apps,extensions @ replicasets",
            "get,list,update,watch @ core @ pods",
            EVENTS,
        ],
    ),
    (
        "disruption-controller",
        &[
            "read @ apps,extensions @ deployments",
            "read @ apps,extensions @ replicasets",
            "read @ core @ replicationcontrollers",
            "read @ policy @ poddisruptionbudgets",
            "read @ apps @ statefulsets",
            "update @ policy @ poddisruptionbudgets/status",
            "patch,update @ core @ pods/status",
            "get @ * @ */scale",
            EVENTS,
        ],
    ),
    (
        "endpoint-controller",
        &[
            "read @ core @ pods,services",
            "create,delete,get,list,update @ core @ endpoints",
            "create @ core @ endpoints/restricted",
            EVENTS,
        ],
    ),
    (
        "endpointslice-controller",
        &[
            "read @ core @ nodes,pods,services",
            "update @ core @ services/finalizers",
            "create,delete,get,list,update @ discovery.k8s.io @ endpointslices",
            "create @ discovery.k8s.io @ endpointslices/restricted",
            EVENTS,
        ],
    ),
    (
        "endpointslicemirroring-controller",
        &[
            "read @ core @ endpoints,services",
            "update @ core @ services/finalizers",
            "update @ core @ endpoints/finalizers",
            "create,delete,get,list,update @ discovery.k8s.io @ endpointslices",
            "create @ discovery.k8s.io @ endpointslices/restricted",
            EVENTS,
        ],
    ),
    (
        "ephemeral-volume-controller",
        &[
            "update @ core @ pods/finalizers",
            "read @ core @ pods",
            "create,get,list,watch @ core @ persistentvolumeclaims",
            EVENTS,
        ],
    ),
    (
        "expand-controller",
        &[
            "get,list,patch,update,watch @ core @ persistentvolumes",
            "patch,update @ core @ persistentvolumeclaims/status",
            "read @ core @ persistentvolumeclaims",
            "get @ core @ endpoints,services",
            "get @ core @ secrets",
            EVENTS,
        ],
    ),
    ("generic-garbage-collector", &["delete,get,list,patch,update,watch @ * @ *", EVENTS]),
    (
        "horizontal-pod-autoscaler",
        &[
            "read @ autoscaling @ horizontalpodautoscalers",
            "update @ autoscaling @ horizontalpodautoscalers/status",
            "get,update @ * @ */scale",
            "list @ core @ pods",
            "get,list @ custom.metrics.k8s.io @ *",
            "get,list @ external.metrics.k8s.io @ *",
            "list @ metrics.k8s.io @ pods",
            EVENTS,
        ],
    ),
    (
        "job-controller",
        &[
            "get,list,patch,update,watch @ batch @ jobs",
            "update @ batch @ jobs/status",
            "update @ batch @ jobs/finalizers",
            "create,delete,list,patch,watch @ core @ pods",
            EVENTS,
        ],
    ),
    (
        "legacy-service-account-token-cleaner",
        &[
            "get @ core @ configmaps @ kube-apiserver-legacy-service-account-token-tracking",
            "delete,patch @ core @ secrets",
        ],
    ),
    (
        "namespace-controller",
        &[
            "delete,get,list,watch @ core @ namespaces",
            "update @ core @ namespaces/finalize,namespaces/status",
            "delete,deletecollection,get,list @ * @ *",
        ],
    ),
    (
        "node-controller",
        &[
            "delete,get,list,patch,update @ core @ nodes",
            "patch,update @ core @ nodes/status",
            "patch,update @ core @ pods/status",
            "delete,get,list @ core @ pods",
            "read @ networking.k8s.io @ clustercidrs",
            EVENTS,
        ],
    ),
    (
        "persistent-volume-binder",
        &[
            "create,delete,get,list,update,watch @ core @ persistentvolumes",
            "update @ core @ persistentvolumes/status",
            "get,list,update,watch @ core @ persistentvolumeclaims",
            "update @ core @ persistentvolumeclaims/status",
            "create,delete,get,list,watch @ core @ pods",
            "read @ storage.k8s.io @ storageclasses",
            "create,delete,get,list @ core @ endpoints,services",
            "get,list @ core @ secrets",
            "get,list @ core @ nodes",
            "watch @ core @ events",
            EVENTS,
        ],
    ),
    (
        "pod-garbage-collector",
        &["delete,list,watch @ core @ pods", "get,list @ core @ nodes", "patch,update @ core @ pods/status"],
    ),
    ("pv-protection-controller", &["get,list,update,watch @ core @ persistentvolumes", EVENTS]),
    (
        "pvc-protection-controller",
        &["get,list,update,watch @ core @ persistentvolumeclaims", "read @ core @ pods", EVENTS],
    ),
    (
        "replicaset-controller",
        &[
            "get,list,update,watch @ apps,extensions @ replicasets",
            "update @ apps,extensions @ replicasets/status",
            "update @ apps,extensions @ replicasets/finalizers",
            "create,delete,list,patch,watch @ core @ pods",
            EVENTS,
        ],
    ),
    (
        "replication-controller",
        &[
            "get,list,update,watch @ core @ replicationcontrollers",
            "update @ core @ replicationcontrollers/status",
            "update @ core @ replicationcontrollers/finalizers",
            "create,delete,list,patch,watch @ core @ pods",
            EVENTS,
        ],
    ),
    (
        "resource-claim-controller",
        &[
            "update @ core @ pods/finalizers",
            "read @ core @ pods",
            "create,delete,get,list,watch @ resource.k8s.io @ resourceclaims",
            "patch,update @ resource.k8s.io @ resourceclaims,resourceclaims/status",
            "patch,update @ core @ pods/status",
            EVENTS,
        ],
    ),
    ("resourcequota-controller", &["list,watch @ * @ *", "update @ core @ resourcequotas/status", EVENTS]),
    ("root-ca-cert-publisher", &["create,update @ core @ configmaps", EVENTS]),
    ("route-controller", &["list,watch @ core @ nodes", "patch @ core @ nodes/status", EVENTS]),
    ("service-account-controller", &["create @ core @ serviceaccounts", EVENTS]),
    (
        "service-cidrs-controller",
        &[
            "get,list,patch,update,watch @ networking.k8s.io @ servicecidrs",
            "patch,update @ networking.k8s.io @ servicecidrs/finalizers",
            "patch,update @ networking.k8s.io @ servicecidrs/status",
            "read @ networking.k8s.io @ ipaddresses",
            EVENTS,
        ],
    ),
    (
        "service-controller",
        &["read @ core @ services", "patch,update @ core @ services/status", "list,watch @ core @ nodes", EVENTS],
    ),
    (
        "statefulset-controller",
        &[
            "list,watch @ core @ pods",
            "read @ apps @ statefulsets",
            "update @ apps @ statefulsets/status",
            "update @ apps @ statefulsets/finalizers",
            "update @ core @ pods/finalizers",
            "create,delete,get,patch,update @ core @ pods",
            "create,delete,get,list,patch,update,watch @ apps @ controllerrevisions",
            "create,get @ core @ persistentvolumeclaims",
            "delete,update @ core @ persistentvolumeclaims",
            EVENTS,
        ],
    ),
    ("ttl-after-finished-controller", &["delete,get,list,watch @ batch @ jobs", EVENTS]),
    ("ttl-controller", &["list,patch,update,watch @ core @ nodes", EVENTS]),
    (
        "validatingadmissionpolicy-status-controller",
        &[
            "read @ admissionregistration.k8s.io @ validatingadmissionpolicies",
            "get,patch,update @ admissionregistration.k8s.io @ validatingadmissionpolicies/status",
            EVENTS,
        ],
    ),
    (
        "certificate-controller",
        &[
            "delete,get,list,watch @ certificates.k8s.io @ certificatesigningrequests",
            "update @ certificates.k8s.io @ certificatesigningrequests/approval,certificatesigningrequests/status",
            "approve @ certificates.k8s.io @ signers @ kubernetes.io/kube-apiserver-client-kubelet",
            "sign @ certificates.k8s.io @ signers @ kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown",
            "create @ authorization.k8s.io @ subjectaccessreviews",
            EVENTS,
        ],
    ),
];

/// Roles in namespaces.
pub(super) const NAMESPACED: &[(&str, &str, &[&str])] = &[
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        &["read @ core @ configmaps", "update @ core @ configmaps @ cluster-info", EVENTS],
    ),
    (
        "kube-system",
        "extension-apiserver-authentication-reader",
        &["read @ core @ configmaps @ extension-apiserver-authentication"],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        &["watch @ core @ configmaps", "get,update @ core @ configmaps @ kube-controller-manager"],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        &["watch @ core @ configmaps", "get,update @ core @ configmaps @ kube-scheduler"],
    ),
    ("kube-system", "system:controller:bootstrap-signer", &["read @ core @ secrets"]),
    ("kube-system", "system:controller:cloud-provider", &["create,get,list,patch,update,watch @ core @ configmaps"]),
    ("kube-system", "system:controller:token-cleaner", &["delete,get,list,watch @ core @ secrets", EVENTS]),
];
