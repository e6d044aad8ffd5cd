use std::collections::BTreeSet;

use crate::{facts::Facts, *};

fn at(kind: &'static Struct, path: &[&str]) -> &'static Struct {
    path.iter().fold(kind, |at, name| match &at.field(name).unwrap_or_else(|| panic!("{name} in {path:?}")).of {
        Type::Struct(inner) | Type::AtomicStruct(inner) => inner.get(),
        Type::List(list) => match &list.item {
            Type::Struct(inner) | Type::AtomicStruct(inner) => inner.get(),
            other => panic!("{name} is a list of {other:?}"),
        },
        other => panic!("{name} is {other:?}"),
    })
}

#[test]
fn every_root_has_a_structure_with_kind_and_api_version() {
    for root in roots() {
        let found = kind(root.group, root.version, root.kind).unwrap_or_else(|| panic!("{}", root.kind));
        assert_eq!(*found.definition, *root.definition());
        for field in ["apiVersion", "kind", "metadata"] {
            assert!(found.field(field).is_some(), "{} has {field}", root.kind);
        }
    }
}

#[test]
fn every_fact_is_about_a_field_that_exists() {
    let all = closure(roots().iter().map(Root::definition).collect::<Vec<_>>().iter().map(String::as_str));
    let mut unknown = BTreeSet::new();
    for (name, fields) in Facts::all() {
        let Some((_, schema)) = all.iter().find(|(full, _)| crate::facts::short(full) == name) else { continue };
        for field in fields.split(' ').filter_map(|f| f.split(':').next()).filter(|f| !f.is_empty()) {
            if schema["properties"].get(field).is_none() {
                unknown.insert(format!("{name}.{field}"));
            }
        }
    }
    assert_eq!(unknown, BTreeSet::new());
}

#[test]
fn container_ports_are_told_apart_by_number_and_protocol_and_merged_by_number() {
    let container = at(kind("", "v1", "Pod").unwrap(), &["spec", "containers"]);
    let ports = container.field("ports").unwrap();
    let Type::List(list) = &ports.of else { panic!("{ports:?}") };
    assert_eq!(list.kind, ListKind::Map(vec!["containerPort".into(), "protocol".into()]));
    assert_eq!(ports.patch.key.as_deref(), Some("containerPort"));
    assert_eq!(at(container, &["ports"]).field("protocol").unwrap().default, Some("TCP".into()));
    assert!(matches!(container.field("imagePullPolicy").unwrap().of, Type::Text("v1.PullPolicy")));
}

#[test]
fn a_schema_of_a_definition_may_hold_itself() {
    let props = at(
        kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap(),
        &["spec", "versions", "schema", "openAPIV3Schema"],
    );
    let Type::Map(map) = &props.field("properties").unwrap().of else { panic!("properties are a map") };
    let Type::Struct(inner) = &map.value else { panic!("of schemas") };
    assert!(std::ptr::eq(inner.get(), props));
    assert!(matches!(props.field("items").unwrap().of, Type::SchemaOr(_)));
    assert!(matches!(props.field("default").unwrap().of, Type::Any));
}

#[test]
fn the_published_definition_carries_references_keys_and_kinds() {
    let all = closure(["io.k8s.api.apps.v1.Deployment"]);
    let deployment = &all["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(deployment["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
    assert_eq!(
        deployment["properties"]["spec"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"
    );
    let containers = &all["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"][0], "name");
    assert_eq!(containers["items"]["$ref"], "#/components/schemas/io.k8s.api.core.v1.Container");
    assert_eq!(all["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"], "atomic");
    assert!(openapi("io.k8s.api.core.v1.Nothing").is_none());
}
