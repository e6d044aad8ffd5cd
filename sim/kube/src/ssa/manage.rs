//! Managers of an object's fields: applying with conflicts, and updates that take over what they change.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::{Changes, FieldSet, Shape, compare, compare_field, merge, remove, to_field_set};
use crate::{
    json,
    status::{Cause, Status},
};

/// Most managers that are kept for updates; older ones are merged, as the real server does at ten.
pub const UPDATE_MANAGERS_MAX: usize = 10;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By create, update or another patch.
    Update,
}

/// An entry of `metadata.managedFields`. Its parts are shared: an object's versions say mostly the same of its owners, and so do
/// objects that are made by the same controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Name given by the client.
    pub name: Arc<str>,
    /// Apply or Update.
    pub operation: Operation,
    /// Version under which the fields were written.
    pub api_version: Arc<str>,
    /// `status`, or empty for the main resource.
    pub subresource: Arc<str>,
    /// RFC 3339 time of its last change.
    pub time: Arc<str>,
    /// What it owns.
    pub fields: Arc<FieldSet>,
}

impl Manager {
    fn new(writer: Writer<'_>, operation: Operation, fields: FieldSet) -> Self {
        Self {
            name: writer.manager.into(),
            operation,
            api_version: writer.api_version.into(),
            subresource: writer.subresource.into(),
            time: writer.time.into(),
            fields: Arc::new(fields),
        }
    }

    /// True if an entry of the one replaces an entry of the other.
    pub fn same(&self, other: &Manager) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// Reads the entries of a list, as it is in `metadata.managedFields`.
    pub fn read(entries: &[Value]) -> Vec<Manager> {
        let text = |entry: &Value, key: &str| Arc::from(json::text(entry, &[key]));
        entries
            .iter()
            .map(|e| Manager {
                name: text(e, "manager"),
                operation: if json::text(e, &["operation"]) == "Apply" { Operation::Apply } else { Operation::Update },
                api_version: text(e, "apiVersion"),
                subresource: text(e, "subresource"),
                time: text(e, "time"),
                fields: Arc::new(e.get("fieldsV1").map(FieldSet::from_value).unwrap_or_default()),
            })
            .collect()
    }

    /// About how many bytes the entry's JSON is.
    pub fn weight(&self) -> usize {
        const FRAME_BYTES: usize = 90;
        let subresource = if self.subresource.is_empty() { 0 } else { 17 + self.subresource.len() };
        FRAME_BYTES + self.name.len() + self.api_version.len() + self.time.len() + subresource + self.fields.weight()
    }

    /// Leaves out who owns nothing, and sorts: appliers first, then by time and name, as the real server does.
    pub fn settle(managers: &mut Vec<Manager>) {
        managers.retain(|m| !m.fields.is_empty());
        managers.sort_by(|a, b| {
            (a.operation, &a.time, &a.name, &a.subresource).cmp(&(b.operation, &b.time, &b.name, &b.subresource))
        });
    }

    /// Writes the entries into an object.
    pub fn write(managers: &[Manager], object: &mut Value) {
        let metadata = json::child_map(object, "metadata");
        if managers.is_empty() {
            metadata.shift_remove("managedFields");
        } else {
            metadata.insert("managedFields".into(), json!(managers));
        }
    }
}

impl Serialize for Manager {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let operation = if self.operation == Operation::Apply { "Apply" } else { "Update" };
        let mut map = serializer.serialize_map(None)?;
        for (key, text) in [
            ("manager", &*self.name),
            ("operation", operation),
            ("apiVersion", &*self.api_version),
            ("time", &*self.time),
            ("fieldsType", "FieldsV1"),
        ] {
            map.serialize_entry(key, text)?;
        }
        map.serialize_entry("fieldsV1", &*self.fields)?;
        if !self.subresource.is_empty() {
            map.serialize_entry("subresource", &*self.subresource)?;
        }
        map.end()
    }
}

/// Fields nobody owns: identity and what the server itself keeps.
fn strip(set: &mut FieldSet) {
    for path in [
        &["apiVersion"][..],
        &["kind"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "uid"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
        &["metadata", "deletionTimestamp"],
        &["metadata", "deletionGracePeriodSeconds"],
    ] {
        set.forget(path);
    }
    // A bare `metadata` that only held the above is no field of its own.
    if set.only("metadata").paths() == [".metadata"] {
        set.forget(&["metadata"]);
    }
}

/// Fields that this endpoint resets and so cannot own.
fn strip_reset(set: FieldSet, subresource: &str, has_status: bool) -> FieldSet {
    let mut set = set;
    if subresource == "status" {
        let mut status = set.only("status");
        status.absorb(&set.only("metadata"));
        set = status;
    } else if has_status {
        set.forget(&["status"]);
    }
    strip(&mut set);
    set
}

/// Takes part in a write: who, how, when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// Name of the field manager.
    pub manager: &'a str,
    /// `apiVersion` of the request.
    pub api_version: &'a str,
    /// `status` or empty.
    pub subresource: &'a str,
    /// RFC 3339 now.
    pub time: &'a str,
    /// Whether the resource has a status subresource.
    pub has_status: bool,
}

/// The outcome of an apply.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The merged object, `managedFields` not yet written.
    pub object: Value,
    /// Who owns what now.
    pub managers: Vec<Manager>,
}

/// Applies a configuration to a live object (an object without content on create).
///
/// # Errors
/// 409 with one cause a field if another manager owns a field that would change, unless `force`.
pub fn apply(
    live: &Value,
    managers: &[Manager],
    config: &Value,
    shape: Shape<'_>,
    writer: Writer<'_>,
    force: bool,
) -> Result<Applied, Status> {
    let mut managers = managers.to_vec();
    let mut merged = merge(live, config, shape);
    let owned = strip_reset(to_field_set(config, shape), writer.subresource, writer.has_status);
    let mut entry = Manager::new(writer, Operation::Apply, owned);
    let before = managers.iter().position(|m| m.same(&entry)).map(|at| managers.remove(at));
    let last = before.as_ref().map(|m| m.fields.clone()).unwrap_or_default();

    // What this manager owned and no longer names goes, unless somebody else owns it.
    let mut kept = FieldSet::clone(&entry.fields);
    for manager in &managers {
        kept.absorb(&manager.fields);
    }
    let gone = last.difference(&kept);
    if !gone.is_empty() {
        remove(&mut merged, &gone, &kept, shape);
    }

    let changes = compare(live, &merged, shape);
    let written = changes.written();
    let mut conflicts: Vec<(&Manager, FieldSet)> = Vec::new();
    for m in &managers {
        let both = m.fields.intersection(&written);
        if !both.is_empty() {
            conflicts.push((m, both));
        }
    }
    if !conflicts.is_empty() && !force {
        return Err(conflict_status(&conflicts));
    }
    lose(&mut managers, &written, &changes.removed);
    if let Some(before) = before
        && before.fields == entry.fields
        && before.api_version == entry.api_version
        && changes == Changes::default()
    {
        entry.time = before.time;
    }
    managers.push(entry);
    Ok(Applied { object: merged, managers })
}

fn conflict_status(conflicts: &[(&Manager, FieldSet)]) -> Status {
    let mut causes = Vec::new();
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (manager, fields) in conflicts {
        let who = describe(manager);
        let paths = fields.paths();
        for path in &paths {
            causes.push(Cause::new("FieldManagerConflict", path.clone(), format!("conflict with {who}")));
        }
        groups.push((who, paths));
    }
    let count = causes.len();
    let message = if count == 1 {
        format!("Apply failed with 1 conflict: conflict with {}: {}", groups[0].0, groups[0].1[0])
    } else {
        let text: Vec<String> =
            groups.iter().map(|(who, paths)| format!("conflicts with {who}:\n- {}", paths.join("\n- "))).collect();
        format!("Apply failed with {count} conflicts: {}", text.join("\n"))
    };
    Status::apply_conflict(message, &causes)
}

fn describe(m: &Manager) -> String {
    let mut text = format!("\"{}\"", m.name);
    if !m.subresource.is_empty() {
        text += &format!(" with subresource \"{}\"", m.subresource);
    }
    if m.operation == Operation::Update {
        text += &format!(" using {}", m.api_version);
    }
    text
}

/// Takes from all what another wrote, and what is gone.
fn lose(managers: &mut [Manager], written: &FieldSet, removed: &FieldSet) {
    for m in managers {
        if m.fields.meets(written) || m.fields.meets_below(removed) {
            m.fields = Arc::new(m.fields.difference(written).recursive_difference(removed));
        }
    }
}

/// Books an update: the writer owns what it changed, others lose it. `managers` are those of the old object.
pub fn update(old: &Value, managers: &[Manager], new: &Value, shape: Shape<'_>, writer: Writer<'_>) -> Vec<Manager> {
    let mut managers = managers.to_vec();
    let changes = if writer.subresource == "status" && writer.has_status {
        compare_field(old, new, "status", shape) // nothing else can have changed
    } else {
        compare(old, new, shape)
    };
    let changed = strip_reset(changes.written(), writer.subresource, writer.has_status);
    let removed = changes.removed;
    if changed.is_empty() && removed.is_empty() {
        return managers;
    }
    lose(&mut managers, &changed, &removed);
    if changed.is_empty() {
        return managers;
    }
    let mut entry = Manager::new(writer, Operation::Update, FieldSet::default());
    let mut fields = changed;
    if let Some(at) = managers.iter().position(|m| m.same(&entry)) {
        fields.absorb(&managers.remove(at).fields);
    }
    entry.fields = Arc::new(fields);
    managers.push(entry);
    cap_updates(&mut managers);
    managers
}

fn cap_updates(managers: &mut Vec<Manager>) {
    while managers.iter().filter(|m| m.operation == Operation::Update).count() > UPDATE_MANAGERS_MAX {
        let mut updates: Vec<usize> =
            (0..managers.len()).filter(|&i| managers[i].operation == Operation::Update).collect();
        updates.sort_by(|&a, &b| managers[a].time.cmp(&managers[b].time).then(a.cmp(&b)));
        let (oldest, next) = (updates[0], updates[1]);
        let fields = managers[oldest].fields.clone();
        Arc::make_mut(&mut managers[next].fields).absorb(&fields);
        managers[next].name = "ancient-changes".into();
        managers.remove(oldest);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
