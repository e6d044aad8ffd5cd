//! From the YAML tree to a [`Scenario`].

use serde_json::Value;

use crate::compare::Comparison;
use crate::decode_expect::expectation;
use crate::finding::{Code, Finding};
use crate::model::{Action, DEFAULT_SEED, Operator, Scenario, Source, Stack, Step, World};
use crate::node::{self, Data, Node};
use crate::reader::{Context, Reader};
use crate::span::Spanned;

/// Reads a scenario. The scenario is there unless an error leaves no sense in it; `findings` has everything
/// that is wrong with the form. What is wrong with the meaning is found by [`check`](crate::check::check).
pub fn parse(file: &str, text: &str) -> (Option<Scenario>, Vec<Finding>) {
    let context = Context::new(file, text);
    let tree = node::read(text, &mut context.diagnostics.borrow_mut());
    let scenario = tree.as_ref().and_then(|tree| scenario(&context, tree, file));
    (scenario, context.diagnostics.into_inner().into_findings())
}

pub(crate) fn scenario(context: &Context<'_>, node: &Node, file: &str) -> Option<Scenario> {
    let mut reader = Reader::new(context, node, "a scenario")?;
    let name = reader.require("name").and_then(|node| context.text(node));
    let summary = reader.require("summary").and_then(|node| context.text(node));
    let promises = reader.require("promises").map(|node| texts(context, node)).unwrap_or_default();
    let seed = reader.take("seed").and_then(|node| context.whole(node)).unwrap_or(DEFAULT_SEED);
    let duration = reader.require("duration").and_then(|node| context.duration(node));
    let world = reader.take("world").and_then(|node| world(context, node)).unwrap_or_default();
    let steps = reader.take("timeline").map(|node| context.list(node)).unwrap_or_default();
    let timeline = steps.iter().filter_map(|node| step(context, node)).collect();
    let expectations =
        reader.take("expect").filter(|node| !node.is_null()).map(|node| context.list(node)).unwrap_or_default();
    let expect = expectations.iter().filter_map(|node| expectation(context, node)).collect::<Vec<_>>();
    if expectations.is_empty() {
        let span = reader.key_span("expect");
        context.error(
            Code::SCN018,
            span,
            "the scenario expects nothing",
            Some("write under `expect:` what the telemetry must say; without it the scenario cannot fail".to_string()),
        );
    }
    reader.finish();
    Some(Scenario {
        file: file.to_string(),
        name: name?,
        summary: summary?,
        promises,
        seed,
        duration: duration?,
        world,
        timeline,
        expect,
    })
}

pub(crate) fn texts(context: &Context<'_>, node: &Node) -> Vec<Spanned<String>> {
    context.list(node).iter().filter_map(|node| context.text(node)).collect()
}

fn world(context: &Context<'_>, node: &Node) -> Option<World> {
    let mut reader = Reader::new(context, node, "`world`")?;
    let objects = reader.take("objects").map(|node| sources(context, node)).unwrap_or_default();
    let stack = reader.take("stack").and_then(|node| context.text(node)).map(|text| match text.value.as_str() {
        "deploy" => Stack::Deploy,
        "none" => Stack::None,
        _ => Stack::Folder(text),
    });
    let operator = reader.take("operator").and_then(|node| operator(context, node));
    let rules = reader.take("rules").map(|node| texts(context, node)).unwrap_or_default();
    reader.finish();
    Some(World { objects, stack: stack.unwrap_or_default(), operator: operator.unwrap_or_default(), rules })
}

fn operator(context: &Context<'_>, node: &Node) -> Option<Operator> {
    if let Data::Scalar { .. } = node.data {
        return context
            .word(node, "an operator", &[("none", false), ("ours", true)])
            .map(|ours| if ours { Operator::default() } else { Operator::None });
    }
    let mut reader = Reader::new(context, node, "`operator`")?;
    let variables = reader.take("env").and_then(|node| context.map(node)).unwrap_or_default();
    let env = variables
        .iter()
        .filter_map(|(key, value)| {
            let value = if value.is_null() { None } else { Some(context.text(value)?.value) };
            Some((key.text.clone(), value))
        })
        .collect();
    let args = reader.take("args").map(|node| texts(context, node)).unwrap_or_default();
    reader.finish();
    Some(Operator::Ours { env, args: args.into_iter().map(|text| text.value).collect() })
}

fn sources(context: &Context<'_>, node: &Node) -> Vec<Spanned<Source>> {
    let items = match &node.data {
        Data::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    items.iter().filter_map(|node| source(context, node)).collect()
}

fn source(context: &Context<'_>, node: &Node) -> Option<Spanned<Source>> {
    match &node.data {
        Data::Map(_) => {
            let object = node.to_json();
            for field in ["apiVersion", "kind"] {
                if !object.get(field).is_some_and(Value::is_string) {
                    context.error(Code::SCN005, node.head(), format!("an object needs `{field}`"), None);
                    return None;
                }
            }
            Some(Spanned::new(Source::Inline(object), node.head()))
        }
        _ => context.text(node).map(|text| text.map(Source::File)),
    }
}

/// The actions of a timeline.
pub(crate) const ACTIONS: [&str; 6] = ["fault", "heal", "apply", "patch", "delete", "silence"];

fn step(context: &Context<'_>, node: &Node) -> Option<Step> {
    let mut reader = Reader::new(context, node, "a step")?;
    let action = reader.one_of(&ACTIONS, "action");
    let merge = reader.take("with");
    let lasts = reader.take("for").map(|node| context.duration(node));
    let at = reader.require("at").and_then(|node| context.duration(node));
    let name = reader.take("as").and_then(|node| context.text(node));
    let action = action.and_then(|(key, value)| match key {
        "fault" => fault(context, value),
        "heal" => context.text(value).map(Action::Heal),
        "apply" => Some(Action::Apply(sources(context, value))),
        "patch" => {
            let object = context.subject(value)?;
            match merge {
                Some(node) => Some(Action::Patch { object, merge: node.to_json() }),
                None => {
                    let help = Some("a patch is written `with: { spec: { … } }`".to_string());
                    context.error(Code::SCN005, value.span, "`patch` needs `with`", help);
                    None
                }
            }
        }
        "silence" => match lasts {
            Some(lasts) => lasts.map(|lasts| Action::Silence { matchers: texts(context, value), lasts: lasts.value }),
            None => {
                let help = Some("a silence ends by itself: `for: 30m`".to_string());
                context.error(Code::SCN005, value.span, "`silence` needs `for`", help);
                None
            }
        },
        _ => {
            let options = merge.map(Node::to_json);
            context.subject(value).map(|subject| Action::Delete { subject, options })
        }
    });
    if lasts.is_some() && action.as_ref().is_some_and(|action| !matches!(action, Action::Silence { .. })) {
        context.error(Code::SCN003, reader.key_span("for"), "only `silence` takes `for`", None);
    }
    if let (Some(node), Some(action)) = (merge, &action)
        && !matches!(action, Action::Patch { .. } | Action::Delete { .. })
    {
        context.error(Code::SCN003, node.head(), "only `patch` and `delete` take `with`", None);
    }
    reader.finish();
    Some(Step { action: action?, at: at?, name, span: node.head() })
}

fn fault(context: &Context<'_>, node: &Node) -> Option<Action> {
    if let Data::Scalar { .. } = node.data {
        return context.text(node).map(|name| Action::Fault { name, params: Vec::new() });
    }
    let entries = context.map(node)?;
    let [(key, value)] = entries else {
        let help = Some("a fault is written `fault: { etcd-unavailable: { members: all } }`".to_string());
        context.error(Code::SCN023, node.head(), "a step starts one fault", help);
        return None;
    };
    let name = Spanned::new(key.text.clone(), key.span);
    if value.is_null() {
        return Some(Action::Fault { name, params: Vec::new() });
    }
    let params = context.map(value)?;
    let params = params
        .iter()
        .map(|(key, value)| (Spanned::new(key.text.clone(), key.span), Spanned::new(value.to_json(), value.head())))
        .collect();
    Some(Action::Fault { name, params })
}

/// A comparison in a field that may be missing.
pub(crate) fn optional(context: &Context<'_>, node: Option<&Node>) -> Option<Comparison> {
    node.and_then(|node| context.comparison(node))
}
