//! Runs templates.

use super::functions;
use super::syntax::{At, Command, Node, Operand, Pipeline};
use super::value::{Value, sorted_pairs, utc};
use std::collections::BTreeMap;

/// Largest rendered text.
pub(crate) const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// How deep templates may call one another.
const CALLS_MAX: usize = 100;
/// How many nodes one rendering may visit.
const STEPS_MAX: usize = 2_000_000;

/// What a rendering needs to know of the world.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// What `now` says.
    pub now: sim_clock::Timestamp,
    /// Whether what actions print is escaped.
    pub html: bool,
}

enum Flow {
    Next,
    Break,
    Continue,
}

/// Templates by name.
type Named = BTreeMap<String, Vec<Node>>;

pub(super) struct Renderer<'t> {
    own: &'t Named,
    shared: &'t Named,
    pub surroundings: Surroundings,
    pub out: String,
    name: String,
    variables: Vec<(String, Value)>,
    calls: usize,
    steps: usize,
}

type Outcome<T> = Result<T, String>;

impl<'t> Renderer<'t> {
    /// `own` templates go before `shared` ones.
    pub fn new(own: &'t Named, shared: &'t Named, surroundings: Surroundings) -> Self {
        Self {
            own,
            shared,
            surroundings,
            out: String::new(),
            name: String::new(),
            variables: Vec::new(),
            calls: 0,
            steps: 0,
        }
    }

    /// Renders one of the templates.
    pub fn run(&mut self, name: &str, dot: &Value) -> Outcome<()> {
        let Some(nodes) = self.own.get(name).or_else(|| self.shared.get(name)) else {
            return Err(format!("template: no template {name:?} associated with template"));
        };
        let outer = std::mem::replace(&mut self.name, name.to_owned());
        let variables = std::mem::replace(&mut self.variables, vec![("$".to_owned(), dot.clone())]);
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return Err(format!("template: {name}: exceeded maximum template depth ({CALLS_MAX})"));
        }
        self.nodes(nodes, dot)?;
        self.calls -= 1;
        self.variables = variables;
        self.name = outer;
        Ok(())
    }

    /// An error with its place.
    fn at<T>(&self, at: &At, message: impl std::fmt::Display) -> Outcome<T> {
        let name = &self.name;
        Err(format!("template: {name}:{}:{}: executing {name:?} at <{}>: {message}", at.line, at.column, at.source))
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Value) -> Outcome<Flow> {
        for node in nodes {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err(format!("template: {}: more than {STEPS_MAX} steps", self.name));
            }
            match self.node(node, dot)? {
                Flow::Next => {}
                other => return Ok(other),
            }
            if self.out.len() > OUTPUT_BYTES_MAX {
                return Err(format!("template: {}: output larger than {OUTPUT_BYTES_MAX} bytes", self.name));
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'t Node, dot: &Value) -> Outcome<Flow> {
        let scope = self.variables.len();
        let flow = match node {
            Node::Text(text) => {
                self.out.push_str(text);
                return Ok(Flow::Next);
            }
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.print(&value);
                }
                // What an action declares lives on to the end of its block.
                return Ok(Flow::Next);
            }
            Node::If(pipeline, then, otherwise) => {
                let branch = if self.pipeline(pipeline, dot)?.is_true() { then } else { otherwise };
                self.nodes(branch, dot)?
            }
            Node::With(pipeline, then, otherwise) => {
                let value = self.pipeline(pipeline, dot)?;
                if value.is_true() { self.nodes(then, &value)? } else { self.nodes(otherwise, dot)? }
            }
            Node::Range(pipeline, body, otherwise) => self.range(pipeline, body, otherwise, dot)?,
            Node::Call(name, pipeline, at) => {
                let value = match pipeline {
                    Some(pipeline) => self.pipeline(pipeline, dot)?,
                    None => Value::Nil,
                };
                if !self.own.contains_key(name) && !self.shared.contains_key(name) {
                    return self.at(at, format!("template {name:?} not defined"));
                }
                self.run(name, &value)?;
                Flow::Next
            }
            Node::Break => Flow::Break,
            Node::Continue => Flow::Continue,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn print(&mut self, value: &Value) {
        let text = value.print();
        if !self.surroundings.html || matches!(value, Value::Safe(_)) {
            self.out.push_str(&text);
            return;
        }
        let in_url = ["href=\"", "src=\""].iter().any(|attribute| self.out.ends_with(attribute));
        let text = if in_url { functions::normal_url(&text) } else { text };
        self.out.push_str(&functions::escape_html(&text));
    }

    fn range(&mut self, pipeline: &'t Pipeline, body: &'t [Node], otherwise: &'t [Node], dot: &Value) -> Outcome<Flow> {
        let over = self.commands(pipeline, dot)?;
        let Some(items) = over.items() else {
            let at = pipeline.commands.first().and_then(|command| command.operands.first()).map(|(_, at)| at.clone());
            return self.at(&at.unwrap_or_default(), format!("range can't iterate over {}", over.print()));
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, value) in items {
            let scope = self.variables.len();
            match pipeline.variables.as_slice() {
                [] => {}
                [name] => self.bind(name, value.clone(), pipeline.assign),
                [first, second, ..] => {
                    self.bind(first, key, pipeline.assign);
                    self.bind(second, value.clone(), pipeline.assign);
                }
            }
            let flow = self.nodes(body, &value)?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn bind(&mut self, name: &str, value: Value, assign: bool) {
        if assign && let Some(slot) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            slot.1 = value;
        } else {
            self.variables.push((name.to_owned(), value));
        }
    }

    fn pipeline(&mut self, pipeline: &'t Pipeline, dot: &Value) -> Outcome<Value> {
        let value = self.commands(pipeline, dot)?;
        if let Some(name) = pipeline.variables.first() {
            self.bind(name, value.clone(), pipeline.assign);
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &'t Pipeline, dot: &Value) -> Outcome<Value> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value, dot)?);
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &'t Command, piped: Option<Value>, dot: &Value) -> Outcome<Value> {
        let Some(((head, at), rest)) = command.operands.split_first() else {
            return Err("missing value for command".to_owned());
        };
        match head {
            Operand::Function(name) => {
                // `and` and `or` look at no more arguments than they need.
                if matches!(name.as_str(), "and" | "or") {
                    let mut last = Value::Nil;
                    for (operand, at) in rest {
                        last = self.operand(operand, at, dot)?;
                        if last.is_true() == (name == "or") {
                            return Ok(last);
                        }
                    }
                    return Ok(piped.unwrap_or(last));
                }
                let args = self.arguments(rest, piped, dot)?;
                functions::call(name, args, self.surroundings).or_else(|error| self.at(at, error))
            }
            Operand::Field(chain) => {
                let args = self.arguments(rest, piped, dot)?;
                self.chain(dot.clone(), chain, args, at)
            }
            Operand::Variable(name, chain) if !chain.is_empty() => {
                let args = self.arguments(rest, piped, dot)?;
                let value = self.variable(name);
                self.chain(value, chain, args, at)
            }
            Operand::Group(pipeline, chain) if !chain.is_empty() => {
                let args = self.arguments(rest, piped, dot)?;
                let value = self.commands(pipeline, dot)?;
                self.chain(value, chain, args, at)
            }
            Operand::Nil => self.at(at, "nil is not a command"),
            _ if rest.is_empty() && piped.is_none() => self.operand(head, at, dot),
            _ => self.at(at, format!("can't give argument to non-function {}", at.source)),
        }
    }

    fn arguments(&mut self, rest: &'t [(Operand, At)], piped: Option<Value>, dot: &Value) -> Outcome<Vec<Value>> {
        let mut args = Vec::with_capacity(rest.len() + 1);
        for (operand, at) in rest {
            args.push(self.operand(operand, at, dot)?);
        }
        args.extend(piped);
        Ok(args)
    }

    fn variable(&self, name: &str) -> Value {
        // That it is declared was checked when the template was read.
        self.variables.iter().rev().find(|(known, _)| known == name).map_or(Value::Nil, |(_, value)| value.clone())
    }

    fn operand(&mut self, operand: &'t Operand, at: &At, dot: &Value) -> Outcome<Value> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Function(name) => {
                functions::call(name, Vec::new(), self.surroundings).or_else(|error| self.at(at, error))
            }
            Operand::Dot => Ok(dot.clone()),
            Operand::Field(chain) => self.chain(dot.clone(), chain, Vec::new(), at),
            Operand::Variable(name, chain) => {
                let value = self.variable(name);
                self.chain(value, chain, Vec::new(), at)
            }
            Operand::Group(pipeline, chain) => {
                let value = self.commands(pipeline, dot)?;
                self.chain(value, chain, Vec::new(), at)
            }
        }
    }

    /// Fields and methods one after the other; arguments go to the last.
    fn chain(&self, mut value: Value, chain: &[String], mut args: Vec<Value>, at: &At) -> Outcome<Value> {
        for (place, name) in chain.iter().enumerate() {
            let given = if place + 1 == chain.len() { std::mem::take(&mut args) } else { Vec::new() };
            value = match member(&value, name, &given) {
                Some(found) => match found {
                    Ok(found) => found,
                    Err(error) => return self.at(at, error),
                },
                None if matches!(value, Value::Nil) => {
                    return self.at(at, format!("nil pointer evaluating interface {{}}.{name}"));
                }
                None => return self.at(at, format!("can't evaluate field {name} in type {}", value.type_name())),
            };
        }
        Ok(value)
    }
}

/// A field of a value, or what its method says.
fn member(value: &Value, name: &str, args: &[Value]) -> Option<Outcome<Value>> {
    let names = |pairs: Vec<(String, String)>| Value::Texts(pairs.into_iter().map(|(name, _)| name).collect());
    let values = |pairs: Vec<(String, String)>| Value::Texts(pairs.into_iter().map(|(_, value)| value).collect());
    let method = match (value, name) {
        (Value::Kv(map), "SortedPairs") => Value::Pairs(sorted_pairs(map)),
        (Value::Kv(map), "Names") => names(sorted_pairs(map)),
        (Value::Kv(map), "Values") => values(sorted_pairs(map)),
        (Value::Kv(_) | Value::Pairs(_) | Value::Time(..) | Value::Duration(_), "String") => Value::Text(value.print()),
        (Value::Kv(map), "Remove") => {
            let [keys] = args else {
                return Some(Err(format!("wrong number of args for Remove: want 1 got {}", args.len())));
            };
            let keys: Vec<String> = match keys {
                Value::Texts(keys) => keys.clone(),
                other => {
                    return Some(Err(format!("wrong type for value; expected []string; got {}", other.type_name())));
                }
            };
            let mut left = map.clone();
            left.retain(|name, _| !keys.contains(name));
            return Some(Ok(Value::Kv(left)));
        }
        (Value::Pairs(pairs), "Names") => names(pairs.clone()),
        (Value::Pairs(pairs), "Values") => values(pairs.clone()),
        (Value::Alerts(alerts), "Firing" | "Resolved") => {
            let wanted = name.to_lowercase();
            Value::List(alerts.iter().filter(|alert| alert.status == wanted).cloned().map(Value::Alert).collect())
        }
        (Value::Time(..) | Value::Duration(_), _) => return functions::time_method(value, name, args),
        _ => {
            let field = match (value, name) {
                (Value::Pair(name, _), "Name") => Value::Text(name.clone()),
                (Value::Pair(_, value), "Value") => Value::Text(value.clone()),
                // A map of texts answers a missing key with the empty text, any other with nothing.
                (Value::Kv(map), _) => Value::Text(map.get(name).cloned().unwrap_or_default()),
                (Value::Map(map), _) => map.get(name).cloned().unwrap_or(Value::Nil),
                (Value::Alert(alert), "Status") => Value::Text(alert.status.to_owned()),
                (Value::Alert(alert), "Labels") => Value::Kv(alert.labels.clone()),
                (Value::Alert(alert), "Annotations") => Value::Kv(alert.annotations.clone()),
                (Value::Alert(alert), "StartsAt") => utc(Some(alert.starts_at)),
                (Value::Alert(alert), "EndsAt") => utc(alert.ends_at),
                (Value::Alert(alert), "GeneratorURL") => Value::Text(alert.generator_url.clone()),
                (Value::Alert(alert), "Fingerprint") => Value::Text(alert.fingerprint.clone()),
                (Value::Data(data), "Receiver") => Value::Text(data.receiver.clone()),
                (Value::Data(data), "Status") => Value::Text(data.status.to_owned()),
                (Value::Data(data), "Alerts") => Value::Alerts(data.alerts.clone()),
                (Value::Data(data), "NotificationReason") => Value::Text(data.reason.to_owned()),
                (Value::Data(data), "GroupLabels") => Value::Kv(data.group_labels.clone()),
                (Value::Data(data), "CommonLabels") => Value::Kv(data.common_labels.clone()),
                (Value::Data(data), "CommonAnnotations") => Value::Kv(data.common_annotations.clone()),
                (Value::Data(data), "ExternalURL") => Value::Text(data.external_url.clone()),
                _ => return None,
            };
            if !args.is_empty() {
                return Some(Err(format!("{name} has arguments but cannot be invoked as function")));
            }
            return Some(Ok(field));
        }
    };
    if args.is_empty() {
        Some(Ok(method))
    } else {
        Some(Err(format!("wrong number of args for {name}: want 0 got {}", args.len())))
    }
}
