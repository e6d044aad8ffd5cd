//! The Go-template subset that Prometheus documents for labels and annotations.
//!
//! `if`/`else if`/`else`, `range` with variables and `else`, `with`, variables, pipelines, parentheses, comments, trim markers,
//! fields, and the functions of Prometheus's template reference except `tmpl` (console templates) and Go's `html`, `js`, `call` and
//! `slice`, which are refused as undefined when a rule file is loaded.

mod functions;
mod syntax;

use crate::Error;
use sim_wire::Labels;
use std::collections::{BTreeMap, BTreeSet};
use syntax::{Command, Node, Operand, Pipeline};

/// Largest rendered text.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// One result of `query`.
#[derive(Debug, Clone, PartialEq)]
pub struct QuerySample {
    /// The labels.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

/// How the outer world knows this Prometheus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct External {
    /// Labels of everything that leaves it.
    pub labels: BTreeMap<String, String>,
    /// Where it is reached.
    pub url: String,
}

/// What a template can see.
pub struct Context<'a> {
    /// `$labels`
    pub labels: &'a Labels,
    /// `$externalLabels` and `$externalURL`
    pub external: &'a External,
    /// `$value`
    pub value: f64,
    /// What `query` calls.
    pub query: &'a dyn Fn(&str) -> Result<Vec<QuerySample>, String>,
}

/// A value of a template.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Nil,
    Bool(bool),
    Number(f64),
    Integer(i64),
    Text(String),
    Map(BTreeMap<String, Value>),
    Sample(QuerySample),
    List(Vec<Value>),
}

impl Value {
    fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Number(value) => *value != 0.0,
            Self::Integer(value) => *value != 0,
            Self::Text(text) => !text.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Sample(_) => true,
            Self::List(list) => !list.is_empty(),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => functions::go_float(*value),
            Self::Integer(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::Map(map) => {
                let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}:{}", value.print())).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Sample(sample) => format!("{{{} {}}}", sample.labels, functions::go_float(sample.value)),
            Self::List(list) => format!("[{}]", list.iter().map(Self::print).collect::<Vec<_>>().join(" ")),
        }
    }
}

fn map_of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    Value::Map(pairs.map(|(name, value)| (name.to_owned(), Value::Text(value.to_owned()))).collect())
}

/// Renders a template.
///
/// # Errors
/// [`Error::Template`] for syntax, unknown functions, wrong types, and more than [`OUTPUT_BYTES_MAX`] of output.
///
/// ```
/// use sim_prometheus::template::{Context, render};
/// let labels = sim_wire::Labels::from_pairs([("job", "etcd")]);
/// let context = Context { labels: &labels, external: &Default::default(), value: 0.123_456, query: &|_| Ok(Vec::new()) };
/// let text = "{{ $labels.job | toUpper }} at {{ $value | humanizePercentage }}";
/// assert_eq!(render(text, &context).unwrap(), "ETCD at 12.35%");
/// ```
pub fn render(text: &str, context: &Context<'_>) -> Result<String, Error> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    let fail = |message: String| Error::Template { message };
    let nodes = syntax::parse(text).map_err(fail)?;
    let labels = map_of(context.labels.iter());
    let external = map_of(context.external.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let root = Value::Map(BTreeMap::from([
        ("Labels".to_owned(), labels.clone()),
        ("ExternalLabels".to_owned(), external.clone()),
        ("ExternalURL".to_owned(), Value::Text(context.external.url.clone())),
        ("Value".to_owned(), Value::Number(context.value)),
    ]));
    let variables = vec![
        ("$".to_owned(), root.clone()),
        ("$labels".to_owned(), labels),
        ("$externalLabels".to_owned(), external),
        ("$externalURL".to_owned(), Value::Text(context.external.url.clone())),
        ("$value".to_owned(), Value::Number(context.value)),
    ];
    let mut renderer = Renderer { context, variables, out: String::new() };
    renderer.nodes(&nodes, &root).map_err(fail)?;
    Ok(renderer.out)
}

/// Checks the syntax of a template, as loading a rule file does.
///
/// # Errors
/// [`Error::Template`] for syntax.
pub fn check(text: &str) -> Result<(), Error> {
    syntax::parse(text).map(|_| ()).map_err(|message| Error::Template { message })
}

/// The labels of the alert that a template names (`$labels.x`, `.Labels.x`); nothing of a text that is no template.
///
/// ```
/// use sim_prometheus::template::labels_used;
/// let used = labels_used("{{ if $labels.a }}{{ .Labels.b | toUpper }}{{ end }}");
/// assert_eq!(used.into_iter().collect::<Vec<_>>(), ["a", "b"]);
/// ```
pub fn labels_used(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    if let Ok(nodes) = syntax::parse(text) {
        used_in_nodes(&nodes, true, &mut used);
    }
    used
}

/// `root` says that the dot is still the alert's.
fn used_in_nodes(nodes: &[Node], root: bool, used: &mut BTreeSet<String>) {
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Action(pipeline) => used_in(pipeline, root, used),
            Node::If(pipeline, then, otherwise) => {
                used_in(pipeline, root, used);
                used_in_nodes(then, root, used);
                used_in_nodes(otherwise, root, used);
            }
            Node::With(pipeline, inside, otherwise) | Node::Range(pipeline, inside, otherwise) => {
                used_in(pipeline, root, used);
                used_in_nodes(inside, false, used);
                used_in_nodes(otherwise, root, used);
            }
        }
    }
}

fn used_in(pipeline: &Pipeline, root: bool, used: &mut BTreeSet<String>) {
    for operand in pipeline.commands.iter().flat_map(|command| &command.operands) {
        match operand {
            Operand::Variable(name, fields) if name == "$labels" => used.extend(fields.first().cloned()),
            Operand::Dot(fields) if root && fields.first().is_some_and(|first| first == "Labels") => {
                used.extend(fields.get(1).cloned());
            }
            Operand::Group(inner, _) => used_in(inner, root, used),
            _ => {}
        }
    }
}

struct Renderer<'a> {
    context: &'a Context<'a>,
    variables: Vec<(String, Value)>,
    out: String,
}

impl Renderer<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), String> {
        let scope = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
            if self.out.len() > OUTPUT_BYTES_MAX {
                return Err(format!("output larger than {OUTPUT_BYTES_MAX} bytes"));
            }
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&value.print());
                }
            }
            Node::If(pipeline, then, otherwise) => {
                let scope = self.variables.len();
                let branch = if self.pipeline(pipeline, dot)?.is_true() { then } else { otherwise };
                self.nodes(branch, dot)?;
                self.variables.truncate(scope);
            }
            Node::With(pipeline, then, otherwise) => {
                let scope = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                if value.is_true() {
                    self.nodes(then, &value)?;
                } else {
                    self.nodes(otherwise, dot)?;
                }
                self.variables.truncate(scope);
            }
            Node::Range(pipeline, body, otherwise) => self.range(pipeline, body, otherwise, dot)?,
        }
        Ok(())
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<(), String> {
        let silent = Pipeline { variables: Vec::new(), assign: false, commands: pipeline.commands.clone() };
        let items: Vec<(Value, Value)> = match self.pipeline(&silent, dot)? {
            Value::List(list) => {
                list.into_iter().enumerate().map(|(index, value)| (Value::Integer(index as i64), value)).collect()
            }
            Value::Map(map) => map.into_iter().map(|(name, value)| (Value::Text(name), value)).collect(),
            Value::Nil => Vec::new(),
            other => return Err(format!("range can't iterate over {}", other.print())),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, value) in items {
            let scope = self.variables.len();
            match pipeline.variables.as_slice() {
                [] => {}
                [name] => self.variables.push((name.clone(), value.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), value.clone()));
                }
            }
            self.nodes(body, &value)?;
            self.variables.truncate(scope);
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value, dot)?);
        }
        let value = value.unwrap_or(Value::Nil);
        if let Some(name) = pipeline.variables.first() {
            if pipeline.assign {
                let slot = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                slot.ok_or_else(|| format!("undefined variable {name:?}"))?.1 = value.clone();
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let (head, rest) = command.operands.split_first().ok_or("missing value for command")?;
        if let Operand::Function(name) = head {
            let mut args = rest.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>, _>>()?;
            args.extend(piped);
            return functions::call(name, args, self.context);
        }
        if !rest.is_empty() || piped.is_some() {
            return Err("can't give argument to non-function".to_owned());
        }
        self.operand(head, dot)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(name) => functions::call(name, Vec::new(), self.context),
            Operand::Dot(fields) => fields_of(dot.clone(), fields),
            Operand::Variable(name, fields) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = found.ok_or_else(|| format!("undefined variable {name:?}"))?.1.clone();
                fields_of(value, fields)
            }
            Operand::Group(pipeline, fields) => {
                let value = self.pipeline(pipeline, dot)?;
                fields_of(value, fields)
            }
        }
    }
}

fn fields_of(mut value: Value, fields: &[String]) -> Result<Value, String> {
    for field in fields {
        value = match (value, field.as_str()) {
            // A map of texts answers a missing key with the empty text.
            (Value::Map(map), _) => map.get(field).cloned().unwrap_or_else(|| Value::Text(String::new())),
            (Value::Sample(sample), "Labels") => map_of(sample.labels.iter()),
            (Value::Sample(sample), "Value") => Value::Number(sample.value),
            (other, _) => return Err(format!("can't evaluate field {field} in {}", other.print())),
        };
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> Result<String, String> {
        let labels = Labels::from_pairs([("controller", "cell"), ("namespace", "default")]);
        let labels_outside = BTreeMap::from([("cluster".to_owned(), "c1".to_owned())]);
        let external = External { labels: labels_outside, url: "http://p".to_owned() };
        let query = |query: &str| {
            if query != "up" {
                return Err("no such query".to_owned());
            }
            let sample =
                |instance: &str, value| QuerySample { labels: Labels::from_pairs([("instance", instance)]), value };
            Ok(vec![sample("b", 0.0), sample("a", 1.0)])
        };
        let context = Context { labels: &labels, external: &external, value: 1234.5678, query: &query };
        render(text, &context).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_fields_and_pipelines() {
        for (text, expected) in [
            ("no template", "no template"),
            ("{{ $labels.controller }}/{{ $labels.missing }}/{{ .Labels.namespace }}", "cell//default"),
            ("{{ $value }} {{ $value | humanize }} {{ .Value | printf \"%.2f\" }}", "1234.5678 1.235k 1234.57"),
            ("{{ $externalLabels.cluster | toUpper }}", "C1"),
            ("{{ with query \"up\" }}{{ . | first | value }}{{ end }}", "0"),
            (
                "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ .Value }};{{ end }}",
                "a=1;b=0;",
            ),
            ("{{ range $i, $s := query \"up\" }}{{ $i }}{{ $s | label \"instance\" }}{{ end }}", "0b1a"),
            ("{{ if gt $value 1000.0 }}big{{ else if true }}mid{{ else }}small{{ end }}", "big"),
            ("{{ if eq $labels.controller \"x\" \"cell\" }}yes{{ end }}", "yes"),
            ("a {{- /* gone */ -}} b", "ab"),
            ("{{ $x := 3 }}{{ $x = 4 }}{{ $x }}", "4"),
            (
                "{{ 93784 | humanizeDuration }} {{ 0.0123 | humanizeDuration }} {{ 0.5 | humanizePercentage }}",
                "1d 2h 3m 4s 12.3ms 50%",
            ),
            ("{{ 2048 | humanize1024 }} {{ 0.00012 | humanize }} {{ title \"hello world\" }}", "2ki 120u Hello World"),
            ("{{ reReplaceAll \"(a+)\" \"<$1>\" \"baab\" }} {{ match \"a+\" \"caat\" }}", "b<aa>b true"),
            ("{{ stripPort \"h:1\" }} {{ stripDomain \"a.b.c:9\" }} {{ parseDuration \"1h30m\" }}", "h a:9 5400"),
            ("{{ graphLink \"up > 0\" }}", "/graph?g0.expr=up+%3E+0&g0.tab=0"),
            ("{{ printf \"%s=%5.1f|%d|%q|%v\" \"a\" 2.25 7 \"q\" true }}", "a=  2.2|7|\"q\"|true"),
        ] {
            assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_errors() {
        for text in [
            "{{ nope }}",
            "{{ $x }}",
            "{{ if true }}",
            "{{ end }}",
            "{{ query \"down\" }}",
            "{{ \"a",
            "{{ 1 | 2 }}",
            "{{ first (query \"up\" | len) }}",
        ] {
            assert!(rendered(text).is_err(), "{text} was accepted");
        }
    }
}
