//! What the processes of a world wrote, queryable.

use std::sync::{Arc, Mutex};

use sim_clock::Timestamp;

/// Lines kept; a world that writes more loses its further lines, and [`LogStore::lost`] says how many.
pub const LINES_MAX: usize = 2_000_000;

/// One line that a process wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Who: `namespace/pod/container`.
    pub process: Arc<str>,
    /// The name of the program: the same for all replicas and restarts.
    pub program: Arc<str>,
    /// The line without its end.
    pub text: String,
}

/// All lines of a world in the order in which they were written. Cloning gives another handle to the same store.
///
/// ```
/// let logs = sim_world::logs::LogStore::default();
/// logs.writer("default/web-0/web", "web")("listening");
/// assert_eq!(logs.lines()[0].text, "listening");
/// ```
#[derive(Clone, Debug, Default)]
pub struct LogStore(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<LogLine>,
    lost: u64,
}

/// Takes the lines of one process.
pub type LogWriter = Arc<dyn Fn(&str) + Send + Sync>;

/// Lines that go to the world's store and to the container's standard output, where `pods/log` reads them.
pub(crate) fn both(store: LogWriter, stdout: sim_kube::Stdout) -> LogWriter {
    Arc::new(move |text| {
        store(text);
        stdout.line(text);
    })
}

impl LogStore {
    /// Where the process called `namespace/pod/container`, which runs `program`, writes to.
    pub fn writer(&self, process: &str, program: &str) -> LogWriter {
        let (store, process, program) = (self.clone(), Arc::<str>::from(process), Arc::<str>::from(program));
        Arc::new(move |text| {
            let mut lines = store.lock();
            if lines.lines.len() >= LINES_MAX {
                lines.lost += 1;
                return;
            }
            let text = text.trim_end_matches('\n').to_owned();
            lines.lines.push(LogLine {
                at: sim_clock::now(),
                process: process.clone(),
                program: program.clone(),
                text,
            });
        })
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<LogLine> {
        self.lock().lines.clone()
    }

    /// How many lines were lost for want of room.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.0.lock().expect("no code panics while it holds the lines")
    }
}
