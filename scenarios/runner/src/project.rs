//! Where things are on disk: scenarios, what is deployed, reviewed outputs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use scenario_language::{Action, Checkers, Code, FaultSpec, Finding, OnDisk, ParamKind, ParamSpec, Scenario};
use serde_json::Value;
use sim_world::faults::FaultError;

/// A scenario file is not longer than this.
pub const SCENARIO_BYTES_MAX: u64 = 1 << 20;
/// Files looked at below one folder.
const FILES_MAX: usize = 10_000;

/// Something that cannot be read or is wrong, in the words for whoever has to mend it.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// No folder with `deploy/` and `scenarios/` in it.
    #[error("no project here: neither {0} nor a folder above it has both deploy/ and scenarios/")]
    NoProject(PathBuf),
    /// Reading failed.
    #[error("{path}: {source}")]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it could not be.
        source: io::Error,
    },
    /// There is nothing of that name.
    #[error("there is no scenario file or folder {0}")]
    NoSuchPath(PathBuf),
    /// Nothing was chosen.
    #[error("no scenario matches {0}")]
    NothingChosen(String),
    /// A file is too long.
    #[error("{path}: longer than {SCENARIO_BYTES_MAX} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// A scenario is wrong.
    #[error("{}", scenario_language::render(findings))]
    Wrong {
        /// All that is wrong with it.
        findings: Vec<Finding>,
    },
    /// A manifest is wrong.
    #[error("{path}: {reason}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the place.
        reason: String,
    },
}

/// A checkout of a project: its `deploy/`, `scenarios/` and `golden/`.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// The project that `start` lies in.
    pub fn around(start: &Path) -> Result<Self, ProjectError> {
        let start = start.canonicalize().map_err(|source| ProjectError::Read { path: start.to_owned(), source })?;
        start
            .ancestors()
            .find(|folder| folder.join("deploy").is_dir() && folder.join("scenarios").is_dir())
            .map(|root| Self { root: root.to_owned() })
            .ok_or(ProjectError::NoProject(start.clone()))
    }

    /// Its topmost folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The scenario files at or below `paths` (all of them where there are none) whose name contains `pattern`, sorted.
    pub fn discover(&self, paths: &[PathBuf], pattern: Option<&str>) -> Result<Vec<PathBuf>, ProjectError> {
        let all = [self.root.join("scenarios")];
        let mut found = Vec::new();
        for path in if paths.is_empty() { &all } else { paths } {
            if !path.exists() {
                return Err(ProjectError::NoSuchPath(path.clone()));
            }
            collect(path, path.is_file(), &mut found)?;
        }
        found.retain(|path| pattern.is_none_or(|pattern| self.id(path).contains(pattern)));
        found.sort();
        found.dedup();
        if found.is_empty() {
            return Err(ProjectError::NothingChosen(pattern.unwrap_or("the given folders").to_owned()));
        }
        Ok(found)
    }

    /// The name of a scenario in reports and tests: `topology/etcd-unavailable`.
    pub fn id(&self, path: &Path) -> String {
        let named = self.relative(path);
        let named = named.strip_prefix("scenarios").unwrap_or(&named).with_extension("");
        named.to_string_lossy().replace('\\', "/")
    }

    fn relative(&self, path: &Path) -> PathBuf {
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        whole.strip_prefix(&self.root).map_or_else(|_| path.to_owned(), Path::to_owned)
    }

    /// Reads and checks a scenario with everything that it names.
    pub fn load(&self, path: &Path) -> Result<Loaded, ProjectError> {
        let read = |source| ProjectError::Read { path: path.to_owned(), source };
        if fs::metadata(path).map_err(read)?.len() > SCENARIO_BYTES_MAX {
            return Err(ProjectError::TooLong { path: path.to_owned() });
        }
        let text = fs::read_to_string(path).map_err(read)?;
        let file = self.relative(path).to_string_lossy().into_owned();
        let faults = fault_specs();
        let checkers = Checkers {
            promql: &|text| {
                let checked = sim_prometheus::promql::parse(text);
                checked.map(|_| ()).map_err(|error| (offset(text, &error.position), error.message))
            },
            traceql: &|text| {
                let checked = sim_tempo::traceql::parse(text);
                checked
                    .map(|_| ())
                    .map_err(|error| (offset(text, &format!("{}:{}", error.at.line, error.at.column)), error.message))
            },
            faults: &faults,
            files: &OnDisk { root: self.root.clone() },
        };
        let wrong = |findings| ProjectError::Wrong { findings };
        let scenario = scenario_language::load(&file, &text, &checkers).map_err(wrong)?;
        check_faults(&scenario, &text)?;
        let manifests = Manifests::read(self, &scenario)?;
        Ok(Loaded { id: self.id(path), golden: self.root.join("golden"), scenario, manifests })
    }

    /// The objects of one file, or of all files at or below a folder in the order of their names.
    pub fn objects(&self, path: &Path) -> Result<Vec<Value>, ProjectError> {
        let whole = self.root.join(path);
        let mut files = Vec::new();
        if whole.is_file() {
            files.push(whole);
        } else {
            collect(&whole, false, &mut files)?;
            files.retain(|file| file.file_name().is_some_and(|name| name != "kustomization.yaml"));
            files.sort();
        }
        let mut objects = Vec::new();
        for file in files {
            let text = fs::read_to_string(&file).map_err(|source| ProjectError::Read { path: file.clone(), source })?;
            let parsed = sim_kube::manifests::parse(&text)
                .map_err(|error| ProjectError::Manifest { path: self.relative(&file), reason: error.to_string() })?;
            objects.extend(parsed);
        }
        Ok(objects)
    }
}

/// A scenario with everything that it needs from disk.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its name: `topology/etcd-unavailable`.
    pub id: String,
    /// The folder of reviewed outputs.
    pub golden: PathBuf,
    /// The scenario.
    pub scenario: Scenario,
    /// The objects that it names.
    pub manifests: Manifests,
}

pub use crate::manifests::Manifests;

fn collect(path: &Path, named: bool, found: &mut Vec<PathBuf>) -> Result<(), ProjectError> {
    let read = |source| ProjectError::Read { path: path.to_owned(), source };
    if path.is_file() {
        if named || path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path.to_owned());
        }
        return Ok(());
    }
    let mut entries: Vec<_> = fs::read_dir(path)
        .map_err(read)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(read)?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for entry in entries {
        // Crates live beside the scenario files; a manifest of cargo marks their folders.
        if entry.join("Cargo.toml").exists() || found.len() > FILES_MAX {
            continue;
        }
        collect(&entry, false, found)?;
    }
    Ok(())
}

/// The byte offset of `line:column`, both counted from one; the beginning where there is no such place.
fn offset(text: &str, position: &str) -> usize {
    let (line, column) = position.split_once(':').unwrap_or((position, "1"));
    let (line, column) = (line.parse().unwrap_or(1_usize), column.parse().unwrap_or(1_usize));
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = &text[before..];
    before + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}

/// The faults of a world as the checker of scenarios wants them; the world itself judges the parameters' values.
pub fn fault_specs() -> Vec<FaultSpec> {
    sim_world::faults::FAULTS
        .iter()
        .map(|fault| FaultSpec {
            name: fault.name,
            summary: fault.summary,
            params: fault
                .parameters
                .iter()
                .map(|parameter| ParamSpec {
                    name: parameter.name,
                    required: parameter.default.is_none(),
                    kind: ParamKind::Any,
                })
                .collect(),
        })
        .collect()
}

fn check_faults(scenario: &Scenario, text: &str) -> Result<(), ProjectError> {
    let mut diagnostics = scenario_language::finding::Diagnostics::new(&scenario.file, text);
    for step in &scenario.timeline {
        if let Action::Fault { name, params } = &step.action {
            let given: Vec<_> = params.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect();
            if let Err(error) = sim_world::faults::parse(&name.value, &given) {
                // The wrong parameter's value where it was written, else the fault.
                let wrong = match &error {
                    FaultError::BadParameter { name, .. } => params.iter().find(|(given, _)| given.value == *name),
                    _ => None,
                };
                let span = wrong.map_or(name.span, |(_, value)| value.span);
                diagnostics.error(Code::SCN020, span, error.to_string(), None);
            }
        }
    }
    if diagnostics.is_empty() { Ok(()) } else { Err(ProjectError::Wrong { findings: diagnostics.into_findings() }) }
}
