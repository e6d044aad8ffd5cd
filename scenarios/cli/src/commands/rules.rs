//! `rules`: unit tests of rules in promtool's format, and what is wrong with rules that load.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sim_prometheus::{
    rules::{cycles, lint, parse_rules},
    unit_test,
};

use super::{Ended, say};
use crate::{EXIT_FAILED, EXIT_PASSED};

/// Largest rule file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Checks rule files. Those that do not load, and every finding, make the check fail.
pub fn check(paths: &[PathBuf], interval_seconds: u64) -> Ended {
    let (mut rules, mut findings) = (0, 0);
    for path in paths {
        let shown = path.display().to_string();
        let size = fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.len();
        if size > FILE_BYTES_MAX {
            return Err(format!("{shown}: {size} bytes; at most {FILE_BYTES_MAX} are read").into());
        }
        let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        for (place, text) in rule_texts(&shown, text) {
            let groups = match parse_rules(&place, &text) {
                Ok(groups) => groups,
                Err(error) => {
                    findings += 1;
                    say(&format!("RUL000 {error}"));
                    continue;
                }
            };
            rules += groups.iter().map(|group| group.rules.len()).sum::<usize>();
            let of_groups = groups.iter().flat_map(|group| lint(group, Duration::from_secs(interval_seconds)));
            for finding in of_groups.chain(cycles(&groups)) {
                findings += 1;
                say(&format!("{} {place}: {}/{}: {}", finding.code, finding.group, finding.rule, finding.message));
                say(&format!("       {}", finding.help));
            }
        }
    }
    say(&format!("{rules} rules, {findings} findings"));
    Ok(if findings == 0 { EXIT_PASSED } else { EXIT_FAILED })
}

/// The rule file itself, or the one in each PrometheusRule of a manifest.
fn rule_texts(name: &str, text: String) -> Vec<(String, String)> {
    let manifests = sim_kube::manifests::parse(&text).unwrap_or_default();
    let inside = manifests.iter().filter(|object| object["kind"] == "PrometheusRule").map(|object| {
        let place = format!("{name} ({})", object["metadata"]["name"].as_str().unwrap_or("unnamed"));
        // JSON is YAML.
        (place, object["spec"].to_string())
    });
    let inside: Vec<_> = inside.collect();
    if inside.is_empty() { vec![(name.to_owned(), text)] } else { inside }
}

/// Runs the files, and says of each what promtool would say.
pub fn test(paths: &[PathBuf]) -> Ended {
    let mut passed = true;
    for path in paths {
        let shown = path.display();
        say(&format!("Unit Testing:  {shown}"));
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let differences = match unit_test::run(&shown.to_string(), &text, &|pattern| rule_files(&folder, pattern)) {
            Ok(differences) => differences,
            // The other files are still worth running.
            Err(error) => vec![error.to_string()],
        };
        if differences.is_empty() {
            say("  SUCCESS");
        } else {
            passed = false;
            say("  FAILED:");
            for difference in differences {
                say(&format!("{difference}\n"));
            }
        }
        say("");
    }
    Ok(if passed { EXIT_PASSED } else { EXIT_FAILED })
}

/// The files of a pattern, seen from the test file's folder, in order; `*` and `?` stand in the last part of the path.
fn rule_files(folder: &Path, pattern: &str) -> Result<Vec<(String, String)>, String> {
    let path = folder.join(pattern);
    let read = |path: PathBuf| {
        let shown = path.display().to_string();
        fs::read_to_string(&path).map(|text| (shown.clone(), text)).map_err(|error| format!("{shown}: {error}"))
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    if !name.contains(['*', '?']) {
        return Ok(vec![read(path)?]);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", parent.display()))?.path();
        if path.is_file() && path.file_name().and_then(|n| n.to_str()).is_some_and(|n| fits(&name, n)) {
            found.push(path);
        }
    }
    if found.is_empty() {
        eprintln!("  WARNING: no file match pattern {}", path.display());
    }
    found.sort();
    found.into_iter().map(read).collect()
}

/// Whether a name fits a pattern of `*` and `?`.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Where the last star stood, and what it has swallowed by now.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, swallowed)) => {
                    star = Some((at, swallowed + 1));
                    (p, n) = (at + 1, swallowed + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn stars_and_question_marks_stand_for_anything() {
        for (pattern, name, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("?.y*", "a.yaml", true),
            ("?.y*", ".yaml", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
