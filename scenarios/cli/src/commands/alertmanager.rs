//! `alertmanager`: where an alert goes, and what is wrong with configurations that load.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sim_alertmanager::{
    config::{self, Config},
    lint::lint,
    matcher::{MatchType, Matcher},
    route::Routes,
};
use sim_wire::Labels;

use super::{Ended, say};
use crate::{EXIT_FAILED, EXIT_PASSED};

/// The configuration files in a file: itself, or what stands in the ConfigMaps and Secrets of a manifest.
fn texts(path: &Path) -> Result<Vec<(String, String)>, String> {
    let shown = path.display().to_string();
    let size = fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.len();
    if size > config::FILE_BYTES_MAX as u64 {
        return Err(format!("{shown}: {size} bytes; at most {} are read", config::FILE_BYTES_MAX));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let manifests = sim_kube::manifests::parse(&text).unwrap_or_default();
    let mut inside = Vec::new();
    for object in manifests.iter().filter(|object| matches!(object["kind"].as_str(), Some("ConfigMap" | "Secret"))) {
        for section in ["data", "stringData"] {
            for (key, value) in object[section].as_object().into_iter().flatten() {
                let is_configuration = key.starts_with("alertmanager") && key.ends_with(['l', 'L']);
                if let Some(value) = value.as_str().filter(|_| is_configuration) {
                    let name = object["metadata"]["name"].as_str().unwrap_or("unnamed");
                    inside.push((format!("{shown} ({name}/{key})"), value.to_owned()));
                }
            }
        }
    }
    Ok(if inside.is_empty() { vec![(shown, text)] } else { inside })
}

/// Checks configuration files. Those that do not load, and every finding, make the check fail.
pub fn check(paths: &[PathBuf]) -> Ended {
    let (mut files, mut findings) = (0, 0);
    for path in paths {
        for (place, text) in texts(path)? {
            files += 1;
            let config = match config::parse(&text) {
                Ok(config) => config,
                Err(error) => {
                    findings += 1;
                    say(&format!("AMC000 {place}: {error}"));
                    continue;
                }
            };
            for finding in lint(&config, None) {
                findings += 1;
                say(&format!("{} {place}: {}: {}", finding.code, finding.place, finding.message));
                say(&format!("       {}", finding.help));
            }
        }
    }
    say(&format!("{files} configurations, {findings} findings"));
    Ok(if findings == 0 { EXIT_PASSED } else { EXIT_FAILED })
}

fn load(path: &Path) -> Result<Config, String> {
    let mut texts = texts(path)?;
    let (place, text) = texts.pop().ok_or_else(|| format!("{}: no configuration", path.display()))?;
    config::parse(&text).map_err(|error| format!("{place}: {error}"))
}

/// Draws the routing tree, as `amtool config routes show` does.
pub fn show(path: &Path) -> Ended {
    say(&format!("Routing tree:\n{}", Routes::new(&load(path)?.route).drawn()));
    Ok(EXIT_PASSED)
}

/// Says who is told of an alert with these labels, as `amtool config routes test` does.
pub fn test(path: &Path, labels: &[String], expected: Option<&str>) -> Ended {
    let routes = Routes::new(&load(path)?.route);
    let mut pairs = BTreeMap::new();
    for text in labels {
        let matcher = Matcher::parse(text).map_err(|error| format!("Failed to parse labels: {error}"))?;
        if matcher.kind != MatchType::Equal {
            return Err("Labels must be specified as key=value pairs".into());
        }
        pairs.insert(matcher.name, matcher.value);
    }
    let receivers = routes.receivers(&Labels::from(&pairs)).join(",");
    say(&receivers);
    if expected.is_some_and(|expected| expected != receivers) {
        say("WARNING: Expected receivers did not match resolved receivers.");
        return Ok(EXIT_FAILED);
    }
    Ok(EXIT_PASSED)
}
