//! Commands that look at scenarios without running them.

use scenario_runner::ProjectError;

use super::{Ended, project, say};
use crate::{EXIT_PASSED, EXIT_WRONG, Selection};

/// `list`: name and summary of each scenario.
pub fn list(selection: &Selection) -> Ended {
    let project = project(&selection.paths)?;
    for path in project.discover(&selection.paths, selection.pattern.as_deref())? {
        let loaded = project.load(&path)?;
        say(&format!("{:52} {}", loaded.id, loaded.scenario.summary.value));
    }
    Ok(EXIT_PASSED)
}

/// `check`: everything that is wrong with each scenario.
pub fn check(selection: &Selection) -> Ended {
    let project = project(&selection.paths)?;
    let (mut good, mut wrong) = (0, 0);
    for path in project.discover(&selection.paths, selection.pattern.as_deref())? {
        match project.load(&path) {
            Ok(_) => good += 1,
            Err(
                error @ (ProjectError::Wrong { .. } | ProjectError::Manifest { .. } | ProjectError::TooLong { .. }),
            ) => {
                wrong += 1;
                eprintln!("{}\n", error.to_string().trim_end());
            }
            Err(error) => return Err(error.into()),
        }
    }
    say(&format!("{good} good, {wrong} wrong"));
    Ok(if wrong == 0 { EXIT_PASSED } else { EXIT_WRONG })
}

/// `faults`: each fault with its parameters.
pub fn faults() -> Ended {
    for fault in sim_world::faults::FAULTS {
        say(&format!("{}\n    {}", fault.name, fault.summary));
        for parameter in fault.parameters {
            let default = parameter.default.map_or("must be given".to_owned(), |default| format!("default: {default}"));
            say(&format!("    {}: {} ({default})", parameter.name, parameter.takes));
        }
        say("");
    }
    Ok(EXIT_PASSED)
}

/// `schema`: the JSON Schema of scenario files.
pub fn schema() -> Ended {
    say(&serde_json::to_string_pretty(&scenario_language::schema::schema())?);
    Ok(EXIT_PASSED)
}
