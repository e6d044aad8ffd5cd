use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn decoded(group: &str, kind: &str, mut object: Value) -> Result<(Value, Vec<String>), String> {
    let unknown = decode(&mut object, sim_kube_schemas::kind(group, "v1", kind).unwrap())?;
    Ok((object, unknown))
}

fn refused(group: &str, kind: &str, object: Value) -> String {
    decoded(group, kind, object).unwrap_err()
}

#[test]
fn unknown_fields_are_dropped_and_named_with_their_place_and_case_matters() {
    let (object, unknown) = decoded(
        "apps",
        "Deployment",
        json!({"metadata": {"labels": {"any": "x"}}, "spec": {"Replicas": 1, "replicas": 2, "foo": {"a": 1},
            "template": {"spec": {"containers": [{"name": "a"}, {"name": "b", "imagePullPolice": "x"}]}}}}),
    )
    .unwrap();
    assert_eq!(unknown, ["spec.Replicas", "spec.foo", "spec.template.spec.containers[1].imagePullPolice"]);
    assert_eq!(object["spec"]["replicas"], 2);
    assert!(object["spec"].get("foo").is_none());
}

#[test]
fn wrong_types_are_refused_in_the_words_of_gos_decoder() {
    assert_eq!(
        refused("apps", "Deployment", json!({"spec": {"replicas": "3"}})),
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    );
    assert_eq!(
        refused("apps", "Deployment", json!({"spec": {"replicas": 1.5}})),
        "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"
    );
    assert_eq!(
        refused("", "Pod", json!({"spec": {"containers": [{"env": [{"name": "a", "value": 1}]}]}})),
        "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string"
    );
    assert_eq!(
        refused("", "Pod", json!({"spec": {"containers": {"name": "a"}}})),
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
    );
    assert_eq!(
        refused("", "ConfigMap", json!({"metadata": {"annotations": {"a": true}}})),
        "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.annotations of type string"
    );
    assert_eq!(
        refused("", "Pod", json!({"spec": {"containers": [{"imagePullPolicy": 1}]}})),
        "json: cannot unmarshal number into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy"
    );
    assert_eq!(refused("", "Secret", json!({"data": {"a": "***"}})), "illegal base64 data at input byte 0");
    assert_eq!(
        refused("", "Service", json!({"spec": {"ports": [{"targetPort": true}]}})),
        "json: cannot unmarshal bool into Go value of type int32"
    );
}

#[test]
fn an_error_of_a_types_own_decoder_comes_before_an_earlier_wrong_type() {
    let object = json!({"spec": {"hostNetwork": 1, "containers": [{"resources": {"limits": {"cpu": "much"}}}]}});
    assert!(refused("", "Pod", object).starts_with("quantities must match the regular expression"));
}

#[test]
fn a_definitions_schema_is_decoded_through_its_items() {
    let (_, unknown) = decoded(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": {"a": {"items": {"typ": "x"}, "default": {"free": 1}, "additionalProperties": true}}}}}]}}),
    )
    .unwrap();
    assert_eq!(unknown, ["spec.versions[0].schema.openAPIV3Schema.properties.a.items.typ"]);
}

#[test]
fn quantities_come_out_canonical() {
    for (given, canonical) in [
        ("1.5Gi", "1536Mi"),
        ("0.1", "100m"),
        ("1000", "1k"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1000Mi", "1000Mi"),
        ("0", "0"),
        ("-0", "0"),
        ("-1500m", "-1500m"),
        ("1e3", "1e3"),
        ("12e-1", "1200e-3"),
        ("0.5Ki", "512"),
        ("1.5Ki", "1536"),
        ("100m", "100m"),
        ("0.1n", "1n"),
        ("9223372036854775808", "9223372036854775807"),
        ("1Ei", "1Ei"),
        ("+5", "5"),
        (".5", "500m"),
    ] {
        assert_eq!(quantity::canonical(given).as_deref(), Ok(canonical), "{given}");
    }
    for (given, why) in [
        ("", "quantities must match"),
        ("1 Gi", "quantities must match"),
        ("abc", "quantities must match"),
        ("1K", "unable to parse quantity's suffix"),
        ("1Mii", "unable to parse quantity's suffix"),
        ("1.2.3", "unable to parse numeric part"),
    ] {
        assert!(quantity::canonical(given).unwrap_err().starts_with(why), "{given}");
    }
}

#[test]
fn fields_that_come_twice_are_named_and_the_last_one_counts() {
    let (value, twice) = from_slice(br#"{"spec":{"a":1,"a":2,"l":[{"b":1},{"b":1,"b":null}]},"spec2":{}}"#).unwrap();
    assert_eq!(value, json!({"spec": {"a": 2, "l": [{"b": 1}, {"b": null}]}, "spec2": {}}));
    assert_eq!(twice, ["spec.a", "spec.l[1].b"]);
    assert!(from_slice(b"{} x").is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9.]{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop::sample::select(vec![
                    "metadata",
                    "spec",
                    "containers",
                    "name",
                    "ports",
                    "resources",
                    "limits",
                    "labels",
                    "x"
                ])
                .prop_map(str::to_owned),
                inner,
                0..5
            )
            .prop_map(|m| Value::Object(m.into_iter().collect()))
        ]
    })
}

proptest! {
    #[test]
    fn decoding_what_was_decoded_changes_nothing_and_finds_nothing(object in any_json()) {
        let pod = sim_kube_schemas::kind("", "v1", "Pod").unwrap();
        let mut once = object;
        if decode(&mut once, pod).is_ok() {
            let mut twice = once.clone();
            prop_assert_eq!(decode(&mut twice, pod), Ok(Vec::new()));
            prop_assert_eq!(once, twice);
        }
    }

    #[test]
    fn the_canonical_form_of_a_quantity_is_its_own_canonical_form(text in "[+-]?[0-9]{1,12}(\\.[0-9]{1,6})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[0-9])?") {
        let once = quantity::canonical(&text).unwrap();
        prop_assert_eq!(quantity::canonical(&once), Ok(once.clone()));
    }

    #[test]
    fn reading_json_gives_what_serde_gives(value in any_json()) {
        let (read, twice) = from_slice(value.to_string().as_bytes()).unwrap();
        prop_assert_eq!(read, value);
        prop_assert!(twice.is_empty());
    }
}
