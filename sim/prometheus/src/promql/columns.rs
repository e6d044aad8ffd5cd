//! Evaluation series by series, over all steps of a query at once.
//!
//! The evaluator walks an expression step by step. Most of what is asked often (selectors, functions over ranges, arithmetic,
//! aggregations, joins, subqueries) over floats can be computed the other way round: each series is unpacked once, its window slides
//! along, groups and pairs are found once. Where that cannot be, because of what the expression is ([`possible`]) or of what the
//! samples are (native histograms, label sets that collide), nothing is lost: [`Evaluator::columns`] says so, and the steps are
//! walked. Both ways give the same values and the same annotations; a property test holds them to it.

mod fold;
mod join;
mod leaf;

use super::ast::*;
use super::eval::{EvalError, Evaluator, VectorSample};
use super::functions::Body;
use sim_wire::{Labels, METRIC_NAME, MatchOp, STALE_NAN, is_stale};
use std::collections::HashSet;

/// Stands where a series has no value: the stale marker, which no selector hands out and no computation yields.
const ABSENT: f64 = STALE_NAN;

/// So many cells do no harm, whatever the limit on samples.
const CELLS_ALWAYS: usize = 1 << 16;

/// The steps of a query or of a subquery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    pub start_ms: i64,
    pub step_ms: i64,
    /// At least one.
    pub steps: usize,
}

impl Grid {
    /// The steps from the first to the last that is not after `end_ms`.
    pub fn new(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let steps = if step_ms > 0 && end_ms > start_ms { end_ms.saturating_sub(start_ms) / step_ms + 1 } else { 1 };
        Self { start_ms, step_ms, steps: steps as usize }
    }

    pub fn at(&self, step: usize) -> i64 {
        self.start_ms + step as i64 * self.step_ms
    }

    /// Which step is at this time.
    fn step_of(&self, t_ms: i64) -> Option<usize> {
        let from_start = t_ms - self.start_ms;
        if self.steps == 1 {
            return (from_start == 0).then_some(0);
        }
        let step = from_start.checked_div(self.step_ms)?;
        (from_start >= 0 && from_start % self.step_ms == 0 && (step as usize) < self.steps).then_some(step as usize)
    }
}

/// Why there are no columns.
pub(super) enum Stop {
    /// The steps have to be walked.
    Walk,
    /// The query fails.
    Failed(EvalError),
}

impl From<EvalError> for Stop {
    fn from(error: EvalError) -> Self {
        Self::Failed(error)
    }
}

/// The floats of an expression at every step, series by series.
#[derive(Debug)]
pub(super) struct Columns {
    pub grid: Grid,
    pub labels: Vec<Labels>,
    /// Whether the names of the labels are still to be dropped.
    unnamed: bool,
    /// `grid.steps` for each series, [`ABSENT`] where there is none.
    cells: Vec<f64>,
}

impl Columns {
    fn new(grid: Grid) -> Self {
        Self { grid, labels: Vec::new(), unnamed: false, cells: Vec::new() }
    }

    /// The values of a series.
    pub fn column(&self, series: usize) -> &[f64] {
        &self.cells[series * self.grid.steps..(series + 1) * self.grid.steps]
    }

    /// The steps of a series that have a value.
    pub fn present(&self, series: usize) -> impl Iterator<Item = (i64, f64)> {
        let values = self.column(series).iter().enumerate().filter(|(_, value)| !is_stale(**value));
        values.map(|(step, value)| (self.grid.at(step), *value))
    }

    /// Drops the names of the labels for good.
    fn settle(mut self) -> Self {
        if std::mem::take(&mut self.unnamed) {
            for labels in &mut self.labels {
                *labels = labels.without_name();
            }
        }
        self
    }

    /// The elements at a time; `None` where it is none of the steps.
    pub fn row(&self, t_ms: i64) -> Option<Vec<VectorSample>> {
        let step = self.grid.step_of(t_ms)?;
        let value = |series: usize| self.cells[series * self.grid.steps + step];
        let present = (0..self.labels.len()).filter(|series| !is_stale(value(*series)));
        Some(present.map(|series| VectorSample::float(self.labels[series].clone(), t_ms, value(series))).collect())
    }
}

/// Whether every sample that matches has the same name.
fn one_name(expr: &Expr) -> bool {
    match &expr.unparenthesised().kind {
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
            selector.matchers.iter().any(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal && !m.value.is_empty())
        }
        _ => false,
    }
}

/// The value of a number, with its sign.
fn constant(expr: &Expr) -> Option<f64> {
    match &expr.kind {
        ExprKind::Number { value, .. } => Some(*value),
        ExprKind::Paren(inner) => constant(inner),
        ExprKind::Unary { negative, expr } => constant(expr).map(|value| if *negative { -value } else { value }),
        _ => None,
    }
}

/// Whether an expression is of a kind that can be computed series by series.
pub(super) fn possible(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Vector(_) => true,
        ExprKind::Paren(inner) => possible(inner),
        ExprKind::Unary { expr, .. } => expr.value_type() == ValueType::Vector && possible(expr),
        ExprKind::Aggregate { op, expr, param, .. } => {
            let param = match op {
                AggregateOp::Quantile => param.as_ref().is_some_and(|param| constant(param).is_some()),
                _ => fold::is_fold(*op),
            };
            param && possible(expr)
        }
        ExprKind::Call { function, args } => match &function.body {
            Body::Math(_) => possible(&args[0]),
            Body::Range { .. } => args.iter().all(|arg| match &arg.unparenthesised().kind {
                ExprKind::Matrix { .. } => true,
                ExprKind::Subquery { expr, .. } => expr.value_type() == ValueType::Vector && possible(expr),
                _ => constant(arg).is_some(),
            }),
            Body::Special(_) => false,
        },
        ExprKind::Binary { lhs, rhs, .. } => {
            let side = |expr: &Expr| constant(expr).is_some() || possible(expr);
            expr.value_type() == ValueType::Vector && side(lhs) && side(rhs)
        }
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Matrix { .. } | ExprKind::Subquery { .. } => false,
    }
}

impl Evaluator<'_> {
    /// The expression at every step, if it can be computed series by series; names are dropped where they have to be.
    ///
    /// # Errors
    /// As the walk by steps.
    pub(super) fn columns(&self, expr: &Expr, grid: Grid) -> Result<Option<Columns>, EvalError> {
        if self.options.delayed_name_removal || !possible(expr) {
            return Ok(None);
        }
        // What is noted on a way that leads nowhere is noted again by the walk, and was true.
        let held = self.held();
        match self.compute(expr, grid) {
            Ok(columns) => Ok(Some(columns.settle())),
            Err(Stop::Walk) => {
                self.hold(held);
                Ok(None)
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// Adds a series, unless it has no value at all.
    fn add(&self, columns: &mut Columns, labels: Labels, column: &[f64]) -> Result<(), Stop> {
        let present = column.iter().filter(|value| !is_stale(**value)).count();
        if present == 0 {
            return Ok(());
        }
        self.touch(present)?;
        // Many steps with few samples are better walked.
        if columns.cells.len() + column.len() > self.options.samples_max.max(CELLS_ALWAYS) {
            return Err(Stop::Walk);
        }
        columns.labels.push(labels);
        columns.cells.extend_from_slice(column);
        Ok(())
    }

    fn compute(&self, expr: &Expr, grid: Grid) -> Result<Columns, Stop> {
        match &expr.kind {
            ExprKind::Vector(selector) => self.instants(selector, grid),
            ExprKind::Paren(inner) => self.compute(inner, grid),
            ExprKind::Unary { negative, expr: inner } => {
                let columns = self.compute(inner, grid)?;
                if *negative { map(inner, columns, |value| -value) } else { Ok(columns) }
            }
            ExprKind::Aggregate { op, expr: inner, param, grouping, without } => {
                let columns = self.compute(inner, grid)?;
                let param = param.as_ref().and_then(|param| Some((constant(param)?, param.unparenthesised().span)));
                self.fold(columns, *op, param, grouping, *without)
            }
            ExprKind::Call { function, args } => match function.body {
                Body::Math(f) => {
                    let columns = self.compute(&args[0], grid)?;
                    map(&args[0], columns, f)
                }
                Body::Range { f, keep_name } => self.over_ranges(function, f, keep_name, args, grid),
                Body::Special(_) => Err(Stop::Walk),
            },
            ExprKind::Binary { op, lhs, rhs, return_bool, matching } => match (constant(lhs), constant(rhs)) {
                (None, Some(right)) => {
                    let columns = self.compute(lhs, grid)?;
                    with_scalar(lhs, columns, *op, right, false, *return_bool)
                }
                (Some(left), None) => {
                    let columns = self.compute(rhs, grid)?;
                    with_scalar(rhs, columns, *op, left, true, *return_bool)
                }
                (None, None) => {
                    let Some(matching) = matching else { return Err(Stop::Walk) };
                    let left = self.compute(lhs, grid)?.settle();
                    let right = self.compute(rhs, grid)?.settle();
                    self.join(*op, &left, &right, matching, *return_bool)
                }
                (Some(_), Some(_)) => Err(Stop::Walk),
            },
            _ => Err(Stop::Walk),
        }
    }
}

/// Number by number, dropping the name.
fn map(inner: &Expr, mut columns: Columns, f: impl Fn(f64) -> f64) -> Result<Columns, Stop> {
    for value in columns.cells.iter_mut().filter(|value| !is_stale(**value)) {
        *value = f(*value);
    }
    nameless(columns, one_name(inner))
}

fn with_scalar(
    inner: &Expr,
    mut columns: Columns,
    op: BinaryOp,
    scalar: f64,
    swapped: bool,
    return_bool: bool,
) -> Result<Columns, Stop> {
    for cell in columns.cells.iter_mut().filter(|cell| !is_stale(**cell)) {
        let (value, keep) =
            if swapped { super::binary::floats(op, scalar, *cell) } else { super::binary::floats(op, *cell, scalar) };
        if return_bool {
            *cell = f64::from(u8::from(keep));
        } else if !keep {
            *cell = ABSENT;
        } else if !op.is_comparison() {
            *cell = value;
        }
    }
    if op.is_comparison() && !return_bool { Ok(columns) } else { nameless(columns, one_name(inner)) }
}

/// Drops the names, unless label sets would collide: then only the walk can tell whether they do at the same step.
fn nameless(mut columns: Columns, one_name: bool) -> Result<Columns, Stop> {
    if columns.unnamed {
        return Ok(columns);
    }
    columns.unnamed = true;
    if one_name {
        return Ok(columns);
    }
    let columns = columns.settle();
    distinct(&columns.labels)?;
    Ok(columns)
}

fn distinct(labels: &[Labels]) -> Result<(), Stop> {
    let mut seen = HashSet::with_capacity(labels.len());
    if labels.iter().all(|labels| seen.insert(labels)) { Ok(()) } else { Err(Stop::Walk) }
}
