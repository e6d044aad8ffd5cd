//! `promql test`: what its lines say, and its exit status.

use std::{fs, path::Path, process::Command};

/// Runs the command; gives exit status, standard output and standard error.
fn test(path: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_multigres-sim")).args(["promql", "test"]).arg(path).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn folder(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    folder
}

#[test]
fn a_difference_is_told_and_the_last_line_counts() {
    let good =
        "load 1m\n  x 0+1x10\n\neval instant at 5m x * 2\n  {} 10\n\neval instant at 5m mad_over_time(x[5m])\n  {} 1\n";
    let bad = "load 1m\n  x 0+1x10\n\neval instant at 5m x\n  x 6\n";
    let (code, out, _) = test(&folder("promql-differs", &[("a.test", good), ("b.test", bad), ("c.txt", "not read")]));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(code, 1);
    assert_eq!(lines.last(), Some(&"2 / 3 passed"), "{out}");
    assert!(out.contains("of them behind a feature flag: 1 / 1 passed"), "{out}");
    assert!(out.contains("b.test: 0 / 1 passed\n  line 4: x\n"), "{out}");
}

#[test]
fn everything_as_expected_ends_with_zero() {
    let (code, out, _) = test(&folder("promql-agrees", &[("a.test", "eval instant at 0 1 + 1\n  2\n")]));
    assert_eq!((code, out.lines().last()), (0, Some("1 / 1 passed")));
}

#[test]
fn bad_input_is_one_clear_error() {
    let (code, _, err) = test(Path::new("/nowhere/at/all.test"));
    assert_eq!(code, 2);
    assert!(err.starts_with("/nowhere/at/all.test: "), "{err}");
    let (code, _, err) = test(&folder("promql-empty", &[("a.txt", "")]));
    assert_eq!(code, 2);
    assert!(err.contains("no *.test file in this folder"), "{err}");
    let (code, out, _) =
        test(&folder("promql-malformed", &[("a.test", "lod 1m\n"), ("b.test", "eval instant at 0 1\n  1\n")]));
    assert_eq!((code, out.lines().last()), (1, Some("1 / 1 passed")), "{out}");
    assert!(out.contains("a.test: ") && out.contains("unknown command"), "{out}");
}
