//! The JSON Schema of scenario files, for editors. The types here describe the YAML and hold no data; a test compares
//! their fields with the ones that the reader asks for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// The schema as it stands in `scenarios/schema.json`.
pub fn schema() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let schema = settings.into_generator().into_root_schema_for::<ScenarioFile>();
    schema.to_value()
}

/// Declares a grammar that is one text.
macro_rules! text_grammar {
    ($name:ident, $schema:expr) => {
        #[allow(dead_code, reason = "the type exists for its schema")]
        struct $name(String);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

const DURATION: &str = "^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$";

text_grammar!(
    DurationText,
    json_schema!({
        "type": "string", "minLength": 1, "pattern": DURATION, "examples": ["15m", "1h30m", "500ms"],
        "description": "A duration as Prometheus writes it"
    })
);
text_grammar!(
    WindowText,
    json_schema!({
        "type": "string", "pattern": "^[0-9a-z]*\\.\\.[0-9a-z]*$", "examples": ["5m..6m5s", "..65s", "5m.."],
        "description": "A stretch of time, open at either end"
    })
);
text_grammar!(
    StageText,
    json_schema!({
        "type": "string", "pattern": "^(never|[0-9a-z]*\\.\\.[0-9a-z]*)$", "examples": ["5m..6m5s", "never"],
        "description": "When a stage of an alert's life begins: a window, or never"
    })
);
text_grammar!(
    ComparisonText,
    json_schema!({
        "type": ["string", "number", "boolean", "null"],
        "examples": ["> 0", ">= 3", "0.95..1.05", "~ regex", "!~ regex", "!= text", "exists", "absent"],
        "description": "What a value has to be: an operator, a range, `~ regex`, `exists`, `absent`, or the value itself"
    })
);
text_grammar!(
    SubjectText,
    json_schema!({
        "type": "string", "pattern": "^[A-Z][A-Za-z0-9]*(/|\\{)", "examples": ["MultigresCluster/minimal", "Cell{cluster=minimal, cell=zone-a}"],
        "description": "An object by name or by what it is"
    })
);
text_grammar!(
    WithinText,
    json_schema!({
        "type": "string", "pattern": "^.+ of .+$", "examples": ["2m of healed"],
        "description": "So long after a step that is named with `as:`"
    })
);
text_grammar!(
    SourceText,
    json_schema!({
        "anyOf": [{"type": "string"}, {"type": "object", "required": ["apiVersion", "kind"]}],
        "description": "A file, relative to the scenario's folder, or an object written in place"
    })
);
text_grammar!(
    GoldenText,
    json_schema!({
        "type": "string", "pattern": "^(traces|objects|metrics|events)/[A-Za-z0-9_/-]+$",
        "description": "A reviewed snapshot below golden/"
    })
);

type FieldsText = BTreeMap<String, ComparisonText>;

/// Declares the YAML shape of one mapping.
macro_rules! mapping {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields, rename_all = "kebab-case")]
        #[allow(dead_code, reason = "the fields exist for their schema")]
        struct $name {
            $($(#[$field_meta])* $field: $kind,)*
        }
    };
}

mapping! {
    /// A scenario: what the world looks like, what happens when, and what the telemetry must then say.
    ScenarioFile {
        /// The name of the situation.
        name: String,
        /// What happens, in one sentence.
        summary: String,
        /// Promises of PROMISES.md that the scenario proves: A1 to E8.
        promises: Vec<String>,
        /// The seed of everything that is left to chance.
        seed: Option<u64>,
        /// How long the run lasts, from zero.
        duration: DurationText,
        /// What the world looks like at zero.
        world: Option<WorldFile>,
        /// What happens when.
        timeline: Option<Vec<StepFile>>,
        /// What must hold.
        expect: Vec<ExpectationFile>,
    }
}

mapping! {
    WorldFile {
        /// Objects applied at 0s, as kubectl apply would, through the webhooks.
        objects: Option<OneOrMany>,
        /// `deploy` (the default), `none`, or a folder of manifests.
        stack: Option<String>,
        /// `ours` (the default), `none`, or ours with changes.
        operator: Option<OperatorFile>,
        /// Rule files in place of those of the stack.
        rules: Option<Vec<String>>,
    }
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum OneOrMany {
    Many(Vec<SourceText>),
    One(SourceText),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum OperatorName {
    None,
    Ours,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum OperatorFile {
    Named(OperatorName),
    Changed(OperatorChanges),
}

mapping! {
    OperatorChanges {
        /// Environment variables on top of those of the manifest; null removes one.
        env: Option<BTreeMap<String, ComparisonText>>,
        /// Arguments behind those of the manifest.
        args: Option<Vec<String>>,
    }
}

mapping! {
    /// One step: one action, its instant, and a name for it.
    StepFile {
        /// Starts a fault: `{ etcd-unavailable: { members: all } }`.
        fault: Option<Value>,
        /// Ends the fault that the named step started.
        heal: Option<String>,
        /// Applies files or objects.
        apply: Option<OneOrMany>,
        /// Patches one object with what is under `with`, as `kubectl patch` does: strategically where the kind is built in.
        patch: Option<SubjectText>,
        /// Deletes objects.
        delete: Option<SubjectText>,
        /// Silences alerts by these matchers: `severity="warning"`.
        silence: Option<Vec<String>>,
        /// How long a silence lasts.
        r#for: Option<DurationText>,
        /// The patch of `patch`; the options of `delete`, such as `propagationPolicy: Foreground`.
        with: Option<BTreeMap<String, Value>>,
        /// When, from zero.
        at: DurationText,
        /// The name by which others refer to the step.
        r#as: Option<String>,
    }
}

mapping! {
    /// One expectation of one kind, and at most one time: at, by, within, always or never.
    ExpectationFile {
        /// A Kubernetes event.
        event: Option<EventFile>,
        /// An object of the API server; with where, count, absent.
        object: Option<SubjectText>,
        /// PromQL; with is.
        query: Option<String>,
        /// The life of one alert; with labels, annotations, pending, firing, resolved.
        alert: Option<String>,
        /// `none`: no alert fires, but those of except.
        alerts: Option<String>,
        /// What a receiver is told of an alert; with labels, during, firing, resolved, times, grouped, each.
        notification: Option<String>,
        /// Traces selected by TraceQL, and their shape.
        trace: Option<TraceFile>,
        /// Log lines.
        logs: Option<LogsFile>,
        /// References between signals.
        correlation: Option<CorrelationFile>,
        /// A record in etcd.
        topology: Option<TopologyFile>,
        /// The health of scrape targets.
        scrape: Option<ScrapeFile>,
        /// A reviewed snapshot.
        golden: Option<GoldenText>,
        /// At this instant.
        at: Option<DurationText>,
        /// True no later than this instant.
        by: Option<DurationText>,
        /// True no later than so long after a step.
        within: Option<WithinText>,
        /// True at every instant of the window.
        always: Option<WindowText>,
        /// True at no instant of the window.
        never: Option<WindowText>,
        /// `always`: once true, true to the end.
        then: Option<String>,
        /// Wait for the next scrape and rule evaluation after the instant.
        settle: Option<bool>,
        /// The opposite must hold.
        not: Option<bool>,
        /// Of an object: comparisons by path.
        r#where: Option<FieldsText>,
        /// Of an object: how many.
        count: Option<ComparisonText>,
        /// Of an object: there is none.
        absent: Option<bool>,
        /// Of a query: `empty`, a comparison for every series, or comparisons by labels.
        is: Option<AnswerFile>,
        /// Of a notification: only those of this window count.
        during: Option<WindowText>,
        /// Of a notification: how many say that the alert fires.
        times: Option<ComparisonText>,
        /// Of a notification: how many alerts the largest of them holds.
        grouped: Option<ComparisonText>,
        /// Of a notification: what each of them says, by path into Alertmanager's webhook: `groupKey`, `status`,
        /// `commonLabels.severity`, `commonAnnotations.summary`, `alerts[0].labels.cell`, …
        each: Option<FieldsText>,
        /// Of an alert: labels that choose its instance. Of a notification: labels that choose the alerts it tells of.
        labels: Option<FieldsText>,
        /// Of an alert: its annotations while it fires.
        annotations: Option<FieldsText>,
        /// Of an alert: when it becomes pending.
        pending: Option<StageText>,
        /// Of an alert: when it starts firing. Of a notification: when it is first told to fire.
        firing: Option<StageText>,
        /// Of an alert: when it stops firing. Of a notification: when it is told to be resolved.
        resolved: Option<StageText>,
        /// Of alerts: those that may fire.
        except: Option<Vec<String>>,
    }
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum AnswerFile {
    Every(ComparisonText),
    Series(FieldsText),
}

mapping! {
    EventFile {
        reason: Option<ComparisonText>,
        /// Normal or Warning.
        r#type: Option<ComparisonText>,
        /// The object it is about.
        about: Option<SubjectText>,
        message: Option<ComparisonText>,
        /// The component that reports it.
        source: Option<ComparisonText>,
        /// The count of one Event object.
        count: Option<ComparisonText>,
    }
}

mapping! {
    TraceFile {
        /// TraceQL.
        r#where: String,
        /// The shape: one root, `Name: { … }`.
        tree: Option<BTreeMap<String, Option<SpanFile>>>,
        /// Every selected trace has the shape.
        every: Option<bool>,
        /// No trace is selected, or none with the shape.
        none: Option<bool>,
        count: Option<ComparisonText>,
    }
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum SpansFile {
    List(Vec<SpanOrName>),
    Map(BTreeMap<String, Option<SpanFile>>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum SpanOrName {
    Name(String),
    Span(BTreeMap<String, Option<SpanFile>>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum EventsFile {
    List(Vec<EventOrName>),
    Map(BTreeMap<String, Option<FieldsText>>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum EventOrName {
    Name(String),
    Event(BTreeMap<String, Option<FieldsText>>),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum StatusFile {
    Ok,
    Error,
    Unset,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum SpanKindFile {
    Internal,
    Client,
    Server,
    Producer,
    Consumer,
}

mapping! {
    /// The shape of a span and of what stands below it.
    SpanFile {
        status: Option<StatusFile>,
        kind: Option<SpanKindFile>,
        /// `service.name` of the resource.
        service: Option<ComparisonText>,
        attributes: Option<FieldsText>,
        /// Events that the span has: names, or `name: { attributes }`.
        events: Option<EventsFile>,
        /// How many links.
        links: Option<ComparisonText>,
        /// How long, in seconds or as `< 2s`.
        duration: Option<ComparisonText>,
        /// How many spans of this shape; at least one when absent.
        count: Option<ComparisonText>,
        /// Direct children, in any order.
        children: Option<SpansFile>,
        /// Spans anywhere below.
        descendants: Option<SpansFile>,
        /// The children come in the order written.
        ordered: Option<bool>,
        /// No children but those written.
        exactly: Option<bool>,
    }
}

mapping! {
    LogsFile {
        /// Which lines: fields of their JSON; `process`, `text`, `trace`.
        r#where: Option<FieldsText>,
        /// What each of them has; `trace: exists` means its span is stored.
        each: Option<FieldsText>,
        count: Option<ComparisonText>,
        /// There is no such line.
        none: Option<bool>,
    }
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum RuleFile {
    LinesHaveSpans,
    ErrorLinesHaveSpans,
    ErrorSpansHaveLines,
    ReconcileLinesHaveIds,
    LinesLieInTheirSpans,
}

mapping! {
    CorrelationFile {
        rules: Vec<RuleFile>,
        process: Option<ComparisonText>,
        /// Least number of things that each rule judges.
        at_least: Option<u64>,
    }
}

#[derive(JsonSchema)]
#[allow(dead_code, reason = "the variants exist for their schema")]
enum RecordFile {
    Cell,
    Database,
    #[schemars(rename = "raw")]
    Raw,
}

mapping! {
    TopologyFile {
        /// The whole key; with a `/` at its end, everything below it.
        key: String,
        record: Option<RecordFile>,
        r#where: Option<FieldsText>,
        absent: Option<bool>,
    }
}

mapping! {
    ScrapeFile {
        /// Labels that choose targets.
        labels: Option<FieldsText>,
        /// `up` when absent.
        health: Option<ComparisonText>,
        /// How many targets are chosen.
        count: Option<ComparisonText>,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::reader::Context;

    /// Uses every mapping of the language at least once.
    const EVERYTHING: &str = r"
name: all
summary: every mapping once
promises: [A1]
seed: 1
duration: 1h
world:
  objects: [a.yaml]
  operator: { env: { A: b }, args: [--x] }
timeline:
  - patch: A/b
    with: { spec: {} }
    at: 1m
expect:
  - event: { reason: x }
  - object: A/b
    where: { a: b }
  - query: up
    is: 1
  - alert: X
    firing: never
  - alerts: none
    except: [X]
  - notification: page
    firing: never
  - trace: { where: '{}', tree: { A: { status: ok } } }
  - logs: { where: { a: b } }
  - correlation: { rules: [lines-have-spans] }
  - topology: { key: /a }
  - scrape: { labels: { a: b } }
  - golden: traces/x
";

    #[test]
    fn the_schema_knows_exactly_the_fields_that_the_reader_asks_for() {
        let context = Context::new("t.yaml", EVERYTHING);
        let tree = crate::node::read(EVERYTHING, &mut context.diagnostics.borrow_mut()).unwrap();
        crate::decode::scenario(&context, &tree, "t.yaml").unwrap();
        let asked = context.asked.borrow().clone();
        let findings = context.diagnostics.into_inner().into_findings();
        assert!(findings.is_empty(), "{}", crate::finding::render(&findings));
        let schema = schema();
        for (what, pointer) in [
            ("a scenario", ""),
            ("`world`", "/$defs/WorldFile"),
            ("`operator`", "/$defs/OperatorChanges"),
            ("a step", "/$defs/StepFile"),
            ("an expectation", "/$defs/ExpectationFile"),
            ("`event`", "/$defs/EventFile"),
            ("`trace`", "/$defs/TraceFile"),
            ("a span", "/$defs/SpanFile"),
            ("`logs`", "/$defs/LogsFile"),
            ("`correlation`", "/$defs/CorrelationFile"),
            ("`topology`", "/$defs/TopologyFile"),
            ("`scrape`", "/$defs/ScrapeFile"),
        ] {
            let properties = schema.pointer(&format!("{pointer}/properties")).and_then(Value::as_object);
            let described: BTreeSet<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            let wanted: BTreeSet<&str> = asked[what].iter().copied().collect();
            assert_eq!(described, wanted, "{what}");
        }
        assert_eq!(asked.len(), 12, "a mapping without a schema: {:?}", asked.keys());
    }
}
