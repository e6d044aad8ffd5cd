//! What the sources must not say, because it would let chance into a world.

use std::path::{Path, PathBuf};

/// Folders whose code runs in worlds, below the project's root.
const FOLDERS: [&str; 3] = ["operator/src", "sim", "scenarios"];
/// Written in two parts, so that this file does not speak of itself.
const SELECT: &str = concat!("select", "!");

#[test]
fn every_select_is_biased() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in FOLDERS {
        sources(&root.join(folder), &mut files);
    }
    let (mut selects, mut unbiased) = (0, Vec::new());
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        for (line, biased) in selects_of(&text) {
            selects += 1;
            if !biased {
                unbiased.push(format!("{}:{line}", file.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(selects > 0, "no select at all in {} files: the search is broken", files.len());
    assert!(unbiased.is_empty(), "these take their branches in random order, say `biased;`:\n{}", unbiased.join("\n"));
}

#[test]
fn an_unbiased_select_is_found_by_its_line() {
    let text = [
        &format!("// {SELECT} {{ in a comment }}"),
        &format!("{SELECT} {{ biased; () = a => {{}} }}"),
        &format!("tokio::{SELECT} {{"),
        "    biased;",
        "    () = a => {} }",
        &format!("let x = {SELECT}("),
        "    // biased;",
        "    () = a => {})",
        &format!("tokio::{SELECT} {{ // first come, first served"),
        "    biased;",
    ]
    .join("\n");
    assert_eq!(selects_of(&text), [(2, true), (3, true), (6, false), (9, true)]);
}

/// Each select of a source text: its line, and whether it says that its branches are looked at in order.
fn selects_of(text: &str) -> Vec<(usize, bool)> {
    // Comments go; the lines stay.
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    code.match_indices(SELECT)
        .map(|(at, _)| {
            let inside = code[at + SELECT.len()..].trim_start().trim_start_matches(['{', '(', '[']).trim_start();
            (code[..at].matches('\n').count() + 1, inside.starts_with("biased;"))
        })
        .collect()
}

/// All `.rs` files below a folder, in the order of their names.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}
