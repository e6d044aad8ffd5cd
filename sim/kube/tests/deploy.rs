//! The files of `deploy/` are accepted strictly as they are, and refused once they are broken.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sim_clock::{WorldOptions, now};
use sim_kube::{
    ApiServer, Status,
    engine::{FieldValidation, WriteOptions},
    json as read, manifests,
};

/// Folders in the order in which they are applied; each by its `kustomization.yaml`, or all its files by name.
const FOLDERS: &[&str] =
    &["crds", "operator", "observability/prometheus-operator-crds", "observability", "monitoring", "samples"];
/// How many broken variants there are at least.
const BROKEN_MIN: usize = 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml") && f.file_name().unwrap() != "kustomization.yaml");
    files.sort();
    files
}

/// The files of a folder in the order of its kustomization.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = root().join("deploy").join(folder);
    let order = folder.join("kustomization.yaml");
    if !order.exists() {
        return yaml_files(&folder);
    }
    let kustomization: Value = serde_saphyr::from_str(&text(&order)).unwrap();
    read::list(&kustomization, &["resources"]).iter().map(|r| folder.join(r.as_str().unwrap())).collect()
}

fn apply(api: &ApiServer, object: &Value) -> Result<(), Status> {
    let options =
        WriteOptions { field_validation: FieldValidation::Strict, force: true, ..WriteOptions::by("kubectl") };
    let mut engine = api.engine();
    let target = engine.target_of(object)?;
    engine.apply(&target, object, &options, now()).map(drop)
}

/// Applies everything, or everything before `until` (kind/name).
fn apply_all(api: &ApiServer, until: &str) -> usize {
    let mut applied = 0;
    for file in FOLDERS.iter().flat_map(|f| files(f)) {
        for object in manifests::parse(&text(&file)).unwrap() {
            if label(&object) == until {
                return applied;
            }
            apply(api, &object).unwrap_or_else(|s| panic!("{}: {}: {}", file.display(), label(&object), s.message));
            applied += 1;
        }
    }
    applied
}

fn label(object: &Value) -> String {
    format!("{}/{}", read::text(object, &["kind"]), read::name(object))
}

#[test]
fn every_file_of_deploy_is_accepted_strictly_and_applying_it_again_changes_nothing() {
    let done = sim_clock::run(WorldOptions::seeded(1), || async {
        let api = ApiServer::new();
        let applied = apply_all(&api, "");
        let before = api.engine().revision();
        assert_eq!(apply_all(&api, ""), applied);
        assert_eq!(api.engine().revision(), before, "nothing changed");
        applied
    });
    let known: usize = FOLDERS.iter().map(|f| yaml_files(&root().join("deploy").join(f)).len()).sum();
    let listed: usize = FOLDERS.iter().map(|f| files(f).len()).sum();
    assert_eq!(known, listed, "a file that no kustomization names");
    assert!(done.unwrap() >= known, "each file holds an object");
}

#[test]
fn every_broken_variant_is_refused_with_the_right_reason_and_path() {
    let cases = yaml_files(&root().join("fixtures/kube/broken"));
    assert!(cases.len() >= BROKEN_MIN, "{} variants", cases.len());
    let mut wrong = Vec::new();
    for path in cases {
        let case: Value = serde_saphyr::from_str(&text(&path)).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (given, expected) = (case.clone(), case);
        let refused = sim_clock::run(WorldOptions::seeded(1), move || async move {
            let api = ApiServer::new();
            let which = read::text(&given, &["object"]).to_owned();
            let after = given.get("after_applying") == Some(&Value::Bool(true));
            apply_all(&api, if after { "" } else { &which });
            let mut object = match given.get("document") {
                // Of a kind that deploy/ has none of: accepted as it stands, refused once changed.
                Some(document) => {
                    let dry = WriteOptions { dry_run: true, ..WriteOptions::by("kubectl") };
                    api.engine()
                        .create_object(document.clone(), &dry, now())
                        .unwrap_or_else(|s| panic!("{}", s.message));
                    document.clone()
                }
                None => {
                    let file = root().join("deploy").join(read::text(&given, &["file"]));
                    let objects = manifests::parse(&text(&file)).unwrap();
                    objects.into_iter().find(|o| label(o) == which).unwrap_or_else(|| panic!("no {which}"))
                }
            };
            // The change is no change of nothing.
            let before = object.clone();
            sim_kube::patch::json_patch(&mut object, &given["change"])
                .unwrap_or_else(|s| panic!("{which}: {}", s.message));
            assert_ne!(object, before);
            if after {
                // Applied configurations merge; a replacement says exactly what is wanted.
                let engine = api.engine();
                let target = engine.target_of(&object).unwrap();
                let version = engine.get(&target).unwrap()["metadata"]["resourceVersion"].clone();
                drop(engine);
                object["metadata"]["resourceVersion"] = version;
                let strict = WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::by("kubectl") };
                return api.engine().update(&target, object, &strict, now()).map(drop);
            }
            if given.get("created") == Some(&Value::Bool(true)) {
                let strict = WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::by("kubectl") };
                return api.engine().create_object(object, &strict, now()).map(drop);
            }
            apply(&api, &object)
        });
        let shown = match refused.unwrap() {
            Ok(()) => json!("accepted"),
            Err(status) => {
                let causes = status.details.as_ref().map(|d| read::list(d, &["causes"]).to_vec()).unwrap_or_default();
                let mut shown = json!({"code": status.code, "reason": status.reason, "message": status.message});
                if let Some(field) = causes.first().and_then(|c| c.get("field")) {
                    shown["field"] = field.clone();
                }
                shown
            }
        };
        let mut wanted =
            json!({"code": expected["code"], "reason": expected["reason"], "message": expected["message"]});
        if let Some(field) = expected.get("field") {
            wanted["field"] = field.clone();
        }
        if shown != wanted {
            wrong.push(format!("{name}\n  expected {wanted}\n  found    {shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
