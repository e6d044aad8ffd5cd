//! `object`: an object of the API server.

use scenario_language::{ObjectPattern, Which};
use serde_json::{Value, json};

use crate::backends::{Backends, Result};
use crate::outcome::Story;
use crate::path::differences;

/// Objects that a story tells.
const TOLD_MAX: usize = 5;

/// Judges the objects that exist now.
pub async fn judge(pattern: &ObjectPattern, backends: &dyn Backends) -> Result<(bool, Story)> {
    let objects = backends.kube_list(&pattern.subject.kind, pattern.subject.namespace()).await?;
    Ok(judge_objects(pattern, &objects))
}

/// The pure part.
pub fn judge_objects(pattern: &ObjectPattern, objects: &[Value]) -> (bool, Story) {
    let subject = &pattern.subject.value;
    let chosen: Vec<&Value> = objects.iter().filter(|object| subject.matches(object)).collect();
    let judged: Vec<(&Value, Vec<String>)> =
        chosen.iter().map(|object| (*object, differences(&pattern.fields, object))).collect();
    let matching = judged.iter().filter(|(_, wrong)| wrong.is_empty()).count();
    let ok = match &pattern.count {
        _ if pattern.absent => matching == 0,
        Some(count) => count.holds_number(matching as f64),
        None => matching > 0,
    };
    let mut details: Vec<String> = Vec::new();
    for (object, wrong) in judged.iter().take(TOLD_MAX) {
        let verdict = if wrong.is_empty() { "as expected".to_string() } else { wrong.join("; ") };
        details.push(format!("{}: {verdict}", name(object)));
    }
    if chosen.is_empty() {
        details.extend(objects.iter().take(TOLD_MAX).map(|object| {
            let why = subject.mismatch(object).unwrap_or_default();
            format!("not {}: {why}", name(object))
        }));
    }
    let found = match (chosen.len(), &subject.which) {
        (0, _) => format!("there is no {subject} among {} objects of kind {}", objects.len(), subject.kind),
        (1, Which::Named { .. }) if pattern.absent => format!("{subject} exists"),
        (1, Which::Named { .. }) if matching == 1 => format!("{subject} is as expected"),
        (1, Which::Named { .. }) => format!("{subject}: {}", judged[0].1.join("; ")),
        (number, _) => format!("{matching} of {number} match"),
    };
    let data = json!({"matching": matching, "chosen": chosen.len(),
        "objects": judged.iter().take(TOLD_MAX).map(|(object, wrong)| json!({"name": name(object), "differences": wrong})).collect::<Vec<_>>()});
    (ok, Story::new("", found).with(details).data(data))
}

fn name(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(yaml: &str) -> ObjectPattern {
        crate::testing::expectation(yaml).object()
    }

    fn cluster(phase: &str) -> Value {
        json!({"metadata": {"name": "minimal", "namespace": "default"}, "status": {"phase": phase}})
    }

    #[test]
    fn an_object_is_compared_field_by_field() {
        let pattern = pattern("object: MultigresCluster/minimal\nwhere: { status.phase: Healthy }");
        assert!(judge_objects(&pattern, &[cluster("Healthy")]).0);
        let (ok, story) = judge_objects(&pattern, &[cluster("Progressing")]);
        assert!(!ok);
        assert_eq!(story.found, "MultigresCluster/minimal: status.phase: Healthy, is Progressing");
        assert!(!judge_objects(&pattern, &[]).0);
    }

    #[test]
    fn objects_are_counted_and_missed() {
        let count = pattern("object: 'Pod{}'\ncount: 2");
        assert!(judge_objects(&count, &[cluster("a"), cluster("b")]).0);
        assert!(!judge_objects(&count, &[cluster("a")]).0);
        let absent = pattern("object: MultigresCluster/minimal\nabsent: true");
        assert!(judge_objects(&absent, &[]).0);
        assert!(!judge_objects(&absent, &[cluster("a")]).0);
    }
}
