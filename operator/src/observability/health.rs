//! Whether the operator lives and is ready: named checks, as `/healthz` and `/readyz` tell them.
//!
//! Alive (`/healthz`) means that a restart would help nobody: it fails when a watch has been dead for long, so that the operator works
//! on what was. Ready (`/readyz`) means that it can be asked: caches are filled, the webhooks have their certificate, no end is under way.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Which question a check belongs to.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// `/healthz`
    Live,
    /// `/readyz`
    Ready,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Self::Live => "healthz",
            Self::Ready => "readyz",
        }
    }
}

/// The checks of one operator, and who wants to know when an answer changes. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<State>);

#[derive(Default)]
struct State {
    /// Why each check fails; nothing where it does not.
    checks: Mutex<BTreeMap<(Probe, String), Option<String>>>,
    changed: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("checks", &*self.checks()).finish()
    }
}

impl Health {
    fn checks(&self) -> MutexGuard<'_, BTreeMap<(Probe, String), Option<String>>> {
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a check is passed.
    pub fn pass(&self, probe: Probe, check: &str) {
        self.set(probe, check, None);
    }

    /// Says that a check fails, and why.
    pub fn fail(&self, probe: Probe, check: &str, why: impl Into<String>) {
        self.set(probe, check, Some(why.into()));
    }

    fn set(&self, probe: Probe, check: &str, why: Option<String>) {
        let before = self.passes(probe);
        self.checks().insert((probe, check.to_owned()), why);
        if self.passes(probe) != before {
            let changed = self.0.changed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(changed) = changed {
                changed();
            }
        }
    }

    /// Calls `changed` whenever an answer changes from here on.
    pub fn on_change(&self, changed: Arc<dyn Fn() + Send + Sync>) {
        *self.0.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(changed);
    }

    /// Whether all checks of a question are passed.
    pub fn passes(&self, probe: Probe) -> bool {
        self.checks().iter().all(|((of, _), why)| *of != probe || why.is_none())
    }

    /// Whether it is passed, and the text that says so in the words of Kubernetes' own servers.
    pub fn answer(&self, probe: Probe, verbose: bool) -> (bool, String) {
        let mut text = String::new();
        let mut passed = true;
        for ((_, check), why) in self.checks().iter().filter(|((of, _), _)| *of == probe) {
            // Writing to a text cannot fail.
            let _ = match why {
                None => writeln!(text, "[+]{check} ok"),
                Some(why) => {
                    passed = false;
                    writeln!(text, "[-]{check} failed: {why}")
                }
            };
        }
        let path = probe.path();
        match passed {
            true if !verbose => (true, "ok".to_owned()),
            true => (true, format!("{text}{path} check passed\n")),
            false => (false, format!("{text}{path} check failed\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn an_answer_follows_its_checks_and_each_change_of_it_is_told_once() {
        let health = Health::default();
        let told = Arc::new(AtomicUsize::new(0));
        let count = told.clone();
        health.on_change(Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        health.fail(Probe::Ready, "caches", "not synced");
        health.fail(Probe::Ready, "certificate", "none yet");
        health.pass(Probe::Ready, "caches");
        assert_eq!(
            health.answer(Probe::Ready, false),
            (false, "[+]caches ok\n[-]certificate failed: none yet\nreadyz check failed\n".to_owned())
        );
        health.pass(Probe::Ready, "certificate");
        health.pass(Probe::Ready, "certificate");
        assert_eq!(health.answer(Probe::Ready, false), (true, "ok".to_owned()));
        assert_eq!(told.load(Ordering::Relaxed), 2);
        assert_eq!(health.answer(Probe::Live, true), (true, "healthz check passed\n".to_owned()));
    }
}
