//! Reviewed outputs: compared, and written beside when they differ, in the format that `cargo insta review` accepts.

use std::{fs, io, path::Path};

use scenario_expectations::diff;

/// What became of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The reviewed output is the same.
    Same,
    /// It differs (or there is none); the story says how.
    Differs(String),
}

/// Compares `text` with `<folder>/<path>.snap`; writes `.snap.new` beside it where it differs, and takes a left-over
/// one away where it does not. With `accept` the reviewed output itself is written.
pub fn compare(folder: &Path, path: &str, text: &str, accept: bool) -> io::Result<Compared> {
    let reviewed = folder.join(format!("{path}.snap"));
    let new = folder.join(format!("{path}.snap.new"));
    let text = text.trim_end();
    let before = match fs::read_to_string(&reviewed) {
        Ok(file) => Some(contents(&file).trim_end().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if before.as_deref() == Some(text) {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(Compared::Same),
        }
    }
    let file = format!("---\nsource: scenarios/runner/src/golden.rs\nexpression: {path}\n---\n{text}\n");
    let target = if accept { &reviewed } else { &new };
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(target, file)?;
    if accept {
        return Ok(Compared::Same);
    }
    let story = match before {
        None => format!("there is no golden/{path}.snap yet"),
        Some(before) => {
            format!("golden/{path}.snap differs (- reviewed, + this run):\n{}", diff(&before, text).unwrap_or_default())
        }
    };
    Ok(Compared::Differs(format!("{story}\ngolden/{path}.snap.new was written; `cargo insta review` accepts it")))
}

/// An insta snapshot without its head.
fn contents(file: &str) -> &str {
    file.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")).map_or(file, |(_, contents)| contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_and_written_beside_until_it_is_accepted() {
        let folder = std::env::temp_dir().join(format!("golden-test-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let new = folder.join("traces/a.snap.new");
        let Compared::Differs(story) = compare(&folder, "traces/a", "one\ntwo", false).unwrap() else { panic!() };
        assert!(story.contains("no golden/traces/a.snap yet") && new.exists());
        assert_eq!(compare(&folder, "traces/a", "one\ntwo", true).unwrap(), Compared::Same);
        assert_eq!(compare(&folder, "traces/a", "one\ntwo\n", false).unwrap(), Compared::Same);
        assert!(!new.exists(), "a left-over is taken away");
        let Compared::Differs(story) = compare(&folder, "traces/a", "one\nthree", false).unwrap() else { panic!() };
        assert!(story.contains("two") && story.contains("three") && new.exists(), "{story}");
    }
}
