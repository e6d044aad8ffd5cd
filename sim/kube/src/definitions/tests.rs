use serde_json::json;

use super::*;

fn definition(schema: Value) -> Value {
    let mut made = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    default(&mut made);
    made
}

/// Causes of a schema, their paths without what they have in common.
fn causes(schema: Value) -> Vec<String> {
    let found = validate(&definition(schema));
    let short = |field: &str| field.replace("spec.validation.openAPIV3Schema", "~");
    found.iter().map(|c| format!("{}: {}", short(&c.field), c.message)).collect()
}

fn with(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

#[test]
fn what_a_definition_leaves_out_is_filled_in() {
    let made = definition(json!({"type": "object"}));
    assert_eq!(made["spec"]["names"]["singular"], "thing");
    assert_eq!(made["spec"]["names"]["listKind"], "ThingList");
    assert_eq!(made["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(validate(&made), []);
}

#[test]
fn names_versions_columns_and_scale_are_checked() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 11] = [
        (
            |d| d["metadata"]["name"] = "x".into(),
            "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            |d| d["spec"]["scope"] = "World".into(),
            "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            |d| d["spec"]["names"]["listKind"] = "Thing".into(),
            "spec.names.listKind: Invalid value: \"Thing\": kind and listKind may not be the same",
        ),
        (
            |d| d["spec"]["versions"][0]["storage"] = false.into(),
            "must have exactly one version marked as storage version",
        ),
        (
            |d| d["spec"]["versions"][0]["schema"] = json!({}),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            |d| d["spec"]["versions"][0]["deprecationWarning"] = "old".into(),
            "spec.versions[0].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions",
        ),
        (
            |d| {
                d["spec"]["versions"][0]["additionalPrinterColumns"] =
                    json!([{"name": "A", "type": "text", "jsonPath": ".a"}]);
            },
            "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
        ),
        (
            |d| {
                d["spec"]["versions"][0]["subresources"] =
                    json!({"scale": {"specReplicasPath": ".status.n", "statusReplicasPath": ".status.n"}});
            },
            "spec.subresources.scale.specReplicasPath: Invalid value: \".status.n\": should be a json path under .spec",
        ),
        (
            |d| d["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.no"}]),
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.no\": is an invalid path: does not refer to a valid field",
        ),
        (
            |d| d["spec"]["conversion"] = json!({"strategy": "Webhook"}),
            "spec.conversion.strategy: Forbidden: conversion webhooks are not implemented by this simulated API server",
        ),
        (
            |d| d["spec"]["group"] = "example".into(),
            "spec.group: Invalid value: \"example\": should be a domain with at least one dot",
        ),
    ];
    for (change, expected) in cases {
        let mut made = definition(json!({"type": "object"}));
        change(&mut made);
        let found: Vec<String> = validate(&made).iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        assert!(found.iter().any(|f| f.contains(expected)), "{expected}\nnot in {found:#?}");
    }
}

#[test]
fn schemas_must_be_structural() {
    for (schema, expected) in [
        (json!({}), "~.type: Required value: must not be empty at the root"),
        (with(json!({"a": {}})), "~.properties[a].type: Required value: must not be empty for specified object fields"),
        (with(json!({"a": {"type": "array"}})), "~.properties[a].items: Required value: must be specified"),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            "~.additionalProperties: Forbidden: must not be used at the root",
        ),
        (
            with(json!({"a": {"type": "string", "anyOf": [{"type": "string"}]}})),
            "~.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            with(json!({"a": {"type": "object", "oneOf": [{"properties": {"b": {"minimum": 1}}}]}})),
            "~.properties[a].properties[b]: Required value: must be specified",
        ),
        (
            with(json!({"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}})),
            "~.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
        (
            with(json!({"a": {"type": "string", "default": 1}})),
            "~.properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\"",
        ),
        (
            with(json!({"a": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}})),
            "~.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            with(
                json!({"a": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}),
            ),
            "~.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            with(json!({"a": {"type": "string", "x-kubernetes-list-type": "set"}})),
            "~.properties[a].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified",
        ),
    ] {
        assert_eq!(causes(schema.clone()), [expected], "{schema}");
    }
    assert_eq!(
        causes(with(
            json!({"p": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true}})
        )),
        [""; 0]
    );
}

#[test]
fn rules_are_compiled_and_must_be_cheap() {
    let rules = |schema: Value| causes(with(json!({"a": schema})));
    let found = rules(json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 'x'"}]}));
    assert_eq!(
        found,
        [
            "~.properties[a].x-kubernetes-validations[0].rule: Invalid value: {\"rule\":\"self > 'x'\"}: compilation failed: ERROR: <input>:1:6: found no matching overload for '_>_' applied to '(int, string)'\n | self > 'x'\n | .....^"
        ]
    );
    let found = rules(json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self + 1"}]}));
    assert!(found[0].ends_with("cel expression must evaluate to a bool"), "{found:?}");
    let found = rules(
        json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]}),
    );
    assert!(
        found[0].starts_with("~.properties[a].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule"),
        "{found:?}"
    );
    let found = rules(
        json!({"type": "array", "maxItems": 10, "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}),
    );
    assert_eq!(
        found,
        [
            "~.properties[a].items.x-kubernetes-validations[0].rule: Invalid value: \"self >= oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[a]"
        ]
    );
    let found =
        rules(json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 1", "optionalOldSelf": true}]}));
    assert_eq!(
        found,
        [
            "~.properties[a].x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
        ]
    );
}

#[test]
fn stored_versions_and_the_times_of_conditions_are_kept() {
    let first = definition(json!({"type": "object"}));
    let mut stored = first.clone();
    stored["status"] = status(&first, None, "t1");
    let mut next = first;
    next["spec"]["versions"][0]["name"] = "v2".into();
    let after = status(&next, Some(&stored), "t2");
    assert_eq!(after["storedVersions"], json!(["v1", "v2"]));
    assert_eq!(after["conditions"][1]["lastTransitionTime"], "t1");
}

#[test]
fn what_all_versions_share_is_spoken_of_once_and_what_they_do_not_by_its_version() {
    let mut made = definition(with(json!({"a": {}})));
    let mut second = made["spec"]["versions"][0].clone();
    (second["name"], second["storage"]) = ("v2".into(), false.into());
    made["spec"]["versions"].as_array_mut().unwrap().push(second);
    let fields = |made: &Value| validate(made).into_iter().map(|c| c.field).collect::<Vec<_>>();
    assert_eq!(fields(&made), ["spec.validation.openAPIV3Schema.properties[a].type"]);
    made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["a"]["type"] = "string".into();
    assert_eq!(fields(&made), ["spec.versions[1].schema.openAPIV3Schema.properties[a].type"]);
}
