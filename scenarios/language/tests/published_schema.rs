//! The schema in the repository. (The scenario files are loaded, with the world's own faults, where they run.)

use std::path::{Path, PathBuf};

use scenario_language::schema::schema;

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "whoever runs the test says by the environment whether the file is written anew"
)]
fn the_published_schema_is_the_one_of_the_types() {
    let path = scenarios().join("schema.json");
    let text = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == text, "scenarios/schema.json is out of date: run with UPDATE_SCHEMA=1");
}
