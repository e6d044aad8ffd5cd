//! The scenario files and the schema in the repository.

use std::path::{Path, PathBuf};

use scenario_language::{Checkers, FaultSpec, OnDisk, ParamKind, ParamSpec, load, render, schema::schema};

fn faults() -> Vec<FaultSpec> {
    vec![
        FaultSpec {
            name: "etcd-unavailable",
            summary: "etcd answers nobody",
            params: vec![
                ParamSpec { name: "members", required: false, kind: ParamKind::WordsNumberOrList(&["all"]) },
                ParamSpec {
                    name: "how",
                    required: false,
                    kind: ParamKind::Words(&["refuse", "black-hole", "reset", "delay"]),
                },
            ],
        },
        FaultSpec {
            name: "collector-unavailable",
            summary: "the Collector answers nobody",
            params: vec![ParamSpec {
                name: "how",
                required: false,
                kind: ParamKind::Words(&["refuse", "black-hole", "reset", "delay"]),
            }],
        },
        FaultSpec {
            name: "pods-not-ready",
            summary: "pods fail their readiness probe",
            params: vec![ParamSpec { name: "select", required: true, kind: ParamKind::Text }],
        },
    ]
}

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The scenario files: YAML in folders that are no crates.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(scenarios()).unwrap().map(|entry| entry.unwrap().path()) {
        if !folder.is_dir() || folder.join("Cargo.toml").exists() {
            continue;
        }
        for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "yaml") {
                files.push(file);
            }
        }
    }
    files.sort();
    files
}

/// Balanced brackets and quotes: what can be said without the real parsers, which the runner passes in.
fn balanced(query: &str) -> Result<(), (usize, String)> {
    let mut open = Vec::new();
    let mut quote = None;
    for (at, c) in query.char_indices() {
        match (quote, c) {
            (Some(mark), c) if c == mark => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(c),
            (None, '(' | '{' | '[') => open.push(c),
            (None, ')' | '}' | ']') if open.pop().is_none() => return Err((at, format!("unexpected `{c}`"))),
            _ => {}
        }
    }
    if open.is_empty() && quote.is_none() { Ok(()) } else { Err((query.len(), "unexpected end".to_string())) }
}

#[test]
fn every_scenario_file_is_without_findings_and_named_like_its_file() {
    let files = files();
    assert!(files.len() >= 10, "{files:?}");
    let disk = OnDisk { root: scenarios() };
    for path in files {
        let name = path.strip_prefix(scenarios()).unwrap().to_str().unwrap().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let checkers = Checkers { promql: &balanced, traceql: &balanced, faults: &faults(), files: &disk };
        match load(&name, &text, &checkers) {
            Ok(scenario) => assert_eq!(
                Some(scenario.name.value.as_str()),
                path.file_stem().and_then(|stem| stem.to_str()),
                "{name}"
            ),
            Err(findings) => panic!("\n{}", render(&findings)),
        }
    }
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
