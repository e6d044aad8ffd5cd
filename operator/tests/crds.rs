//! `deploy/crds` holds what the Rust types generate. `UPDATE_CRDS=1 cargo test` writes the files anew.

use std::path::PathBuf;

use multigres_operator::api;

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "whoever runs the test says by the environment whether the file is written anew"
)]
fn deploy_crds_are_those_of_the_rust_types() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds"));
    let update = std::env::var_os("UPDATE_CRDS").is_some();
    let mut expected = Vec::new();
    for crd in api::crds() {
        let plural = crd["spec"]["names"]["plural"].as_str().expect("a definition names its plural");
        let path = folder.join(format!("{}_{plural}.yaml", api::GROUP));
        if update {
            std::fs::write(&path, serde_saphyr::to_string(&crd).expect("YAML")).expect("deploy/crds can be written");
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let stored: serde_json::Value = serde_saphyr::from_str(&text).unwrap_or_default();
        assert!(stored == crd, "{} is not what the types generate: run with UPDATE_CRDS=1", path.display());
        expected.push(path.file_name().map(|name| name.to_os_string()));
    }
    let mut present: Vec<_> = std::fs::read_dir(&folder)
        .expect("deploy/crds exists")
        .map(|entry| Some(entry.expect("an entry").file_name()))
        .filter(|name| name.as_ref().is_some_and(|name| name.to_string_lossy().ends_with(".yaml")))
        .collect();
    present.sort();
    expected.sort();
    assert_eq!(present, expected, "files in deploy/crds that no type generates");
}
