//! From which level on lines are written: one for all, others for parts of the operator, exchangeable while it runs.
//!
//! ```
//! use multigres_operator::observability::levels::LogLevels;
//! let levels: LogLevels = "info,webhooks=debug,controllers::cell=error".parse().unwrap();
//! assert_eq!(levels.to_string(), "info,controllers::cell=error,webhooks=debug");
//! assert!("info,webhooks=loud".parse::<LogLevels>().is_err());
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::sleep;
use tracing::Level;

use crate::host::Files;

/// How often the file of the levels is looked at.
pub const FILE_REREAD_EVERY: Duration = Duration::from_secs(10);
/// A longer file is none.
const FILE_BYTES_MAX: usize = 16 * 1024;
/// The first part of the target of every line of the operator's own.
const CRATE: &str = "multigres_operator";

/// Levels by part. A part is a module of the operator, with all that is in it: `webhooks`, `controllers::cell`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevels {
    default: Level,
    parts: BTreeMap<String, Level>,
}

impl Default for LogLevels {
    fn default() -> Self {
        Self { default: Level::DEBUG, parts: BTreeMap::new() }
    }
}

impl FromStr for LogLevels {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut levels = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry.split_once('=') {
                None => levels.default = level(entry)?,
                Some((part, given)) => {
                    let part = part.trim();
                    let named = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c));
                    levels.parts.insert(named.then(|| part.to_owned()).ok_or(())?, level(given.trim())?);
                }
            }
        }
        if text.trim().is_empty() { Err(()) } else { Ok(levels) }
    }
}

fn level(text: &str) -> Result<Level, ()> {
    match text {
        "debug" => Ok(Level::DEBUG),
        "info" => Ok(Level::INFO),
        "warn" => Ok(Level::WARN),
        "error" => Ok(Level::ERROR),
        _ => Err(()),
    }
}

impl fmt::Display for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |level: Level| level.as_str().to_ascii_lowercase();
        f.write_str(&word(self.default))?;
        self.parts.iter().try_for_each(|(part, level)| write!(f, ",{part}={}", word(*level)))
    }
}

impl LogLevels {
    /// Whether a line of this target is written. Of several parts that it belongs to the closest counts.
    pub fn want(&self, level: Level, target: &str) -> bool {
        let Some(path) = target.strip_prefix(CRATE) else { return false };
        let path = path.trim_start_matches(':');
        let belongs =
            |part: &str| path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let closest = self.parts.iter().filter(|(part, _)| belongs(part)).max_by_key(|(part, _)| part.len());
        level <= closest.map_or(self.default, |(_, level)| *level)
    }
}

/// The levels that are in force. Clones speak of the same.
#[derive(Clone, Debug, Default)]
pub struct LiveLevels(Arc<RwLock<LogLevels>>);

impl LiveLevels {
    /// Begins with these.
    pub fn new(levels: LogLevels) -> Self {
        Self(Arc::new(RwLock::new(levels)))
    }

    /// These from now on.
    pub fn set(&self, levels: LogLevels) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = levels;
    }

    /// See [`LogLevels::want`].
    pub fn want(&self, level: Level, target: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).want(level, target)
    }
}

/// Takes over the levels in a file whenever they change; without the file, those of the command line. Never ends.
pub async fn follow(live: LiveLevels, otherwise: LogLevels, files: Arc<dyn Files>, path: String) {
    let mut last = None;
    loop {
        let present = files.read(&path).ok().filter(|bytes| bytes.len() <= FILE_BYTES_MAX);
        if last.as_ref() != Some(&present) {
            let text = present.as_deref().map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
            match text.as_deref().map(str::parse::<LogLevels>) {
                None => live.set(otherwise.clone()),
                Some(Ok(levels)) => {
                    tracing::info!(levels = %levels, path = %path, "log levels changed");
                    live.set(levels);
                }
                Some(Err(())) => {
                    tracing::warn!(path = %path, "the file of the log levels cannot be understood; the last ones stay");
                }
            }
            last = Some(present);
        }
        sleep(FILE_REREAD_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_part_counts() {
        let levels: LogLevels = "warn,controllers=info,controllers::cell=debug".parse().unwrap();
        let wants = |level, path: &str| levels.want(level, &format!("multigres_operator{path}"));
        assert!(wants(Level::DEBUG, "::controllers::cell"));
        assert!(!wants(Level::DEBUG, "::controllers::cell_data"), "a part is a whole module");
        assert!(wants(Level::INFO, "::controllers::cell_data"));
        assert!(!wants(Level::INFO, "::webhooks") && wants(Level::WARN, "::webhooks"));
        assert!(!levels.want(Level::ERROR, "hyper::client"));
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for wrong in ["", "loud", "info,=debug", "info,a b=debug", "info,webhooks", "info;webhooks=debug"] {
            assert!(wrong.parse::<LogLevels>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn levels_change_while_somebody_asks() {
        let live = LiveLevels::default();
        let asker = live.clone();
        assert!(asker.want(Level::DEBUG, "multigres_operator::run"));
        live.set("error".parse().unwrap());
        assert!(!asker.want(Level::DEBUG, "multigres_operator::run"));
    }
}
