use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn engine() -> Engine {
    Engine::new(Chance::new(1, "test"), NOW)
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"a": value}})
}

fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "required": ["size"], "properties": {"size": {"type": "integer", "minimum": 1}, "mode": {"type": "string", "default": "a"}}},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}})
}

fn thing(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": "default"}, "spec": spec})
}

#[test]
fn a_stale_write_is_refused_in_the_real_words_and_a_no_op_changes_nothing() {
    let mut e = engine();
    let by = WriteOptions::by("test");
    let made = e.create_object(config_map("c", "1"), &by, NOW).unwrap().object;
    let target = e.target_of(&made).unwrap();
    let before = e.revision();
    let same = e.update(&target, made.to_value(), &by, NOW).unwrap().object;
    assert_eq!((e.revision(), same.revision()), (before, made.revision()));
    let mut next = made.to_value();
    next["data"]["a"] = "2".into();
    e.update(&target, next.clone(), &by, NOW).unwrap();
    let status = e.update(&target, next, &by, NOW).unwrap_err();
    assert_eq!(
        status.message,
        "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again"
    );
    assert_eq!(e.create_object(config_map("c", "1"), &by, NOW).unwrap_err().message, "configmaps \"c\" already exists");
    let missing = Target { name: "no".into(), ..target };
    assert_eq!(e.get(&missing).unwrap_err().message, "configmaps \"no\" not found");
}

#[test]
fn of_a_long_prefix_a_generated_name_keeps_the_beginning() {
    let mut e = engine();
    let mut named_after = |prefix: &str| {
        let mut object = config_map("", "1");
        object["metadata"] = json!({"generateName": prefix, "namespace": "default"});
        let made = e.create_object(object, &WriteOptions::by("test"), NOW).unwrap().object;
        json::name(&made).to_owned()
    };
    let long = format!("{}-0ccc2e8b-7d9f8c-", "gateway".repeat(8));
    assert!(named_after("gate-5d8-").starts_with("gate-5d8-"));
    let name = named_after(&long);
    assert_eq!((name.len(), &name[..58]), (63, &long[..58]));
}

#[test]
fn custom_resources_default_prune_validate_and_keep_status_apart() {
    let mut e = engine();
    let by = WriteOptions::by("test");
    e.create_object(definition(), &by, NOW).unwrap();
    let status = e.create_object(thing(json!({"size": 0})), &by, NOW).unwrap_err();
    assert_eq!(
        status.message,
        "Thing.example.com \"t\" is invalid: spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"
    );
    let strict = WriteOptions { field_validation: FieldValidation::Strict, ..by.clone() };
    assert_eq!(
        e.create_object(thing(json!({"size": 1, "x": 1})), &strict, NOW).unwrap_err().message,
        "Thing in version \"v1\" cannot be handled as a Thing: strict decoding error: unknown field \"spec.x\""
    );
    let made = e.create_object(thing(json!({"size": 1, "x": 1})), &by, NOW).unwrap();
    assert_eq!(made.warnings, ["unknown field \"spec.x\""]);
    assert_eq!(made.object["spec"], json!({"size": 1, "mode": "a"}));
    let target = e.target_of(&made.object).unwrap();
    let mut next = made.object.to_value();
    next["status"] = json!({"ok": true});
    let main = e.update(&target, next.clone(), &by, NOW).unwrap().object;
    assert_eq!(main.get("status"), None);
    next["spec"]["size"] = 5.into();
    let sub = Target { subresource: "status".into(), ..target.clone() };
    let written = e.update(&sub, next, &by, NOW).unwrap().object;
    assert_eq!(
        (written["status"].clone(), written["spec"]["size"].clone(), written["metadata"]["generation"].clone()),
        (json!({"ok": true}), json!(1), json!(1))
    );
    let patched = e.patch(&target, PatchKind::Merge, &json!({"spec": {"size": 2}}), &by, NOW).unwrap().object;
    assert_eq!(patched["metadata"]["generation"], 2);
    assert_eq!(e.patch(&target, PatchKind::Strategic, &json!({}), &by, NOW).unwrap_err().code, 415);
}

#[test]
fn a_repeated_apply_of_a_defaulted_deployment_changes_nothing() {
    let mut e = engine();
    let d = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": 80}}}]}}}});
    let target = e.target_of(&d).unwrap();
    let by = WriteOptions::by("op");
    assert!(e.apply(&target, &d, &by, NOW).unwrap().created);
    let before = e.get(&target).unwrap();
    let after = e.apply(&target, &d, &by, NOW + std::time::Duration::from_secs(60)).unwrap().object;
    assert_eq!(after.to_string(), before.to_string());
    let s = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s",
        "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let target = e.target_of(&s).unwrap();
    e.apply(&target, &s, &by, NOW).unwrap();
    let before = e.revision();
    e.apply(&target, &s, &by, NOW + std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(e.revision(), before);
}

#[test]
fn finalizers_hold_and_release_a_deletion_and_dependents_follow() {
    let mut e = engine();
    let by = WriteOptions::by("test");
    let mut owner = config_map("owner", "1");
    owner["metadata"]["finalizers"] = json!(["x/y"]);
    let owner = e.create_object(owner, &by, NOW).unwrap().object;
    let mut child = config_map("child", "1");
    child["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}]);
    e.create_object(child, &by, NOW).unwrap();
    let target = e.target_of(&owner).unwrap();
    let (held, gone) = e.delete(&target, &DeleteQuery::default(), NOW).unwrap();
    assert!(!gone && json::deleting(&held));
    crate::workloads::collect(&mut e, NOW);
    assert!(e.peek("configmaps", "default", "child").is_some());
    e.patch(&target, PatchKind::Json, &json!([{"op": "remove", "path": "/metadata/finalizers"}]), &by, NOW).unwrap();
    assert!(e.peek("configmaps", "default", "owner").is_none());
    crate::workloads::collect(&mut e, NOW);
    assert!(e.peek("configmaps", "default", "child").is_none());
}

#[test]
fn pages_of_a_list_are_one_snapshot_and_compaction_is_gone() {
    let mut e = engine();
    let by = WriteOptions::by("test");
    let start = e.revision();
    for i in 0..5 {
        e.create_object(config_map(&format!("c{i}"), "1"), &by, NOW).unwrap();
    }
    let target = Target { name: String::new(), ..e.target_of(&config_map("x", "1")).unwrap() };
    let first = e.list(&target, &ListQuery { limit: 2, ..ListQuery::default() }).unwrap();
    e.create_object(config_map("c9", "1"), &by, NOW).unwrap();
    let rest =
        e.list(&target, &ListQuery { continue_token: first.continue_token.clone(), ..ListQuery::default() }).unwrap();
    assert_eq!((first.items.len(), first.remaining, rest.items.len(), rest.revision), (2, Some(3), 3, first.revision));
    assert_eq!(e.events_after("configmaps", start).unwrap().len(), 6);
    e.compact();
    assert_eq!(e.events_after("configmaps", start).unwrap_err().code, 410);
}

#[test]
fn a_past_revision_can_be_listed_until_it_is_compacted() {
    let mut e = engine();
    let by = WriteOptions::by("test");
    let target = Target { name: String::new(), ..e.target_of(&config_map("x", "1")).unwrap() };
    for i in 0..3 {
        e.create_object(config_map(&format!("c{i}"), "1"), &by, NOW).unwrap();
    }
    let then = e.revision();
    let one = |name: &str| Target { name: name.into(), ..target.clone() };
    e.delete(&one("c0"), &DeleteQuery::default(), NOW).unwrap();
    e.patch(&one("c1"), PatchKind::Merge, &json!({"data": {"a": "2"}}), &by, NOW).unwrap();
    e.create_object(config_map("c00", "1"), &by, NOW).unwrap();
    let at = |e: &Engine, version| e.list(&target, &ListQuery { version, ..ListQuery::default() });
    let names = |page: &ListPage| -> Vec<String> {
        page.items.iter().map(|i| format!("{}={}", json::name(i), i["data"]["a"].as_str().unwrap())).collect()
    };
    let page = at(&e, ReadVersion::Exact(then)).unwrap();
    assert_eq!((page.revision, names(&page)), (then, vec!["c0=1".into(), "c1=1".into(), "c2=1".into()]));
    assert_eq!(names(&at(&e, ReadVersion::Any).unwrap()), ["c00=1", "c1=2", "c2=1"]);
    assert_eq!(at(&e, ReadVersion::Exact(e.revision() + 1)).unwrap_err().code, 504);
    // Five minutes on nothing is compacted yet, ten minutes on what was there at five is.
    let later = |seconds| NOW + std::time::Duration::from_secs(seconds);
    e.tick(later(300));
    assert!(at(&e, ReadVersion::Exact(then)).is_ok());
    e.tick(later(600));
    let refused = at(&e, ReadVersion::Exact(then)).unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (410, "The resourceVersion for the provided list is too old.")
    );
    assert!(e.events_after("configmaps", then).is_ok(), "watches start from the log");
}

#[test]
fn continue_tokens_are_the_real_ones_and_bad_ones_say_so() {
    let mut e = engine();
    let by = WriteOptions::by("test");
    for i in 0..3 {
        e.create_object(config_map(&format!("c{i}"), "1"), &by, NOW).unwrap();
    }
    let mut target = Target { name: String::new(), ..e.target_of(&config_map("x", "1")).unwrap() };
    let decoded = |token: &str| {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let page = e.list(&target, &ListQuery { limit: 1, ..ListQuery::default() }).unwrap();
    assert_eq!(decoded(&page.continue_token), json!({"v": "meta.k8s.io/v1", "rv": page.revision, "start": "c0\u{0}"}));
    target.namespace.clear();
    let page = e.list(&target, &ListQuery { limit: 1, ..ListQuery::default() }).unwrap();
    assert_eq!(decoded(&page.continue_token)["start"], "default/c0\u{0}");
    for (token, text) in [
        ("!", "invalid continue token: continue key is not valid: illegal base64 data at input byte 0"),
        (
            "e30",
            "invalid continue token: continue key is not valid: server does not recognize this encoded version \"\"",
        ),
    ] {
        let query = ListQuery { continue_token: token.into(), ..ListQuery::default() };
        assert_eq!(e.list(&target, &query).unwrap_err().message, text);
    }
    let limited = ListQuery { limit: 1, version: ReadVersion::Any, ..ListQuery::default() };
    assert_eq!(e.list(&target, &limited).unwrap().items.len(), 3, "whatever the cache has, it has whole");
}

#[test]
fn namespaces_are_in_the_order_of_etcds_keys() {
    let mut keys = vec![Key::new("a", "z"), Key::new("a-b", "a"), Key::new("", "n"), Key::new("a", "b")];
    keys.sort();
    assert_eq!(keys, [Key::new("", "n"), Key::new("a-b", "a"), Key::new("a", "b"), Key::new("a", "z")]);
}

#[test]
fn an_instant_knows_the_revision_that_was_newest_at_its_end() {
    let mut e = engine();
    let by = WriteOptions::by("test");
    let at = |second| NOW + std::time::Duration::from_secs(second);
    let start = e.revision();
    for second in [10, 20] {
        e.tick(at(second));
        e.create_object(config_map(&format!("c{second}"), "1"), &by, at(second)).unwrap();
    }
    e.tick(at(30));
    let seen: Vec<u64> = [5, 10, 15, 20, 25, 99].iter().map(|s| e.revision_at(at(*s)) - start).collect();
    assert_eq!(seen, [0, 1, 1, 2, 2, 2]);
}

#[test]
fn the_two_event_groups_are_one_store_under_two_names() {
    let mut e = engine();
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "regarding": {"kind": "Pod", "name": "p"}, "note": "hello", "reportingController": "op"});
    let made = e.create_object(event, &WriteOptions::by("test"), NOW).unwrap().object;
    assert_eq!(made["note"], "hello");
    let core = e.peek("events", "default", "e").unwrap();
    assert_eq!(
        (&core["apiVersion"], &core["message"], &core["involvedObject"]["name"], &core["reportingComponent"]),
        (&json!("v1"), &json!("hello"), &json!("p"), &json!("op"))
    );
    let target = Target { name: String::new(), ..e.target_of(&made).unwrap() };
    let fields = crate::selectors::FieldSelector::parse("involvedObject.name=p", &["involvedObject.name"]).unwrap();
    assert_eq!(e.list(&target, &ListQuery { fields, ..ListQuery::default() }).unwrap().items[0]["note"], "hello");
}

#[test]
fn an_apply_that_does_not_fit_its_schema_and_a_strict_patch_that_does_not_are_refused_in_the_real_words() {
    let mut e = engine();
    let strict = WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::by("test") };
    e.create_object(definition(), &strict, NOW).unwrap();
    let target = e.target_of(&thing(json!({}))).unwrap();
    let ignoring = WriteOptions { field_validation: FieldValidation::Ignore, ..strict.clone() };
    for (spec, why) in [
        (json!({"size": 1, "x": 1}), ".spec.x: field not declared in schema"),
        (json!({"size": "1"}), ".spec.size: expected numeric (int or float), got string"),
    ] {
        let refused = e.apply(&target, &thing(spec), &ignoring, NOW).unwrap_err();
        let text = format!("failed to create typed patch object (default/t; example.com/v1, Kind=Thing): {why}");
        assert_eq!((refused.code, refused.reason.as_str(), refused.message), (500, "", text));
    }
    // Where everything is kept, everything may be applied.
    let mut open = thing(json!({"size": 1}));
    open["status"] = json!({"any": {"thing": 1}});
    e.apply(&target, &open, &strict, NOW).unwrap();
    let refused = e.patch(&target, PatchKind::Merge, &json!({"spec": {"x": 1}}), &strict, NOW).unwrap_err();
    let (head, tail) = (
        "\"\" is invalid: patch: Invalid value: \"{\\\"apiVersion\\\":",
        "\": strict decoding error: unknown field \"spec.x\"",
    );
    assert!(refused.code == 422 && refused.message.trim_start().starts_with(head), "{}", refused.message);
    assert!(refused.message.ends_with(tail), "{}", refused.message);
    let warned =
        e.patch(&target, PatchKind::Merge, &json!({"spec": {"x": 1}}), &WriteOptions::by("test"), NOW).unwrap();
    assert_eq!(warned.warnings, ["unknown field \"spec.x\""]);
    // A strategic patch is shown as Go prints a map.
    e.create_object(config_map("c", "1"), &strict, NOW).unwrap();
    let target = e.target_of(&config_map("c", "1")).unwrap();
    let refused = e.patch(&target, PatchKind::Strategic, &json!({"data": {"b": 1}}), &strict, NOW).unwrap_err();
    assert!(refused.message.contains("patch: Invalid value: \"map[data:map[b:1]]\": "), "{}", refused.message);
}
