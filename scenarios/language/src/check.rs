//! What is wrong with the meaning of a scenario.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::decode::parse;
use crate::finding::{Code, Diagnostics, Finding, Severity, nearest, suggest};
use crate::model::{Action, AlertPattern, Expectation, Kind, NotificationPattern, Scenario, Source, Stack, Step, When};
use crate::promises::PROMISES;
use crate::span::{Span, Spanned};
use crate::time::{StageWindow, Window, format_duration, parse_duration};

/// A parser of a query language: the byte offset of an error in the text, and what is wrong there.
pub type QueryCheck<'a> = &'a dyn Fn(&str) -> Result<(), (usize, String)>;

/// What the meaning is checked against. This crate knows no query language, no fault and no disk of its own.
#[derive(Clone, Copy)]
pub struct Checkers<'a> {
    /// Parses PromQL.
    pub promql: QueryCheck<'a>,
    /// Parses TraceQL.
    pub traceql: QueryCheck<'a>,
    /// The faults that exist.
    pub faults: &'a [FaultSpec],
    /// The files that exist.
    pub files: &'a dyn Files,
}

/// A fault, as `multigres-sim faults` lists it.
#[derive(Clone, Debug)]
pub struct FaultSpec {
    /// `etcd-unavailable`
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Its parameters.
    pub params: Vec<ParamSpec>,
}

/// A parameter of a fault.
#[derive(Clone, Debug)]
pub struct ParamSpec {
    /// `members`
    pub name: &'static str,
    /// Whether it has to be written.
    pub required: bool,
    /// What it may be.
    pub kind: ParamKind,
}

/// What a parameter of a fault may be.
#[derive(Clone, Copy, Debug)]
pub enum ParamKind {
    /// One of these words.
    Words(&'static [&'static str]),
    /// One of these words, a whole number, or a list of texts.
    WordsNumberOrList(&'static [&'static str]),
    /// A text.
    Text,
    /// A whole number.
    Whole,
    /// A duration.
    Duration,
    /// A mapping of texts.
    Labels,
    /// Anything; the fault itself judges it.
    Any,
}

/// The files that a scenario may name.
pub trait Files {
    /// Whether there is such a file or folder. Paths are those of the scenario file, made plain (`a/../b` is `b`).
    fn exists(&self, path: &Path) -> bool;
    /// The names in a folder, for suggestions.
    fn names(&self, folder: &Path) -> Vec<String>;
}

/// The files on disk, relative to a folder.
pub struct OnDisk {
    /// The folder that relative paths start from.
    pub root: PathBuf,
}

impl Files for OnDisk {
    fn exists(&self, path: &Path) -> bool {
        self.root.join(path).exists()
    }

    fn names(&self, folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(folder));
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// Reads and checks a scenario: the scenario, or all that is wrong with it.
pub fn load(file: &str, text: &str, checkers: &Checkers<'_>) -> Result<Scenario, Vec<Finding>> {
    let (scenario, mut findings) = parse(file, text);
    if let Some(scenario) = &scenario {
        let unread = findings.iter().any(|finding| finding.severity == Severity::Error);
        // A step that cannot be read names nothing, which is no second mistake of whoever refers to it.
        let follows = |finding: &Finding| unread && finding.code == Code::SCN017;
        findings.extend(check(scenario, text, checkers).into_iter().filter(|finding| !follows(finding)));
    }
    findings.sort_by_key(|finding| (finding.line, finding.column, finding.code));
    let fatal = findings.iter().any(|finding| finding.severity == Severity::Error);
    match scenario {
        Some(scenario) if !fatal => Ok(scenario),
        _ => Err(findings),
    }
}

/// The path of a file that a scenario names, seen from where the scenario's own path starts.
pub fn resolve(scenario_file: &str, named: &str) -> PathBuf {
    let folder = Path::new(scenario_file).parent().unwrap_or(Path::new(""));
    let mut plain = PathBuf::new();
    for component in folder.join(named).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// Checks the meaning of a scenario and collects all that is wrong with it.
pub fn check(scenario: &Scenario, text: &str, checkers: &Checkers<'_>) -> Vec<Finding> {
    let mut checker = Checker {
        scenario,
        checkers,
        diagnostics: Diagnostics::new(&scenario.file, text),
        end: scenario.duration.value,
    };
    checker.promises();
    checker.files();
    checker.timeline();
    for expectation in &scenario.expect {
        checker.expectation(expectation);
    }
    checker.diagnostics.into_findings()
}

struct Checker<'s> {
    scenario: &'s Scenario,
    checkers: &'s Checkers<'s>,
    diagnostics: Diagnostics<'s>,
    end: Duration,
}

impl Checker<'_> {
    fn error(&mut self, code: Code, span: Span, message: String, help: Option<String>) {
        self.diagnostics.error(code, span, message, help);
    }

    fn promises(&mut self) {
        let ids: Vec<&str> = PROMISES.iter().map(|(id, _)| *id).collect();
        for promise in &self.scenario.promises {
            if !ids.contains(&promise.value.as_str()) {
                let near = nearest_promise(&promise.value, &ids).map(|near| format!("did you mean `{near}`?"));
                let help = near.or_else(|| Some("promises are listed in PROMISES.md, A1 to E8".to_string()));
                self.error(Code::SCN019, promise.span, format!("there is no promise `{}`", promise.value), help);
            }
        }
        if self.scenario.duration.value.is_zero() {
            self.error(Code::SCN016, self.scenario.duration.span, "the run has no length".to_string(), None);
        }
    }

    fn files(&mut self) {
        let world = &self.scenario.world;
        let applied = self.scenario.timeline.iter().filter_map(|step| match &step.action {
            Action::Apply(sources) => Some(sources),
            _ => None,
        });
        let mut named: Vec<(String, Span)> = Vec::new();
        for source in world.objects.iter().chain(applied.flatten()) {
            if let Source::File(path) = &source.value {
                named.push((path.clone(), source.span));
            }
        }
        named.extend(world.rules.iter().map(|rule| (rule.value.clone(), rule.span)));
        if let Stack::Folder(folder) = &world.stack {
            named.push((folder.value.clone(), folder.span));
        }
        for (path, span) in named {
            let full = resolve(&self.scenario.file, &path);
            if !self.checkers.files.exists(&full) {
                let help = self.near_file(&path, &full);
                self.error(Code::SCN011, span, format!("there is no file `{path}`"), help);
            }
        }
    }

    fn near_file(&self, written: &str, full: &Path) -> Option<String> {
        let name = full.file_name()?.to_str()?;
        let names = self.checkers.files.names(full.parent()?);
        let near = nearest(name, names.iter().map(String::as_str))?;
        Some(format!("did you mean `{}{near}`?", &written[..written.len().saturating_sub(name.len())]))
    }

    fn timeline(&mut self) {
        let mut names: BTreeMap<&str, &Step> = BTreeMap::new();
        for step in &self.scenario.timeline {
            self.not_after_the_end(&step.at, "the step");
            if let Some(name) = &step.name {
                match names.get(name.value.as_str()) {
                    Some(first) => {
                        let line = first.name.as_ref().map_or(first.span.line, |name| name.span.line);
                        let help = Some(format!("it stands first on line {line}"));
                        self.error(Code::SCN021, name.span, format!("two steps are named `{}`", name.value), help);
                    }
                    None => {
                        names.insert(&name.value, step);
                    }
                }
            }
        }
        for step in &self.scenario.timeline {
            match &step.action {
                Action::Fault { name, params } => self.fault(name, params),
                Action::Heal(name) => self.heal(step, name, &names),
                Action::Patch { object, .. } if object.value.name().is_none() => {
                    let help = Some("one object by name: `MultigresCluster/minimal`".to_string());
                    self.error(Code::SCN009, object.span, "`patch` changes one object".to_string(), help);
                }
                _ => {}
            }
        }
    }

    fn heal(&mut self, step: &Step, name: &Spanned<String>, names: &BTreeMap<&str, &Step>) {
        let faults: Vec<&str> = names
            .iter()
            .filter(|(_, step)| matches!(step.action, Action::Fault { .. }))
            .map(|(name, _)| *name)
            .collect();
        match names.get(name.value.as_str()) {
            None => {
                let help = suggest(&name.value, &faults).or_else(|| Some("name the fault with `as:`".to_string()));
                self.error(Code::SCN017, name.span, format!("no fault is named `{}`", name.value), help);
            }
            Some(fault) if !matches!(fault.action, Action::Fault { .. }) => {
                self.error(
                    Code::SCN017,
                    name.span,
                    format!("`{}` is not a fault", name.value),
                    suggest(&name.value, &faults),
                );
            }
            Some(fault) if step.at.value < fault.at.value => {
                let start = format_duration(fault.at.value);
                let message = format!(
                    "`{}` is healed at {} before it starts at {start}",
                    name.value,
                    format_duration(step.at.value)
                );
                self.error(Code::SCN015, step.at.span, message, None);
            }
            Some(_) => {}
        }
    }

    fn fault(&mut self, name: &Spanned<String>, params: &[(Spanned<String>, Spanned<Value>)]) {
        let Some(spec) = self.checkers.faults.iter().find(|spec| spec.name == name.value) else {
            let names: Vec<&str> = self.checkers.faults.iter().map(|spec| spec.name).collect();
            self.error(
                Code::SCN020,
                name.span,
                format!("there is no fault `{}`", name.value),
                suggest(&name.value, &names),
            );
            return;
        };
        let known: Vec<&str> = spec.params.iter().map(|param| param.name).collect();
        for (key, value) in params {
            match spec.params.iter().find(|param| param.name == key.value) {
                None => {
                    let message = format!("the fault `{}` has no parameter `{}`", name.value, key.value);
                    self.error(Code::SCN020, key.span, message, suggest(&key.value, &known));
                }
                Some(param) => {
                    if let Some((wanted, help)) = refused(param.kind, &value.value) {
                        let message = format!("`{}` of the fault `{}` is {wanted}", key.value, name.value);
                        self.error(Code::SCN020, value.span, message, help);
                    }
                }
            }
        }
        for param in spec.params.iter().filter(|param| param.required) {
            if !params.iter().any(|(key, _)| key.value == param.name) {
                self.error(Code::SCN020, name.span, format!("the fault `{}` needs `{}`", name.value, param.name), None);
            }
        }
    }

    fn not_after_the_end(&mut self, at: &Spanned<Duration>, what: &str) {
        if at.value > self.end {
            let message = format!("{what} lies after the end of the run");
            let help = Some(format!("the run lasts {}; raise `duration` or move it", format_duration(self.end)));
            self.error(Code::SCN016, at.span, message, help);
        }
    }

    fn window(&mut self, window: &Window, span: Span, what: &str) {
        if window.is_empty() {
            let turned = Window { from: window.to, to: window.from };
            let help = Some(format!("a window goes from its first to its last instant: `{turned}`"));
            self.error(Code::SCN014, span, format!("the window `{window}` is empty"), help);
            return;
        }
        for end in [window.from, window.to].into_iter().flatten() {
            if end > self.end {
                self.not_after_the_end(&Spanned::new(end, span), what);
                return;
            }
        }
    }

    fn expectation(&mut self, expectation: &Expectation) {
        match &expectation.when {
            When::End => {}
            When::At(at) | When::By(at) => self.not_after_the_end(at, "the expectation"),
            When::Always(window) | When::Never(window) => self.window(&window.value, window.span, "the expectation"),
            When::Within { of, after } => self.within(of, after),
        }
        match &expectation.kind {
            Kind::Query(query) => {
                let promql = self.checkers.promql;
                self.query(promql, &query.expr, Code::SCN012, "PromQL");
            }
            Kind::Trace(trace) => {
                let traceql = self.checkers.traceql;
                self.query(traceql, &trace.query, Code::SCN013, "TraceQL");
            }
            Kind::Alert(alert) => self.alert(alert, expectation),
            Kind::Notification(told) => self.notification(told, expectation),
            _ => {}
        }
    }

    fn within(&mut self, of: &Spanned<Duration>, after: &Spanned<String>) {
        match self.scenario.instant(&after.value) {
            Some(start) => self.not_after_the_end(&Spanned::new(start + of.value, of.span), "the expectation"),
            None => {
                let names: Vec<&str> = self
                    .scenario
                    .timeline
                    .iter()
                    .filter_map(|step| step.name.as_ref())
                    .map(|n| n.value.as_str())
                    .collect();
                let help = suggest(&after.value, &names)
                    .or_else(|| Some("name a step of the timeline with `as:`".to_string()));
                self.error(Code::SCN017, after.span, format!("no step is named `{}`", after.value), help);
            }
        }
    }

    fn query(&mut self, check: QueryCheck<'_>, query: &Spanned<String>, code: Code, language: &str) {
        if let Err((offset, reason)) = check(&query.value) {
            let before = query.value.get(..offset).map_or(0, |before| before.chars().count());
            let quoted = usize::from(query.span.length > query.value.chars().count());
            // Only a query on one line keeps its columns.
            let span = if query.span.length == usize::MAX || query.value.contains('\n') {
                query.span
            } else {
                Span { column: query.span.column + before + quoted, length: 1, ..query.span }
            };
            self.error(code, span, format!("this is not {language}: {reason}"), None);
        }
    }

    fn notification(&mut self, told: &NotificationPattern, expectation: &Expectation) {
        for stage in [&told.firing, &told.resolved].into_iter().flatten() {
            if let StageWindow::In(window) = stage.value {
                self.window(&window, stage.span, "the window");
            }
        }
        if let (Some(firing), Some(resolved)) = (&told.firing, &told.resolved) {
            self.order("firing", firing, "resolved", resolved);
        }
        if let Some(during) = &told.during {
            self.window(&during.value, during.span, "the window");
            for (name, stage) in [("firing", &told.firing), ("resolved", &told.resolved)] {
                self.inside(name, stage.as_ref(), &during.value);
            }
        }
        if expectation.negated {
            let help = Some("write `firing: never`".to_string());
            self.error(Code::SCN022, expectation.span, "a notification takes no `not`".to_string(), help);
        }
    }

    /// A stage cannot begin where nothing counts.
    fn inside(&mut self, name: &str, stage: Option<&Spanned<StageWindow>>, during: &Window) {
        let Some(Spanned { value: StageWindow::In(window), span }) = stage else { return };
        let before = window.to.zip(during.from).is_some_and(|(to, from)| to < from);
        let behind = window.from.zip(during.to).is_some_and(|(from, to)| from > to);
        if before || behind {
            let message =
                format!("{name} {window} lies outside of `during: {during}`: nothing that counts can be in it");
            self.error(Code::SCN015, *span, message, None);
        }
    }

    fn alert(&mut self, alert: &AlertPattern, expectation: &Expectation) {
        for stage in [&alert.pending, &alert.firing, &alert.resolved].into_iter().flatten() {
            if let StageWindow::In(window) = stage.value {
                self.window(&window, stage.span, "the window");
            }
        }
        let stages = [("pending", &alert.pending), ("firing", &alert.firing), ("resolved", &alert.resolved)];
        let mut earlier: Option<(&str, &Spanned<StageWindow>)> = None;
        for (name, stage) in stages {
            let Some(stage) = stage else { continue };
            if let Some((before, previous)) = earlier {
                self.order(before, previous, name, stage);
            }
            earlier = Some((name, stage));
        }
        if expectation.negated {
            let help = Some("write `firing: never`".to_string());
            self.error(Code::SCN022, expectation.span, "an alert takes no `not`".to_string(), help);
        }
    }

    /// A later stage cannot lie before an earlier one, nor follow one that never comes.
    fn order(&mut self, before: &str, previous: &Spanned<StageWindow>, name: &str, stage: &Spanned<StageWindow>) {
        match (previous.value, stage.value) {
            (StageWindow::Never, StageWindow::In(_)) => {
                let message = format!("an alert that is never {before} cannot be {name}");
                self.error(Code::SCN015, stage.span, message, None);
            }
            (StageWindow::In(first), StageWindow::In(second)) => {
                if let (Some(from), Some(to)) = (first.from, second.to)
                    && to < from
                    && !first.is_empty()
                    && !second.is_empty()
                {
                    let message = format!(
                        "{name} ends at {} before {before} can begin at {}",
                        format_duration(to),
                        format_duration(from)
                    );
                    let help = Some("an alert is pending, then firing, then resolved".to_string());
                    self.error(Code::SCN015, stage.span, message, help);
                }
            }
            _ => {}
        }
    }
}

/// `a4` and `A04` mean A4; otherwise the usual distance is of no use between ids this short.
fn nearest_promise<'p>(written: &str, ids: &[&'p str]) -> Option<&'p str> {
    let plain = |id: &str| {
        let (letter, number) = id.split_at(id.chars().next().map_or(0, char::len_utf8));
        (letter.to_uppercase(), number.trim().trim_start_matches('0').to_string())
    };
    ids.iter().find(|id| plain(id) == plain(written.trim())).copied()
}

/// What a parameter has to be, when it is not.
fn refused(kind: ParamKind, value: &Value) -> Option<(String, Option<String>)> {
    let word = |words: &[&str]| value.as_str().is_some_and(|text| words.contains(&text));
    let help = |words: &[&str]| suggest(value.as_str().unwrap_or_default(), words);
    let whole = value.as_u64().is_some();
    match kind {
        ParamKind::Words(words) if !word(words) => {
            Some((format!("one of {}", crate::finding::list(words)), help(words)))
        }
        ParamKind::WordsNumberOrList(words) if !(word(words) || whole || value.is_array()) => {
            Some((format!("{}, a number or a list", crate::finding::list(words)), None))
        }
        ParamKind::Text if !value.is_string() => Some(("a text".to_string(), None)),
        ParamKind::Whole if !whole => Some(("a whole number".to_string(), None)),
        ParamKind::Duration if value.as_str().is_none_or(|text| parse_duration(text).is_err()) => {
            Some(("a duration".to_string(), Some(crate::time::DURATION_HELP.to_string())))
        }
        ParamKind::Labels if !value.as_object().is_some_and(|map| map.values().all(Value::is_string)) => {
            Some(("a mapping of texts".to_string(), None))
        }
        _ => None,
    }
}
