//! One file a mistake, with the exact text of what is said about it: `data/<name>.yaml` and `data/<name>.txt`.
//! `UPDATE_FINDINGS=1` rewrites the texts; review them like code.

use std::path::Path;

use scenario_language::{Checkers, FaultSpec, Files, ParamKind, ParamSpec, load, render};

fn faults() -> Vec<FaultSpec> {
    vec![FaultSpec {
        name: "etcd-unavailable",
        summary: "etcd answers nobody",
        params: vec![
            ParamSpec { name: "members", required: true, kind: ParamKind::WordsNumberOrList(&["all"]) },
            ParamSpec { name: "how", required: false, kind: ParamKind::Words(&["refuse", "black-hole"]) },
            ParamSpec { name: "after", required: false, kind: ParamKind::Duration },
        ],
    }]
}

/// A disk with one file.
struct OneFile;

impl Files for OneFile {
    fn exists(&self, path: &Path) -> bool {
        path == Path::new("deploy/samples/minimal.yaml")
    }

    fn names(&self, folder: &Path) -> Vec<String> {
        if folder == Path::new("deploy/samples") { vec!["minimal.yaml".to_string()] } else { Vec::new() }
    }
}

/// A query language without the character `!`.
fn without_bang(query: &str) -> Result<(), (usize, String)> {
    query.find('!').map_or(Ok(()), |at| Err((at, "unexpected `!`".to_string())))
}

#[allow(
    clippy::disallowed_methods,
    reason = "whoever runs the test says by the environment whether the file is written anew"
)]
fn judge(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let text = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
    let checkers = Checkers { promql: &without_bang, traceql: &without_bang, faults: &faults(), files: &OneFile };
    let said = match load(&format!("scenarios/topology/{name}.yaml"), &text, &checkers) {
        Ok(_) => String::new(),
        Err(findings) => render(&findings),
    };
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_FINDINGS").is_some() {
        std::fs::write(&path, &said).unwrap();
        return;
    }
    assert_eq!(said, std::fs::read_to_string(&path).unwrap_or_default());
}

macro_rules! mistakes {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            judge(stringify!($name));
        })*

        #[test]
        fn every_file_of_mistakes_is_judged() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
            let mut files: Vec<String> = std::fs::read_dir(folder).unwrap()
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .filter_map(|name| name.strip_suffix(".yaml").map(str::to_string)).collect();
            files.sort();
            let mut names = vec![$(stringify!($name)),*];
            names.sort_unstable();
            assert_eq!(files, names);
        }
    };
}

mistakes! {
    unknown_field unknown_field_of_an_expectation wrong_type bad_duration bad_window bad_comparison bad_subject
    missing_file invalid_promql invalid_traceql empty_window pending_after_firing resolved_before_firing
    firing_never_but_resolved by_after_the_end step_after_the_end within_of_unknown heal_of_unknown heal_before_the_fault
    no_expectations unknown_promise unknown_fault unknown_parameter bad_parameter missing_parameter duplicate_key
    duplicate_name two_times two_kinds no_kind alert_without_windows alert_with_a_time notification_of_nothing
    notification_outside_its_window notification_with_a_time missing_field not_yaml
    braces_without_quotes empty_file several_mistakes unknown_word good
}
