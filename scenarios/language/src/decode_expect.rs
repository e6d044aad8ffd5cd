//! Expectations from the YAML tree.

use crate::compare::Comparison;
use crate::decode::{optional, texts};
use crate::finding::Code;
use crate::model::{
    AlertPattern, Answer, CorrelationPattern, CorrelationRule, EventPattern, Expectation, GoldenPattern, GoldenWhat,
    Kind, LogsPattern, NotificationPattern, ObjectPattern, QueryPattern, Record, ScrapePattern, SeriesSelector,
    SpanEventPattern, SpanPattern, StatusPattern, TopologyPattern, TracePattern, When,
};
use crate::node::{Data, Key, Node};
use crate::reader::{Context, Reader};
use crate::span::Spanned;

/// The kinds of expectations.
pub(crate) const KINDS: [&str; 12] = [
    "event",
    "object",
    "query",
    "alert",
    "alerts",
    "notification",
    "trace",
    "logs",
    "correlation",
    "topology",
    "scrape",
    "golden",
];
/// The ways to say when.
pub(crate) const TIMES: [&str; 5] = ["at", "by", "within", "always", "never"];

pub(crate) fn expectation(context: &Context<'_>, node: &Node) -> Option<Expectation> {
    let mut reader = Reader::new(context, node, "an expectation")?;
    let errors = context.diagnostics.borrow().len();
    let kind =
        reader.one_of(&KINDS, "expectation").map(|(key, value)| (key, value, kind(context, &mut reader, key, value)));
    let when = when(context, &mut reader);
    let flag = |node: Option<&Node>| node.and_then(|node| context.boolean(node)).unwrap_or(false);
    let then = reader.take("then").and_then(|node| context.word(node, "what may follow", &[("always", true)]));
    let settle = flag(reader.take("settle"));
    let negated = flag(reader.take("not"));
    let then_always = then.unwrap_or(false);
    if let Some((key, _, _)) = &kind {
        refuse_meaningless_times(context, &reader, key, when.as_ref(), then_always);
    } else if context.diagnostics.borrow().len() > errors {
        // Nothing sensible can be said about the other fields of an expectation of no kind.
        note_optional_fields(&mut reader);
    }
    reader.finish();
    let (_, _, kind) = kind?;
    Some(Expectation {
        kind: kind?,
        when: when?,
        then_always,
        settle,
        negated,
        span: node.head(),
        text: lines(context, node),
    })
}

/// Fields that stand beside some kinds only.
fn note_optional_fields(reader: &mut Reader<'_, '_, '_>) {
    let names = [
        "is",
        "where",
        "count",
        "absent",
        "labels",
        "annotations",
        "pending",
        "firing",
        "resolved",
        "except",
        "during",
        "times",
        "grouped",
        "each",
    ];
    for name in names {
        reader.take(name);
    }
}

/// The lines of an expectation without their common indentation.
fn lines(context: &Context<'_>, node: &Node) -> String {
    let first = node.head().line;
    let indent = node.head().column.saturating_sub(1);
    let cut = |line: &&str| line.chars().skip(indent).collect::<String>().trim_end().to_string();
    let lines = context.lines.iter().skip(first.saturating_sub(1)).take((node.last_line + 1).saturating_sub(first));
    lines.map(cut).collect::<Vec<_>>().join("\n")
}

fn when(context: &Context<'_>, reader: &mut Reader<'_, '_, '_>) -> Option<When> {
    let found: Vec<(&str, &Node)> =
        TIMES.iter().filter_map(|name| reader.take(name).map(|node| (*name, node))).collect();
    if let [_, (second, _), ..] = found.as_slice() {
        let words: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        let message = format!("one expectation has one time, not {}", crate::finding::list(&words));
        context.error(Code::SCN022, reader.key_span(second), message, None);
        return None;
    }
    let Some((name, node)) = found.first().copied() else { return Some(When::End) };
    match name {
        "at" => context.duration(node).map(When::At),
        "by" => context.duration(node).map(When::By),
        "within" => within(context, node),
        "always" => context.window(node).map(When::Always),
        _ => context.window(node).map(When::Never),
    }
}

fn within(context: &Context<'_>, node: &Node) -> Option<When> {
    let text = context.text(node)?;
    let Some((duration, name)) = text.value.split_once(" of ") else {
        let message = format!("`{}` does not say of what", text.value);
        context.error(
            Code::SCN006,
            text.span,
            message,
            Some("written `within: 2m of healed`, where a step is named `as: healed`".to_string()),
        );
        return None;
    };
    let of = context.duration_text(duration.trim(), text.span)?;
    Some(When::Within { of, after: Spanned::new(name.trim().to_string(), text.span) })
}

/// Alerts have windows of their own, and a snapshot is taken at the end.
fn refuse_meaningless_times(
    context: &Context<'_>,
    reader: &Reader<'_, '_, '_>,
    kind: &str,
    when: Option<&When>,
    then_always: bool,
) {
    let timed = when.is_some_and(|when| *when != When::End);
    let windows = matches!(kind, "alert" | "notification");
    if timed && matches!(kind, "alert" | "alerts" | "notification" | "golden" | "correlation") {
        let name = TIMES.iter().find(|name| reader.has(name)).copied().unwrap_or("at");
        let help = if kind == "notification" {
            "a notification says `firing:` and `resolved:` with windows"
        } else if windows {
            "an alert says `pending:`, `firing:` and `resolved:` with windows"
        } else {
            "it is judged at the end of the run"
        };
        context.error(
            Code::SCN022,
            reader.key_span(name),
            format!("`{kind}` takes no `{name}`"),
            Some(help.to_string()),
        );
    }
    if then_always && !matches!(when, Some(When::By(_) | When::Within { .. } | When::At(_))) {
        let help = Some("`then: always` goes with `by`, `at` and `within`".to_string());
        context.error(
            Code::SCN022,
            reader.key_span("then"),
            "`then: always` needs an instant from which it holds",
            help,
        );
    }
}

fn kind(context: &Context<'_>, reader: &mut Reader<'_, '_, '_>, key: &str, node: &Node) -> Option<Kind> {
    match key {
        "event" => event(context, node).map(Kind::Event),
        "object" => object(context, reader, node).map(Kind::Object),
        "query" => query(context, reader, node).map(Kind::Query),
        "alert" => alert(context, reader, node).map(Kind::Alert),
        "alerts" => {
            let except = reader.take("except").map(|node| texts(context, node)).unwrap_or_default();
            context.word(node, "a number of alerts", &[("none", ())])?;
            Some(Kind::NoAlerts { except })
        }
        "notification" => notification(context, reader, node).map(Kind::Notification),
        "trace" => trace(context, node).map(Kind::Trace),
        "logs" => logs(context, node).map(Kind::Logs),
        "correlation" => correlation(context, node).map(Kind::Correlation),
        "topology" => topology(context, node).map(Kind::Topology),
        "scrape" => scrape(context, node).map(Kind::Scrape),
        _ => golden(context, node).map(Kind::Golden),
    }
}

fn event(context: &Context<'_>, node: &Node) -> Option<EventPattern> {
    let mut reader = Reader::new(context, node, "`event`")?;
    let pattern = EventPattern {
        reason: optional(context, reader.take("reason")),
        event_type: optional(context, reader.take("type")),
        about: reader.take("about").and_then(|node| context.subject(node)),
        message: optional(context, reader.take("message")),
        source: optional(context, reader.take("source")),
        count: optional(context, reader.take("count")),
    };
    let says_nothing = ["reason", "type", "about", "message", "source", "count"].iter().all(|name| !reader.has(name));
    reader.finish();
    if says_nothing {
        context.error(Code::SCN024, node.head(), "any event would do", Some("say at least a `reason`".to_string()));
    }
    Some(pattern)
}

fn object(context: &Context<'_>, reader: &mut Reader<'_, '_, '_>, node: &Node) -> Option<ObjectPattern> {
    let fields = reader.take("where").map(|node| context.fields(node)).unwrap_or_default();
    let count = optional(context, reader.take("count"));
    let absent = reader.take("absent").and_then(|node| context.boolean(node)).unwrap_or(false);
    Some(ObjectPattern { subject: context.subject(node)?, fields, count, absent })
}

fn query(context: &Context<'_>, reader: &mut Reader<'_, '_, '_>, node: &Node) -> Option<QueryPattern> {
    let is = reader.require("is");
    let expr = context.text(node);
    let is = is?;
    let answer = match &is.data {
        Data::Map(entries) => {
            let series =
                entries.iter().filter_map(|(key, value)| Some((selector(context, key)?, context.comparison(value)?)));
            Answer::Series(series.collect())
        }
        Data::Scalar { text, .. } if text == "empty" => Answer::Empty,
        _ => Answer::Every(context.comparison(is)?),
    };
    if matches!(&answer, Answer::Series(series) if series.is_empty()) {
        context.error(
            Code::SCN024,
            is.head(),
            "no series is asked for",
            Some("an empty answer is written `is: empty`".to_string()),
        );
    }
    Some(QueryPattern { expr: expr?, is: answer })
}

/// Reads `controller="cell-datahandler", state=~"ready|desired"`, with or without braces.
fn selector(context: &Context<'_>, key: &Key) -> Option<SeriesSelector> {
    let help = || Some("series are chosen by labels: `'controller=\"cell-datahandler\"': \"> 0\"`".to_string());
    match parse_selector(&key.text) {
        Ok(labels) => Some(SeriesSelector { text: key.text.clone(), labels }),
        Err(reason) => {
            context.error(Code::SCN008, key.span, format!("`{}` chooses no series: {reason}", key.text), help());
            None
        }
    }
}

pub(crate) fn parse_selector(text: &str) -> Result<Vec<(String, Comparison)>, String> {
    let text = text.trim();
    let mut rest = text.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(text).trim();
    let mut labels = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_.:".contains(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return Err(format!("a label is expected before `{rest}`"));
        }
        let after = after.trim_start();
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| after.starts_with(operator));
        let operator = operator.ok_or_else(|| format!("`=` is expected behind `{name}`"))?;
        let after = after[operator.len()..].trim_start();
        let (value, after) =
            quoted(after).ok_or_else(|| format!("a text in quotes is expected behind `{name}{operator}`"))?;
        let comparison = match operator {
            "=" => Ok(Comparison::Equals(value)),
            "!=" => Ok(Comparison::NotEquals(value)),
            "=~" => format!("~ ^(?:{value})$").parse::<Comparison>(),
            _ => format!("!~ ^(?:{value})$").parse::<Comparison>(),
        };
        labels.push((name.to_string(), comparison.map_err(|error| error.to_string())?));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err(format!("`,` is expected before `{after}`")),
        };
    }
    Ok(labels)
}

/// A text in double quotes with `\"` and `\\`, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => {
                value.push(if c == 'n' { '\n' } else { c });
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((value, &inner[at + 1..])),
            _ => value.push(c),
        }
    }
    None
}

fn alert(context: &Context<'_>, reader: &mut Reader<'_, '_, '_>, node: &Node) -> Option<AlertPattern> {
    let labels = reader.take("labels").map(|node| context.fields(node)).unwrap_or_default();
    let annotations = reader.take("annotations").map(|node| context.fields(node)).unwrap_or_default();
    let written = ["pending", "firing", "resolved"].map(|stage| reader.take(stage));
    let [pending, firing, resolved] = written.map(|node| node.and_then(|node| context.window(node)));
    let name = context.text(node)?;
    if written.iter().all(Option::is_none) {
        let help = "say when: `firing: 5m..6m5s`, `resolved: 15m..17m`, `pending: ..65s`, `firing: never`";
        context.error(
            Code::SCN024,
            name.span,
            format!("nothing is expected of {}", name.value),
            Some(help.to_string()),
        );
    }
    Some(AlertPattern { name, labels, annotations, pending, firing, resolved })
}

fn notification(context: &Context<'_>, reader: &mut Reader<'_, '_, '_>, node: &Node) -> Option<NotificationPattern> {
    let labels = reader.take("labels").map(|node| context.fields(node)).unwrap_or_default();
    let written = ["firing", "resolved"].map(|stage| reader.take(stage));
    let [firing, resolved] = written.map(|node| node.and_then(|node| context.window(node)));
    let during = reader.take("during").and_then(|node| context.window(node));
    let times = optional(context, reader.take("times"));
    let grouped = optional(context, reader.take("grouped"));
    let each = reader.take("each").map(|node| context.fields(node)).unwrap_or_default();
    let receiver = context.text(node)?;
    if written.iter().all(Option::is_none) && times.is_none() && each.is_empty() {
        let help =
            "say when, how often or what: `firing: 5m..6m`, `resolved: never`, `times: 2`, `each: { status: firing }`";
        context.error(
            Code::SCN024,
            receiver.span,
            format!("nothing is expected of what {} is told", receiver.value),
            Some(help.to_string()),
        );
    }
    Some(NotificationPattern { receiver, labels, during, firing, resolved, times, grouped, each })
}

fn trace(context: &Context<'_>, node: &Node) -> Option<TracePattern> {
    let mut reader = Reader::new(context, node, "`trace`")?;
    let query = reader.require("where").and_then(|node| context.text(node));
    let tree = reader.take("tree").map(|node| tree(context, node));
    let flag = |node: Option<&Node>| node.and_then(|node| context.boolean(node)).unwrap_or(false);
    let every = flag(reader.take("every"));
    let none = flag(reader.take("none"));
    let count = optional(context, reader.take("count"));
    reader.finish();
    let tree = match tree {
        Some(None) => return None,
        Some(tree) => tree,
        None => None,
    };
    Some(TracePattern { query: query?, tree, every, count, none })
}

fn tree(context: &Context<'_>, node: &Node) -> Option<SpanPattern> {
    let entries = match &node.data {
        Data::Scalar { .. } => return span(context, node),
        _ => context.map(node)?,
    };
    let [(key, value)] = entries else {
        context.error(
            Code::SCN023,
            node.head(),
            "a tree has one root",
            Some("the others stand under `children:`".to_string()),
        );
        return None;
    };
    span_of(context, key, value)
}

/// A span by its name alone, or `Name: { … }`.
fn span(context: &Context<'_>, node: &Node) -> Option<SpanPattern> {
    match &node.data {
        Data::Scalar { .. } => {
            let name = context.text(node)?;
            let name_matches = name_pattern(context, &name.value, name.span).ok()?;
            Some(SpanPattern { name: name.value, name_matches, ..SpanPattern::default() })
        }
        _ => tree(context, node),
    }
}

fn spans(context: &Context<'_>, node: Option<&Node>) -> Vec<SpanPattern> {
    match node.map(|node| (node, &node.data)) {
        None => Vec::new(),
        Some((_, Data::Map(entries))) => {
            entries.iter().filter_map(|(key, value)| span_of(context, key, value)).collect()
        }
        Some((node, _)) => context.list(node).iter().filter_map(|node| span(context, node)).collect(),
    }
}

const STATUSES: [(&str, StatusPattern); 3] =
    [("ok", StatusPattern::Ok), ("error", StatusPattern::Error), ("unset", StatusPattern::Unset)];
const SPAN_KINDS: [(&str, &str); 5] = [
    ("internal", "internal"),
    ("client", "client"),
    ("server", "server"),
    ("producer", "producer"),
    ("consumer", "consumer"),
];

fn span_of(context: &Context<'_>, key: &Key, value: &Node) -> Option<SpanPattern> {
    let name = key.text.clone();
    let name_matches = name_pattern(context, &name, key.span).ok()?;
    if value.is_null() {
        return Some(SpanPattern { name, name_matches, ..SpanPattern::default() });
    }
    let mut reader = Reader::new(context, value, "a span")?;
    let flag = |node: Option<&Node>| node.and_then(|node| context.boolean(node)).unwrap_or(false);
    let pattern = SpanPattern {
        name,
        name_matches,
        status: reader.take("status").and_then(|node| context.word(node, "a status", &STATUSES)),
        kind: reader
            .take("kind")
            .and_then(|node| context.word(node, "a kind of span", &SPAN_KINDS))
            .map(str::to_string),
        service: optional(context, reader.take("service")),
        attributes: reader.take("attributes").map(|node| context.fields(node)).unwrap_or_default(),
        events: span_events(context, reader.take("events")),
        links: optional(context, reader.take("links")),
        duration: optional(context, reader.take("duration")),
        count: optional(context, reader.take("count")),
        children: spans(context, reader.take("children")),
        descendants: spans(context, reader.take("descendants")),
        ordered: flag(reader.take("ordered")),
        exactly: flag(reader.take("exactly")),
    };
    reader.finish();
    Some(pattern)
}

/// `~ regex` in place of a name; an error has been told.
fn name_pattern(context: &Context<'_>, name: &str, span: crate::span::Span) -> Result<Option<Comparison>, Told> {
    if !name.starts_with('~') {
        return Ok(None);
    }
    name.parse().map(Some).map_err(|error: crate::compare::ComparisonError| {
        context.error(Code::SCN008, span, error.to_string(), None);
        Told
    })
}

/// An error that is among the diagnostics already.
struct Told;

fn span_events(context: &Context<'_>, node: Option<&Node>) -> Vec<SpanEventPattern> {
    let Some(node) = node else { return Vec::new() };
    let named = |key: &Key, value: &Node| SpanEventPattern {
        name: key.text.clone(),
        attributes: if value.is_null() { Vec::new() } else { context.fields(value) },
    };
    if let Data::Map(entries) = &node.data {
        return entries.iter().map(|(key, value)| named(key, value)).collect();
    }
    let mut events = Vec::new();
    for item in context.list(node) {
        match &item.data {
            Data::Map(entries) => events.extend(entries.iter().map(|(key, value)| named(key, value))),
            _ => events
                .extend(context.text(item).map(|name| SpanEventPattern { name: name.value, attributes: Vec::new() })),
        }
    }
    events
}

fn logs(context: &Context<'_>, node: &Node) -> Option<LogsPattern> {
    let mut reader = Reader::new(context, node, "`logs`")?;
    let pattern = LogsPattern {
        filter: reader.take("where").map(|node| context.fields(node)).unwrap_or_default(),
        each: reader.take("each").map(|node| context.fields(node)).unwrap_or_default(),
        count: optional(context, reader.take("count")),
        none: reader.take("none").and_then(|node| context.boolean(node)).unwrap_or(false),
    };
    reader.finish();
    if pattern.none && (!pattern.each.is_empty() || pattern.count.is_some()) {
        context.error(Code::SCN024, node.head(), "`none: true` leaves no lines for `each` or `count`", None);
    }
    Some(pattern)
}

fn correlation(context: &Context<'_>, node: &Node) -> Option<CorrelationPattern> {
    let mut reader = Reader::new(context, node, "`correlation`")?;
    let rules = reader.require("rules").map(|node| context.list(node)).unwrap_or_default();
    let rules: Vec<CorrelationRule> =
        rules.iter().filter_map(|node| context.word(node, "a rule of correlation", &CorrelationRule::ALL)).collect();
    let process = optional(context, reader.take("process"));
    let at_least = reader.take("at-least").and_then(|node| context.whole(node)).unwrap_or(1);
    reader.finish();
    Some(CorrelationPattern { rules, process, at_least })
}

fn topology(context: &Context<'_>, node: &Node) -> Option<TopologyPattern> {
    let mut reader = Reader::new(context, node, "`topology`")?;
    let key = reader.require("key").and_then(|node| context.text(node));
    let records = [("Cell", Record::Cell), ("Database", Record::Database), ("raw", Record::Raw)];
    let record = reader.take("record").and_then(|node| context.word(node, "a record", &records)).unwrap_or_default();
    let fields = reader.take("where").map(|node| context.fields(node)).unwrap_or_default();
    let absent = reader.take("absent").and_then(|node| context.boolean(node)).unwrap_or(false);
    if absent && !fields.is_empty() {
        context.error(Code::SCN024, reader.key_span("where"), "`absent: true` leaves no record for `where`", None);
    }
    reader.finish();
    Some(TopologyPattern { key: key?, record, fields, absent })
}

fn scrape(context: &Context<'_>, node: &Node) -> Option<ScrapePattern> {
    let mut reader = Reader::new(context, node, "`scrape`")?;
    let pattern = ScrapePattern {
        labels: reader.take("labels").map(|node| context.fields(node)).unwrap_or_default(),
        health: optional(context, reader.take("health")),
        count: optional(context, reader.take("count")),
    };
    reader.finish();
    Some(pattern)
}

fn golden(context: &Context<'_>, node: &Node) -> Option<GoldenPattern> {
    let path = context.text(node)?;
    let Some((folder, name)) = path.value.split_once('/') else {
        context.error(Code::SCN010, path.span, format!("`{}` names no kind of snapshot", path.value), golden_help());
        return None;
    };
    let what = GoldenWhat::ALL.iter().find(|(word, _)| *word == folder).map(|(_, what)| *what);
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_/".contains(c));
    match what {
        Some(what) if plain => Some(GoldenPattern { what, path }),
        _ => {
            let words: Vec<&str> = GoldenWhat::ALL.iter().map(|(word, _)| *word).collect();
            let help = crate::finding::nearest(folder, words)
                .filter(|near| *near != folder)
                .map(|near| format!("did you mean `{near}/{name}`?"));
            context.error(
                Code::SCN010,
                path.span,
                format!("`{}` names no snapshot", path.value),
                help.or_else(golden_help),
            );
            None
        }
    }
}

fn golden_help() -> Option<String> {
    Some("written `golden: traces/<name>`, `objects/…`, `metrics/…` or `events/…`".to_string())
}
