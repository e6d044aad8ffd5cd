//! Get and list.

use std::collections::VecDeque;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{Engine, Object, Target};
use crate::{
    resources::ResourceType,
    selectors::{FieldSelector, LabelSelector},
    status::Status,
};

/// Snapshots kept for `continue`; the oldest goes first and its continuation answers 410.
pub const LIST_SNAPSHOTS_MAX: usize = 64;

/// What a list asks for.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Labels.
    pub labels: LabelSelector,
    /// Fields.
    pub fields: FieldSelector,
    /// Most items in one answer; 0 is no limit.
    pub limit: usize,
    /// Continuation of an earlier answer.
    pub continue_token: String,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// Revision of the snapshot.
    pub revision: u64,
    /// The objects.
    pub items: Vec<Object>,
    /// Token for the next page, empty at the end.
    pub continue_token: String,
    /// How many are left, if known.
    pub remaining: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Snapshots {
    next: u64,
    kept: VecDeque<(u64, u64, VecDeque<Object>)>,
}

impl Engine {
    /// One object.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, target: &Target) -> Result<Object, Status> {
        let found = self.store.get(&target.resource.table, &target.key()).cloned();
        let object = found.ok_or_else(|| Status::not_found(target.resource.about(), &target.name))?;
        Ok(view(&target.resource, object))
    }

    /// A page of a collection: one consistent snapshot over all its pages.
    ///
    /// # Errors
    /// 410 if the continuation is too old, 400 if it is not one.
    pub fn list(&mut self, target: &Target, query: &ListQuery) -> Result<ListPage, Status> {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let (id, revision, mut rest) = if query.continue_token.is_empty() {
            let namespace = Some(target.namespace.as_str()).filter(|n| !n.is_empty());
            let mut items: VecDeque<Object> = VecDeque::new();
            for object in self.scan(&target.resource.table, namespace) {
                // Selectors speak of the stored form, as those of a watch do.
                if query.labels.matches(object) && query.fields.matches(object) {
                    items.push_back(view(&target.resource, object.clone()));
                }
            }
            self.snapshots.next += 1;
            (self.snapshots.next, self.store.revision(), items)
        } else {
            let id = read_token(&query.continue_token)
                .ok_or_else(|| Status::bad_request("continue key is not valid: illegal base64 data"))?;
            let at = self.snapshots.kept.iter().position(|(i, ..)| *i == id).ok_or_else(|| {
                Status::expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
            })?;
            self.snapshots.kept.remove(at).ok_or_else(|| Status::expired("the list snapshot is gone"))?
        };
        let count = limit.min(rest.len());
        let items: Vec<Object> = rest.drain(..count).collect();
        let remaining = rest.len();
        let mut continue_token = String::new();
        if remaining > 0 {
            // Each page has a token of its own: asking twice for a page that was served is a 410, as after a compaction.
            self.snapshots.next += 1;
            let next = if query.continue_token.is_empty() { id } else { self.snapshots.next };
            continue_token = token(next, revision);
            if self.snapshots.kept.len() >= LIST_SNAPSHOTS_MAX {
                self.snapshots.kept.pop_front();
            }
            self.snapshots.kept.push_back((next, revision, rest));
        }
        let exact = query.labels.is_empty() && query.fields.is_empty();
        Ok(ListPage { revision, items, continue_token, remaining: (remaining > 0 && exact).then_some(remaining) })
    }
}

fn token(id: u64, revision: u64) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": id}).to_string())
}

fn read_token(token: &str) -> Option<u64> {
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).ok()?;
    serde_json::from_slice::<Value>(&bytes).ok()?.get("start")?.as_u64()
}

/// The object as the resource's version shows it (versions differ by `apiVersion` only; the two event groups by field names).
pub(crate) fn view(resource: &ResourceType, object: Object) -> Object {
    let wanted = resource.api_version();
    if wanted == resource.storage_api_version {
        return object;
    }
    let mut value = object.to_value();
    if &*resource.table == "events" {
        rename_event(&mut value, true);
    }
    value["apiVersion"] = wanted.into();
    Object::new(value)
}

/// The object as the table holds it.
pub(crate) fn to_storage(resource: &ResourceType, value: &mut Value) {
    if resource.api_version() != resource.storage_api_version {
        if &*resource.table == "events" {
            rename_event(value, false);
        }
        value["apiVersion"] = resource.storage_api_version.clone().into();
    }
}

/// core/v1 names and their events.k8s.io/v1 counterparts.
const EVENT_NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("reportingComponent", "reportingController"),
];

fn rename_event(value: &mut Value, outward: bool) {
    let map = crate::json::ensure_map(value);
    for (core, new) in EVENT_NAMES {
        let (from, to) = if outward { (core, new) } else { (new, core) };
        if let Some(inner) = map.shift_remove(*from) {
            map.insert((*to).to_owned(), inner);
        }
    }
}
