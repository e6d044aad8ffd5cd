//! Protobuf bodies: objects of every built-in kind survive them, and the server answers those who ask for them.

use std::{collections::BTreeSet, sync::Arc};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sim_kube::{Cluster, KubeOptions, local::Idle, protobuf};
use sim_kube_schemas::{Root, Struct, Type, roots};
use sim_net::{Network, http::Client};

/// Groups whose messages are not written down: their kinds are answered as JSON.
const WITHOUT: [&str; 3] = ["apiregistration.k8s.io", "resource.k8s.io", "storagemigration.k8s.io"];
/// Fields behind gates that are closed by default, whose messages are of groups left out, by the end of their type's name.
const CLOSED: [(&str, &str); 2] = [(".JobSpec", "scheduling"), (".NodeSystemInfo", "runningInUserNamespace")];
/// Deepest structure in a structure of a generated object.
const DEPTH_MAX: usize = 7;
const SERVER: &str = "http://kubernetes.default.svc:443";

fn api_version(root: &Root) -> String {
    if root.group.is_empty() { root.version.to_owned() } else { format!("{}/{}", root.group, root.version) }
}

/// A stream of choices that follows from a seed (SplitMix64).
struct Choices(u64);

impl Choices {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn text(&mut self) -> String {
        ["a", "näme", "x\ny", "\"q\"", "0"][self.next(5) as usize].to_owned()
    }

    /// A value of a type; `None` where it would have to be empty. Zeros and what is empty say nothing on the wire.
    fn value(&mut self, of: &Type, depth: usize) -> Option<Value> {
        Some(match of {
            Type::Any => json!({"free": [self.text(), 1.5, null, {"x": true}]}),
            Type::Bool => true.into(),
            Type::Int32 => (self.next(1 << 32) as i64 - (1 << 31)).max(1).into(),
            Type::Int64 => [1, -1, i64::MAX, i64::MIN][self.next(4) as usize].into(),
            Type::Float => [0.5, -3e100][self.next(2) as usize].into(),
            Type::Text(_) => self.text().into(),
            Type::Bytes => base64::engine::general_purpose::STANDARD.encode([0, 255, self.next(256) as u8]).into(),
            Type::Time => ["2026-01-02T03:04:05Z", "1969-12-31T23:59:59Z"][self.next(2) as usize].into(),
            Type::MicroTime => {
                ["2026-01-02T03:04:05.000001Z", "2026-01-02T03:04:05.999999Z"][self.next(2) as usize].into()
            }
            Type::Quantity => ["100m", "1Gi"][self.next(2) as usize].into(),
            Type::IntOrString => [json!(7), json!(-7), json!("25%"), json!("x")][self.next(4) as usize].clone(),
            Type::List(list) => {
                let items: Vec<Value> = (0..=self.next(2)).filter_map(|_| self.value(&list.item, depth + 1)).collect();
                Some(items).filter(|items| !items.is_empty())?.into()
            }
            Type::Map(map) => {
                let mut out = Map::new();
                for key in ["k", "l/m"].into_iter().take(1 + self.next(2) as usize) {
                    out.insert(key.to_owned(), self.value(&map.value, depth + 1)?);
                }
                out.into()
            }
            Type::Struct(inner) | Type::AtomicStruct(inner) | Type::SchemaOr(inner) => {
                if depth > DEPTH_MAX {
                    return None;
                }
                self.structure(inner.get(), depth + 1, is_root(inner.get()))
            }
        })
    }

    /// An object of a structure. One inside of another object has no kind of its own there: Go's messages have no place for it.
    fn structure(&mut self, of: &Struct, depth: usize, without_kind: bool) -> Value {
        let mut out = Map::new();
        for field in of.fields() {
            if without_kind && matches!(&*field.name, "apiVersion" | "kind") {
                continue;
            }
            if CLOSED.iter().any(|(of_type, closed)| of.definition.ends_with(of_type) && *field.name == **closed) {
                continue;
            }
            // The deeper, the fewer.
            if self.next(10) < 9_u64.saturating_sub(depth as u64)
                && let Some(value) = self.value(&field.of, depth)
            {
                out.insert(field.name.to_string(), value);
            }
        }
        out.into()
    }
}

fn is_root(structure: &Struct) -> bool {
    structure.definition.ends_with(".DeleteOptions")
        || roots().iter().any(|root| root.definition() == *structure.definition)
}

/// Where two values differ, as paths without indices.
fn differences(path: &str, one: &Value, other: &Value, out: &mut BTreeSet<String>) {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()) {
                let nothing = &Value::Null;
                let pair = (a.get(key).unwrap_or(nothing), b.get(key).unwrap_or(nothing));
                differences(&format!("{path}.{key}"), pair.0, pair.1, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).for_each(|(a, b)| differences(path, a, b, out));
        }
        (a, b) if a == b => {}
        (a, b) => drop(out.insert(format!("{path}: {a} became {b}"))),
    }
}

#[test]
fn every_kind_has_a_message_but_those_of_three_groups() {
    let missing: BTreeSet<&str> =
        roots().iter().filter(|root| !protobuf::knows(&api_version(root), root.kind)).map(|root| root.group).collect();
    assert_eq!(missing, BTreeSet::from(WITHOUT));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn an_object_of_any_kind_survives_the_way_through_protobuf(seed in any::<u64>()) {
        let mut lost = BTreeSet::new();
        for root in roots().iter().filter(|root| !WITHOUT.contains(&root.group)) {
            let structure = sim_kube_schemas::kind(root.group, root.version, root.kind).expect("a structure");
            let mut object = Choices(seed).structure(structure, 0, true);
            object["apiVersion"] = api_version(root).into();
            object["kind"] = root.kind.into();
            let body = protobuf::encode(&object).map_err(|e| TestCaseError::fail(format!("{}: {e}\n{object:#}", root.kind)))?;
            let back = protobuf::decode(&body).map_err(|e| TestCaseError::fail(format!("{}: {e}\n{object:#}", root.kind)))?;
            differences(&format!("{} {}", api_version(root), root.kind), &object, &back, &mut lost);
        }
        prop_assert!(lost.is_empty(), "{lost:#?}");
    }
}

#[test]
fn a_value_of_another_type_is_refused_and_not_written() {
    for (object, text) in [
        (
            json!({"kind": "Pod", "apiVersion": "v1", "spec": {"hostNetwork": "yes"}}),
            "proto: field hostNetwork has a value of another type",
        ),
        (
            json!({"kind": "Secret", "apiVersion": "v1", "data": {"k": "?"}}),
            "proto: field data has a value of another type",
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"creationTimestamp": "soon"}}),
            "proto: field creationTimestamp has a value of another type",
        ),
    ] {
        assert_eq!(protobuf::encode(&object).unwrap_err().to_string(), text);
    }
    assert!(protobuf::encode(&json!({"kind": "Widget", "apiVersion": "example.org/v1"})).is_err());
}

/// The value and what is behind it, of a field of bytes at the head of a message; its tag is checked.
fn field(bytes: &[u8], tag: u8) -> (&[u8], &[u8]) {
    assert_eq!(bytes[0], tag);
    let (mut length, mut at) = (0_usize, 1);
    for shift in (0..).step_by(7) {
        length |= usize::from(bytes[at] & 0x7f) << shift;
        at += 1;
        if bytes[at - 1] < 0x80 {
            break;
        }
    }
    bytes[at..].split_at(length)
}

/// The events of a stream: four bytes of length, then a type and a raw object each.
fn events(mut stream: &[u8]) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<4>() {
        let (event, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let (change, raw) = field(event, 0x0a);
        let body = field(field(raw, 0x12).0, 0x0a).0;
        out.push((String::from_utf8(change.to_vec()).unwrap(), protobuf::decode(body).unwrap()));
        stream = rest;
    }
    out
}

#[test]
fn who_asks_for_protobuf_gets_it_where_there_is_a_message() {
    sim_clock::run(sim_clock::WorldOptions::seeded(7), || async {
        let network = Network::new();
        let cluster = Cluster::start(&network, Arc::new(Idle), KubeOptions::default()).unwrap();
        let client = Client::new(network.host("pod/default/client"));
        let ask = async |method: &str, path: &str, accept: &str, body: Bytes| {
            let request = http::Request::builder().method(method).uri(format!("{SERVER}{path}"));
            let request = request.header("accept", accept).header("content-type", protobuf::MEDIA_TYPE).body(body).unwrap();
            let (head, body) = client.send_streaming(request).await.unwrap().into_parts();
            let kind = head.headers["content-type"].to_str().unwrap().to_owned();
            (head.status.as_u16(), kind, body.collect().await.unwrap().to_bytes())
        };
        let only = protobuf::MEDIA_TYPE;
        let maps = "/api/v1/namespaces/default/configmaps";
        let map = |name: &str| json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"a": "1"}});

        let (code, kind, body) = ask("POST", maps, only, protobuf::encode(&map("c")).unwrap().into()).await;
        assert_eq!((code, &*kind), (201, only));
        let made = protobuf::decode(&body).unwrap();
        assert_eq!((&made["data"], &made["metadata"]["namespace"]), (&json!({"a": "1"}), &json!("default")));
        assert!(made["metadata"]["managedFields"][0]["fieldsV1"].is_object(), "{made}");

        let (code, kind, body) = ask("GET", maps, only, Bytes::new()).await;
        let list = protobuf::decode(&body).unwrap();
        assert_eq!((code, &*kind, &list["kind"]), (200, only, &json!("ConfigMapList")));
        let names: Vec<&str> = list["items"].as_array().unwrap().iter().filter_map(|i| i["metadata"]["name"].as_str()).collect();
        assert_eq!(names, ["c", "kube-root-ca.crt"].into_iter().filter(|n| names.contains(n)).collect::<Vec<_>>());
        assert!(list["metadata"]["resourceVersion"].is_string());

        let (code, kind, body) = ask("GET", &format!("{maps}/nobody"), only, Bytes::new()).await;
        let status = protobuf::decode(&body).unwrap();
        assert_eq!((code, &*kind, &status["kind"], &status["reason"]), (404, only, &json!("Status"), &json!("NotFound")));
        assert_eq!(status["details"], json!({"name": "nobody", "kind": "configmaps"}));

        let partial = format!("{only};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
        let (_, kind, body) = ask("GET", &format!("{maps}/c"), &partial, Bytes::new()).await;
        let shown = protobuf::decode(&body).unwrap();
        assert_eq!((&*kind, &shown["kind"], shown.get("data")), (only, &json!("PartialObjectMetadata"), None));

        let watch = format!("{maps}?watch=1&timeoutSeconds=3&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dc");
        let (_, kind, stream) = futures::future::join(ask("GET", &watch, &format!("{only};stream=watch"), Bytes::new()), async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            cluster.api().delete("v1", "ConfigMap", "default", "c").unwrap();
        })
        .await
        .0;
        assert_eq!(kind, format!("{only};stream=watch"));
        let seen = events(&stream);
        let kinds: Vec<(&str, &str)> = seen.iter().map(|(change, object)| (&**change, object["kind"].as_str().unwrap())).collect();
        assert_eq!(kinds[..3], [("ADDED", "ConfigMap"), ("BOOKMARK", "ConfigMap"), ("DELETED", "ConfigMap")]);
        assert_eq!(seen[1].1["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");

        // What has no message is JSON for those who take it, and 406 for all others.
        cluster.api().apply(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})).unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let widgets = "/apis/example.org/v1/namespaces/default/widgets";
        let (code, kind, _) = ask("GET", widgets, &format!("{only},application/json"), Bytes::new()).await;
        assert_eq!((code, &*kind), (200, "application/json"));
        assert_eq!(ask("GET", widgets, only, Bytes::new()).await.0, 406);
        let partials = format!("{only};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
        assert_eq!(ask("GET", widgets, &partials, Bytes::new()).await.1, only);
    })
    .unwrap();
}
