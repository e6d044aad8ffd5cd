use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const TIME: &str = "2026-01-01T00:00:00Z";

fn by(manager: &str) -> Writer<'_> {
    Writer { manager, api_version: "v1", subresource: "", time: TIME, has_status: false }
}

fn built_in(kind: &str) -> Shape<'static> {
    let group = if kind == "Deployment" { "apps" } else { "" };
    Shape::Kind(sim_kube_schemas::kind(group, "v1", kind).unwrap())
}

/// A kind by what the objects look like.
fn shape_of(live: &Value, config: &Value) -> Shape<'static> {
    let has = |path: &[&str]| [live, config].iter().any(|o| crate::json::at(o, path).is_some());
    match () {
        () if has(&["spec", "template"]) => built_in("Deployment"),
        () if has(&["spec"]) => built_in("Pod"),
        () => built_in("ConfigMap"),
    }
}

fn applied(live: &Value, config: &Value, manager: &str, force: bool) -> Result<Value, Status> {
    let done = apply(live, &managers(live), config, shape_of(live, config), by(manager), force)?;
    Ok(with(done.managers, done.object))
}

fn managers(object: &Value) -> Vec<Manager> {
    Manager::read(json::list(object, &["metadata", "managedFields"]))
}

fn with(mut managers: Vec<Manager>, mut object: Value) -> Value {
    Manager::settle(&mut managers);
    Manager::write(&managers, &mut object);
    object
}

#[test]
fn a_conflict_names_the_manager_and_the_field_and_force_takes_it() {
    let one = applied(&json!({}), &json!({"data": {"a": "1"}}), "first", false).unwrap();
    let status = applied(&one, &json!({"data": {"a": "2"}}), "second", false).unwrap_err();
    assert_eq!(
        (status.code, status.message.as_str()),
        (409, "Apply failed with 1 conflict: conflict with \"first\": .data.a")
    );
    assert_eq!(
        status.details.unwrap()["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"first\"", "field": ".data.a"}])
    );
    let taken = applied(&one, &json!({"data": {"a": "2"}}), "second", true).unwrap();
    assert_eq!(managers(&taken).iter().map(|m| &*m.name).collect::<Vec<_>>(), ["second"]);
}

#[test]
fn a_field_left_out_goes_unless_somebody_else_owns_it() {
    let one = applied(&json!({}), &json!({"data": {"a": "1", "b": "1"}}), "first", false).unwrap();
    let two = applied(&one, &json!({"data": {"b": "1"}}), "second", false).unwrap();
    let three = applied(&two, &json!({"data": {"c": "1"}}), "first", false).unwrap();
    assert_eq!(three["data"], json!({"b": "1", "c": "1"}));
}

#[test]
fn containers_merge_by_name_and_keep_what_others_set() {
    let live = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "side", "image": "s"}]}});
    let next = applied(
        &live,
        &json!({"spec": {"containers": [{"name": "a", "image": "2", "ports": [{"containerPort": 1}]}]}}),
        "m",
        true,
    )
    .unwrap();
    assert_eq!(
        next["spec"]["containers"],
        json!([{"name": "a", "image": "2", "ports": [{"containerPort": 1}]}, {"name": "side", "image": "s"}])
    );
    let fields = &next["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(
        *fields,
        json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}, "f:ports": {"k:{\"containerPort\":1,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}})
    );
    let gone = applied(&next, &json!({"spec": {"containers": [{"name": "a", "image": "2"}]}}), "m", false).unwrap();
    assert_eq!(gone["spec"]["containers"][0], json!({"name": "a", "image": "2"}));
}

#[test]
fn an_update_takes_over_what_it_changes() {
    let one = applied(&json!({}), &json!({"data": {"a": "1", "b": "1"}}), "first", false).unwrap();
    let mut two = one.clone();
    two["data"]["a"] = "9".into();
    let two = with(update(&one, &managers(&one), &two, built_in("ConfigMap"), by("editor")), two);
    let status = applied(&two, &json!({"data": {"a": "1", "b": "1"}}), "first", false).unwrap_err();
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"editor\" using v1: .data.a");
}

#[test]
fn a_configuration_that_does_not_fit_is_told_where_in_the_real_words() {
    let complaints = |config: Value| crate::ssa::check(&config, built_in("Deployment"));
    assert_eq!(
        complaints(json!({"spec": {"replicas": "3", "foo": 1, "template": {"spec": {"containers": [
            {"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}], "image": 1},
            {"image": "x"}]}}}})),
        [
            ".spec.replicas: expected numeric (int or float), got string",
            ".spec.foo: field not declared in schema",
            ".spec.template.spec.containers[name=\"a\"].ports: duplicate entries for key [containerPort=80,protocol=\"TCP\"]",
            ".spec.template.spec.containers[name=\"a\"].image: expected string, got 1",
            ".spec.template.spec.containers: element 1: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)",
        ]
    );
    assert!(complaints(json!({"metadata": {"annotations": {"free": "x"}}, "spec": {"replicas": null}})).is_empty());
}

#[test]
fn a_selector_is_one_value_and_a_pods_node_selector_too() {
    let one = applied(&json!({}), &json!({"spec": {"nodeSelector": {"a": "1"}}}), "first", false).unwrap();
    assert_eq!(one["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:spec": {"f:nodeSelector": {}}}));
    let status = applied(&one, &json!({"spec": {"nodeSelector": {"b": "1"}}}), "second", false).unwrap_err();
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"first\": .spec.nodeSelector");
}

fn config() -> impl Strategy<Value = Value> {
    let data = prop::collection::btree_map("[a-d]", "[0-2]", 0..4);
    let envs = prop::collection::btree_map("[A-C]", "[0-2]", 0..3);
    (data, envs).prop_map(|(data, envs)| {
        let data: Map<String, Value> = data.into_iter().map(|(k, v)| (k, v.into())).collect();
        let env: Vec<Value> = envs.into_iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
        json!({"metadata": {"annotations": data}, "spec": {
            "selector": {"matchLabels": {"x": "y"}},
            "template": {"spec": {"containers": [{"name": "c", "env": env}]}},
        }})
    })
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(a in config(), b in config()) {
        let live = applied(&json!({}), &a, "one", false).unwrap();
        let once = applied(&live, &b, "two", true).unwrap();
        let twice = applied(&once, &b, "two", false).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_forced_apply_never_conflicts_and_sets_what_it_names(a in config(), b in config(), c in config()) {
        let live = applied(&json!({}), &a, "one", false).unwrap();
        let live = applied(&live, &b, "two", true).unwrap();
        let live = applied(&live, &c, "three", true).unwrap();
        let again = applied(&live, &c, "four", false).unwrap();
        for (key, value) in c["metadata"]["annotations"].as_object().unwrap() {
            prop_assert_eq!(&again["metadata"]["annotations"][key], value);
        }
    }

    #[test]
    fn what_one_owns_alone_goes_when_one_leaves_it_out(a in config()) {
        let live = applied(&json!({}), &a, "one", false).unwrap();
        let left = applied(&live, &json!({"kind": "K"}), "one", false).unwrap();
        let rest: Vec<_> = left.as_object().unwrap().keys().filter(|k| *k != "metadata" && *k != "kind").collect();
        prop_assert!(rest.is_empty(), "{left}");
        prop_assert!(left["metadata"].get("annotations").is_none(), "{left}");
    }

    #[test]
    fn every_field_of_the_last_applier_is_owned_by_it(a in config(), b in config()) {
        let live = applied(&json!({}), &a, "one", false).unwrap();
        let next = applied(&live, &b, "two", true).unwrap();
        let managers = managers(&next);
        let wanted = to_field_set(&b, built_in("Deployment"));
        let two = managers.iter().find(|m| &*m.name == "two").unwrap();
        prop_assert_eq!(&*two.fields, &wanted);
        let mut all = FieldSet::default();
        for manager in &managers {
            all.absorb(&manager.fields);
        }
        let mut content = next.clone();
        content["metadata"].as_object_mut().unwrap().shift_remove("managedFields");
        prop_assert!(to_field_set(&content, built_in("Deployment")).difference(&all).is_empty());
    }
}
