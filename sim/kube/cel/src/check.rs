//! The type checker.

use std::collections::BTreeSet;

use crate::{
    Issue,
    ast::{Expr, Kind, Literal, Macro},
    signatures::{self, Overload, TYPE_NAMES},
    types::Type,
};

/// What the checker found: a type for each node by its number, and the variables that occur.
pub(crate) struct Checked {
    pub(crate) types: Vec<Type>,
    pub(crate) result: Type,
    pub(crate) variables: BTreeSet<String>,
}

/// Checks an expression against the variables it may use.
pub(crate) fn check(expr: &mut Expr, ids: usize, variables: &[(&str, Type)]) -> Result<Checked, Vec<Issue>> {
    let mut checker = Checker {
        types: vec![Type::Dyn; ids],
        bound: Vec::new(),
        scope: variables.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect(),
        outer: variables.len(),
        used: BTreeSet::new(),
        issues: Vec::new(),
    };
    checker.qualify(expr);
    let result = checker.of(expr);
    if !checker.issues.is_empty() {
        checker.issues.sort_by_key(|issue| issue.at);
        return Err(checker.issues);
    }
    let types = std::mem::take(&mut checker.types);
    let types = types.iter().map(|t| checker.settled(t)).collect();
    Ok(Checked { types, result: checker.settled(&result), variables: checker.used })
}

struct Checker {
    types: Vec<Type>,
    /// What each unknown was found to be.
    bound: Vec<Option<Type>>,
    scope: Vec<(String, Type)>,
    outer: usize,
    used: BTreeSet<String>,
    issues: Vec<Issue>,
}

impl Checker {
    fn issue(&mut self, at: usize, message: String) {
        self.issues.push(Issue { at, message });
    }

    /// Calls like `optional.of(x)` are written as member calls of a name that is none.
    fn qualify(&mut self, expr: &mut Expr) {
        match &mut expr.kind {
            Kind::Literal(_) | Kind::Ident(_) | Kind::Message(_) => {}
            Kind::Select { operand, .. } => self.qualify(operand),
            Kind::Call { name, target, args } => {
                if let Some(Kind::Ident(namespace)) = target.as_ref().map(|t| &t.kind) {
                    let full = format!("{namespace}.{name}");
                    if signatures::all().contains_key(&full) && !self.scope.iter().any(|(n, _)| n == namespace) {
                        *name = full;
                        *target = None;
                    }
                }
                for part in target.iter_mut().map(|t| &mut **t).chain(args) {
                    self.qualify(part);
                }
            }
            Kind::List(items) => items.iter_mut().for_each(|(item, _)| self.qualify(item)),
            Kind::Map(entries) => entries.iter_mut().for_each(|(key, value, _)| {
                self.qualify(key);
                self.qualify(value);
            }),
            Kind::Macro { range, vars, args, .. } => {
                self.qualify(range);
                let before = self.scope.len();
                self.scope.extend(vars.iter().map(|v| (v.clone(), Type::Dyn)));
                for arg in args {
                    self.qualify(arg);
                }
                self.scope.truncate(before);
            }
        }
    }

    fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Param(self.bound.len() - 1)
    }

    /// The type with what is known of its unknowns.
    fn resolve(&self, ty: &Type) -> Type {
        ty.replace(&mut |n| match self.bound.get(n).and_then(Option::as_ref) {
            Some(found) => self.resolve(found),
            None => Type::Param(n),
        })
    }

    /// The type with what stayed unknown as `dyn`.
    fn settled(&self, ty: &Type) -> Type {
        self.resolve(ty).replace(&mut |_| Type::Dyn)
    }

    /// True if a value of `given` can stand where `wanted` is asked; binds unknowns on the way.
    fn fits(&mut self, wanted: &Type, given: &Type) -> bool {
        let (wanted, given) = (self.resolve(wanted), self.resolve(given));
        match (&wanted, &given) {
            (Type::Param(a), Type::Param(b)) if a == b => true,
            (Type::Param(a), other) | (other, Type::Param(a)) => {
                if mentions(other, *a) {
                    return false;
                }
                self.bound[*a] = Some(other.clone());
                true
            }
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::Map(a, b), Type::Map(c, d)) => self.fits(a, c) && self.fits(b, d),
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            // Null is a value of these.
            (Type::Null, Type::Object(_) | Type::Timestamp | Type::Duration | Type::Opaque(_))
            | (Type::Object(_) | Type::Timestamp | Type::Duration | Type::Opaque(_), Type::Null) => true,
            (a, b) => a == b,
        }
    }

    fn of(&mut self, expr: &Expr) -> Type {
        let ty = self.find(expr);
        if let Some(place) = self.types.get_mut(expr.id) {
            *place = ty.clone();
        }
        ty
    }

    fn find(&mut self, expr: &Expr) -> Type {
        match &expr.kind {
            Kind::Literal(literal) => match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) => Type::Int,
                Literal::Uint(_) => Type::Uint,
                Literal::Double(_) => Type::Double,
                Literal::String(_) => Type::String,
                Literal::Bytes(_) => Type::Bytes,
            },
            Kind::Ident(name) => self.name(expr.at, name),
            Kind::Select { operand, field, test } => {
                if let Some(ty) = Self::type_name(expr) {
                    return ty;
                }
                let operand = self.of(operand);
                let found = self.field(expr.at, &operand, field);
                if *test { Type::Bool } else { found }
            }
            Kind::Call { name, target, args } => self.call(expr, name, target.as_deref(), args),
            Kind::List(items) => {
                let mut item = self.fresh();
                for (e, optional) in items {
                    let mut ty = self.of(e);
                    if *optional {
                        let inner = self.fresh();
                        if !self.fits(&Type::optional(inner.clone()), &ty) {
                            let found = self.settled(&ty);
                            self.issue(e.at, format!("expected type 'optional_type(dyn)' but found '{found}'"));
                        }
                        ty = inner;
                    }
                    item = self.joined(e.at, &item, &ty);
                }
                Type::list(item)
            }
            Kind::Map(entries) => {
                let (mut key, mut value) = (self.fresh(), self.fresh());
                for (k, v, optional) in entries {
                    let ty = self.of(k);
                    key = self.joined(k.at, &key, &ty);
                    let mut ty = self.of(v);
                    if *optional {
                        let inner = self.fresh();
                        if !self.fits(&Type::optional(inner.clone()), &ty) {
                            let found = self.settled(&ty);
                            self.issue(v.at, format!("expected type 'optional_type(dyn)' but found '{found}'"));
                        }
                        ty = inner;
                    }
                    value = self.joined(v.at, &value, &ty);
                }
                Type::Map(key.into(), value.into())
            }
            Kind::Message(name) => {
                self.issue(expr.at, format!("undeclared reference to '{name}' (in container '')"));
                Type::Dyn
            }
            Kind::Macro { kind, range, vars, args } => self.iterate(*kind, range, vars, args),
        }
    }

    /// Items of a literal have one type: Kubernetes asks for it.
    fn joined(&mut self, at: usize, so_far: &Type, next: &Type) -> Type {
        if !self.fits(so_far, next) {
            let (wanted, found) = (self.settled(so_far), self.settled(next));
            self.issue(at, format!("expected type '{wanted}' but found '{found}'"));
        }
        self.resolve(so_far)
    }

    fn name(&mut self, at: usize, name: &str) -> Type {
        if let Some(i) = self.scope.iter().rposition(|(n, _)| n == name) {
            if i < self.outer {
                self.used.insert(name.to_owned());
            }
            return self.scope[i].1.clone();
        }
        if let Some((_, ty)) = TYPE_NAMES.iter().find(|(n, _)| *n == name) {
            return Type::Type(ty.clone().into());
        }
        match name {
            "list" => Type::Type(Type::list(Type::Dyn).into()),
            "map" => Type::Type(Type::Map(Type::Dyn.into(), Type::Dyn.into()).into()),
            "type" => Type::Type(Type::Type(Type::Dyn.into()).into()),
            "optional_type" => Type::Type(Type::optional(Type::Dyn).into()),
            _ => {
                self.issue(at, format!("undeclared reference to '{name}' (in container '')"));
                Type::Dyn
            }
        }
    }

    /// `google.protobuf.Timestamp`, `net.IP` and the like: names of types with dots.
    fn type_name(expr: &Expr) -> Option<Type> {
        let name = expr.to_string();
        let opaque = ["net.IP", "net.CIDR", "kubernetes.URL", "kubernetes.Quantity", "kubernetes.Semver"];
        if let Some(name) = opaque.iter().find(|n| **n == name) {
            return Some(Type::Type(Type::Opaque(name).into()));
        }
        TYPE_NAMES.iter().find(|(n, _)| *n == name).map(|(_, ty)| Type::Type(ty.clone().into()))
    }

    fn field(&mut self, at: usize, operand: &Type, field: &str) -> Type {
        match self.resolve(operand) {
            Type::Dyn | Type::Param(_) => Type::Dyn,
            Type::Map(_, value) => (*value).clone(),
            Type::Object(object) => match object.fields.get(field) {
                Some((_, ty)) => ty.clone(),
                None => {
                    self.issue(at, format!("undefined field '{field}'"));
                    Type::Dyn
                }
            },
            Type::Optional(inner) => Type::optional(self.field(at, &inner, field)),
            other => {
                let other = self.settled(&other);
                self.issue(at, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        }
    }

    fn call(&mut self, expr: &Expr, name: &str, target: Option<&Expr>, args: &[Expr]) -> Type {
        if name == "_?._"
            && let [operand, Expr { kind: Kind::Literal(Literal::String(field)), .. }] = args
        {
            let operand = self.of(operand);
            let found = self.field(expr.at, &operand, field);
            return match found {
                Type::Optional(_) => found,
                other => Type::optional(other),
            };
        }
        let given: Vec<Type> = target.into_iter().chain(args).map(|a| self.of(a)).collect();
        let Some(overloads) = signatures::all().get(name) else {
            self.issue(expr.at, format!("undeclared reference to '{name}' (in container '')"));
            return Type::Dyn;
        };
        let mut found: Option<Type> = None;
        for overload in overloads.iter().filter(|o| o.member == target.is_some()) {
            let before = self.bound.clone();
            if let Some(result) = self.matches(overload, &given) {
                match &found {
                    None => found = Some(self.resolve(&result)),
                    // More than one may do if something is only known at run time.
                    Some(first) if *first != self.resolve(&result) => {
                        self.bound = before;
                        found = Some(Type::Dyn);
                        continue;
                    }
                    Some(_) => {}
                }
                if !given.iter().any(|g| matches!(self.resolve(g), Type::Dyn | Type::Param(_))) {
                    break;
                }
            } else {
                self.bound = before;
            }
        }
        found.unwrap_or_else(|| {
            let mut shown: Vec<String> = given.iter().map(|t| self.settled(t).to_string()).collect();
            let signature = if target.is_some() {
                let target = shown.remove(0);
                format!("{target}.({})", shown.join(", "))
            } else {
                format!("({})", shown.join(", "))
            };
            self.issue(expr.at, format!("found no matching overload for '{name}' applied to '{signature}'"));
            Type::Dyn
        })
    }

    fn matches(&mut self, overload: &Overload, given: &[Type]) -> Option<Type> {
        if overload.args.len() != given.len() {
            return None;
        }
        let params = if overload.args.iter().any(Type::has_params) || overload.result.has_params() {
            vec![self.fresh(), self.fresh()]
        } else {
            Vec::new()
        };
        let mut own = |ty: &Type| ty.replace(&mut |n| params.get(n).cloned().unwrap_or(Type::Dyn));
        let (wanted, result): (Vec<Type>, Type) = (overload.args.iter().map(&mut own).collect(), own(&overload.result));
        wanted.iter().zip(given).all(|(w, g)| self.fits(w, g)).then_some(result)
    }

    fn iterate(&mut self, kind: Macro, range: &Expr, vars: &[String], args: &[Expr]) -> Type {
        let over = self.of(range);
        let over = self.resolve(&over);
        let before = self.scope.len();
        if matches!(kind, Macro::OptMap | Macro::OptFlatMap) {
            let inner = self.fresh();
            if !self.fits(&Type::optional(inner.clone()), &over) {
                let found = self.settled(&over);
                self.issue(range.at, format!("found no matching overload for 'hasValue' applied to '{found}.()'"));
            }
            self.scope.push((vars[0].clone(), inner));
            let result = args.first().map_or(Type::Dyn, |a| self.of(a));
            self.scope.truncate(before);
            return if kind == Macro::OptMap { Type::optional(result) } else { result };
        }
        let (key, value) = match &over {
            Type::List(item) => (Type::Int, (**item).clone()),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Param(_) => (Type::Dyn, Type::Dyn),
            other => {
                let shown = self.settled(other);
                self.issue(
                    range.at,
                    format!("expression of type '{shown}' cannot be range of a comprehension (must be list, map, or dynamic)"),
                );
                (Type::Dyn, Type::Dyn)
            }
        };
        match vars {
            [only] => {
                let ty = if matches!(over, Type::Map(..)) { key.clone() } else { value };
                self.scope.push((only.clone(), ty));
            }
            [first, second] => {
                self.scope.push((first.clone(), key.clone()));
                self.scope.push((second.clone(), value));
            }
            _ => {}
        }
        let predicate = |checker: &mut Self, e: &Expr| {
            let ty = checker.of(e);
            if !checker.fits(&Type::Bool, &ty) {
                let found = checker.settled(&ty);
                let operator = match kind {
                    Macro::All => "_&&_",
                    Macro::Exists => "_||_",
                    _ => "_?_:_",
                };
                let rest = if operator == "_?_:_" { "dyn, dyn".to_owned() } else { String::new() };
                let signature = if rest.is_empty() { format!("(bool, {found})") } else { format!("({found}, {rest})") };
                checker.issue(e.at, format!("found no matching overload for '{operator}' applied to '{signature}'"));
            }
        };
        let item = match (kind, args) {
            (Macro::Map | Macro::TransformList | Macro::TransformMap | Macro::TransformMapEntry, [filter, value]) => {
                predicate(self, filter);
                self.of(value)
            }
            (Macro::Map | Macro::TransformList | Macro::TransformMap | Macro::TransformMapEntry, [value]) => {
                self.of(value)
            }
            (_, [condition]) => {
                predicate(self, condition);
                self.scope[before].1.clone()
            }
            _ => Type::Dyn,
        };
        self.scope.truncate(before);
        match kind {
            Macro::All | Macro::Exists | Macro::ExistsOne => Type::Bool,
            Macro::Map | Macro::Filter | Macro::TransformList => Type::list(item),
            Macro::TransformMap => Type::Map(key.into(), item.into()),
            Macro::TransformMapEntry | Macro::OptMap | Macro::OptFlatMap => item,
        }
    }
}

fn mentions(ty: &Type, param: usize) -> bool {
    match ty {
        Type::Param(n) => *n == param,
        Type::List(a) | Type::Optional(a) | Type::Type(a) => mentions(a, param),
        Type::Map(a, b) => mentions(a, param) || mentions(b, param),
        _ => false,
    }
}
