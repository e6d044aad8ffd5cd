//! Events: core/v1 and events.k8s.io/v1.

use serde_json::Value;

use crate::json;

/// core/v1 names and their events.k8s.io/v1 counterparts.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn outward(object: &mut Value) {
    for (core, new) in NAMES {
        rename(object, core, new);
    }
}

pub(super) fn inward(object: &mut Value) {
    for (core, new) in NAMES {
        rename(object, new, core);
    }
}

fn rename(object: &mut Value, from: &str, to: &str) {
    let map = json::ensure_map(object);
    if let Some(inner) = map.shift_remove(from) {
        map.insert(to.to_owned(), inner);
    }
}
