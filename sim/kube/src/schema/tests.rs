use serde_json::json;

use super::*;

fn schema() -> Compiled {
    Compiled::new(&json!({"type": "object", "properties": {
    "spec": {"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9, "multipleOf": 1},
        "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1, "exclusiveMaximum": true, "multipleOf": 0.25},
        "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 3},
        "mail": {"type": "string", "format": "email"},
        "port": {"x-kubernetes-int-or-string": true},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "object", "properties": {"x": {"type": "string"}}}}},
        "tags": {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "string"}},
        "maybe": {"type": "string", "nullable": true},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "minItems": 1, "maxItems": 3, "items": {"type": "string"}},
        "child": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        "one": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "any": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "all": {"type": "integer", "allOf": [{"minimum": 2}, {"maximum": 4}]},
        "never": {"type": "string", "not": {"enum": ["x"]}},
        "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "default": 7, "maximum": 9}}}},
    }}}}))
}

fn messages(spec: Value) -> Vec<String> {
    let causes = schema().validate(&json!({"spec": spec}), None);
    causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
}

#[test]
fn defaults_reach_into_lists_and_do_not_invent_parents() {
    let mut o = json!({"spec": {"size": 1, "items": [{"k": "x"}, {"k": "y", "v": null}]}});
    schema().default(&mut o);
    assert_eq!(o, json!({"spec": {"size": 1, "mode": "a", "items": [{"k": "x", "v": 7}, {"k": "y", "v": 7}]}}));
    let mut empty = json!({});
    schema().default(&mut empty);
    assert_eq!(empty, json!({}));
}

#[test]
fn pruning_drops_and_names_what_is_unknown_and_keeps_what_is_free() {
    let mut o = json!({"kind": "X", "metadata": {"a": 1}, "spec": {"size": 1, "zzz": 2, "free": {"y": 1, "known": {"x": "1", "z": 1}}, "tags": {"t": "u"},
        "child": {"kind": "K", "metadata": {"name": "n"}, "spec": {"q": 1}}, "items": [{"k": "x", "q": 1}], "name": null, "maybe": null}});
    let dropped = schema().prune(&mut o);
    assert_eq!(dropped, ["spec.free.known.z", "spec.items[0].q", "spec.zzz"]);
    schema().default(&mut o);
    assert_eq!(
        o,
        json!({"kind": "X", "metadata": {"a": 1}, "spec": {"size": 1, "free": {"y": 1, "known": {"x": "1"}}, "tags": {"t": "u"},
            "child": {"kind": "K", "metadata": {"name": "n"}, "spec": {"q": 1}}, "items": [{"k": "x", "v": 7}], "maybe": null, "mode": "a"}})
    );
}

#[test]
fn refusals_use_the_real_words() {
    for (spec, expected) in [
        (json!({}), vec!["spec.size: Required value"]),
        (
            json!({"size": "x"}),
            vec!["spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""],
        ),
        (
            json!({"size": 0}),
            vec!["spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"],
        ),
        (
            json!({"size": 10}),
            vec!["spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9"],
        ),
        (
            json!({"size": 1, "ratio": 0}),
            vec!["spec.ratio: Invalid value: 0: spec.ratio in body should be greater than 0"],
        ),
        (
            json!({"size": 1, "ratio": 1.5}),
            vec!["spec.ratio: Invalid value: 1.5: spec.ratio in body should be less than 1"],
        ),
        (
            json!({"size": 1, "ratio": 0.3}),
            vec!["spec.ratio: Invalid value: 0.3: spec.ratio in body should be a multiple of 0.25"],
        ),
        (json!({"size": 1, "mode": "c"}), vec!["spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\""]),
        (
            json!({"size": 1, "name": "AB"}),
            vec!["spec.name: Invalid value: \"AB\": spec.name in body should match '^[a-z]+$'"],
        ),
        (
            json!({"size": 1, "name": "a"}),
            vec!["spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long"],
        ),
        (json!({"size": 1, "name": "abcd"}), vec!["spec.name: Too long: may not be more than 3 bytes"]),
        (
            json!({"size": 1, "mail": "x"}),
            vec!["spec.mail: Invalid value: \"x\": spec.mail in body must be of type email: \"x\""],
        ),
        (
            json!({"size": 1, "port": true}),
            vec![
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ],
        ),
        (
            json!({"size": 1, "tags": {}}),
            vec!["spec.tags: Invalid value: 0: spec.tags in body should have at least 1 properties"],
        ),
        (
            json!({"size": 1, "tags": {"a": "1", "b": "2", "c": "3"}}),
            vec!["spec.tags: Too many: 3: must have at most 2 items"],
        ),
        (
            json!({"size": 1, "tags": {"a": 1}}),
            vec!["spec.tags.a: Invalid value: \"integer\": spec.tags.a in body must be of type string: \"integer\""],
        ),
        (
            json!({"size": 1, "set": []}),
            vec!["spec.set: Invalid value: 0: spec.set in body should have at least 1 items"],
        ),
        (
            json!({"size": 1, "set": ["a", "b", "a", "a"]}),
            vec!["spec.set: Too many: 4: must have at most 3 items", "spec.set[2]: Duplicate value: \"a\""],
        ),
        (json!({"size": 1, "items": [{"k": "a"}, {"k": "a"}]}), vec!["spec.items[1]: Duplicate value: {\"k\":\"a\"}"]),
        (json!({"size": 1, "child": {"kind": "K"}}), vec!["spec.child.apiVersion: Required value: must not be empty"]),
        (
            json!({"size": 1, "one": {"a": 1, "b": 2}}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        ),
        (
            json!({"size": 1, "one": {}}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found none valid",
                "spec.one.a: Required value",
            ],
        ),
        (
            json!({"size": 1, "any": {}}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.any\" must validate at least one schema (anyOf)",
                "spec.any.a: Required value",
            ],
        ),
        (
            json!({"size": 1, "all": 5}),
            vec![
                "spec.all: Invalid value: 5: spec.all in body should be less than or equal to 4",
                "<nil>: Invalid value: \"\": \"spec.all\" must validate all the schemas (allOf)",
            ],
        ),
        (
            json!({"size": 1, "never": "x"}),
            vec!["<nil>: Invalid value: \"\": \"spec.never\" must not validate the schema (not)"],
        ),
        (json!({"size": 1, "maybe": null, "port": "http", "child": {"apiVersion": "v1", "kind": "K"}}), vec![]),
    ] {
        assert_eq!(messages(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn what_was_wrong_before_is_tolerated_until_it_changes() {
    let old = json!({"spec": {"size": 99, "mode": "z", "items": [{"k": "a", "v": 100}]}});
    let same = json!({"spec": {"size": 99, "mode": "z", "name": "abc", "items": [{"k": "b"}, {"k": "a", "v": 100}]}});
    assert_eq!(schema().validate(&same, Some(&old)), []);
    let changed = json!({"spec": {"size": 98, "mode": "z", "items": [{"k": "a", "v": 101}]}});
    let fields: Vec<String> = schema().validate(&changed, Some(&old)).into_iter().map(|c| c.field).collect();
    assert_eq!(fields, ["spec.size", "spec.items[0].v"]);
}

#[test]
fn numbers_are_printed_as_go_prints_them() {
    for (value, text) in [(0.5, "0.5"), (1e21, "1e+21"), (0.00001, "1e-05"), (1e6, "1000000"), (-2.0, "-2")] {
        assert_eq!(super::validate::number(value), text);
    }
}

fn ruled(spec: Value) -> Compiled {
    Compiled::new(&json!({"type": "object", "properties": {"spec": spec}}))
}

fn texts(causes: &[Cause]) -> Vec<String> {
    causes.iter().map(|c| format!("{} {}: {}", c.reason, c.field, c.message)).collect()
}

#[test]
fn rules_refuse_with_the_real_causes() {
    let schema = ruled(json!({"type": "object", "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"}, "a-b": {"type": "string", "maxLength": 9},
            "port": {"x-kubernetes-int-or-string": true}, "when": {"type": "string", "format": "date-time"},
            "tags": {"type": "object", "additionalProperties": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'no'"}]}}},
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "min must not exceed max", "fieldPath": ".min"},
            {"rule": "!has(self.max) || self.max < 100", "messageExpression": "'max is ' + string(self.max)", "reason": "FieldValueForbidden"},
            {"rule": "!has(self.a__dash__b) || self.a__dash__b.startsWith('x')"},
            {"rule": "!has(self.port) || type(self.port) != int || self.port > 0"},
            {"rule": "!has(self.when) || self.when > timestamp('2020-01-01T00:00:00Z')"}]}));
    for (spec, expected) in [
        (json!({"min": 1, "max": 2, "a-b": "xy", "port": "http", "when": "2026-01-01T00:00:00Z"}), vec![]),
        (json!({"min": 3, "max": 2}), vec!["FieldValueInvalid spec.min: Invalid value: min must not exceed max"]),
        (json!({"min": 3, "max": 200}), vec!["FieldValueForbidden spec: Forbidden: max is 200"]),
        (
            json!({"min": 1, "max": 2, "a-b": "y", "port": 0}),
            vec![
                "FieldValueInvalid spec: Invalid value: failed rule: !has(self.a__dash__b) || self.a__dash__b.startsWith('x')",
                "FieldValueInvalid spec: Invalid value: failed rule: !has(self.port) || type(self.port) != int || self.port > 0",
            ],
        ),
        (
            json!({"max": 2}),
            vec![
                "FieldValueInvalid spec: Invalid value: \"object\": no such key: min evaluating rule: min must not exceed max",
            ],
        ),
        (
            json!({"min": 1, "max": 2, "tags": {"k": "no"}}),
            vec!["FieldValueInvalid spec.tags[k]: Invalid value: \"no\": failed rule: self != 'no'"],
        ),
        (
            json!({"min": "1", "max": 0}),
            vec![
                "FieldValueTypeInvalid spec.min: Invalid value: \"string\": spec.min in body must be of type integer: \"string\"",
                "FieldValueInvalid <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
            ],
        ),
    ] {
        assert_eq!(texts(&schema.validate(&json!({"spec": spec}), None)), expected, "{spec}");
    }
}

#[test]
fn transition_rules_run_on_updates_of_what_can_be_told_apart() {
    let schema = ruled(json!({"type": "object", "properties": {
        "size": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "may not shrink"}]},
        "first": {"type": "integer", "x-kubernetes-validations": [{"rule": "oldSelf.hasValue() || self == 1", "optionalOldSelf": true, "message": "starts at 1"}]},
        "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object",
            "properties": {"k": {"type": "string"}, "v": {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed"}]}}}}}}));
    let old = json!({"spec": {"size": 3, "first": 5, "items": [{"k": "a", "v": 1}]}});
    assert_eq!(texts(&schema.validate(&old, None)), ["FieldValueInvalid spec.first: Invalid value: 5: starts at 1"]);
    let new = json!({"spec": {"size": 2, "first": 6, "items": [{"k": "b", "v": 9}, {"k": "a", "v": 2}]}});
    assert_eq!(
        texts(&schema.validate(&new, Some(&old))),
        [
            "FieldValueInvalid spec.size: Invalid value: 2: may not shrink",
            "FieldValueInvalid spec.items[1].v: Invalid value: 2: fixed",
        ]
    );
}

#[test]
fn a_rule_that_failed_before_is_tolerated_until_its_value_changes() {
    let schema = ruled(
        json!({"type": "object", "properties": {"a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5"}]}, "b": {"type": "integer"}}}),
    );
    let old = json!({"spec": {"a": 1, "b": 1}});
    assert_eq!(schema.validate(&json!({"spec": {"a": 1, "b": 2}}), Some(&old)), []);
    assert_eq!(schema.validate(&json!({"spec": {"a": 2, "b": 1}}), Some(&old)).len(), 1);
}

#[test]
fn the_root_of_a_resource_shows_its_name_and_rules_have_a_budget() {
    let schema = Compiled::new(
        &json!({"type": "object", "properties": {"spec": {"type": "array", "items": {"type": "integer"}}},
        "x-kubernetes-validations": [{"rule": "self.metadata.name.size() <= 5", "message": "name too long"},
            {"rule": "self.spec.all(x, self.spec.all(y, x + y >= 0))"}]}),
    );
    let object =
        |n: usize, name: &str| json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": name}, "spec": vec![1; n]});
    assert_eq!(schema.validate(&object(3, "short"), None), []);
    assert_eq!(schema.validate(&object(3, "longer"), None)[0].message, "Invalid value: name too long");
    let over = schema.validate(&object(1_000, "short"), None);
    assert!(over[0].message.contains("'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule"), "{over:?}");
}
