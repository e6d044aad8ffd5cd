//! What may change of a pod once it exists.

use serde_json::Value;

use super::Errors;
use crate::json;

const WHY: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn check(old: &Value, new: &Value, errors: &mut Errors) {
    for list in ["containers", "initContainers"] {
        let (before, after) = (json::list(old, &["spec", list]), json::list(new, &["spec", list]));
        if before.len() != after.len() {
            errors.forbidden(format!("spec.{list}"), "pod updates may not add or remove containers");
            return;
        }
    }
    let scheduled = !json::text(old, &["spec", "nodeName"]).is_empty();
    let frozen = |object: &Value| {
        let mut spec = object.get("spec").cloned().unwrap_or(Value::Null);
        for list in ["containers", "initContainers"] {
            for c in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                json::ensure_map(c).shift_remove("image");
            }
        }
        let map = json::ensure_map(&mut spec);
        for key in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
            map.shift_remove(key);
        }
        if !scheduled {
            // Binding writes it.
            map.shift_remove("nodeName");
        }
        spec
    };
    let kept = json::list(new, &["spec", "tolerations"]);
    let lost = json::list(old, &["spec", "tolerations"]).iter().any(|t| !kept.contains(t));
    if lost || frozen(old) != frozen(new) {
        errors.forbidden("spec", WHY);
    }
}
