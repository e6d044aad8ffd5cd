//! What containers wrote to their standard output, as `pods/log` serves it.
//!
//! Bounded: a container keeps the newest [`LOG_BYTES_MAX`] bytes of each of its last two instances; a pod's logs go when
//! the pod's object goes. Writing a line costs one lock and one push.
//!
//! ```
//! let logs = sim_kube::ContainerLogs::default();
//! let stdout = logs.open("default", "web-0", "web");
//! stdout.line("listening");
//! let log = logs.read("default", "web-0", "web", false).unwrap();
//! assert_eq!(log.lines[0].text, "listening");
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sim_clock::{Timestamp, watch};

/// Bytes of text one instance of a container keeps; older lines give way, as rotated files do on a node (10 MiB there).
pub const LOG_BYTES_MAX: usize = 1 << 20;

/// One line a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When, by the node's clock.
    pub at: Timestamp,
    /// The line without its end.
    pub text: String,
    /// Counts the lines of this instance from 0; it goes on where older lines were given up.
    pub number: u64,
}

/// The log of one instance of a container.
#[derive(Clone, Debug, Default)]
pub struct ContainerLog {
    /// The lines that are kept, oldest first.
    pub lines: Vec<LogLine>,
    /// False once the instance has ended: a follower then has seen everything.
    pub running: bool,
    /// Which instance of the container this is, counted from 1.
    pub instance: u64,
}

#[derive(Debug, Default)]
struct Instance {
    lines: VecDeque<LogLine>,
    bytes: usize,
    next: u64,
    running: bool,
    number: u64,
}

#[derive(Debug, Default)]
struct Container {
    current: Instance,
    previous: Option<Instance>,
}

/// Namespace, pod, container.
type Place = (String, String, String);

#[derive(Debug)]
struct Kept {
    containers: Mutex<BTreeMap<Place, Container>>,
    tick: watch::Sender<u64>,
}

/// The logs of all containers of a cluster. Cloning gives another handle to the same logs.
#[derive(Clone, Debug)]
pub struct ContainerLogs(Arc<Kept>);

impl Default for ContainerLogs {
    fn default() -> Self {
        Self(Arc::new(Kept { containers: Mutex::default(), tick: watch::Sender::new(0) }))
    }
}

impl ContainerLogs {
    /// Starts the log of a new instance of a container; the instance before it becomes the previous one.
    pub fn open(&self, namespace: &str, pod: &str, container: &str) -> Stdout {
        let place = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        let mut containers = self.lock();
        let kept = containers.entry(place.clone()).or_default();
        let number = kept.current.number + 1;
        let before = std::mem::replace(&mut kept.current, Instance { running: true, number, ..Instance::default() });
        if before.number > 0 {
            kept.previous = Some(Instance { running: false, ..before });
        }
        drop(containers);
        self.0.tick.send_modify(|n| *n += 1);
        Stdout { logs: self.clone(), place: Arc::new(place), number }
    }

    /// The log of a container's running or last instance, or of the one before it; `None` if there never was one.
    pub fn read(&self, namespace: &str, pod: &str, container: &str, previous: bool) -> Option<ContainerLog> {
        self.read_from(namespace, pod, container, previous, 0)
    }

    /// As [`Self::read`], without the lines whose number is below `from`: what a follower has not seen yet.
    pub fn read_from(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        from: u64,
    ) -> Option<ContainerLog> {
        let containers = self.lock();
        let kept = containers.get(&(namespace.to_owned(), pod.to_owned(), container.to_owned()))?;
        let instance = if previous { kept.previous.as_ref()? } else { &kept.current };
        let first = instance.lines.partition_point(|line| line.number < from);
        Some(ContainerLog {
            lines: instance.lines.range(first..).cloned().collect(),
            running: instance.running,
            instance: instance.number,
        })
    }

    /// A receiver that ticks when any container wrote, started or ended.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.tick.subscribe()
    }

    /// The instance has ended: followers need not wait for more.
    pub(super) fn ended(&self, namespace: &str, pod: &str, container: &str) {
        if let Some(kept) = self.lock().get_mut(&(namespace.to_owned(), pod.to_owned(), container.to_owned())) {
            kept.current.running = false;
        }
        self.0.tick.send_modify(|n| *n += 1);
    }

    /// Forgets a pod's logs: its object is gone.
    pub(super) fn forget(&self, namespace: &str, pod: &str) {
        self.lock().retain(|(n, p, _), _| n != namespace || p != pod);
        self.0.tick.send_modify(|n| *n += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Container>> {
        self.0.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The standard output of one instance of a container.
#[derive(Clone, Debug)]
pub struct Stdout {
    logs: ContainerLogs,
    place: Arc<Place>,
    number: u64,
}

impl Stdout {
    /// Writes a line (or several, at its line ends). What an instance writes after its successor began is lost.
    pub fn line(&self, text: &str) {
        let at = sim_clock::now();
        let mut containers = self.logs.lock();
        let Some(kept) = containers.get_mut(&*self.place).filter(|kept| kept.current.number == self.number) else {
            return;
        };
        let instance = &mut kept.current;
        for text in text.trim_end_matches('\n').split('\n') {
            instance.bytes += text.len() + 1;
            instance.lines.push_back(LogLine { at, text: text.to_owned(), number: instance.next });
            instance.next += 1;
        }
        while instance.bytes > LOG_BYTES_MAX
            && let Some(old) = instance.lines.pop_front()
        {
            instance.bytes -= old.text.len() + 1;
        }
        drop(containers);
        self.logs.0.tick.send_modify(|n| *n += 1);
    }

    /// The last lines, up to `bytes` of text: what `terminationMessagePolicy: FallbackToLogsOnError` reports.
    pub(super) fn tail(&self, lines: usize, bytes: usize) -> String {
        let containers = self.logs.lock();
        let Some(kept) = containers.get(&*self.place) else { return String::new() };
        let mut out = Vec::new();
        let mut left = bytes;
        for line in kept.current.lines.iter().rev().take(lines) {
            if line.text.len() + 1 > left {
                break;
            }
            left -= line.text.len() + 1;
            out.push(line.text.as_str());
        }
        out.reverse();
        out.iter().flat_map(|line| [*line, "\n"]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_makes_the_log_the_previous_one_and_a_third_start_forgets_the_first() {
        let logs = ContainerLogs::default();
        let texts = |previous| {
            let log = logs.read("ns", "p", "c", previous)?;
            Some((log.instance, log.lines.into_iter().map(|l| l.text).collect::<Vec<_>>()))
        };
        assert_eq!(texts(false), None);
        let first = logs.open("ns", "p", "c");
        first.line("one\ntwo\n");
        assert_eq!((texts(false), texts(true)), (Some((1, vec!["one".into(), "two".into()])), None));
        let second = logs.open("ns", "p", "c");
        first.line("too late");
        second.line("three");
        assert_eq!(texts(true), Some((1, vec!["one".into(), "two".into()])));
        assert_eq!(texts(false), Some((2, vec!["three".into()])));
        logs.open("ns", "p", "c");
        assert_eq!(texts(true), Some((2, vec!["three".into()])));
        logs.forget("ns", "p");
        assert_eq!(texts(false), None);
    }

    #[test]
    fn old_lines_give_way_and_the_numbers_go_on() {
        let logs = ContainerLogs::default();
        let stdout = logs.open("ns", "p", "c");
        let line = "x".repeat(1023);
        for _ in 0..1030 {
            stdout.line(&line);
        }
        let log = logs.read("ns", "p", "c", false).expect("a log");
        assert_eq!((log.lines.len(), log.lines[0].number), (1024, 6));
        assert_eq!(logs.read_from("ns", "p", "c", false, 1028).expect("a log").lines.len(), 2);
        assert_eq!(stdout.tail(80, 2048), format!("{line}\n{line}\n"));
    }
}
