//! PersistentVolumeClaims: bound to volumes that are there, or to ones that are made for them; what pods need of them.

use serde_json::{Value, json};

use super::{
    Step, Write,
    quantity::milli_at,
    volumes::{self, PROVISIONED_BY},
    with_status,
};
use crate::{
    engine::{Engine, Object},
    json,
};

/// Why a pod's claims keep it from being scheduled, in the real scheduler's words.
pub(super) fn missing(engine: &Engine, pod: &Object, nodes: usize) -> Option<String> {
    let namespace = json::namespace(pod);
    let refused = |why: &str| {
        format!(
            "0/{nodes} nodes are available: {why}. preemption: 0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling."
        )
    };
    for volume in json::list(pod, &["spec", "volumes"]) {
        let name = json::text(volume, &["persistentVolumeClaim", "claimName"]);
        if name.is_empty() {
            continue;
        }
        match engine.peek("persistentvolumeclaims", namespace, name) {
            None => return Some(refused(&format!("persistentvolumeclaim \"{name}\" not found"))),
            Some(claim) if json::deleting(claim) => {
                return Some(refused(&format!("persistentvolumeclaim \"{name}\" is being deleted")));
            }
            Some(claim) if json::text(claim, &["status", "phase"]) == "Lost" => {
                return Some(refused(&format!(
                    "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{}\"",
                    json::text(claim, &["spec", "volumeName"])
                )));
            }
            // Its volume is chosen with the node.
            Some(claim) if delayed(engine, claim) => {}
            Some(claim) if !bound(claim) => {
                return Some(refused("pod has unbound immediate PersistentVolumeClaims"));
            }
            Some(_) => {}
        }
    }
    None
}

/// Keeps a claim that pods use.
pub(crate) const PROTECTION: &str = "kubernetes.io/pvc-protection";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The provisioner of classes whose volumes somebody makes by hand.
const BY_HAND: &str = "kubernetes.io/no-provisioner";

fn bound(claim: &Value) -> bool {
    json::text(claim, &["status", "phase"]) == "Bound" && !json::text(claim, &["spec", "volumeName"]).is_empty()
}

fn class_of<'a>(engine: &'a Engine, claim: &Value) -> Option<&'a Object> {
    engine.peek("storageclasses.storage.k8s.io", "", json::text(claim, &["spec", "storageClassName"]))
}

/// True for a claim that waits for its pod's node.
fn delayed(engine: &Engine, claim: &Value) -> bool {
    !bound(claim)
        && json::text(claim, &["spec", "volumeName"]).is_empty()
        && class_of(engine, claim).is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer")
}

/// The claims of a pod that wait for its node, told of it: the pod is bound once they are.
pub(super) fn choose_node(engine: &Engine, pod: &Object, node: &str) -> Vec<Value> {
    let claims = names(pod).filter_map(|name| engine.peek("persistentvolumeclaims", json::namespace(pod), name));
    let waiting = claims.filter(|claim| delayed(engine, claim));
    waiting
        .map(|claim| {
            let mut next = claim.to_content();
            json::child_map(json::child_map_value(&mut next, "metadata"), "annotations")
                .insert(SELECTED_NODE.into(), node.into());
            next
        })
        .collect()
}

/// The claims that a pod's volumes name.
pub(super) fn names(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = json::list(pod, &["spec", "volumes"]).iter();
    volumes.map(|volume| json::text(volume, &["persistentVolumeClaim", "claimName"])).filter(|name| !name.is_empty())
}

/// Whether a pod that has not ended uses a claim.
fn used(engine: &Engine, claim: &Object) -> bool {
    let pods = engine.scan("pods", Some(json::namespace(claim))).filter(|pod| !super::pods::finished(pod));
    pods.into_iter().any(|pod| names(pod).any(|name| name == json::name(claim)))
}

/// One look at a claim.
pub(super) fn claim(engine: &Engine, claim: &Object) -> Step {
    let mut step = Step::of("persistentvolume-controller");
    if json::deleting(claim) {
        if !used(engine, claim) {
            step.writes.extend(volumes::unprotected(claim, PROTECTION).map(Write::Update));
        }
        return step;
    }
    let name = json::text(claim, &["spec", "volumeName"]);
    let volume = engine.peek("persistentvolumes", "", name);
    let completed = json::text(claim, &["metadata", "annotations", BIND_COMPLETED]) == "yes";
    match volume {
        Some(volume) if volumes::free_for(volume, claim) => {
            if !(completed && bound(claim) && volumes::bound_to(volume, claim)) {
                bind(&mut step, claim, volume, false);
            } else if grows(claim) {
                grow(&mut step, engine, claim, volume);
            }
        }
        _ if completed => lose(&mut step, claim),
        Some(_) => {
            let why = format!("volume {name:?} already bound to a different claim.");
            step.say(claim, "Warning", "FailedBinding", why);
        }
        None if !name.is_empty() => {} // it waits for the volume that it names
        None => find(&mut step, engine, claim),
    }
    step
}

/// A volume that is there, or one made for it.
fn find(step: &mut Step, engine: &Engine, claim: &Object) {
    let node = json::text(claim, &["metadata", "annotations", SELECTED_NODE]);
    let waits = delayed(engine, claim) && node.is_empty();
    if let Some(volume) = volumes::smallest_for(engine, claim).filter(|_| !waits) {
        bind(step, claim, volume, true);
        return;
    }
    let class_name = json::text(claim, &["spec", "storageClassName"]);
    if class_name.is_empty() {
        let why = "no persistent volumes available for this claim and no storage class is set";
        step.say(claim, "Normal", "FailedBinding", why);
        return;
    }
    let Some(class) = class_of(engine, claim) else {
        let why = format!("storageclass.storage.k8s.io {class_name:?} not found");
        step.say(claim, "Warning", "ProvisioningFailed", why);
        return;
    };
    let provisioner = json::text(class, &["provisioner"]);
    if waits {
        let why = "waiting for first consumer to be created before binding";
        step.say(claim, "Normal", "WaitForFirstConsumer", why);
    } else if provisioner != BY_HAND {
        provision(step, claim, class, provisioner);
    }
}

fn provision(step: &mut Step, claim: &Object, class: &Object, provisioner: &str) {
    let volume = Object::new(volumes::provisioned(claim, class));
    let name = json::name(&volume);
    let whole = format!("{}/{}", json::namespace(claim), json::name(claim));
    let waits = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system \
         administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    step.say(claim, "Normal", "ExternalProvisioning", waits);
    step.say(
        claim,
        "Normal",
        "Provisioning",
        format!("External provisioner is provisioning volume for claim {whole:?}"),
    );
    step.writes.push(Write::Create(volume.to_content()));
    step.say(claim, "Normal", "ProvisioningSucceeded", format!("Successfully provisioned volume {name}"));
    bind(step, claim, &volume, true);
}

/// Ties both to each other; `chosen`: it was not the claim that named the volume.
fn bind(step: &mut Step, claim: &Object, volume: &Object, chosen: bool) {
    let mut held = volume.to_content();
    json::child_map(&mut held, "metadata").shift_remove("resourceVersion");
    if !volumes::bound_to(volume, claim) {
        held["spec"]["claimRef"] = volumes::reference(claim);
        note(&mut held, BOUND_BY_CONTROLLER);
        step.writes.push(Write::Update(held.clone()));
    }
    step.writes.push(Write::Status(with_status(&held, json!({"phase": "Bound"}))));
    let mut holder = claim.to_content();
    json::child_map(&mut holder, "metadata").shift_remove("resourceVersion");
    holder["spec"]["volumeName"] = volume["metadata"]["name"].clone();
    note(&mut holder, BIND_COMPLETED);
    if chosen {
        note(&mut holder, BOUND_BY_CONTROLLER);
    }
    if let Some(provisioner) = json::at(volume, &["metadata", "annotations", PROVISIONED_BY]) {
        for key in [PROVISIONER, "volume.beta.kubernetes.io/storage-provisioner"] {
            json::child_map(json::child_map_value(&mut holder, "metadata"), "annotations")
                .insert(key.into(), provisioner.clone());
        }
    }
    step.writes.push(Write::Update(holder.clone()));
    let status =
        json!({"phase": "Bound", "accessModes": volume["spec"]["accessModes"], "capacity": volume["spec"]["capacity"]});
    step.writes.push(Write::Status(with_status(&holder, status)));
}

/// Whether a bound claim asks for more than it has.
pub(super) fn grows(claim: &Value) -> bool {
    bound(claim)
        && milli_at(claim, &["spec", "resources", "requests", "storage"])
            > milli_at(claim, &["status", "capacity", "storage"])
}

/// What the class's resizer does, and then the kubelet of a node on which a pod uses the volume. That the class lets volumes grow was
/// seen to when the claim was changed.
fn grow(step: &mut Step, engine: &Engine, claim: &Object, volume: &Object) {
    let name = json::name(volume);
    let wanted = &claim["spec"]["resources"]["requests"]["storage"];
    let mut status = claim["status"].clone();
    let volume_has = milli_at(volume, &["spec", "capacity", "storage"]);
    if volume_has < milli_at(claim, &["spec", "resources", "requests", "storage"]) {
        step.say(claim, "Normal", "Resizing", format!("External resizer is resizing volume {name}"));
        let mut larger = volume.to_content();
        json::child_map(&mut larger, "metadata").shift_remove("resourceVersion");
        larger["spec"]["capacity"]["storage"] = wanted.clone();
        step.writes.push(Write::Update(larger));
        let why = "Require file system resize of volume on node";
        step.say(claim, "Normal", "FileSystemResizeRequired", why);
        status["conditions"] = json!([{
            "type": "FileSystemResizePending", "status": "True", "lastProbeTime": null, "lastTransitionTime": null,
            "message": "Waiting for user to (re-)start a pod to finish file system resize of volume on node.",
        }]);
        step.writes.push(Write::Status(with_status(claim, status)));
    } else if runs(engine, claim) {
        let why = format!("MountVolume.NodeExpandVolume succeeded for volume {name:?}");
        step.say(claim, "Normal", "FileSystemResizeSuccessful", why);
        json::ensure_map(&mut status).shift_remove("conditions");
        status["capacity"]["storage"] = wanted.clone();
        step.writes.push(Write::Status(with_status(claim, status)));
    }
}

/// Whether a pod that runs uses a claim.
fn runs(engine: &Engine, claim: &Object) -> bool {
    let mut pods = engine.scan("pods", Some(json::namespace(claim)));
    pods.any(|pod| {
        json::text(pod, &["status", "phase"]) == "Running" && names(pod).any(|name| name == json::name(claim))
    })
}

/// The volume of a bound claim is gone, or another's.
fn lose(step: &mut Step, claim: &Object) {
    if json::text(claim, &["status", "phase"]) != "Lost" {
        step.writes.push(Write::Status(with_status(claim, json!({"phase": "Lost"}))));
        let why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        step.say(claim, "Warning", "ClaimLost", why);
    }
}

fn note(object: &mut Value, key: &str) {
    json::child_map(json::child_map_value(object, "metadata"), "annotations").insert(key.into(), "yes".into());
}
