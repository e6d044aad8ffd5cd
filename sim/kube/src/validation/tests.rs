use serde_json::{Value, json};
use sim_clock::{Chance, Timestamp};

use crate::engine::{Engine, WriteOptions};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn merged(mut base: Value, change: &Value) -> Value {
    if change.is_array() {
        crate::patch::json_patch(&mut base, change).unwrap();
    } else {
        crate::patch::merge_patch(&mut base, change);
    }
    base
}

fn object(kind: &str) -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let (version, rest) = match kind {
        "Pod" => ("v1", json!({"spec": template["spec"]})),
        "Deployment" | "ReplicaSet" => {
            ("apps/v1", json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}))
        }
        "StatefulSet" => (
            "apps/v1",
            json!({"spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": template}}),
        ),
        "Service" => ("v1", json!({"spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}})),
        "PersistentVolumeClaim" => {
            ("v1", json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}))
        }
        "Role" | "ClusterRole" => (
            "rbac.authorization.k8s.io/v1",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
        "RoleBinding" => (
            "rbac.authorization.k8s.io/v1",
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "n"}]}),
        ),
        "ValidatingWebhookConfiguration" => (
            "admissionregistration.k8s.io/v1",
            json!({"webhooks": [{"name": "a.b.c", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://x/y"},
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]}]}),
        ),
        _ => ("v1", json!({})),
    };
    merged(json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "default"}}), &rest)
}

/// The refusal's text after `Kind "x" is invalid: `, or "".
fn refusal(engine: &mut Engine, object: Value) -> String {
    match engine.create_object(object, &WriteOptions::by("test"), NOW) {
        Ok(_) => String::new(),
        Err(status) => {
            assert_eq!(status.code, 422, "{}", status.message);
            status.message.split_once(" is invalid: ").map_or(status.message.clone(), |(_, text)| text.to_owned())
        }
    }
}

#[test]
fn what_is_wrong_is_refused_in_the_real_words() {
    let c = "/spec/containers/0";
    let cases: Vec<(&str, Value, &str)> = vec![
        (
            "ConfigMap",
            json!({"metadata": {"name": "A"}}),
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        (
            "Service",
            json!({"metadata": {"name": "1a"}}),
            "metadata.name: Invalid value: \"1a\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
        ),
        ("Role", json!({"metadata": {"name": "a/b"}}), "metadata.name: Invalid value: \"a/b\": may not contain '/'"),
        (
            "ConfigMap",
            json!({"metadata": {"labels": {"a": "-"}}}),
            "metadata.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        (
            "ConfigMap",
            json!({"metadata": {"annotations": {"a": "x".repeat(262_145)}}}),
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            "ConfigMap",
            json!({"metadata": {"finalizers": ["x"]}}),
            "metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor is it fully qualified",
        ),
        (
            "ConfigMap",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}}),
            "metadata.ownerReferences[0].uid: Invalid value: \"\": uid must not be empty",
        ),
        (
            "ConfigMap",
            json!({"data": {"a b": "1"}}),
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ),
        (
            "ConfigMap",
            json!({"data": {"a": "x".repeat((1 << 20) + 1)}}),
            "[]: Too long: may not be more than 1048576 bytes",
        ),
        ("Secret", json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), "data[tls.key]: Required value"),
        ("Pod", json!({"spec": {"containers": []}}), "spec.containers: Required value"),
        ("Pod", json!([{"op": "remove", "path": format!("{c}/image")}]), "spec.containers[0].image: Required value"),
        (
            "Pod",
            json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "c", "image": "i"}}]),
            "spec.containers[1].name: Duplicate value: \"c\"",
        ),
        (
            "Pod",
            json!([{"op": "add", "path": format!("{c}/imagePullPolicy"), "value": "Sometimes"}]),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            "Pod",
            json!([{"op": "add", "path": format!("{c}/ports"), "value": [{"containerPort": 70000}]}]),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "Pod",
            json!([{"op": "add", "path": format!("{c}/ports"), "value": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}]),
            "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
        ),
        (
            "Pod",
            json!([{"op": "add", "path": format!("{c}/ports"), "value": [{"containerPort": 1, "name": "a-name-of-sixteen"}]}]),
            "spec.containers[0].ports[0].name: Invalid value: \"a-name-of-sixteen\": must be no more than 15 characters",
        ),
        (
            "Pod",
            json!([{"op": "add", "path": format!("{c}/env"), "value": [{"value": "1"}]}]),
            "spec.containers[0].env[0].name: Required value",
        ),
        (
            "Pod",
            json!([{"op": "add", "path": format!("{c}/env"), "value": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}]),
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ),
        (
            "Pod",
            json!([{"op": "add", "path": format!("{c}/volumeMounts"), "value": [{"name": "v", "mountPath": "/v"}]}]),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            "Pod",
            json!([{"op": "add", "path": format!("{c}/livenessProbe"), "value": {"periodSeconds": 1}}]),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            "Pod",
            json!([{"op": "add", "path": format!("{c}/livenessProbe"), "value": {"successThreshold": 2, "tcpSocket": {"port": 1}}}]),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            "Pod",
            json!([{"op": "add", "path": format!("{c}/resources"), "value": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}]),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1500m",
        ),
        (
            "Pod",
            json!({"spec": {"restartPolicy": "No"}}),
            "spec.restartPolicy: Unsupported value: \"No\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
        (
            "Pod",
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]}}),
            "spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type",
        ),
        (
            "Deployment",
            json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}}),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ),
        (
            "Deployment",
            json!({"spec": {"replicas": -1}}),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "Deployment",
            json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": {}}}}),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            "Deployment",
            json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            "StatefulSet",
            json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}]}}),
            "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (
            "Service",
            json!({"spec": {"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}}),
            "spec.ports[1].name: Duplicate value: \"a\"",
        ),
        (
            "Service",
            json!({"spec": {"ports": [{"port": 0}]}}),
            "[spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive]",
        ),
        (
            "Service",
            json!({"spec": {"type": "Odd"}}),
            "spec.type: Unsupported value: \"Odd\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
        ("PersistentVolumeClaim", json!({"spec": {"resources": null}}), "spec.resources[storage]: Required value"),
        (
            "Role",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ),
        (
            "RoleBinding",
            json!({"roleRef": {"kind": "Rule"}}),
            "roleRef.kind: Unsupported value: \"Rule\": supported values: \"ClusterRole\", \"Role\"",
        ),
        (
            "RoleBinding",
            json!({"subjects": [{"kind": "ServiceAccount", "name": "s"}]}),
            "subjects[0].namespace: Required value",
        ),
        (
            "ValidatingWebhookConfiguration",
            json!([{"op": "replace", "path": "/webhooks/0/name", "value": "a.b"}]),
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
        ),
        (
            "ValidatingWebhookConfiguration",
            json!([{"op": "replace", "path": "/webhooks/0/sideEffects", "value": "Some"}]),
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
        ),
        (
            "ValidatingWebhookConfiguration",
            json!([{"op": "replace", "path": "/webhooks/0/clientConfig", "value": {"url": "http://x/y"}}]),
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[:port]/path",
        ),
        (
            "ValidatingWebhookConfiguration",
            json!([{"op": "add", "path": "/webhooks/0/timeoutSeconds", "value": 31}]),
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ),
        (
            "ValidatingWebhookConfiguration",
            json!([{"op": "remove", "path": "/webhooks/0/admissionReviewVersions"}]),
            "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ),
    ];
    let mut engine = Engine::new(Chance::new(1, "test"), NOW);
    for kind in [
        "ConfigMap",
        "Secret",
        "Pod",
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
        "Service",
        "PersistentVolumeClaim",
        "Role",
        "RoleBinding",
        "ValidatingWebhookConfiguration",
    ] {
        assert_eq!(refusal(&mut engine, object(kind)), "", "{kind} as it is");
        let target = engine.target_of(&object(kind)).unwrap();
        engine.delete(&target, &crate::engine::DeleteQuery::default(), NOW).unwrap();
    }
    for (kind, change, expected) in cases {
        assert_eq!(refusal(&mut engine, merged(object(kind), &change)), expected, "{kind} {change:.200}");
    }
}

#[test]
fn what_may_not_change_is_refused_in_the_real_words() {
    let cases: Vec<(&str, Value, Value, &str)> = vec![
        (
            "Deployment",
            json!({}),
            json!({"spec": {"selector": {"matchLabels": {"c": "d"}}, "template": {"metadata": {"labels": {"c": "d"}}}}}),
            "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"c\":\"d\"}}: field is immutable",
        ),
        (
            "StatefulSet",
            json!({}),
            json!({"spec": {"serviceName": "other"}}),
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ),
        (
            "Pod",
            json!({}),
            json!({"spec": {"hostname": "h"}}),
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ),
        (
            "Pod",
            json!({}),
            json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}}),
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            "ConfigMap",
            json!({"immutable": true, "data": {"a": "1"}}),
            json!({"data": {"a": "2"}}),
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "ConfigMap",
            json!({"immutable": true}),
            json!({"immutable": false}),
            "immutable: Forbidden: field is immutable when `immutable` is set",
        ),
        ("Secret", json!({}), json!({"type": "x/y"}), "type: Invalid value: \"x/y\": field is immutable"),
        (
            "RoleBinding",
            json!({}),
            json!({"roleRef": {"name": "other"}}),
            "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"other\"}: cannot change roleRef",
        ),
        (
            "Service",
            json!({"spec": {"clusterIP": "10.96.3.3"}}),
            json!({"spec": {"clusterIP": "10.96.3.4", "clusterIPs": ["10.96.3.4"]}}),
            "spec.clusterIPs[0]: Invalid value: [\"10.96.3.4\"]: may not change once set",
        ),
    ];
    for (kind, first, change, expected) in cases {
        let mut engine = Engine::new(Chance::new(1, "test"), NOW);
        let by = WriteOptions::by("test");
        let made = engine.create_object(merged(object(kind), &first), &by, NOW).unwrap().object;
        let target = engine.target_of(&made).unwrap();
        let status = engine.update(&target, merged(made.to_value(), &change), &by, NOW).unwrap_err();
        let text = status.message.split_once(" is invalid: ").map_or(status.message.as_str(), |(_, text)| text);
        assert_eq!((status.code, text), (422, expected), "{kind}");
        // What is the same may always be written again.
        engine.update(&target, made.to_value(), &by, NOW).unwrap();
    }
}

#[test]
fn jobs_networks_and_small_kinds_are_refused_in_the_real_words() {
    let jobs = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
    let base = |kind: &str| {
        let (version, rest) = match kind {
            "Job" => ("batch/v1", json!({"spec": jobs})),
            "CronJob" => ("batch/v1", json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": jobs}}})),
            "Ingress" => (
                "networking.k8s.io/v1",
                json!({"spec": {"rules": [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                    "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
            ),
            "NetworkPolicy" => (
                "networking.k8s.io/v1",
                json!({"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
                    "ports": [{"port": 80, "endPort": 90}]}]}}),
            ),
            "PodDisruptionBudget" => ("policy/v1", json!({"spec": {"minAvailable": "50%", "selector": {}}})),
            "HorizontalPodAutoscaler" => (
                "autoscaling/v2",
                json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}),
            ),
            "Lease" => ("coordination.k8s.io/v1", json!({"spec": {"leaseDurationSeconds": 15}})),
            "EndpointSlice" => (
                "discovery.k8s.io/v1",
                json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "a", "port": 1}]}),
            ),
            "StorageClass" => ("storage.k8s.io/v1", json!({"provisioner": "a.b/c"})),
            "PriorityClass" => ("scheduling.k8s.io/v1", json!({"value": 10})),
            _ => unreachable!("{kind}"),
        };
        merged(json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "default"}}), &rest)
    };
    let too_long = format!("metadata.name: Invalid value: \"{}\": must be no more than 52 characters", "x".repeat(53));
    let at = "/spec/rules/0/http/paths/0";
    let from = "/spec/ingress/0";
    let cases: Vec<(&str, Value, &str)> = vec![
        (
            "Job",
            json!({"spec": {"parallelism": -1}}),
            "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "Job",
            json!({"spec": {"completionMode": "Indexed", "parallelism": 2}}),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            "Job",
            json!([{"op": "remove", "path": "/spec/template/spec/restartPolicy"}]),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            "CronJob",
            json!({"spec": {"schedule": "a"}}),
            "spec.schedule: Invalid value: \"a\": expected exactly 5 fields, found 1: [a]",
        ),
        (
            "CronJob",
            json!({"spec": {"concurrencyPolicy": "Maybe"}}),
            "spec.concurrencyPolicy: Unsupported value: \"Maybe\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
        ),
        ("CronJob", json!({"metadata": {"name": "x".repeat(53)}}), &too_long),
        (
            "CronJob",
            json!({"spec": {"jobTemplate": {"spec": {"manualSelector": true}}}}),
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
        ),
        (
            "Ingress",
            json!({"spec": {"rules": null}}),
            "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
        ),
        (
            "Ingress",
            json!([{"op": "replace", "path": format!("{at}/path"), "value": "a//b"}]),
            "[spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must be an absolute path, spec.rules[0].http.paths[0].path: Invalid value: \"a//b\": must not contain '//']",
        ),
        (
            "Ingress",
            json!([{"op": "remove", "path": format!("{at}/backend/service/port/number")}]),
            "spec.rules[0].http.paths[0].backend: Required value: port name or number is required",
        ),
        (
            "Ingress",
            json!([{"op": "replace", "path": "/spec/rules/0/host", "value": "10.0.0.1"}]),
            "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
        ),
        (
            "NetworkPolicy",
            json!([{"op": "replace", "path": format!("{from}/from/0/ipBlock/cidr"), "value": "10.0.0.0"}]),
            "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ),
        (
            "NetworkPolicy",
            json!([{"op": "replace", "path": format!("{from}/from/0/ipBlock/except/0"), "value": "11.0.0.0/16"}]),
            "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
        ),
        (
            "NetworkPolicy",
            json!([{"op": "replace", "path": format!("{from}/from/0"), "value": {}}]),
            "spec.ingress[0].from[0]: Required value: must specify a peer",
        ),
        (
            "NetworkPolicy",
            json!([{"op": "replace", "path": format!("{from}/ports/0/endPort"), "value": 79}]),
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`",
        ),
        (
            "PodDisruptionBudget",
            json!({"spec": {"minAvailable": "150%"}}),
            "spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%",
        ),
        (
            "PodDisruptionBudget",
            json!({"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}),
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (
            "PodDisruptionBudget",
            json!({"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}}),
            "spec.selector.matchExpressions[0].operator: Invalid value: \"Is\": not a valid selector operator",
        ),
        (
            "HorizontalPodAutoscaler",
            json!({"spec": {"minReplicas": 4}}),
            "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
        ),
        (
            "HorizontalPodAutoscaler",
            json!([{"op": "remove", "path": "/spec/metrics/0/resource"}]),
            "spec.metrics[0].resource: Required value: must populate information for the given metric source",
        ),
        (
            "Lease",
            json!({"spec": {"leaseDurationSeconds": 0}}),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "EndpointSlice",
            json!([{"op": "replace", "path": "/endpoints/0/addresses/0", "value": "127.0.0.1"}]),
            "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            "EndpointSlice",
            json!([{"op": "add", "path": "/ports/-", "value": {"name": "a"}}]),
            "ports[1].name: Duplicate value: \"a\"",
        ),
        ("StorageClass", json!({"provisioner": ""}), "provisioner: Required value"),
        (
            "StorageClass",
            json!({"reclaimPolicy": "Recycle"}),
            "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
        ),
        (
            "PriorityClass",
            json!({"value": 1_000_000_001}),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            "PriorityClass",
            json!({"metadata": {"name": "system-x"}}),
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
        ),
    ];
    let mut wrong = Vec::new();
    for (kind, change, expected) in cases {
        let mut engine = Engine::new(Chance::new(1, "test"), NOW);
        assert_eq!(refusal(&mut engine, base(kind)), "", "{kind} is good as it stands");
        let mut engine = Engine::new(Chance::new(1, "test"), NOW);
        let found = refusal(&mut engine, merged(base(kind), &change));
        if found != expected {
            wrong.push(format!("{kind} {change}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let updates = [
        ("Job", json!({"spec": {"completions": 2}}), "spec.completions: Invalid value: 2: field is immutable"),
        (
            "StorageClass",
            json!({"provisioner": "b.c/d"}),
            "provisioner: Forbidden: updates to provisioner are forbidden.",
        ),
        ("PriorityClass", json!({"value": 11}), "value: Forbidden: may not be changed in an update."),
    ];
    for (kind, change, expected) in updates {
        let mut engine = Engine::new(Chance::new(1, "test"), NOW);
        let stored = engine.create_object(base(kind), &WriteOptions::by("test"), NOW).unwrap().object;
        let target = engine.target_of(&stored).unwrap();
        let refused = engine.update(&target, merged(stored.to_value(), &change), &WriteOptions::by("test"), NOW);
        assert!(refused.as_ref().unwrap_err().message.ends_with(expected), "{kind}: {refused:?}");
    }
}
