//! From the YAML tree to records, as strict as the real program and in its words.

use super::checks;
use super::schema::{self, Kind, RangeKind, Schema, TIME_RANGE};
use super::value::{Record, Val};
use crate::matcher::{self, Matcher};
use crate::time_interval;
use crate::yaml::{Data, Node, as_bool, tag_of};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// Collects what does not fit; everything else ends the reading at once.
#[derive(Default)]
pub(super) struct Decoder {
    pub errors: Vec<String>,
}

/// The scalar of a default, which stands in the schema as it would in a file.
fn default_node(text: &str) -> Node {
    Node { line: 0, data: Data::Scalar { text: text.to_owned(), plain: true } }
}

/// A record with the defaults of its schema.
pub(super) fn defaults(schema: &'static Schema) -> Record {
    let values = schema
        .fields
        .iter()
        .map(|field| match (field.default, field.kind) {
            (None, _) => Val::Unset,
            (Some(_), Kind::Struct(inner)) => Val::Struct(Box::new(defaults(inner))),
            (Some(text), kind) => Decoder::default().value(&default_node(text), kind).unwrap_or(Val::Unset),
        })
        .collect();
    Record { schema, values }
}

fn go_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int => "int64",
        Kind::Uint => "uint64",
        Kind::GoDuration => "time.Duration",
        Kind::Texts | Kind::Matchers => "[]string",
        Kind::TextMap => "map[string]string",
        Kind::RegexpMap => "common.plain",
        Kind::AnyMap => "map[string]interface {}",
        Kind::Secret | Kind::TemplateUrl => "config.plain",
        Kind::Struct(schema) | Kind::TextOr(schema) => schema.type_name,
        Kind::List(schema) => list_type(schema),
        Kind::Times => "[]timeinterval.TimeRange",
        Kind::Range(RangeKind::Weekday) => "[]timeinterval.WeekdayRange",
        Kind::Range(RangeKind::DayOfMonth) => "[]timeinterval.DayOfMonthRange",
        Kind::Range(RangeKind::Month) => "[]timeinterval.MonthRange",
        Kind::Range(RangeKind::Year) => "[]timeinterval.YearRange",
        _ => "string",
    }
}

/// The name of a list's Go type.
fn list_type(list: &'static Schema) -> &'static str {
    let names: [(&'static Schema, &'static str); 6] = [
        (&schema::RECEIVER, "[]config.Receiver"),
        (&schema::ROUTE, "[]*config.Route"),
        (&schema::INHIBIT_RULE, "[]common.InhibitRule"),
        (&schema::NAMED_INTERVALS, "[]config.TimeInterval"),
        (&schema::INTERVAL, "[]timeinterval.TimeInterval"),
        (&schema::WEBHOOK, "[]*webhook.WebhookConfig"),
    ];
    names.iter().find(|(schema, _)| std::ptr::eq(*schema, list)).map_or("[]config.plain", |(_, name)| name)
}

/// Why a duration is refused.
fn duration_error(text: &str) -> String {
    let mut rest = text;
    while rest.starts_with(|c: char| c.is_ascii_digit()) {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, after) = rest.split_at(end);
        if !unit.is_empty() && !["ms", "s", "m", "h", "d", "w", "y"].contains(&unit) {
            return format!("unknown unit {unit:?} in duration {text:?}");
        }
        rest = after;
    }
    match sim_wire::duration::parse(text) {
        Err(sim_wire::Error::DurationRange { .. }) => "duration out of range".to_owned(),
        _ => format!("not a valid duration string: {text:?}"),
    }
}

impl Decoder {
    fn misfit(&mut self, node: &Node, into: &str) {
        self.errors.push(format!("line {}: cannot unmarshal {} into {into}", node.line, node.describe()));
    }

    /// A mapping, checked on its own once all of it fits.
    pub fn record(&mut self, node: &Node, schema: &'static Schema) -> Result<Record, String> {
        let mut record = defaults(schema);
        let Data::Map(entries) = &node.data else {
            self.misfit(node, schema.type_name);
            return Ok(record);
        };
        let before = self.errors.len();
        let mut seen: Vec<&str> = Vec::new();
        for (key, line, child) in entries {
            let Some(field) = schema.fields.iter().find(|field| field.name == key) else {
                self.errors.push(format!("line {line}: field {key} not found in type {}", schema.type_name));
                continue;
            };
            if seen.contains(&key.as_str()) {
                self.errors.push(format!("line {line}: field {key} already set in type {}", schema.type_name));
                continue;
            }
            seen.push(key);
            let value = if child.is_null() { Val::Unset } else { self.value(child, field.kind)? };
            record.set(key, value);
        }
        if self.errors.len() == before {
            checks::record(&mut record)?;
        }
        Ok(record)
    }

    fn text<'n>(&mut self, node: &'n Node, kind: Kind) -> Option<&'n str> {
        match &node.data {
            Data::Scalar { text, .. } => Some(text),
            _ => {
                self.misfit(node, go_type(kind));
                None
            }
        }
    }

    fn items<'n>(&mut self, node: &'n Node, kind: Kind) -> &'n [Node] {
        match &node.data {
            Data::List(items) => items,
            _ => {
                self.misfit(node, go_type(kind));
                &[]
            }
        }
    }

    fn texts(&mut self, node: &Node, kind: Kind) -> Vec<String> {
        let items = self.items(node, kind);
        let texts = items.iter().filter_map(|item| {
            if item.is_null() { Some(String::new()) } else { self.text(item, Kind::Text).map(str::to_owned) }
        });
        texts.collect()
    }

    fn value(&mut self, node: &Node, kind: Kind) -> Result<Val, String> {
        Ok(match kind {
            Kind::Text | Kind::Secret => self.text(node, kind).map_or(Val::Unset, |text| Val::Text(text.to_owned())),
            Kind::Bool => match &node.data {
                Data::Scalar { text, plain: true } if as_bool(text).is_some() => {
                    Val::Bool(as_bool(text).unwrap_or_default())
                }
                _ => self.unfit(node, kind),
            },
            Kind::Int | Kind::Uint => match &node.data {
                Data::Scalar { text, plain: true } => match text.replace('_', "").parse::<i64>() {
                    Ok(number) if number >= 0 || matches!(kind, Kind::Int) => Val::Int(number),
                    _ => self.unfit(node, kind),
                },
                _ => self.unfit(node, kind),
            },
            Kind::Duration => match self.text(node, kind) {
                None => Val::Unset,
                Some("") => return Err("empty duration string".to_owned()),
                Some(text) => {
                    let duration = sim_wire::duration::parse(text).map_err(|_| duration_error(text))?;
                    Val::Nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
                }
            },
            Kind::GoDuration => match &node.data {
                Data::Scalar { text, plain } => match super::go_duration::parse(text) {
                    Some(nanos) => Val::Nanos(nanos),
                    None if *plain && tag_of(text) == "int" => Val::Nanos(text.parse().unwrap_or_default()),
                    None => self.unfit(node, kind),
                },
                _ => self.unfit(node, kind),
            },
            Kind::Url | Kind::SecretUrl => match self.text(node, kind) {
                None => Val::Unset,
                Some("<secret>") if matches!(kind, Kind::SecretUrl) => Val::Text("<secret>".to_owned()),
                Some(text) => Val::Text(super::url::check(text)?),
            },
            Kind::TemplateUrl => match self.text(node, kind) {
                None => Val::Unset,
                Some(text) => {
                    if text.contains("{{") {
                        crate::template::check(text).map_err(|error| format!("invalid template syntax: {error}"))?;
                    } else if !text.is_empty() && text != "<secret>" {
                        super::url::check(text).map_err(|error| format!("invalid URL: {error}"))?;
                    }
                    Val::Text(text.to_owned())
                }
            },
            Kind::HostPort => match self.text(node, kind) {
                None => Val::Unset,
                Some(text) => Val::Text(host_port(text)?),
            },
            Kind::Regexp => match self.text(node, kind) {
                None => Val::Unset,
                Some(text) => {
                    matcher::compile(text)?;
                    Val::Text(text.to_owned())
                }
            },
            Kind::Texts => match &node.data {
                Data::List(_) => Val::Texts(self.texts(node, kind)),
                _ => self.unfit(node, kind),
            },
            Kind::TextMap => match &node.data {
                Data::Map(entries) => {
                    let mut map = BTreeMap::new();
                    for (key, _, child) in entries {
                        let text = if child.is_null() { Some("") } else { self.text(child, Kind::Text) };
                        map.extend(text.map(|text| (key.clone(), text.to_owned())));
                    }
                    Val::TextMap(map)
                }
                _ => self.unfit(node, kind),
            },
            Kind::RegexpMap => match &node.data {
                Data::Map(entries) => {
                    let mut map = BTreeMap::new();
                    for (key, _, child) in entries {
                        if child.is_null() {
                            return Err(format!("invalid regexp value for {key:?}"));
                        }
                        if let Val::Text(text) = self.value(child, Kind::Regexp)? {
                            map.insert(key.clone(), text);
                        }
                    }
                    if let Some(name) = map.keys().find(|name| !sim_wire::labels::is_legacy_label_name(name)) {
                        return Err(format!("invalid label name {name:?}"));
                    }
                    Val::TextMap(map)
                }
                _ => self.unfit(node, kind),
            },
            Kind::Matchers => match &node.data {
                Data::List(_) => {
                    let mut matchers: Vec<Matcher> = Vec::new();
                    let before = self.errors.len();
                    let lines = self.texts(node, kind);
                    if self.errors.len() == before {
                        for line in lines {
                            matchers.extend(matcher::parse_all(&line)?);
                        }
                    }
                    matchers.sort();
                    Val::Matchers(matchers)
                }
                _ => self.unfit(node, kind),
            },
            Kind::Any => Val::Any(to_json(node)),
            Kind::AnyMap => match &node.data {
                Data::Map(_) => Val::Any(to_json(node)),
                _ => self.unfit(node, kind),
            },
            Kind::TextOr(schema) => match &node.data {
                Data::Scalar { text, .. } => {
                    let mut record = defaults(schema);
                    record.set("template", Val::Text(text.clone()));
                    Val::Struct(Box::new(record))
                }
                _ => Val::Struct(Box::new(self.record(node, schema)?)),
            },
            Kind::Struct(schema) => Val::Struct(Box::new(self.record(node, schema)?)),
            Kind::List(schema) => match &node.data {
                Data::List(items) => {
                    let mut records = Vec::with_capacity(items.len());
                    for item in items {
                        records.push(if item.is_null() { None } else { Some(self.record(item, schema)?) });
                    }
                    Val::List(records)
                }
                _ => self.unfit(node, kind),
            },
            Kind::Times => {
                let mut times = Vec::new();
                for item in self.items(node, kind) {
                    let before = self.errors.len();
                    let record = self.record(item, &TIME_RANGE)?;
                    if self.errors.len() > before {
                        continue;
                    }
                    times.push(time_interval::time_range(record.text("start_time"), record.text("end_time"))?);
                }
                Val::Times(times)
            }
            Kind::Range(range) => {
                let mut ranges = Vec::new();
                for item in self.items(node, kind) {
                    if let Some(text) = self.text(item, Kind::Text) {
                        ranges.push(time_interval::range(range, text)?);
                    }
                }
                Val::Ranges(ranges)
            }
            Kind::Location => match self.text(node, kind) {
                None => Val::Unset,
                Some(text) => {
                    time_interval::location(text)?;
                    Val::Text(text.to_owned())
                }
            },
        })
    }

    fn unfit(&mut self, node: &Node, kind: Kind) -> Val {
        self.misfit(node, go_type(kind));
        Val::Unset
    }
}

/// `host:port`, as Go splits it.
fn host_port(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let fail = |reason: &str| Err(format!("address {text}: {reason}"));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            None => return fail("missing ']' in address"),
            Some((host, after)) => match after.strip_prefix(':') {
                Some(port) => (host, port),
                None => return fail("missing port in address"),
            },
        },
        None => match text.rsplit_once(':') {
            None => return fail("missing port in address"),
            Some((host, _)) if host.contains(':') => return fail("too many colons in address"),
            Some(parts) => parts,
        },
    };
    if port.is_empty() {
        return Err(format!("address {text:?}: port cannot be empty"));
    }
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// A value of no fixed type, with the scalars of YAML 1.1.
pub(crate) fn to_json(node: &Node) -> Json {
    match &node.data {
        Data::Scalar { text, plain: false } => Json::String(text.clone()),
        Data::Scalar { text, .. } => scalar(text),
        Data::List(items) => Json::Array(items.iter().map(to_json).collect()),
        Data::Map(entries) => {
            Json::Object(entries.iter().map(|(key, _, node)| (key.clone(), to_json(node))).collect::<Map<_, _>>())
        }
    }
}

/// A plain scalar of no fixed type.
pub(crate) fn scalar(text: &str) -> Json {
    let as_text = || Json::String(text.to_owned());
    match tag_of(text) {
        "null" => Json::Null,
        "bool" => Json::Bool(as_bool(text).unwrap_or_default()),
        "int" => text.replace('_', "").parse::<i64>().map_or_else(|_| as_text(), Json::from),
        "float" => text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map_or_else(as_text, Json::Number),
        _ => as_text(),
    }
}
