//! A scenario as data.

use std::time::Duration;

use serde_json::Value;

use crate::compare::Comparison;
use crate::span::{Span, Spanned};
use crate::subject::Subject;
use crate::time::{StageWindow, Window, format_duration};

/// One scenario file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file as it was named by the caller; paths inside it are relative to its folder.
    pub file: String,
    /// The name of the situation, the file's name without its ending.
    pub name: Spanned<String>,
    /// What happens, in one sentence.
    pub summary: Spanned<String>,
    /// The promises of `PROMISES.md` that the scenario proves.
    pub promises: Vec<Spanned<String>>,
    /// The seed of everything that is left to chance.
    pub seed: u64,
    /// How long the run lasts, from zero.
    pub duration: Spanned<Duration>,
    /// What the world looks like at zero.
    pub world: World,
    /// What happens when, in the order of the file.
    pub timeline: Vec<Step>,
    /// What the telemetry must then say.
    pub expect: Vec<Expectation>,
}

/// The seed of a scenario that names none.
pub const DEFAULT_SEED: u64 = 1;

impl Scenario {
    /// The virtual instant of a named step.
    pub fn instant(&self, name: &str) -> Option<Duration> {
        self.timeline.iter().find(|step| step.name.as_ref().is_some_and(|n| n.value == name)).map(|step| step.at.value)
    }
}

/// What the world looks like at zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Objects applied at zero through the webhooks.
    pub objects: Vec<Spanned<Source>>,
    /// The telemetry stack.
    pub stack: Stack,
    /// The operator.
    pub operator: Operator,
    /// Rule files in place of those of the stack; empty: those of the stack.
    pub rules: Vec<Spanned<String>>,
}

/// Where the telemetry stack comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stack {
    /// The files of `deploy/`.
    #[default]
    Deploy,
    /// No stack at all.
    None,
    /// The manifests of another folder.
    Folder(Spanned<String>),
}

/// Which operator runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// None.
    None,
    /// Ours, as `deploy/` starts it, with changes.
    Ours {
        /// Environment variables set on top of those of the manifest; `None` removes one.
        env: Vec<(String, Option<String>)>,
        /// Arguments added behind those of the manifest.
        args: Vec<String>,
    },
}

impl Default for Operator {
    fn default() -> Self {
        Self::Ours { env: Vec::new(), args: Vec::new() }
    }
}

/// Objects, from a file or written in place.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A file, relative to the scenario's folder.
    File(String),
    /// One object.
    Inline(Value),
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What happens.
    pub action: Action,
    /// When.
    pub at: Spanned<Duration>,
    /// The name by which others refer to it (`as:`).
    pub name: Option<Spanned<String>>,
    /// Where it stands.
    pub span: Span,
}

/// What a step of the timeline does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Starts a fault by name.
    Fault {
        /// The fault's name: `etcd-unavailable`.
        name: Spanned<String>,
        /// Its parameters, in the order written.
        params: Vec<(Spanned<String>, Spanned<Value>)>,
    },
    /// Ends the fault that a step with this name started.
    Heal(Spanned<String>),
    /// Applies objects, as `kubectl apply` would.
    Apply(Vec<Spanned<Source>>),
    /// Patches one object, as `kubectl patch` does: of built-in kinds with a strategic merge patch, of others with a JSON merge patch.
    Patch {
        /// The object, by name.
        object: Spanned<Subject>,
        /// The patch.
        merge: Value,
    },
    /// Deletes objects.
    Delete {
        /// The objects.
        subject: Spanned<Subject>,
        /// `DeleteOptions`, where there are some: `propagationPolicy: Foreground`.
        options: Option<Value>,
    },
    /// Silences alerts in Alertmanager.
    Silence {
        /// Matchers that all have to hold: `severity="warning"`.
        matchers: Vec<Spanned<String>>,
        /// For how long.
        lasts: Duration,
    },
}

impl Action {
    /// The action in a few words, for the timeline of a report.
    pub fn describe(&self) -> String {
        match self {
            Self::Fault { name, params } => {
                let params: Vec<String> =
                    params.iter().map(|(key, value)| format!("{}: {}", key.value, plain(&value.value))).collect();
                let params = if params.is_empty() { String::new() } else { format!(" {{ {} }}", params.join(", ")) };
                format!("fault {}{params}", name.value)
            }
            Self::Heal(name) => format!("heal {}", name.value),
            Self::Apply(sources) => {
                let names: Vec<String> = sources.iter().map(|source| source.describe()).collect();
                format!("apply {}", names.join(", "))
            }
            Self::Patch { object, merge } => format!("patch {} {merge}", object.value),
            Self::Delete { subject, options: None } => format!("delete {}", subject.value),
            Self::Delete { subject, options: Some(options) } => format!("delete {} {options}", subject.value),
            Self::Silence { matchers, lasts } => {
                let matchers: Vec<&str> = matchers.iter().map(|matcher| matcher.value.as_str()).collect();
                format!("silence {} for {}", matchers.join(", "), crate::format_duration(*lasts))
            }
        }
    }
}

/// A value as one would write it in YAML: texts without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Source {
    /// The file, or `Kind/name` of an inline object.
    pub fn describe(&self) -> String {
        match self {
            Self::File(path) => path.clone(),
            Self::Inline(object) => {
                let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_string();
                format!("{}/{}", text("/kind"), text("/metadata/name"))
            }
        }
    }
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// What.
    pub kind: Kind,
    /// When.
    pub when: When,
    /// `then: always`: once true, it stays true to the end.
    pub then_always: bool,
    /// `settle: true`: wait for the next scrape and the next rule evaluation after the instant.
    pub settle: bool,
    /// `not: true`: the opposite must hold.
    pub negated: bool,
    /// Where it stands.
    pub span: Span,
    /// Its own lines of the file, without common indentation, for reports.
    pub text: String,
}

impl Expectation {
    /// The expectation in one line: `event RegistrationFailed about Cell{…} by 1m`.
    pub fn describe(&self) -> String {
        let mut line = self.kind.describe();
        if self.negated {
            line = format!("not {line}");
        }
        match &self.when {
            When::End => {}
            other => line = format!("{line} {other}"),
        }
        if self.then_always {
            line.push_str(", then always");
        }
        line
    }
}

/// When an expectation must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// At the end, after the final flush.
    End,
    /// At this instant.
    At(Spanned<Duration>),
    /// True no later than this instant.
    By(Spanned<Duration>),
    /// True no later than so long after a named step.
    Within {
        /// How long.
        of: Spanned<Duration>,
        /// The step.
        after: Spanned<String>,
    },
    /// True at every instant of the window.
    Always(Spanned<Window>),
    /// True at no instant of the window.
    Never(Spanned<Window>),
}

impl std::fmt::Display for When {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::End => write!(out, "at the end"),
            Self::At(at) => write!(out, "at {}", format_duration(at.value)),
            Self::By(by) => write!(out, "by {}", format_duration(by.value)),
            Self::Within { of, after } => write!(out, "within {} of {}", format_duration(of.value), after.value),
            Self::Always(window) => write!(out, "always {}", window.value),
            Self::Never(window) => write!(out, "never {}", window.value),
        }
    }
}

/// A list of named comparisons, in the order of the file: `{ status.phase: Healthy }`.
pub type Fields = Vec<(String, Comparison)>;

/// What may be expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A Kubernetes event.
    Event(EventPattern),
    /// An object of the API server.
    Object(ObjectPattern),
    /// The answer of a PromQL query.
    Query(QueryPattern),
    /// The life of one alert.
    Alert(AlertPattern),
    /// What one receiver is told of an alert.
    Notification(NotificationPattern),
    /// No alert fires during the run, except these.
    NoAlerts {
        /// Names of alerts that may fire.
        except: Vec<Spanned<String>>,
    },
    /// Traces selected by TraceQL.
    Trace(TracePattern),
    /// Log lines.
    Logs(LogsPattern),
    /// References between signals.
    Correlation(CorrelationPattern),
    /// A record in etcd.
    Topology(TopologyPattern),
    /// Prometheus scrapes a target with success.
    Scrape(ScrapePattern),
    /// A reviewed snapshot: `traces/etcd-unavailable`.
    Golden(GoldenPattern),
}

/// A Kubernetes event (core/v1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventPattern {
    /// `reason`.
    pub reason: Option<Comparison>,
    /// `type`: `Normal` or `Warning`.
    pub event_type: Option<Comparison>,
    /// The object it is about.
    pub about: Option<Spanned<Subject>>,
    /// `message`.
    pub message: Option<Comparison>,
    /// `source.component` or `reportingComponent`.
    pub source: Option<Comparison>,
    /// The `count` of one Event object.
    pub count: Option<Comparison>,
}

/// An object of the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectPattern {
    /// Which object, or objects.
    pub subject: Spanned<Subject>,
    /// Comparisons by path: `status.phase`, `spec.containers[0].image`, `status.conditions[type=Ready].status`.
    pub fields: Fields,
    /// How many objects match; at least one when absent.
    pub count: Option<Comparison>,
    /// `absent: true`: there is no such object.
    pub absent: bool,
}

/// A PromQL query and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryPattern {
    /// The expression.
    pub expr: Spanned<String>,
    /// What the answer has to be.
    pub is: Answer,
}

/// The answer of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// No series.
    Empty,
    /// At least one series, and every value satisfies the comparison.
    Every(Comparison),
    /// For each selector at least one series whose labels match, and all of those satisfy the comparison
    /// (`absent`: no such series). Series that no selector matches are left alone.
    Series(Vec<(SeriesSelector, Comparison)>),
}

/// Labels of a series: `controller="cell-datahandler", state=~"ready|desired"`.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSelector {
    /// The selector as it is written.
    pub text: String,
    /// Label, and what its value has to be.
    pub labels: Fields,
}

/// The life of one alert. A stage that is not mentioned is not judged.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertPattern {
    /// The alert's name.
    pub name: Spanned<String>,
    /// Labels that choose among the alert's instances.
    pub labels: Fields,
    /// Annotations while firing (while pending when it never fires).
    pub annotations: Fields,
    /// When it has to become pending.
    pub pending: Option<Spanned<StageWindow>>,
    /// When it has to start firing.
    pub firing: Option<Spanned<StageWindow>>,
    /// When it has to stop firing.
    pub resolved: Option<Spanned<StageWindow>>,
}

/// What one receiver is told of an alert: when, how often, together with what. What is not mentioned is not judged.
#[derive(Clone, Debug, PartialEq)]
pub struct NotificationPattern {
    /// The receiver: the last part of the address that is told.
    pub receiver: Spanned<String>,
    /// Labels that choose the alert.
    pub labels: Fields,
    /// Only notifications of this window count.
    pub during: Option<Spanned<Window>>,
    /// When it has to be told that the alert fires.
    pub firing: Option<Spanned<StageWindow>>,
    /// When it has to be told that the alert is resolved.
    pub resolved: Option<Spanned<StageWindow>>,
    /// How many notifications say that the alert fires, the repeated ones among them.
    pub times: Option<Comparison>,
    /// How many different alerts the largest of them holds.
    pub grouped: Option<Comparison>,
    /// What each of them says, by path into the webhook's JSON.
    pub each: Fields,
}

/// Traces and their shape.
#[derive(Clone, Debug, PartialEq)]
pub struct TracePattern {
    /// TraceQL that selects the traces.
    pub query: Spanned<String>,
    /// The shape that at least one of them has (all of them with `every: true`).
    pub tree: Option<SpanPattern>,
    /// Every selected trace has the shape.
    pub every: bool,
    /// How many traces are selected.
    pub count: Option<Comparison>,
    /// `none: true`: no trace is selected (or none with that shape).
    pub none: bool,
}

/// The shape of a span and of what stands below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanPattern {
    /// The span's name, as it is written.
    pub name: String,
    /// What the name has to be when it is written `~ regex`.
    pub name_matches: Option<Comparison>,
    /// `ok`, `error` or `unset`.
    pub status: Option<StatusPattern>,
    /// `internal`, `client`, `server`, `producer`, `consumer`.
    pub kind: Option<String>,
    /// `service.name` of the resource.
    pub service: Option<Comparison>,
    /// Attributes.
    pub attributes: Fields,
    /// Events that the span has, each at least once.
    pub events: Vec<SpanEventPattern>,
    /// How many links it has.
    pub links: Option<Comparison>,
    /// How long it lasts, in seconds.
    pub duration: Option<Comparison>,
    /// How many spans of this shape stand at this place; at least one when absent.
    pub count: Option<Comparison>,
    /// Shapes of direct children.
    pub children: Vec<SpanPattern>,
    /// Shapes anywhere below.
    pub descendants: Vec<SpanPattern>,
    /// The children come in the order written: each starts no earlier than the one before it.
    pub ordered: bool,
    /// The span has no children but those written.
    pub exactly: bool,
}

impl SpanPattern {
    /// Whether a span of this name may be the one.
    pub fn is_named(&self, name: &str) -> bool {
        self.name_matches.as_ref().map_or(self.name == name, |comparison| comparison.holds_text(name))
    }
}

/// The status of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusPattern {
    /// Set to Ok.
    Ok,
    /// Set to Error.
    Error,
    /// Not set.
    Unset,
}

/// An event on a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanEventPattern {
    /// Its name: `exception`.
    pub name: String,
    /// Its attributes.
    pub attributes: Fields,
}

/// Log lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogsPattern {
    /// Lines are chosen by these fields of their JSON; dots go into objects; `trace` stands for both ids, `process`
    /// for the process that wrote the line, `text` for the whole line.
    pub filter: Fields,
    /// What each chosen line has to have. `trace: exists`: a valid `trace_id` and `span_id` whose span is stored.
    pub each: Fields,
    /// How many lines are chosen; at least one when absent.
    pub count: Option<Comparison>,
    /// `none: true`: no line is chosen.
    pub none: bool,
}

/// References between signals, judged after the final flush.
#[derive(Clone, Debug, PartialEq)]
pub struct CorrelationPattern {
    /// The rules that hold.
    pub rules: Vec<CorrelationRule>,
    /// Only lines of this process and spans of this service (the same name, or `multigres-operator`).
    pub process: Option<Comparison>,
    /// Least number of things each rule has to have judged, so that silence proves nothing; 1 when absent.
    pub at_least: u64,
}

/// One rule about references between signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorrelationRule {
    /// A line with a trace id and span id names a span that is stored in that trace.
    LinesHaveSpans,
    /// A line at error level has ids, and its span is stored.
    ErrorLinesHaveSpans,
    /// A span with status Error has a line with its ids, or its trace has one at error level.
    ErrorSpansHaveLines,
    /// Every line of a reconcile (with a `reconcileID`) has ids.
    ReconcileLinesHaveIds,
    /// The time of a line lies within its span.
    LinesLieInTheirSpans,
}

impl CorrelationRule {
    /// All rules with their spelling.
    pub const ALL: [(&'static str, Self); 5] = [
        ("lines-have-spans", Self::LinesHaveSpans),
        ("error-lines-have-spans", Self::ErrorLinesHaveSpans),
        ("error-spans-have-lines", Self::ErrorSpansHaveLines),
        ("reconcile-lines-have-ids", Self::ReconcileLinesHaveIds),
        ("lines-lie-in-their-spans", Self::LinesLieInTheirSpans),
    ];

    /// The spelling in a scenario file.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, rule)| *rule == self).map_or("", |(name, _)| name)
    }
}

/// A record in etcd.
#[derive(Clone, Debug, PartialEq)]
pub struct TopologyPattern {
    /// The whole key.
    pub key: Spanned<String>,
    /// How the value is read.
    pub record: Record,
    /// Comparisons by path into the decoded record.
    pub fields: Fields,
    /// `absent: true`: there is no such key (nor any below it, when it ends with `/`).
    pub absent: bool,
}

/// How a value in etcd is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Record {
    /// Not at all.
    #[default]
    Raw,
    /// `clustermetadata.Cell`: `name`, `server_addresses`, `root`.
    Cell,
    /// `clustermetadata.Database`: `name`, `backup_location.filesystem.path`, `durability_policy`, `cells`.
    Database,
}

/// The health of scrape targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScrapePattern {
    /// Labels that choose targets (`job`, `namespace`, `pod`, `instance` …).
    pub labels: Fields,
    /// `health` of each chosen target: `up` when absent.
    pub health: Option<Comparison>,
    /// How many targets are chosen; at least one when absent.
    pub count: Option<Comparison>,
}

/// A reviewed snapshot in `golden/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenPattern {
    /// What is compared.
    pub what: GoldenWhat,
    /// The path below `golden/`, without `.snap`: `traces/etcd-unavailable`.
    pub path: Spanned<String>,
}

/// What a snapshot is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoldenWhat {
    /// Span trees.
    Traces,
    /// Objects of the API server.
    Objects,
    /// Metric families.
    Metrics,
    /// Kubernetes events.
    Events,
}

impl GoldenWhat {
    /// All of them with the folder they live in.
    pub const ALL: [(&'static str, Self); 4] =
        [("traces", Self::Traces), ("objects", Self::Objects), ("metrics", Self::Metrics), ("events", Self::Events)];
}

impl Kind {
    /// The key of the expectation in a scenario file: `event`, `alert`.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Event(_) => "event",
            Self::Object(_) => "object",
            Self::Query(_) => "query",
            Self::Alert(_) => "alert",
            Self::Notification(_) => "notification",
            Self::NoAlerts { .. } => "alerts",
            Self::Trace(_) => "trace",
            Self::Logs(_) => "logs",
            Self::Correlation(_) => "correlation",
            Self::Topology(_) => "topology",
            Self::Scrape(_) => "scrape",
            Self::Golden(_) => "golden",
        }
    }

    /// The expectation in a few words.
    pub fn describe(&self) -> String {
        match self {
            Self::Event(event) => {
                let mut text = match &event.reason {
                    Some(reason) => format!("event {reason}"),
                    None => "event".to_string(),
                };
                if let Some(about) = &event.about {
                    text.push_str(&format!(" about {}", about.value));
                }
                if let Some(count) = &event.count {
                    text.push_str(&format!(" with count {count}"));
                }
                text
            }
            Self::Object(object) if object.absent => format!("no object {}", object.subject.value),
            Self::Object(object) => format!("object {}{}", object.subject.value, with_fields(&object.fields)),
            Self::Query(query) => match &query.is {
                Answer::Empty => format!("query {} is empty", query.expr.value),
                Answer::Every(comparison) => format!("query {} is {comparison}", query.expr.value),
                Answer::Series(series) => {
                    let parts: Vec<String> =
                        series.iter().map(|(selector, c)| format!("{{{}}} {c}", selector.text)).collect();
                    format!("query {} is {}", query.expr.value, parts.join(", "))
                }
            },
            Self::Alert(alert) => {
                let mut text = format!("alert {}{}", alert.name.value, with_fields(&alert.labels));
                for (stage, window) in
                    [("pending", &alert.pending), ("firing", &alert.firing), ("resolved", &alert.resolved)]
                {
                    if let Some(window) = window {
                        text.push_str(&format!(", {stage} {}", window.value));
                    }
                }
                text
            }
            Self::Notification(told) => {
                let mut text = format!("notification to {}{}", told.receiver.value, with_fields(&told.labels));
                for (stage, window) in [("firing", &told.firing), ("resolved", &told.resolved)] {
                    if let Some(window) = window {
                        text.push_str(&format!(", {stage} {}", window.value));
                    }
                }
                if let Some(window) = &told.during {
                    text.push_str(&format!(", during {}", window.value));
                }
                for (name, comparison) in [("times", &told.times), ("grouped", &told.grouped)] {
                    if let Some(comparison) = comparison {
                        text.push_str(&format!(", {name} {comparison}"));
                    }
                }
                if !told.each.is_empty() {
                    text.push_str(&format!(", each{}", with_fields(&told.each)));
                }
                text
            }
            Self::NoAlerts { except } if except.is_empty() => "no alert fires".to_string(),
            Self::NoAlerts { except } => {
                let names: Vec<&str> = except.iter().map(|name| name.value.as_str()).collect();
                format!("no alert fires but {}", names.join(", "))
            }
            Self::Trace(trace) if trace.none => format!("no trace {}", trace.query.value),
            Self::Trace(trace) => format!("trace {}", trace.query.value),
            Self::Logs(logs) if logs.none => format!("no log line{}", with_fields(&logs.filter)),
            Self::Logs(logs) => format!("log lines{}", with_fields(&logs.filter)),
            Self::Correlation(correlation) => {
                let names: Vec<&str> = correlation.rules.iter().map(|rule| rule.as_str()).collect();
                format!("correlation {}", names.join(", "))
            }
            Self::Topology(record) if record.absent => format!("no record {}", record.key.value),
            Self::Topology(record) => format!("record {}{}", record.key.value, with_fields(&record.fields)),
            Self::Scrape(scrape) => format!("scrape targets{}", with_fields(&scrape.labels)),
            Self::Golden(golden) => format!("golden {}", golden.path.value),
        }
    }
}

fn with_fields(fields: &Fields) -> String {
    if fields.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = fields.iter().map(|(key, comparison)| format!("{key}: {comparison}")).collect();
    format!(" {{ {} }}", parts.join(", "))
}
