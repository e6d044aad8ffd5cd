//! Transcripts: shell commands and what they print, one file a test.
//!
//! ```text
//! # A comment. The lines before the first command may set things:
//! # speed: 20x
//! # manifests: deploy/crds
//! # access: rbac
//!
//! $ kubectl get configmap settings
//! NAME       DATA   AGE
//! settings   1      <age>
//!
//! $ kubectl get configmap nobody
//! Error from server (NotFound): configmaps "nobody" not found
//! [exit 1]
//! ```
//!
//! `> ` continues a command on the next line. A command runs by `sh` in the repository's root, `kubectl` being the one
//! under test. `$? ` marks a command whose real output is written down and not reached yet, with the reason in a comment before it. Such
//! a command is run too, and one that has come to agree fails the test until its mark is taken away, so that marks do not
//! rot.
//!
//! What differs from run to run is replaced: ages by `<age>`, times by `<time>`, uids by `<uid>`, resource versions by `<rv>`,
//! generated ends of names by `-<hash>` and `-xxxxx`,
//! addresses by `<server>`, `<pod-ip>` and `<cluster-ip>`, the temporary folder by `<tmp>`.
//!
//! With `UPDATE_TRANSCRIPTS=1` the outputs of all commands but those with `$? ` are written into the file, to be reviewed;
//! with `UPDATE_TRANSCRIPTS=marks` only the marks are: `$? ` where the output differs, `$ ` where it is as written.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use regex::Regex;

/// How long a command may take; `timeout` of coreutils ends it.
const COMMAND_SECONDS_MAX: u64 = 30;

/// A file of commands.
pub struct Transcript {
    path: PathBuf,
    head: Vec<String>,
    steps: Vec<Step>,
}

struct Step {
    /// Empty lines and comments before it.
    before: Vec<String>,
    command: Vec<String>,
    unreached: bool,
    output: String,
}

impl Transcript {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut transcript = Self { path: path.to_owned(), head: Vec::new(), steps: Vec::new() };
        let mut between: Vec<String> = Vec::new();
        for line in text.lines() {
            let command = line.strip_prefix("$ ").map(|c| (c, false)).or(line.strip_prefix("$? ").map(|c| (c, true)));
            if let Some((command, unreached)) = command {
                if transcript.steps.is_empty() {
                    transcript.head = std::mem::take(&mut between);
                }
                transcript.steps.push(Step {
                    before: std::mem::take(&mut between),
                    command: vec![command.to_owned()],
                    unreached,
                    output: String::new(),
                });
            } else if line.starts_with('#') || transcript.steps.is_empty() {
                between.push(line.to_owned());
            } else if let Some(step) = transcript.steps.last_mut() {
                match line.strip_prefix("> ").or(line.strip_prefix('>').filter(|rest| rest.is_empty())) {
                    Some(more) if step.output.is_empty() => step.command.push(more.to_owned()),
                    _ => {
                        step.output.push_str(line);
                        step.output.push('\n');
                    }
                }
            }
        }
        for step in &mut transcript.steps {
            step.output = format!("{}\n", step.output.trim_end()).trim_start_matches('\n').to_owned();
        }
        transcript
    }

    /// The value of `# name: value` before the first command.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| line.strip_prefix("# ")?.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Runs every command and compares.
    ///
    /// # Errors
    /// The differences, as text.
    pub fn run(&self, shell: &Shell, update: Update) -> Result<(), String> {
        let (mut differences, mut unreached, mut text) = (String::new(), String::new(), String::new());
        let mut agreed = 0;
        for line in &self.head {
            let _ = writeln!(text, "{line}");
        }
        for step in &self.steps {
            let seen = shell.run(&step.command.join("\n"));
            let command = step.command.join("\n> ");
            let agrees = seen == step.output;
            let (shown, mark) = match update {
                Update::Outputs if !step.unreached => (&seen, false),
                Update::Marks => (&step.output, !agrees),
                Update::Outputs | Update::Nothing => (&step.output, step.unreached),
            };
            for line in &step.before {
                let _ = writeln!(text, "{line}");
            }
            let _ = writeln!(text, "${} {command}\n{shown}", if mark { "?" } else { "" });
            agreed += usize::from(agrees);
            let difference = || format!("$ {command}\n--- wanted\n{}--- got\n{seen}\n", step.output);
            match (agrees, step.unreached) {
                (true, true) => {
                    let _ = writeln!(differences, "$? {command}\n--- agrees now: take its `?` away");
                }
                (true, false) => {}
                (false, true) => {
                    unreached.push_str(&difference());
                    if !step.before.iter().any(|line| line.starts_with('#')) {
                        let _ = writeln!(differences, "$? {command}\n--- no comment before it says why");
                    }
                }
                (false, false) => differences.push_str(&difference()),
            }
        }
        let name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        println!("{name}: agree {agreed} / {}", self.steps.len());
        // To be looked at: what is not as the real one does it.
        fs::write(shell.folder.join("unreached.txt"), &unreached).map_err(|error| error.to_string())?;
        if update != Update::Nothing {
            fs::write(&self.path, format!("{}\n", text.trim_end())).map_err(|error| error.to_string())?;
            return Ok(());
        }
        if differences.is_empty() { Ok(()) } else { Err(differences) }
    }
}

/// Where commands run.
pub struct Shell {
    kubectl: PathBuf,
    folder: PathBuf,
    root: PathBuf,
    server: String,
    masks: Vec<(Regex, &'static str)>,
}

impl Shell {
    /// A shell whose `kubectl` is this one, with an own home in `folder`, in which `kubeconfig` is the configuration.
    pub fn new(kubectl: &Path, folder: &Path, root: &Path, server: &str, kubeconfig: &str) -> Self {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::create_dir_all(folder.join("tmp")).unwrap();
        fs::write(folder.join("kubeconfig"), kubeconfig).unwrap();
        std::os::unix::fs::symlink(kubectl, folder.join("bin/kubectl")).unwrap();
        let mask = |pattern: &str| Regex::new(pattern).unwrap();
        let masks = vec![
            (mask(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uid>"),
            (mask(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
            (mask(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"), "<time>"),
            (mask(r#"(resourceVersion"?: ?"?)\d+"#), "${1}<rv>"),
            (mask(r"(Resource Version: +)\d+"), "${1}<rv>"),
            (mask(r"-[bcdfghjklmnpqrstvwxz2456789]{8,10}\b"), "-<hash>"),
            (mask(r"-[bcdfghjklmnpqrstvwxz2456789]{5}\b"), "-xxxxx"),
            (mask(r"\b10\.244\.\d+\.\d+\b"), "<pod-ip>"),
            (mask(r"\b10\.96\.\d+\.\d+\b"), "<cluster-ip>"),
            (mask(r"\b([0-9]+[smhdy]){1,2}\b|<invalid>"), "<age>"),
        ];
        Self {
            kubectl: kubectl.to_owned(),
            folder: folder.to_owned(),
            root: root.to_owned(),
            server: server.to_owned(),
            masks,
        }
    }

    /// What a command prints, on both outputs in the order in which it does, with a last line of its own for a status
    /// that is not zero.
    pub fn run(&self, command: &str) -> String {
        let path = format!("{}:/usr/bin:/bin", self.folder.join("bin").display());
        let output = Command::new("timeout")
            .args([&COMMAND_SECONDS_MAX.to_string(), "sh", "-c", &format!("exec 2>&1\n{command}")])
            .current_dir(&self.root)
            .env_clear()
            .envs([("PATH", path.as_str()), ("TMP", &self.folder.join("tmp").to_string_lossy()), ("TZ", "UTC")])
            .env("HOME", &self.folder)
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .env("LANG", "C")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.kubectl.display()));
        let mut text = self.masked(&String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            let _ = writeln!(text, "[exit {}]", output.status.code().unwrap_or(-1));
        }
        format!("{}\n", text.trim_end()).trim_start_matches('\n').to_owned()
    }

    fn masked(&self, text: &str) -> String {
        let folder = self.folder.to_string_lossy();
        let mut text = text.replace(&format!("{folder}/tmp"), "<tmp>").replace(&*folder, "<home>");
        text = text.replace(&self.server, "<server>");
        for (pattern, by) in &self.masks {
            text = pattern.replace_all(&text, *by).into_owned();
        }
        // Columns are as wide as what was replaced: three blanks stand for any number.
        let blanks = Regex::new(r" {3,}").unwrap();
        let aged = ["<age>", "-xxxxx", "-<hash>", "-ip>", "<server>"].iter().any(|mask| text.contains(mask));
        let mut lines: Vec<_> = Vec::new();
        for line in text.lines() {
            let line = line.trim_end();
            let indent = line.len() - line.trim_start().len();
            let (blank, rest) = line.split_at(indent);
            lines.push(if aged { format!("{blank}{}", blanks.replace_all(rest, "   ")) } else { line.to_owned() });
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// kubectl by `KUBECTL` or on the PATH; `None` with a word about it where there is none that runs.
///
/// # Panics
/// If `REQUIRE_BACKENDS` names kubectl and there is none.
#[allow(clippy::disallowed_methods, reason = "the machine's environment says where the program is")]
pub fn kubectl() -> Option<PathBuf> {
    let named = std::env::var_os("KUBECTL").map(PathBuf::from);
    // One that is merely on the PATH may be a dispatcher of whatever version; its outputs are another's.
    let program = named.clone().unwrap_or_else(|| root().join("target/tools/bin/kubectl"));
    let answers =
        Command::new(&program).args(["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if answers.is_ok_and(|status| status.success()) {
        return Some(fs::canonicalize(program).unwrap());
    }
    let required = std::env::var("REQUIRE_BACKENDS").unwrap_or_default();
    assert!(
        !required.split(',').any(|backend| backend.trim() == "kubectl"),
        "REQUIRE_BACKENDS names kubectl, but {} does not run",
        program.display()
    );
    println!("SKIPPED: no kubectl (set KUBECTL to its path, or run ci/tools/kubectl.sh)");
    None
}

/// What of a transcript is to be written anew.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Nothing: it is compared.
    Nothing,
    /// The outputs.
    Outputs,
    /// The marks of what is not reached.
    Marks,
}

/// What is to be written, by `UPDATE_TRANSCRIPTS`.
#[allow(clippy::disallowed_methods, reason = "a test's own switch")]
pub fn update() -> Update {
    match std::env::var("UPDATE_TRANSCRIPTS").as_deref() {
        Err(_) | Ok("" | "0") => Update::Nothing,
        Ok("marks") => Update::Marks,
        Ok(_) => Update::Outputs,
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

/// The transcripts of a folder below the root, in order.
pub fn transcripts(folder: &str) -> Vec<PathBuf> {
    let folder = root().join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(!paths.is_empty(), "{} has transcripts", folder.display());
    paths
}
