//! Runs templates.

use crate::syntax::{At, Call, Command, Literal, Node, Operand, OperandKind, Pipeline};
use crate::value::{Outcome, Shape, Signature, Type, Value};
use crate::{Body, CALLS_MAX, EXECUTION_NESTING_MAX, Host, OUTPUT_BYTES_MAX, Templates, WORK_MAX, functions};
use std::fmt::Display;

enum Flow {
    Next,
    Break,
    Continue,
}

/// What errors are told of: the last thing that was looked at.
#[derive(Clone, Copy)]
enum Place<'t> {
    None,
    Pipeline(&'t Pipeline),
    Command(&'t Command),
    Operand(&'t Operand),
    Call(&'t Call),
}

pub(crate) struct Renderer<'t, H: Host> {
    host: &'t H,
    /// Those of the first go before those of the next.
    sets: &'t [&'t Templates],
    pub out: String,
    /// The template that runs, and the text that it comes from.
    name: &'t str,
    file: &'t str,
    place: Place<'t>,
    variables: Vec<(&'t str, Value<H::Extra>)>,
    calls: usize,
    nesting: usize,
    work: usize,
}

type Done<T> = Result<T, String>;

/// How much of the work one unit is: bytes or items of a value.
const UNIT: usize = 64;

impl<'t, H: Host> Renderer<'t, H> {
    pub fn new(host: &'t H, sets: &'t [&'t Templates]) -> Self {
        Self {
            host,
            sets,
            out: String::new(),
            name: "",
            file: "",
            place: Place::None,
            variables: Vec::new(),
            calls: 0,
            nesting: 0,
            work: 0,
        }
    }

    fn find(&self, name: &str) -> Option<(&'t str, &'t Body)> {
        self.sets
            .iter()
            .find_map(|set| set.named.get_key_value(name))
            .map(|(name, body)| (name.as_str(), body.as_ref()))
    }

    /// Renders one of the templates.
    pub fn run(&mut self, name: &str, dot: &Value<H::Extra>) -> Done<()> {
        let Some((name, body)) = self.find(name) else {
            let name = crate::print::quote(name);
            return Err(format!("template: no template {name} associated with template {name}"));
        };
        self.body(name, body, dot)
    }

    fn body(&mut self, name: &'t str, body: &'t Body, dot: &Value<H::Extra>) -> Done<()> {
        let outer = (self.name, self.file, self.place);
        (self.name, self.file) = (name, body.file.as_str());
        let variables = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        self.calls += 1;
        self.nodes(&body.nodes, dot)?;
        self.calls -= 1;
        self.variables = variables;
        (self.name, self.file, self.place) = outer;
        Ok(())
    }

    /// An error with its place.
    fn fail<T>(&self, message: impl Display) -> Done<T> {
        let (at, shown): (At, &dyn Display) = match self.place {
            Place::None => return Err(format!("template: {}: {message}", self.name)),
            Place::Pipeline(pipeline) => (pipeline.at, pipeline),
            Place::Command(command) => (command.at, command),
            Place::Operand(operand) => (operand.at, operand),
            Place::Call(call) => (call.at, call),
        };
        let (file, name) = (self.file, crate::print::quote(self.name));
        Err(format!("template: {file}:{}:{}: executing {name} at <{shown}>: {message}", at.line, at.column))
    }

    fn work(&mut self, units: usize) -> Done<()> {
        self.work = self.work.saturating_add(units);
        if self.work > WORK_MAX { self.fail(format!("more than {WORK_MAX} steps")) } else { Ok(()) }
    }

    /// Looking at a value costs as much as it is large.
    fn looked_at(&mut self, value: Value<H::Extra>) -> Outcome<H::Extra> {
        self.work(1 + value.count().unwrap_or(0) / UNIT)?;
        Ok(value)
    }

    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Done<T>) -> Done<T> {
        self.nesting += 1;
        if self.nesting > EXECUTION_NESTING_MAX {
            return self.fail(format!("nested deeper than {EXECUTION_NESTING_MAX}"));
        }
        let done = inside(self)?;
        self.nesting -= 1;
        Ok(done)
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Value<H::Extra>) -> Done<Flow> {
        self.deeper(|renderer| {
            for node in nodes {
                renderer.work(1)?;
                match renderer.node(node, dot)? {
                    Flow::Next => {}
                    other => return Ok(other),
                }
            }
            Ok(Flow::Next)
        })
    }

    fn write(&mut self, text: &str) -> Done<()> {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return self.fail(format!("output larger than {OUTPUT_BYTES_MAX} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn node(&mut self, node: &'t Node, dot: &Value<H::Extra>) -> Done<Flow> {
        let scope = self.variables.len();
        let flow = match node {
            Node::Text(text) => {
                self.write(text)?;
                return Ok(Flow::Next);
            }
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    let shown = self.shown(&value)?;
                    self.write(&shown)?;
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
            Node::Call(call) => {
                self.call(call, dot)?;
                return Ok(Flow::Next);
            }
            Node::Break => Flow::Break,
            Node::Continue => Flow::Continue,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn shown(&mut self, value: &Value<H::Extra>) -> Done<String> {
        let printed = match value {
            Value::Nil | Value::NilInterface => "<no value>".to_owned(),
            value => value.text().or_else(|error| self.fail(error))?,
        };
        Ok(self.host.shown(&self.out, value, printed))
    }

    fn call(&mut self, call: &'t Call, dot: &Value<H::Extra>) -> Done<()> {
        self.place = Place::Call(call);
        let Some((name, body)) = self.find(&call.name) else {
            return self.fail(format!("template {} not defined", crate::print::quote(&call.name)));
        };
        if self.calls >= CALLS_MAX {
            return self.fail(format!("exceeded maximum template depth ({CALLS_MAX})"));
        }
        let value = match &call.dot {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Nil,
        };
        self.body(name, body, &value)
    }

    fn range(
        &mut self,
        pipeline: &'t Pipeline,
        body: &'t [Node],
        otherwise: &'t [Node],
        dot: &Value<H::Extra>,
    ) -> Done<Flow> {
        let over = self.commands(pipeline, dot)?;
        if let Value::Int(count) = over {
            if pipeline.variables.len() > 1 {
                return self.fail(format!("can't use {count} to iterate over more than one variable"));
            }
            for place in 0..count {
                if self.turn(pipeline, body, Value::Int(place), Value::Int(place))? {
                    break;
                }
            }
            return if count > 0 { Ok(Flow::Next) } else { self.nodes(otherwise, dot) };
        }
        let Some(items) = over.items() else {
            let shown = over.text().or_else(|error| self.fail(error))?;
            return self.fail(format!("range can't iterate over {shown}"));
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        self.work(items.len() / UNIT)?;
        for (key, value) in items {
            if self.turn(pipeline, body, key, value)? {
                break;
            }
        }
        Ok(Flow::Next)
    }

    /// One turn of a loop; whether it was the last.
    fn turn(
        &mut self,
        pipeline: &'t Pipeline,
        body: &'t [Node],
        key: Value<H::Extra>,
        value: Value<H::Extra>,
    ) -> Done<bool> {
        self.work(1)?;
        let scope = self.variables.len();
        match pipeline.variables.as_slice() {
            [] => {}
            [name] => self.bind(name, value.clone(), pipeline.assign)?,
            [first, second, ..] => {
                self.bind(first, key, pipeline.assign)?;
                self.bind(second, value.clone(), pipeline.assign)?;
            }
        }
        let flow = self.nodes(body, &value)?;
        self.variables.truncate(scope);
        Ok(matches!(flow, Flow::Break))
    }

    fn bind(&mut self, name: &'t str, value: Value<H::Extra>, assign: bool) -> Done<()> {
        if !assign {
            self.variables.push((name, value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some(slot) => slot.1 = value,
            None => return self.fail(format!("undefined variable: {name}")),
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &'t Pipeline, dot: &Value<H::Extra>) -> Outcome<H::Extra> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.bind(name, value.clone(), pipeline.assign)?;
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &'t Pipeline, dot: &Value<H::Extra>) -> Outcome<H::Extra> {
        self.deeper(|renderer| {
            renderer.place = Place::Pipeline(pipeline);
            let mut value = None;
            for command in &pipeline.commands {
                let found = renderer.command(command, value, dot)?;
                value = Some(if found.is_nil() { Value::Nil } else { found });
            }
            Ok(value.unwrap_or(Value::Nil))
        })
    }

    fn command(
        &mut self,
        command: &'t Command,
        piped: Option<Value<H::Extra>>,
        dot: &Value<H::Extra>,
    ) -> Outcome<H::Extra> {
        let Some((head, rest)) = command.operands.split_first() else {
            return self.fail("missing value for command");
        };
        self.work(1)?;
        match &head.kind {
            OperandKind::Function(name) => self.function(name, head, Place::Command(command), rest, piped, dot),
            OperandKind::Field(names) => {
                self.place = Place::Operand(head);
                self.chain(dot.clone(), names, head, rest, piped, dot)
            }
            OperandKind::Chain(inner, names) => {
                self.place = Place::Operand(head);
                let value = self.value(inner, dot)?;
                self.chain(value, names, head, rest, piped, dot)
            }
            OperandKind::Variable(name, names) if !names.is_empty() => {
                self.place = Place::Operand(head);
                let value = self.variable(name)?;
                self.chain(value, names, head, rest, piped, dot)
            }
            kind => {
                if !matches!(kind, OperandKind::Group(_)) {
                    self.place = Place::Operand(head);
                }
                if !rest.is_empty() || piped.is_some() {
                    return self.fail(format!("can't give argument to non-function {head}"));
                }
                match kind {
                    OperandKind::Nil => self.fail("nil is not a command"),
                    _ => self.value(head, dot),
                }
            }
        }
    }

    fn variable(&mut self, name: &str) -> Outcome<H::Extra> {
        match self.variables.iter().rev().find(|(known, _)| *known == name) {
            Some((_, value)) => {
                let value = value.clone();
                self.looked_at(value)
            }
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    /// What an operand is without arguments.
    fn value(&mut self, operand: &'t Operand, dot: &Value<H::Extra>) -> Outcome<H::Extra> {
        if !matches!(operand.kind, OperandKind::Group(_)) {
            self.place = Place::Operand(operand);
        }
        match &operand.kind {
            OperandKind::Literal(literal, source) => Ok(match literal {
                Literal::Bool(value) => Value::Bool(*value),
                Literal::Int(value) => Value::Int(*value),
                Literal::Float(value) => Value::Float(*value),
                Literal::Text(text) => Value::Text(text.clone()),
                Literal::Large => return self.fail(format!("{source} overflows int")),
            }),
            OperandKind::Nil => Ok(Value::Nil),
            OperandKind::Dot => self.looked_at(dot.clone()),
            OperandKind::Function(name) => self.function(name, operand, Place::Operand(operand), &[], None, dot),
            OperandKind::Field(names) => self.chain(dot.clone(), names, operand, &[], None, dot),
            OperandKind::Variable(name, names) => {
                let value = self.variable(name)?;
                self.chain(value, names, operand, &[], None, dot)
            }
            OperandKind::Group(pipeline) => self.pipeline(pipeline, dot),
            OperandKind::Chain(inner, names) => {
                let value = self.value(inner, dot)?;
                self.chain(value, names, operand, &[], None, dot)
            }
        }
    }

    /// An argument of the type that is asked for.
    fn argument(&mut self, operand: &'t Operand, of: Type, dot: &Value<H::Extra>) -> Outcome<H::Extra> {
        match &operand.kind {
            OperandKind::Group(pipeline) => self.place = Place::Pipeline(pipeline),
            _ => self.place = Place::Operand(operand),
        }
        match &operand.kind {
            OperandKind::Nil if of.nil => Ok(Value::Nil),
            OperandKind::Nil => self.fail(format!("cannot assign nil to {}", of.name)),
            OperandKind::Literal(literal, source) if of != Type::ANY => match (of, literal) {
                (Type::TEXT, Literal::Text(text)) => Ok(Value::Text(text.clone())),
                (Type::TEXT, _) => self.fail(format!("expected string; found {source}")),
                (Type::DURATION, Literal::Int(nanos)) => Ok(Value::Duration(*nanos)),
                (Type::DURATION, _) => self.fail(format!("expected integer; found {source}")),
                _ => self.fail(format!("can't handle {source} for arg of type {}", of.name)),
            },
            _ => {
                let value = self.value(operand, dot)?;
                self.checked(value, of)
            }
        }
    }

    /// A value, if it is of the type.
    fn checked(&mut self, value: Value<H::Extra>, of: Type) -> Outcome<H::Extra> {
        match &value {
            _ if of == Type::ANY => Ok(value),
            Value::Nil if of.nil => Ok(value),
            Value::Nil => self.fail(format!("invalid value; expected {}", of.name)),
            other if other.type_name() == of.name => Ok(value),
            // A pointer is followed.
            Value::Time(_) if of == Type::TIME => Ok(value),
            other => self.fail(format!("wrong type for value; expected {}; got {}", of.name, other.type_name())),
        }
    }

    /// The arguments of a function or method, counted and checked.
    fn arguments(
        &mut self,
        name: &str,
        takes: Signature,
        rest: &'t [Operand],
        piped: Option<Value<H::Extra>>,
        dot: &Value<H::Extra>,
    ) -> Done<Vec<Value<H::Extra>>> {
        let (fixed, count) = (takes.fixed.len(), rest.len() + usize::from(piped.is_some()));
        if takes.rest.is_none() && count != fixed {
            return self.fail(format!("wrong number of args for {name}: want {fixed} got {count}"));
        }
        if count < fixed {
            let given = rest.len();
            return self.fail(format!("wrong number of args for {name}: want at least {fixed} got {given}"));
        }
        let type_of = |place: usize| takes.fixed.get(place).copied().or(takes.rest).unwrap_or(Type::ANY);
        let mut args = Vec::with_capacity(count);
        for (place, operand) in rest.iter().enumerate() {
            let value = self.argument(operand, type_of(place), dot)?;
            args.push(self.looked_at(value)?);
        }
        if let Some(piped) = piped {
            args.push(self.checked(piped, type_of(rest.len()))?);
        }
        Ok(args)
    }

    fn function(
        &mut self,
        name: &str,
        head: &'t Operand,
        whole: Place<'t>,
        rest: &'t [Operand],
        piped: Option<Value<H::Extra>>,
        dot: &Value<H::Extra>,
    ) -> Outcome<H::Extra> {
        self.place = Place::Operand(head);
        let hosted = self.host.signature(name);
        let Some(takes) = hosted.or_else(|| functions::signature(name)) else {
            return self.fail(format!("{} is not a defined function", crate::print::quote(name)));
        };
        // `and` and `or` look at no more arguments than they need.
        if hosted.is_none() && matches!(name, "and" | "or") && (!rest.is_empty() || piped.is_some()) {
            let mut last = Value::Nil;
            for operand in rest {
                last = self.argument(operand, Type::ANY, dot)?;
                if last.is_true() == (name == "or") {
                    return Ok(last);
                }
            }
            return Ok(piped.unwrap_or(last));
        }
        let args = self.arguments(name, takes, rest, piped, dot)?;
        let answer = if hosted.is_some() { self.host.call(name, &args) } else { functions::call(name, &args) };
        match answer {
            Ok(value) => self.looked_at(value),
            Err(error) => {
                self.place = whole;
                self.fail(format!("error calling {name}: {error}"))
            }
        }
    }

    /// Fields and methods one after the other; arguments go to the last.
    fn chain(
        &mut self,
        mut value: Value<H::Extra>,
        names: &[String],
        head: &'t Operand,
        rest: &'t [Operand],
        mut piped: Option<Value<H::Extra>>,
        dot: &Value<H::Extra>,
    ) -> Outcome<H::Extra> {
        for (place, name) in names.iter().enumerate() {
            let last = place + 1 == names.len();
            let (rest, piped) = if last { (rest, piped.take()) } else { (&[][..], None) };
            value = self.member(value, name, head, rest, piped, dot)?;
        }
        Ok(value)
    }

    fn member(
        &mut self,
        value: Value<H::Extra>,
        name: &str,
        head: &'t Operand,
        rest: &'t [Operand],
        piped: Option<Value<H::Extra>>,
        dot: &Value<H::Extra>,
    ) -> Outcome<H::Extra> {
        match &value {
            Value::Nil => return Ok(Value::Nil),
            Value::NilInterface => return self.fail(format!("nil pointer evaluating interface {{}}.{name}")),
            _ => {}
        }
        if let Some(takes) = value.method(name) {
            let args = self.arguments(name, takes, rest, piped, dot)?;
            return match value.call(name, &args) {
                Ok(value) => self.looked_at(value),
                Err(error) => {
                    self.place = Place::Operand(head);
                    self.fail(format!("error calling {name}: {error}"))
                }
            };
        }
        let Some(field) = value.field(name) else {
            return self.fail(format!("can't evaluate field {name} in type {}", value.type_name()));
        };
        if !rest.is_empty() || piped.is_some() {
            return match value.shape() {
                Shape::Map => self.fail(format!("{name} is not a method but has arguments")),
                _ => self.fail(format!("{name} has arguments but cannot be invoked as function")),
            };
        }
        self.looked_at(field)
    }
}
