//! The templates of alerts' labels and annotations: Prometheus' functions and variables around `sim-template`.

mod functions;

use crate::Error;
use functions::Special;
use sim_template::syntax::{Node, Operand, OperandKind, Pipeline};
use sim_template::{Templates, Value};
use sim_wire::Labels;
use std::collections::{BTreeMap, BTreeSet};

/// What stands before each text. Errors count columns from its start, as the real program's do.
const VARIABLES: &str =
    "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";

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

/// A template that has been read; a text without actions is only copied.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    text: String,
    parsed: Option<Result<Templates, sim_template::Error>>,
}

fn parse(name: &str, text: &str) -> Result<Templates, sim_template::Error> {
    Templates::parse(name, &format!("{VARIABLES}{text}"), &functions::Functions(None))
}

/// As messages call the templates of an alert.
fn name_of(alert: &str) -> String {
    format!("__alert_{alert}")
}

impl Template {
    /// A text of the alert of that name. What is wrong with it is told when it is rendered.
    pub fn new(alert: &str, text: &str) -> Self {
        let name = name_of(alert);
        let parsed = text.contains("{{").then(|| parse(&name, text));
        Self { name, text: text.to_owned(), parsed }
    }

    /// Renders it.
    ///
    /// # Errors
    /// [`Error::Template`] for syntax, and for what cannot be done with what the template is given.
    ///
    /// ```
    /// use sim_prometheus::template::{Context, Template};
    /// let labels = sim_wire::Labels::from_pairs([("job", "etcd")]);
    /// let context = Context { labels: &labels, external: &Default::default(), value: 0.123_456, query: &|_| Ok(Vec::new()) };
    /// let template = Template::new("Down", "{{ $labels.job | toUpper }} at {{ $value | humanizePercentage }}");
    /// assert_eq!(template.render(&context).unwrap(), "ETCD at 12.35%");
    /// ```
    pub fn render(&self, context: &Context<'_>) -> Result<String, Error> {
        let name = &self.name;
        let fail = |what: &str, error: &sim_template::Error| Error::Template {
            message: format!("error {what} template {name}: {error}"),
        };
        match &self.parsed {
            None => Ok(self.text.clone()),
            Some(Err(error)) => Err(fail("parsing", error)),
            Some(Ok(templates)) => {
                let dot = Value::Extra(Special::Alert(context));
                Templates::render(&[templates], name, &dot, &functions::Functions(Some(context)))
                    .map_err(|error| fail("executing", &error))
            }
        }
    }
}

/// Checks the syntax of a template of an alert, as loading a rule file does.
///
/// # Errors
/// [`Error::Template`] for syntax.
pub fn check(alert: &str, text: &str) -> Result<(), Error> {
    match parse(&name_of(alert), text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Template { message: error.to_string() }),
    }
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
    if let Ok(templates) = parse("", text)
        && let Some(nodes) = templates.nodes("")
    {
        used_in_nodes(nodes, true, &mut used);
    }
    used
}

/// `root` says that the dot is still the alert's.
fn used_in_nodes(nodes: &[Node], root: bool, used: &mut BTreeSet<String>) {
    for node in nodes {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => {}
            Node::Action(pipeline) => used_in(pipeline, root, used),
            Node::Call(call) => call.dot.iter().for_each(|pipeline| used_in(pipeline, root, used)),
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
        used_in_operand(operand, root, used);
    }
}

fn used_in_operand(operand: &Operand, root: bool, used: &mut BTreeSet<String>) {
    match &operand.kind {
        OperandKind::Variable(name, fields) if name == "$labels" => used.extend(fields.first().cloned()),
        OperandKind::Variable(name, fields) if name == "$" && fields.first().is_some_and(|first| first == "Labels") => {
            used.extend(fields.get(1).cloned());
        }
        OperandKind::Field(fields) if root && fields.first().is_some_and(|first| first == "Labels") => {
            used.extend(fields.get(1).cloned());
        }
        OperandKind::Group(inner) => used_in(inner, root, used),
        OperandKind::Chain(inner, _) => used_in_operand(inner, root, used),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> Result<String, String> {
        let labels = Labels::from_pairs([("controller", "cell"), ("namespace", "default")]);
        let labels_outside = BTreeMap::from([("cluster".to_owned(), "c1".to_owned())]);
        let external = External { labels: labels_outside, url: "http://p/prefix/".to_owned() };
        let query = |query: &str| {
            if query != "up" {
                return Err("no such query".to_owned());
            }
            let sample =
                |instance: &str, value| QuerySample { labels: Labels::from_pairs([("instance", instance)]), value };
            Ok(vec![sample("b", 0.0), sample("a", 1.0)])
        };
        let context = Context { labels: &labels, external: &external, value: 1234.5678, query: &query };
        Template::new("A", text).render(&context).map_err(|error| error.to_string())
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
            // promtool has no URL of its own to compare these with.
            ("{{ externalURL }} {{ pathPrefix }} {{ $externalURL }}", "http://p/prefix/ /prefix http://p/prefix/"),
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
