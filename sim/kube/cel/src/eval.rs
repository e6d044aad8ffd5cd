//! The evaluator, with the cost of each step.

use std::rc::Rc;

use crate::{
    EvalError,
    ast::{Expr, Kind, Literal, Macro},
    functions,
    value::{Value, equal, error, no_overload},
};

/// Cost of traversing a character, as cel-go counts it.
pub(crate) const CHARACTER_COST: f64 = 0.1;
/// Cost of a character of a regular expression.
pub(crate) const REGEX_CHARACTER_COST: f64 = 0.25;
/// Cost of making a list.
pub(crate) const LIST_COST: u64 = 10;
/// Cost of making a map.
pub(crate) const MAP_COST: u64 = 30;
/// Largest number of items an expression may make a list or map of.
pub(crate) const MADE_ITEMS_MAX: usize = 1_000_000;

/// One evaluation: the variables in scope and what it has cost so far.
pub(crate) struct Evaluation<'a> {
    pub(crate) scope: Vec<(&'a str, Value<'a>)>,
    pub(crate) cost: u64,
    pub(crate) limit: u64,
}

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

impl<'a> Evaluation<'a> {
    pub(crate) fn pay(&mut self, cost: u64) -> std::result::Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::over_limit()) } else { Ok(()) }
    }

    pub(crate) fn eval(&mut self, expr: &'a Expr) -> Result<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(literal_value(literal)),
            Kind::Ident(name) => {
                self.pay(1)?;
                match self.scope.iter().rev().find(|(n, _)| n == name) {
                    Some((_, value)) => Ok(value.clone()),
                    None => type_value(name).ok_or_else(|| error(format!("no such attribute(s): {name}"))),
                }
            }
            Kind::Select { operand, field, test } => {
                if let Some(value) = qualified_type(expr) {
                    return Ok(value);
                }
                let operand = self.eval(operand)?;
                let optional = matches!(operand, Value::Optional(_));
                if *test {
                    return operand.field(field).map(|found| Value::Bool(found.is_some()));
                }
                self.pay(1)?;
                match operand.field(field)? {
                    Some(value) if optional => Ok(Value::some(value)),
                    Some(value) => Ok(value),
                    None if optional => Ok(Value::Optional(None)),
                    None => Err(error(format!("no such key: {field}"))),
                }
            }
            Kind::Call { name, target, args } => self.call(name, target.as_deref(), args),
            Kind::List(items) => {
                let mut made = Vec::with_capacity(items.len());
                for (item, optional) in items {
                    match (self.eval(item)?, optional) {
                        (Value::Optional(inner), true) => made.extend(inner.map(|v| (*v).clone())),
                        (_, true) => return Err(no_overload()),
                        (value, false) => made.push(value),
                    }
                }
                self.pay(LIST_COST)?;
                Ok(Value::list(made))
            }
            Kind::Map(entries) => {
                let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
                for (key, value, optional) in entries {
                    let key = self.eval(key)?;
                    let value = match (self.eval(value)?, optional) {
                        (Value::Optional(Some(inner)), true) => (*inner).clone(),
                        (Value::Optional(None), true) => continue,
                        (_, true) => return Err(no_overload()),
                        (value, false) => value,
                    };
                    insert(&mut made, key, value)?;
                }
                self.pay(MAP_COST)?;
                Ok(Value::Map(Rc::new(made)))
            }
            Kind::Message(name) => Err(error(format!("unknown type '{name}'"))),
            Kind::Macro { kind: kind @ (Macro::OptMap | Macro::OptFlatMap), range, vars, args } => {
                let Value::Optional(inner) = self.eval(range)? else { return Err(no_overload()) };
                self.pay(2)?;
                let (Some(inner), Some(var), Some(arg)) = (inner, vars.first(), args.first()) else {
                    return Ok(Value::Optional(None));
                };
                self.scope.push((var, (*inner).clone()));
                let mapped = self.eval(arg);
                self.scope.pop();
                let mapped = mapped?;
                Ok(if *kind == Macro::OptMap { Value::some(mapped) } else { mapped })
            }
            Kind::Macro { kind, range, vars, args } => self.iterate(*kind, range, vars, args),
        }
    }

    fn call(&mut self, name: &'a str, target: Option<&'a Expr>, args: &'a [Expr]) -> Result<'a> {
        match (name, args) {
            ("_&&_", [a, b]) => return self.logic(a, b, false),
            ("_||_", [a, b]) => return self.logic(a, b, true),
            ("_?_:_", [condition, yes, no]) => {
                return match self.eval(condition)? {
                    Value::Bool(true) => self.eval(yes),
                    Value::Bool(false) => self.eval(no),
                    _ => Err(no_overload()),
                };
            }
            // The alternatives of an optional value are not evaluated if it has one.
            ("or" | "orValue", [other]) if let Some(target) = target => {
                self.pay(1)?;
                return match (self.eval(target)?, name) {
                    (Value::Optional(Some(inner)), "orValue") => Ok((*inner).clone()),
                    (found @ Value::Optional(Some(_)), _) => Ok(found),
                    (Value::Optional(None), _) => self.eval(other),
                    _ => Err(no_overload()),
                };
            }
            ("_?._", [operand, field]) => {
                let operand = self.eval(operand)?;
                self.pay(1)?;
                let Kind::Literal(Literal::String(field)) = &field.kind else { return Err(no_overload()) };
                return operand.field(field).map(|v| Value::Optional(v.map(Rc::new)));
            }
            _ => {}
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for arg in target.into_iter().chain(args) {
            values.push(self.eval(arg)?);
        }
        functions::charge_before(self, name, &values)?;
        let result = functions::call(name, target.is_some(), &values)?;
        functions::charge_after(self, name, &values, &result)?;
        Ok(result)
    }

    /// `&&` and `||`: one side that decides makes the other's error no error.
    fn logic(&mut self, a: &'a Expr, b: &'a Expr, decides: bool) -> Result<'a> {
        let first = match self.eval(a) {
            Ok(Value::Bool(found)) if found == decides => return Ok(Value::Bool(decides)),
            Ok(Value::Bool(_)) => None,
            Ok(_) => Some(no_overload()),
            Err(e) if e.is_over_limit() => return Err(e),
            Err(e) => Some(e),
        };
        match self.eval(b) {
            Ok(Value::Bool(found)) if found == decides => Ok(Value::Bool(decides)),
            Err(e) if e.is_over_limit() => Err(e),
            other => match (first, other) {
                (Some(e), _) | (None, Err(e)) => Err(e),
                (None, Ok(Value::Bool(_))) => Ok(Value::Bool(!decides)),
                (None, Ok(_)) => Err(no_overload()),
            },
        }
    }

    fn iterate(&mut self, kind: Macro, range: &'a Expr, vars: &'a [String], args: &'a [Expr]) -> Result<'a> {
        let range = self.eval(range)?;
        let is_map = matches!(range, Value::Map(_) | Value::JsonMap(..));
        // What one variable stands for: items of a list, keys of a map.
        let pairs: Vec<(Value<'a>, Value<'a>)> =
            if is_map { range.entries()? } else { (0..).map(Value::Int).zip(range.items()?).collect() };
        let collects = !matches!(kind, Macro::All | Macro::Exists | Macro::ExistsOne);
        if collects {
            self.pay(if matches!(kind, Macro::TransformMap | Macro::TransformMapEntry) {
                MAP_COST
            } else {
                LIST_COST
            })?;
        }
        let (mut problem, mut count) = (None, 0_u32);
        let (mut items, mut entries) = (Vec::new(), Vec::new());
        let before = self.scope.len();
        for (key, value) in pairs {
            // The loop's condition and the step's own operations, as the expanded macro would cost.
            self.pay(match kind {
                Macro::All => 3,
                Macro::Exists => 4,
                _ => 0,
            })?;
            match vars {
                [first, second] => {
                    self.scope.push((first, key.clone()));
                    self.scope.push((second, value.clone()));
                }
                [only] => self.scope.push((only, if is_map { key.clone() } else { value.clone() })),
                _ => {}
            }
            let step = self.step(kind, args);
            self.scope.truncate(before);
            match (kind, step) {
                (Macro::All | Macro::Exists, Ok((Some(decided), _))) => {
                    self.pay(1)?;
                    return Ok(Value::Bool(decided));
                }
                (Macro::All | Macro::Exists, Ok(_)) => {}
                (Macro::All | Macro::Exists, Err(e)) if !e.is_over_limit() => problem = problem.or(Some(e)),
                (_, Err(e)) => return Err(e),
                (Macro::ExistsOne, Ok((yes, _))) => count += u32::from(yes == Some(true)),
                (Macro::Filter, Ok((Some(true), _))) => items.push(if is_map { key } else { value }),
                (Macro::Map | Macro::TransformList, Ok((_, Some(made)))) => items.push(made),
                (Macro::TransformMap, Ok((_, Some(made)))) => entries.push((key, made)),
                (Macro::TransformMapEntry, Ok((_, Some(made)))) => {
                    for (key, value) in made.entries()? {
                        insert(&mut entries, key, value)?;
                    }
                }
                _ => {}
            }
        }
        self.pay(if kind == Macro::ExistsOne { 2 } else { 1 })?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        Ok(match kind {
            Macro::All => Value::Bool(true),
            Macro::Exists => Value::Bool(false),
            Macro::ExistsOne => Value::Bool(count == 1),
            Macro::TransformMap | Macro::TransformMapEntry => Value::Map(Rc::new(entries)),
            _ => Value::list(items),
        })
    }

    /// One round: what it decides (or whether the filter let it pass), and what it makes.
    fn step(
        &mut self,
        kind: Macro,
        args: &'a [Expr],
    ) -> std::result::Result<(Option<bool>, Option<Value<'a>>), EvalError> {
        let (condition, make) = match (kind, args) {
            (Macro::All | Macro::Exists | Macro::ExistsOne | Macro::Filter, [condition]) => (Some(condition), None),
            (_, [condition, make]) => (Some(condition), Some(make)),
            (_, [make]) => (None, Some(make)),
            _ => (None, None),
        };
        if let Some(condition) = condition {
            let Value::Bool(found) = self.eval(condition)? else { return Err(no_overload()) };
            match kind {
                Macro::All => return Ok(((!found).then_some(false), None)),
                Macro::Exists => return Ok((found.then_some(true), None)),
                Macro::ExistsOne | Macro::Filter => {
                    self.pay(match (kind, found) {
                        (Macro::Filter, true) => LIST_COST + 3,
                        (_, true) => 2,
                        (_, false) => 1,
                    })?;
                    return Ok((Some(found), None));
                }
                _ if !found => {
                    self.pay(1)?;
                    return Ok((Some(false), None));
                }
                _ => {}
            }
        }
        let made = make.map(|make| self.eval(make)).transpose()?;
        self.pay(LIST_COST + 2)?;
        Ok((Some(true), made))
    }
}

fn insert<'a>(
    entries: &mut Vec<(Value<'a>, Value<'a>)>,
    key: Value<'a>,
    value: Value<'a>,
) -> std::result::Result<(), EvalError> {
    if !matches!(key, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_)) {
        return Err(error(format!("unsupported key type: {}", key.type_name())));
    }
    if entries.iter().any(|(k, _)| equal(k, &key)) {
        return Err(error(format!("insert failed: key {} already exists", functions::shown(&key))));
    }
    entries.push((key, value));
    Ok(())
}

fn literal_value(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Int(i) => Value::Int(*i),
        Literal::Uint(u) => Value::Uint(*u),
        Literal::Double(d) => Value::Double(*d),
        Literal::String(s) => Value::String(s.as_str().into()),
        Literal::Bytes(b) => Value::Bytes(b.as_slice().into()),
    }
}

fn type_value<'a>(name: &str) -> Option<Value<'a>> {
    let known = crate::signatures::TYPE_NAMES.iter().any(|(n, _)| *n == name)
        || matches!(name, "list" | "map" | "type" | "optional_type");
    known.then(|| Value::Type(name.to_owned()))
}

fn qualified_type<'a>(expr: &Expr) -> Option<Value<'a>> {
    let Kind::Select { operand, .. } = &expr.kind else { return None };
    let root = match &operand.kind {
        Kind::Ident(name) => name,
        Kind::Select { operand, .. } => match &operand.kind {
            Kind::Ident(name) => name,
            _ => return None,
        },
        _ => return None,
    };
    if !matches!(root.as_str(), "net" | "kubernetes" | "google") {
        return None;
    }
    let name = expr.to_string();
    let known =
        matches!(name.as_str(), "net.IP" | "net.CIDR" | "kubernetes.URL" | "kubernetes.Quantity" | "kubernetes.Semver");
    if known { Some(Value::Type(name)) } else { type_value(&name) }
}
