//! `golden`: reviewed snapshots, rendered so that only what matters can change them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use regex::{Captures, Regex};
use scenario_language::{GoldenPattern, GoldenWhat};
use serde_json::{Value, json};

use crate::RunClock;
use crate::backends::{Backends, Result};
use crate::query::vector;
use crate::span_tree::{SpanNode, SpanTree};
use crate::trace::{load, search};
use crate::yaml;

/// The kinds of objects in a snapshot of objects, in its order.
pub const OBJECT_KINDS: [&str; 11] = [
    "MultigresCluster",
    "TopoServer",
    "Cell",
    "TableGroup",
    "Shard",
    "Deployment",
    "StatefulSet",
    "Service",
    "ConfigMap",
    "PersistentVolumeClaim",
    "Pod",
];
/// The namespace whose objects are in a snapshot of objects: the stack's own are the files of `deploy/`.
const OBJECT_NAMESPACE: &str = "default";
/// Fields of objects that differ between runs without meaning.
const VOLATILE_FIELDS: [&str; 12] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "generation",
    "observedGeneration",
    "clusterIP",
    "clusterIPs",
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
];

/// The annotation whose value is an instant, in seconds.
const TRACE_TIME: &str = "multigres.com/traceparent-ts";
/// Who tells of pods: where they were put and when they answered is chance.
const CLUSTER_SOURCES: [&str; 2] = ["kubelet", "default-scheduler"];
/// Labels that Prometheus puts on every series of a target.
const TARGET_LABELS: [&str; 6] = ["container", "endpoint", "instance", "job", "pod", "service"];

/// The random end of the names of a ReplicaSet's pods: any change of a world draws others.
static POD_SUFFIX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(-[0-9a-z]{8,10})-[bcdfghjklmnpqrstvwxz2456789]{5}\b").expect("the pattern is a regular expression")
});

/// The random end of a name that is as long as a generated one can be: what it was to begin with is cut, and its dash with it.
static CUT_POD_SUFFIX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)(^|[^-0-9a-z])([0-9a-z][-0-9a-z]{57})[bcdfghjklmnpqrstvwxz2456789]{5}($|[^-0-9a-z])")
        .expect("the pattern is a regular expression")
});

/// What a snapshot is rendered from.
#[derive(Clone, Debug)]
pub enum GoldenInput {
    /// Traces.
    Traces(Vec<Arc<SpanTree>>),
    /// Objects.
    Objects(Vec<Value>),
    /// Series as label sets with `__name__`, and the metadata of families: name, type.
    Metrics {
        /// One label set a series.
        series: Vec<BTreeMap<String, String>>,
        /// Type by family.
        types: BTreeMap<String, String>,
    },
    /// Kubernetes events.
    Events(Vec<Value>),
}

/// Asks the backends for what a snapshot is made of, and renders it.
pub async fn render(pattern: &GoldenPattern, backends: &dyn Backends, clock: &RunClock) -> Result<String> {
    let input = match pattern.what {
        GoldenWhat::Traces => {
            let mut trees = Vec::new();
            for id in search("{}", backends, clock).await? {
                trees.push(load(&id, backends).await?);
            }
            GoldenInput::Traces(trees)
        }
        GoldenWhat::Objects => {
            let mut objects = Vec::new();
            for kind in OBJECT_KINDS {
                let mut listed = backends.kube_list(kind, Some(OBJECT_NAMESPACE)).await?.to_vec();
                for object in &mut listed {
                    // Items of a list have no kind of their own.
                    if let Some(map) = object.as_object_mut() {
                        map.insert("kind".to_string(), json!(kind));
                    }
                }
                objects.extend(listed);
            }
            GoldenInput::Objects(objects)
        }
        GoldenWhat::Metrics => {
            let metadata = backends.prom_get("/api/v1/metadata").await?;
            let kind =
                |entries: &Value| entries.pointer("/0/type").and_then(Value::as_str).unwrap_or("unknown").to_string();
            let types = metadata
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, entries)| (name.clone(), kind(entries)))
                .collect();
            let answer = backends.prom_query("{__name__=~\".+\"}", clock.at_ms(clock.end)).await?;
            let series = vector(&answer)?.into_iter().map(|series| series.labels.into_iter().collect()).collect();
            GoldenInput::Metrics { series, types }
        }
        GoldenWhat::Events => GoldenInput::Events(backends.kube_list("Event", Some(OBJECT_NAMESPACE)).await?.to_vec()),
    };
    Ok(render_golden(&input))
}

/// Renders a snapshot: objects as YAML, everything else a line each. Pure: the same input gives the same text.
pub fn render_golden(input: &GoldenInput) -> String {
    let rendered = rendered(input);
    // Names with three dashes are the operator's own cut ones, and end with a hash that is nobody's chance.
    let cut = CUT_POD_SUFFIX.replace_all(&rendered, |name: &Captures<'_>| match &name[2] {
        base if base.contains("---") => name[0].to_owned(),
        base => format!("{}{base}<pod>{}", &name[1], &name[3]),
    });
    POD_SUFFIX.replace_all(&cut, "$1-<pod>").into_owned()
}

fn rendered(input: &GoldenInput) -> String {
    let value = match input {
        GoldenInput::Traces(trees) => return shapes(trees),
        GoldenInput::Objects(objects) => {
            let place = |object: &Value| {
                OBJECT_KINDS.iter().position(|kind| object.get("kind").and_then(Value::as_str) == Some(kind))
            };
            let mut objects: Vec<&Value> = objects.iter().collect();
            objects.sort_by_key(|object| (place(object), object.pointer("/metadata/name").map(ToString::to_string)));
            Value::Array(objects.into_iter().map(|object| settled(&brief(object))).collect())
        }
        GoldenInput::Metrics { series, types } => return metrics(series, types),
        GoldenInput::Events(events) => {
            let of_operator = |event: &&Value| !CLUSTER_SOURCES.contains(&source(event));
            let lines: BTreeSet<String> = events.iter().filter(of_operator).map(event).collect();
            return lines.into_iter().map(|line| line + "\n").collect();
        }
    };
    yaml::emit(&value)
}

/// Attributes that follow from the span's name or are the same on every span of its kind.
const OMITTED_ATTRIBUTES: [&str; 9] = [
    "http.request.method",
    "k8s.api.group",
    "k8s.api.resource",
    "k8s.api.verb",
    "k8s.namespace",
    "k8s.namespace.name",
    "server.port",
    "url.full",
    "url.template",
];

/// The different shapes of traces, each once, a line a span. How often a shape comes depends on chance and timing and
/// is for other expectations to say.
fn shapes(trees: &[Arc<SpanTree>]) -> String {
    let shapes: BTreeSet<String> =
        trees.iter().flat_map(|tree| tree.roots.iter().map(|root| shape(tree, *root, 0).join("\n"))).collect();
    shapes.into_iter().flat_map(|shape| [shape, "\n\n".to_owned()]).collect()
}

/// The lines of a span and of what stands below it. Siblings of the same shape come once, marked as several.
fn shape(tree: &SpanTree, place: usize, depth: usize) -> Vec<String> {
    let node = &tree.spans[place];
    let indent = "  ".repeat(depth);
    let mut lines = vec![format!("{indent}{}", headline(node))];
    let mut children: Vec<(Vec<String>, bool)> = Vec::new();
    for child in &node.children {
        let lines = shape(tree, *child, depth + 1);
        match children.iter_mut().find(|(known, _)| *known == lines) {
            Some((_, several)) => *several = true,
            None => children.push((lines, false)),
        }
    }
    for (mut child, several) in children {
        if several {
            child[0].push_str(" (several)");
        }
        lines.extend(child);
    }
    lines
}

/// `Cell.Reconcile error cr.found=true … !exception ~1 link`.
fn headline(node: &SpanNode) -> String {
    let mut line = node.name.clone();
    if node.kind != "internal" {
        line.push_str(&format!(" [{}]", node.kind));
    }
    if node.status != "unset" {
        line.push_str(&format!(" {}", node.status));
    }
    let attributes: BTreeMap<&String, &Value> =
        node.attributes.iter().filter(|(key, _)| !OMITTED_ATTRIBUTES.contains(&key.as_str())).collect();
    for (key, value) in attributes {
        match redact(key, value) {
            Value::String(text) => line.push_str(&format!(" {key}={text}")),
            other => line.push_str(&format!(" {key}={other}")),
        }
    }
    let events: BTreeSet<&str> = node.events.iter().map(|(name, _, _)| name.as_str()).collect();
    for event in events {
        line.push_str(&format!(" !{event}"));
    }
    if !node.links.is_empty() {
        line.push_str(&format!(" ~{} linked", node.links.len()));
    }
    line
}

/// Ids, times and addresses in texts, each with what stands for it.
static VOLATILE_TEXTS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uuid>"),
        (r"\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", "<time>"),
        (r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n?", "<certificate>"),
        (r"\b[0-9a-f]{32}\b", "<id>"),
        (r"\b[0-9a-f]{16}\b", "<id>"),
        (r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", "<ip>"),
    ]
    .into_iter()
    // The patterns are constants that a test compiles.
    .filter_map(|(pattern, with)| Regex::new(pattern).ok().map(|regex| (regex, with)))
    .collect()
});

/// A text without what differs between runs.
pub fn redact_text(text: &str) -> String {
    VOLATILE_TEXTS.iter().fold(text.to_string(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
}

fn redact(key: &str, value: &Value) -> Value {
    let last = key.rsplit(['.', '_']).next().unwrap_or(key).to_ascii_lowercase();
    if matches!(last.as_str(), "uid" | "id" | "timestamp" | "time" | "duration" | "generation") {
        return json!(format!("<{last}>"));
    }
    match value {
        Value::String(text) => json!(redact_text(text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| redact(key, item)).collect()),
        other => other.clone(),
    }
}

/// A pod or claim follows from the object that made it; what it is and how it stands is enough.
fn brief(object: &Value) -> Value {
    let made = |template: &str| object.pointer(template).cloned().unwrap_or_default();
    match object.get("kind").and_then(Value::as_str) {
        Some(kind @ ("Pod" | "PersistentVolumeClaim")) => json!({
            "kind": kind,
            "metadata": {"name": made("/metadata/name"), "labels": made("/metadata/labels")},
            "status": {"phase": made("/status/phase")},
        }),
        _ => object.clone(),
    }
}

/// An object without what the API server adds.
fn settled(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().filter(|key| !VOLATILE_FIELDS.contains(&key.as_str())).collect();
            keys.sort();
            let value = |key: &String| if key == TRACE_TIME { json!("<time>") } else { settled(&map[key]) };
            Value::Object(keys.into_iter().map(|key| (key.clone(), value(key))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(settled).collect()),
        Value::String(text) => json!(redact_text(text)),
        other => other.clone(),
    }
}

/// A line a family: name, type, and the labels that tell its series apart, those of the target aside.
fn metrics(series: &[BTreeMap<String, String>], types: &BTreeMap<String, String>) -> String {
    let mut families: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for labels in series {
        let Some(name) = labels.get("__name__") else { continue };
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|base| types.get(*base).is_some_and(|kind| matches!(kind.as_str(), "histogram" | "summary")))
            .unwrap_or(name);
        let of_family = |label: &str| label != "__name__" && label != "le" && !TARGET_LABELS.contains(&label);
        let names = labels.keys().filter(|label| of_family(label)).cloned();
        families.entry(family.to_string()).or_default().extend(names);
    }
    // OpenMetrics names a counter without `_total`.
    let kind = |name: &str| {
        types.get(name).or_else(|| types.get(name.strip_suffix("_total")?)).map_or("unknown", String::as_str)
    };
    let mut lines: BTreeSet<String> = families
        .iter()
        .map(|(name, labels)| {
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            format!("{name} {} {{{}}}\n", kind(name), labels.join(", "))
        })
        .collect();
    let silent = |name: &str| !families.contains_key(name) && !families.contains_key(&format!("{name}_total"));
    lines.extend(
        types.iter().filter(|(name, _)| silent(name)).map(|(name, kind)| format!("{name} {kind} (no series)\n")),
    );
    lines.into_iter().collect()
}

/// The component that recorded an event.
fn source(event: &Value) -> &str {
    let component = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    component("/source/component").or_else(|| component("/reportingComponent")).unwrap_or_default()
}

/// `Cell/minimal Normal Synced cell-controller: Successfully reconciled Cell`.
fn event(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let source = source(event);
    let about = format!("{}/{}", text("/involvedObject/kind"), text("/involvedObject/name"));
    format!("{about} {} {} {source}: {}", text("/type"), text("/reason"), redact_text(text("/message")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(id: &str) -> GoldenInput {
        let span = |span_id: &str, parent: &str, name: &str, start: u64| {
            json!({"traceId": id, "spanId": span_id, "parentSpanId": parent, "name": name, "startTimeUnixNano": start.to_string(), "endTimeUnixNano": "9",
                "kind": 1, "attributes": [{"key": "cr.uid", "value": {"stringValue": id}}, {"key": "a", "value": {"stringValue": format!("x {id} 10.244.1.7:2379")}}]})
        };
        let tree = |_: usize| {
            Arc::new(SpanTree::from_otlp(&json!({"batches": [{"scopeSpans": [{"spans": [
                span("00000000000000a1", "", "Root", 1), span("00000000000000a2", "00000000000000a1", "Child", 2),
                span("00000000000000a3", "00000000000000a1", "Child", 3)]}]}]})))
        };
        GoldenInput::Traces(vec![tree(0), tree(1)])
    }

    #[test]
    fn the_random_end_of_a_pods_name_is_nobodys_concern() {
        let told = |pod: &str| {
            let about = json!({"kind": "ReplicaSet", "name": "minimal-multiadmin-6fdb6446b5"});
            let event = json!({"involvedObject": about, "reason": "SuccessfulCreate", "type": "Normal",
                "source": {"component": "replicaset-controller"}, "message": format!("Created pod: {pod}")});
            render_golden(&GoldenInput::Events(vec![event]))
        };
        let (one, other) = (told("minimal-multiadmin-6fdb6446b5-thvtq"), told("minimal-multiadmin-6fdb6446b5-4xz2m"));
        assert_eq!(one, other);
        assert!(one.contains("Created pod: minimal-multiadmin-6fdb6446b5-<pod>"), "{one}");
        let begins = "minimal-postgres-default-0-inf-multiorch-zone-a-bbe2a333-7";
        assert!(told(&format!("{begins}l62p8")).contains(&format!("Created pod: {begins}<pod>")));
        // Names that are not drawn stay.
        let claim = "backup-data-minimal-postgres-default-0-inf-pool-defa---c6596d76";
        assert!(told(claim).contains(claim));
        assert!(told("minimal-global-topo-0").contains("minimal-global-topo-0"));
        assert!(told("minimal-zone-a-96c88ae0").contains("minimal-zone-a-96c88ae0"));
    }

    #[test]
    fn span_trees_come_once_a_shape_and_stripped_of_ids() {
        let one = render_golden(&traces("0af7651916cd43dd8448eb211c80319c"));
        let other = render_golden(&traces("1bf7651916cd43dd8448eb211c80319d"));
        assert_eq!(one, other);
        assert_eq!(one, "Root a=x <id> <ip>:2379 cr.uid=<uid>\n  Child a=x <id> <ip>:2379 cr.uid=<uid> (several)\n\n");
    }

    #[test]
    fn families_have_their_types_and_label_names() {
        let series = |name: &str, labels: &[&str]| {
            let mut map: BTreeMap<String, String> =
                labels.iter().map(|label| ((*label).to_string(), "v".to_string())).collect();
            map.insert("__name__".to_string(), name.to_string());
            map
        };
        let input = GoldenInput::Metrics {
            series: vec![series("d_bucket", &["le", "b"]), series("d_sum", &["a"]), series("c_total", &["x", "pod"])],
            types: BTreeMap::from([
                ("d".to_string(), "histogram".to_string()),
                ("c".to_string(), "counter".to_string()),
                ("e".to_string(), "gauge".to_string()),
            ]),
        };
        assert_eq!(render_golden(&input), "c_total counter {x}\nd histogram {a, b}\ne gauge (no series)\n");
    }

    #[test]
    fn every_pattern_of_volatile_texts_compiles() {
        assert_eq!(VOLATILE_TEXTS.len(), 6);
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        assert_eq!(
            redact_text(&format!("at 2026-01-01T00:00:00Z from 10.0.0.1 id 0af7651916cd43dd by {certificate}")),
            "at <time> from <ip> id <id> by <certificate>"
        );
    }
}
