//! PersistentVolumeClaimResize: a claim may ask for more once it is bound, if its class lets volumes grow.

use serde_json::Value;

use crate::{
    engine::{Engine, Object},
    json,
    resources::ResourceType,
    status::Status,
    workloads::milli,
};

const ONLY_BOUND: &str = "Only bound persistent volume claims can be expanded";
const CLASS_SAYS_NO: &str =
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";

/// Checks a change of a claim.
///
/// # Errors
/// 403 in the words of the real admission plugin.
pub(crate) fn admit(engine: &Engine, resource: &ResourceType, live: &Object, object: &Value) -> Result<(), Status> {
    if !resource.built_in || resource.kind != "PersistentVolumeClaim" {
        return Ok(());
    }
    let asked = |claim: &Value| json::at(claim, &["spec", "resources", "requests", "storage"]).and_then(milli);
    if asked(object) <= asked(live) {
        return Ok(());
    }
    let refused = |why| Err(Status::forbidden(resource.about(), json::name(live), why));
    if json::text(live, &["status", "phase"]) != "Bound" {
        return refused(ONLY_BOUND);
    }
    let class = json::text(object, &["spec", "storageClassName"]);
    let class = engine.peek("storageclasses.storage.k8s.io", "", class).filter(|_| !class.is_empty());
    if class.is_some_and(|class| class["allowVolumeExpansion"] == true) { Ok(()) } else { refused(CLASS_SAYS_NO) }
}
