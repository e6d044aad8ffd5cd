//! The most an expression can cost, estimated from how large its inputs can get.
//!
//! The counting follows cel-go with Kubernetes' estimators; only the upper end of each range is kept, since limits are
//! about nothing else.

use crate::{
    ast::{Expr, Kind, Literal, Macro},
    eval::{CHARACTER_COST, LIST_COST, MAP_COST, REGEX_CHARACTER_COST},
    types::{Decl, Type},
};

/// What is known of a value: how many parts it has at the most, and its parts.
#[derive(Clone, Default)]
struct Size<'d> {
    /// `None`: unknown.
    most: Option<u64>,
    decl: Option<&'d Decl>,
    element: Option<Box<Size<'d>>>,
}

impl<'d> Size<'d> {
    fn of(decl: &'d Decl) -> Self {
        Self { most: Some(decl.elements_max), decl: Some(decl), element: None }
    }

    fn fixed(most: u64) -> Self {
        Self { most: Some(most), ..Self::default() }
    }

    fn count(&self) -> u64 {
        self.most.unwrap_or(u64::MAX)
    }

    fn element(&self) -> Self {
        match (&self.element, self.decl.and_then(|d| d.element.as_deref())) {
            (Some(element), _) => (**element).clone(),
            (None, Some(decl)) => Self::of(decl),
            _ => Self::default(),
        }
    }

    fn or(self, other: Self) -> Self {
        let most = self.most.zip(other.most).map(|(a, b)| a.max(b));
        Self { most, decl: self.decl.or(other.decl), element: self.element.or(other.element) }
    }
}

fn scaled(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// The estimate for a checked expression.
pub(crate) fn estimate(expr: &Expr, types: &[Type], variables: &[(&str, &Decl)]) -> u64 {
    let scope = variables.iter().map(|(name, decl)| ((*name).to_owned(), Size::of(decl))).collect();
    Estimator { types, scope }.of(expr).0
}

struct Estimator<'d> {
    types: &'d [Type],
    scope: Vec<(String, Size<'d>)>,
}

impl<'d> Estimator<'d> {
    fn type_of(&self, expr: &Expr) -> &'d Type {
        self.types.get(expr.id).unwrap_or(&Type::Dyn)
    }

    fn of(&mut self, expr: &Expr) -> (u64, Size<'d>) {
        let (cost, size) = self.find(expr);
        let scalar = matches!(
            self.type_of(expr),
            Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Null | Type::Timestamp | Type::Duration
        );
        let size = if size.most.is_none() && scalar { Size { most: Some(1), ..size } } else { size };
        (cost, size)
    }

    fn find(&mut self, expr: &Expr) -> (u64, Size<'d>) {
        match &expr.kind {
            Kind::Literal(literal) => {
                let size = match literal {
                    Literal::String(s) => s.chars().count() as u64,
                    Literal::Bytes(b) => b.len() as u64,
                    _ => 1,
                };
                (0, Size::fixed(size))
            }
            Kind::Ident(name) => {
                let found = self.scope.iter().rev().find(|(n, _)| n == name);
                (1, found.map(|(_, size)| size.clone()).unwrap_or_default())
            }
            Kind::Select { operand, field, test } => {
                let (cost, size) = self.of(operand);
                if *test {
                    return (cost, Size::fixed(1));
                }
                let own = u64::from(matches!(self.type_of(operand), Type::Map(..) | Type::Object(_) | Type::Dyn));
                (cost.saturating_add(own), part(&size, field))
            }
            Kind::Call { name, target, args } => self.call(name, target.as_deref(), args),
            Kind::List(items) => {
                let mut cost = LIST_COST;
                let mut element: Option<Size<'d>> = None;
                for (item, _) in items {
                    let (c, size) = self.of(item);
                    cost = cost.saturating_add(c);
                    element = Some(element.map_or(size.clone(), |e| e.or(size)));
                }
                let most = Some(items.len() as u64);
                (cost, Size { most, decl: None, element: Some(Box::new(element.unwrap_or_else(|| Size::fixed(0)))) })
            }
            Kind::Map(entries) => {
                let mut cost = MAP_COST;
                for (key, value, _) in entries {
                    cost = cost.saturating_add(self.of(key).0).saturating_add(self.of(value).0);
                }
                (cost, Size::fixed(entries.len() as u64))
            }
            Kind::Message(_) => (0, Size::default()),
            Kind::Macro { kind, range, vars, args } => self.iterate(*kind, range, vars, args),
        }
    }

    fn iterate(&mut self, kind: Macro, range: &Expr, vars: &[String], args: &[Expr]) -> (u64, Size<'d>) {
        let (range_cost, range_size) = self.of(range);
        let before = self.scope.len();
        if matches!(kind, Macro::OptMap | Macro::OptFlatMap) {
            self.scope.extend(vars.first().map(|v| (v.clone(), range_size)));
            let (cost, size) = args.first().map(|a| self.of(a)).unwrap_or_default();
            self.scope.truncate(before);
            return (range_cost.saturating_add(cost).saturating_add(2), size);
        }
        let is_map = matches!(self.type_of(range), Type::Map(..));
        // Keys have no declaration of their own: a key is as long as a request is at the most.
        let key = if is_map { Size::fixed(KEY_CHARS_MAX) } else { Size::fixed(1) };
        match vars {
            [first, second] => {
                self.scope.push((first.clone(), key));
                self.scope.push((second.clone(), range_size.element()));
            }
            [only] => self.scope.push((only.clone(), if is_map { key } else { range_size.element() })),
            _ => {}
        }
        let parts: Vec<(u64, Size<'d>)> = args.iter().map(|a| self.of(a)).collect();
        self.scope.truncate(before);
        let inner = parts.iter().fold(0_u64, |sum, (c, _)| sum.saturating_add(*c));
        let (once, round) = match kind {
            Macro::All => (1, 3),
            Macro::Exists => (1, 4),
            Macro::ExistsOne => (2, 2),
            Macro::Filter => (LIST_COST + 1, LIST_COST + 3),
            Macro::TransformMap | Macro::TransformMapEntry => (MAP_COST + 1, 2),
            _ => (LIST_COST + 1, LIST_COST + 2),
        };
        let rounds = range_size.count().saturating_mul(inner.saturating_add(round));
        let cost = range_cost.saturating_add(once).saturating_add(rounds);
        let size = match kind {
            Macro::All | Macro::Exists | Macro::ExistsOne => Size::fixed(1),
            Macro::Filter => range_size,
            _ => {
                let element = parts.into_iter().next_back().map(|(_, size)| Box::new(size));
                Size { most: range_size.most, decl: None, element }
            }
        };
        (cost, size)
    }

    fn call(&mut self, name: &str, target: Option<&Expr>, args: &[Expr]) -> (u64, Size<'d>) {
        let parts: Vec<(u64, Size<'d>)> = target.into_iter().chain(args).map(|a| self.of(a)).collect();
        let sum = parts.iter().fold(0_u64, |sum, (c, _)| sum.saturating_add(*c));
        let nothing = Size::default();
        let size = |i: usize| parts.get(i).map_or(&nothing, |(_, s)| s);
        let count = |i: usize| size(i).count();
        let first_type = target.or(args.first()).map_or(&Type::Dyn, |e| self.type_of(e));
        let first_is_text = matches!(first_type, Type::String | Type::Bytes | Type::Dyn);
        let (own, made): (u64, Size<'d>) = match name {
            "_&&_" | "_||_" => (0, Size::fixed(1)),
            "_?_:_" => {
                let cost = parts[0].0.saturating_add(parts[1].0.max(parts[2].0));
                return (cost, parts[1].1.clone().or(parts[2].1.clone()));
            }
            "_==_" | "_!=_" if matches!(first_type, Type::Opaque(_)) => (1, Size::fixed(1)),
            "_==_" | "_!=_" => (scaled(count(0).min(count(1)), CHARACTER_COST), Size::fixed(1)),
            "_<_" | "_<=_" | "_>_" | "_>=_" if first_is_text => {
                (scaled(count(0).min(count(1)), CHARACTER_COST), Size::fixed(1))
            }
            "_+_" if matches!(first_type, Type::List(_)) => {
                let most = Some(count(0).saturating_add(count(1)));
                (1, Size { most, decl: None, element: Some(Box::new(size(0).element().or(size(1).element()))) })
            }
            "_+_" if matches!(first_type, Type::String | Type::Bytes) => {
                let most = count(0).saturating_add(count(1));
                (scaled(most, CHARACTER_COST), Size::fixed(most))
            }
            "@in" if args.get(1).is_some_and(|l| matches!(self.type_of(l), Type::List(_) | Type::Dyn)) => {
                (count(1), Size::fixed(1))
            }
            "_[_]" | "_[?_]" => (1, size(0).element()),
            "_?._" => {
                let field = match args.get(1).map(|a| &a.kind) {
                    Some(Kind::Literal(Literal::String(field))) => part(size(0), field),
                    _ => Size::default(),
                };
                (1, field)
            }
            "orValue" | "or" => (1, size(0).clone().or(size(1).clone())),
            "value" | "dyn" | "optional.of" | "optional.ofNonZeroValue" => (1, size(0).clone()),
            "contains" => {
                (scaled(count(0), CHARACTER_COST).saturating_mul(scaled(count(1), CHARACTER_COST)), Size::fixed(1))
            }
            "matches" | "find" | "findAll" => {
                let text = scaled(count(0).saturating_add(1), CHARACTER_COST);
                let regex = scaled(count(1), REGEX_CHARACTER_COST);
                let made = if name == "matches" { Size::fixed(1) } else { Size::fixed(count(0)) };
                (text.saturating_mul(regex), made)
            }
            "startsWith" | "endsWith" => (scaled(count(1), CHARACTER_COST), Size::fixed(1)),
            "format" => (scaled(count(0), CHARACTER_COST), Size::default()),
            "bytes" => (scaled(count(0), CHARACTER_COST), Size::fixed(count(0).saturating_mul(4))),
            "string" if matches!(first_type, Type::Bytes) => (scaled(count(0), CHARACTER_COST), size(0).clone()),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                if matches!(first_type, Type::String) {
                    (scaled(count(0), CHARACTER_COST), Size::fixed(1))
                } else {
                    let text = matches!(first_type, Type::List(t) if matches!(**t, Type::String | Type::Bytes));
                    let each = if text { 1 + scaled(size(0).element().count(), CHARACTER_COST) } else { 1 };
                    (count(0).saturating_mul(each), size(0).element())
                }
            }
            "sort" | "distinct" | "reverse" | "slice" | "flatten" => (count(0), size(0).clone()),
            "first" | "last" => (1, size(0).element()),
            "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                (scaled(count(0), CHARACTER_COST), Size::fixed(count(0)))
            }
            "isURL" | "quantity" | "isQuantity" | "semver" | "isSemver" | "cidr" | "isIP" | "isCIDR" => {
                (scaled(count(0), CHARACTER_COST), Size::fixed(1))
            }
            "ip" if matches!(first_type, Type::String | Type::Dyn) => {
                (scaled(count(0), CHARACTER_COST), Size::fixed(16))
            }
            "ip.isCanonical" => (scaled(count(0), 2.0 * CHARACTER_COST), Size::fixed(1)),
            "containsIP" => (4 + scaled(count(1), CHARACTER_COST), Size::fixed(1)),
            "containsCIDR" => (7 + scaled(count(1), CHARACTER_COST), Size::fixed(1)),
            "replace" => {
                let grown = count(0).saturating_add(1).saturating_mul(count(2)).saturating_add(count(0));
                (scaled(count(0), 2.0 * CHARACTER_COST), Size::fixed(grown))
            }
            "split" => {
                let element = Some(Box::new(Size::fixed(count(0))));
                (scaled(count(0), 2.0 * CHARACTER_COST), Size { most: Some(count(0)), decl: None, element })
            }
            "join" => {
                let separator = if parts.len() > 1 { count(1) } else { 0 };
                let most = count(0).saturating_mul(size(0).element().count().saturating_add(separator));
                (scaled(most, CHARACTER_COST), Size::fixed(most))
            }
            "sets.contains" | "sets.equivalent" | "sets.intersects" => {
                (count(0).saturating_mul(count(1)), Size::fixed(1))
            }
            "validate" => (scaled(count(0), CHARACTER_COST).saturating_mul(32), Size::default()),
            _ => (1, Size::default()),
        };
        (sum.saturating_add(own), made)
    }
}

/// Longest key of a map, as long as a request is.
const KEY_CHARS_MAX: u64 = 3 * 1024 * 1024 - 2;

/// A field of an object, a value of a map.
fn part<'d>(size: &Size<'d>, field: &str) -> Size<'d> {
    match size.decl {
        Some(decl) => match decl.fields.get(field).or(decl.element.as_deref()) {
            Some(inner) => Size::of(inner),
            None => Size::default(),
        },
        None => size.element(),
    }
}
