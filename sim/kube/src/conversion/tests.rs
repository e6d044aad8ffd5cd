use proptest::prelude::*;
use serde_json::{Value, json};

use super::{inward, outward};

fn scaler(spec: Value, status: Value) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec, "status": status})
}

#[test]
fn what_v1_has_a_field_for_stands_in_it_and_the_rest_in_annotations() {
    let mut object = scaler(
        json!({"maxReplicas": 3, "metrics": [
            {"type": "Pods", "pods": {"metric": {"name": "packets", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}],
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 5}}}),
        json!({"currentReplicas": 1, "conditions": [{"type": "AbleToScale", "status": "True"}]}),
    );
    let before = object.clone();
    outward(&mut object);
    assert_eq!(object["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 70}));
    assert_eq!(object["status"], json!({"currentReplicas": 1}));
    let note = |name: &str| -> Value {
        let text = &object["metadata"]["annotations"][format!("autoscaling.alpha.kubernetes.io/{name}")];
        serde_json::from_str(text.as_str().unwrap()).unwrap()
    };
    assert_eq!(
        note("metrics"),
        json!([{"type": "Pods", "pods": {"metricName": "packets", "selector": {"matchLabels": {"a": "b"}}, "targetAverageValue": "1k"}}])
    );
    assert_eq!(note("behavior"), json!({"scaleUp": {"stabilizationWindowSeconds": 5}}));
    assert_eq!(note("conditions"), json!([{"type": "AbleToScale", "status": "True"}]));
    inward(&mut object);
    assert_eq!(object, before);
}

#[test]
fn an_annotation_that_is_no_json_or_of_another_type_is_dropped() {
    for text in [
        "{",
        "7",
        "[7]",
        r#"[{"type": "Pods", "pods": 7}]"#,
        r#"[{"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": "x"}}]"#,
    ] {
        let mut object = json!({"metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": text}}, "spec": {"maxReplicas": 1}});
        inward(&mut object);
        assert_eq!(object, json!({"metadata": {}, "spec": {"maxReplicas": 1}}), "{text}");
    }
}

fn metric(observed: bool) -> impl Strategy<Value = Value> {
    let numbers = move |kind: &'static str, field: &'static str, value: Value| {
        if observed { json!({field: value}) } else { json!({"type": kind, field: value}) }
    };
    let key = if observed { "current" } else { "target" };
    let average = (1..900_i64).prop_map(move |n| numbers("AverageValue", "averageValue", format!("{n}m").into()));
    let value = (1..900_i64).prop_map(move |n| numbers("Value", "value", n.to_string().into()));
    let share = (1..100_i64).prop_map(move |n| numbers("Utilization", "averageUtilization", n.into()));
    let either = prop_oneof![value, average.clone()];
    prop_oneof![
        (prop_oneof![share.clone(), average.clone()])
            .prop_map(move |n| json!({"type": "Resource", "resource": {"name": "memory", key: n}})),
        (prop_oneof![share, average.clone()]).prop_map(
            move |n| json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", key: n}})
        ),
        average.prop_map(move |n| json!({"type": "Pods", "pods": {"metric": {"name": "m"}, key: n}})),
        either.clone().prop_map(
            move |n| json!({"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "m"}, key: n}})
        ),
        either.prop_map(
            move |n| json!({"type": "External", "external": {"metric": {"name": "m", "selector": {"matchLabels": {"x": "y"}}}, key: n}})
        ),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_on_the_way_through_v1(
        wanted in proptest::collection::vec(metric(false), 0..4),
        observed in proptest::collection::vec(metric(true), 0..4),
        cpu in proptest::option::of(1..100_i64),
    ) {
        let mut metrics = wanted;
        metrics.extend(cpu.map(|n| json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": n}}})));
        let mut spec = json!({"maxReplicas": 3});
        if !metrics.is_empty() {
            spec["metrics"] = metrics.into();
        }
        let mut status = json!({"currentReplicas": 1});
        if !observed.is_empty() {
            status["currentMetrics"] = observed.into();
        }
        let mut object = scaler(spec, status);
        let before = object.clone();
        outward(&mut object);
        prop_assert!(object["spec"].get("metrics").is_none() && object["status"].get("currentMetrics").is_none());
        inward(&mut object);
        prop_assert_eq!(object, before);
    }
}
