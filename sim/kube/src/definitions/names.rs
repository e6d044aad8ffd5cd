//! Names of definitions: within a group each is taken once, by who had it first.
//!
//! Source: the naming controller of `apiextensions`: a name that another definition of the group has accepted is not accepted, and a
//! definition with such a name is not established, so not served, until the name is free.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::json;

/// Names that other definitions of a group have accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    /// Takes note of a definition's accepted names.
    pub(crate) fn add(&mut self, definition: &Value) {
        let Some(names) = json::at(definition, &["status", "acceptedNames"]) else { return };
        let owned = |key: &str| Some(json::text(names, &[key]).to_owned()).filter(|name| !name.is_empty());
        self.resources.extend(["plural", "singular"].into_iter().filter_map(owned));
        let short = json::list(names, &["shortNames"]).iter().filter_map(Value::as_str);
        self.resources.extend(short.map(str::to_owned));
        self.kinds.extend(["kind", "listKind"].into_iter().filter_map(owned));
    }
}

/// Whether a definition is served.
pub(crate) fn established(definition: &Value) -> bool {
    json::list(definition, &["status", "conditions"])
        .iter()
        .any(|c| c["type"] == "Established" && c["status"] == "True")
}

/// Whether a definition waits for a name.
pub(crate) fn waits(definition: &Value) -> bool {
    json::list(definition, &["status", "conditions"])
        .iter()
        .any(|c| c["type"] == "NamesAccepted" && c["status"] == "False")
}

/// Writes into a definition's status which of its names are accepted; `old` is the definition before.
pub(crate) fn judge(definition: &mut Value, old: Option<&Value>, taken: &Taken, time: &str) {
    let names = json::at(definition, &["spec", "names"]).cloned().unwrap_or_else(|| json!({}));
    let mut accepted = names.clone();
    let mut conflict: Option<(&str, String)> = None;
    let before = |key: &str| old.and_then(|o| json::at(o, &["status", "acceptedNames", key])).cloned();
    let fields = [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ];
    for (field, reason, taken) in fields {
        let asked: Vec<&str> = match names.get(field) {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(name)) => vec![name],
            _ => continue,
        };
        if let Some(name) = asked.into_iter().find(|name| taken.contains(*name)) {
            conflict = Some((reason, format!("{name:?} is already in use")));
            match before(field) {
                Some(kept) => accepted[field] = kept,
                None => drop(json::ensure_map(&mut accepted).shift_remove(field)),
            }
        }
    }
    let Some((reason, message)) = conflict else { return };
    definition["status"]["acceptedNames"] = accepted;
    let served = old.is_some_and(established);
    let conditions = definition["status"]["conditions"].as_array_mut();
    for condition in conditions.into_iter().flatten() {
        let kind = json::text(condition, &["type"]).to_owned();
        let said = match kind.as_str() {
            "NamesAccepted" => (reason, message.as_str()),
            // What is served once stays so.
            "Established" if !served => ("NotAccepted", "not all names are accepted"),
            _ => continue,
        };
        let known = old.into_iter().flat_map(|o| json::list(o, &["status", "conditions"]));
        let since =
            known.filter(|c| c["type"] == kind && c["status"] == "False").map(|c| c["lastTransitionTime"].clone());
        let mut since = since;
        let since = since.next().unwrap_or_else(|| time.into());
        *condition =
            json!({"type": kind, "status": "False", "reason": said.0, "message": said.1, "lastTransitionTime": since});
    }
}

#[cfg(test)]
mod tests {
    use sim_clock::{Chance, Timestamp};

    use super::*;
    use crate::engine::{DeleteQuery, Engine, WriteOptions};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn definition(plural: &str, short: &str) -> Value {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.example.org")},
            "spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": plural, "kind": format!("K{plural}"), "shortNames": [short]},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
    }

    fn conditions(engine: &Engine, plural: &str) -> Vec<String> {
        let table = "customresourcedefinitions.apiextensions.k8s.io";
        let stored = engine.peek(table, "", &format!("{plural}.example.org")).expect("stored");
        let all = json::list(stored, &["status", "conditions"]).iter();
        all.map(|c| ["type", "status", "reason"].map(|k| json::text(c, &[k])).join(" ")).collect()
    }

    #[test]
    fn a_name_is_taken_once_and_the_next_is_served_when_it_is_free() {
        let mut engine = Engine::new(Chance::new(1, "test"), NOW);
        engine.tick(NOW);
        let by = WriteOptions::by("test");
        let first = engine.create_object(definition("ones", "o"), &by, NOW).expect("good").object;
        engine.create_object(definition("twos", "o"), &by, NOW).expect("good as well");
        assert_eq!(
            conditions(&engine, "ones"),
            ["NamesAccepted True NoConflicts", "Established True InitialNamesAccepted"]
        );
        assert_eq!(
            conditions(&engine, "twos"),
            ["NamesAccepted False ShortNamesConflict", "Established False NotAccepted"]
        );
        assert!(engine.registry().get("example.org", "v1", "ones").is_some());
        assert!(engine.registry().get("example.org", "v1", "twos").is_none());
        let target = engine.target_of(&first).expect("known");
        engine.delete(&target, &DeleteQuery::default(), NOW).expect("there");
        crate::workloads::collect(&mut engine, NOW);
        assert_eq!(
            conditions(&engine, "twos"),
            ["NamesAccepted True NoConflicts", "Established True InitialNamesAccepted"]
        );
        assert!(engine.registry().get("example.org", "v1", "twos").is_some());
    }
}
