//! The evaluator: an expression at a time, or at each step of a range, over a store.
//!
//! Range queries evaluate step by step, with the series of every selector looked up once. Look-back and range selectors are
//! open on the left, as in Prometheus 3. With `delayed_name_removal` the metric name is dropped at the end of the query instead
//! of by each function (Prometheus's feature flag `promql-delayed-name-removal`).

use super::ast::*;
use super::columns::{Columns, Grid};
use super::functions::{self, Body, Call, RangeInput};
use super::{aggregate, binary, position};
use crate::histogram::{CounterReset, Histogram, go_g};
use crate::store::{Point, Store, StoredSeries, Value};
use sim_wire::{Labels, Matcher};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// Look-back of instant selectors.
pub const LOOKBACK_MS: i64 = 5 * 60 * 1000;
/// Most samples one query may hold at a time (`--query.max-samples`).
pub const SAMPLES_MAX: usize = 50_000_000;

/// Settings of an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct EvalOptions {
    /// How far an instant selector looks back.
    pub lookback_ms: i64,
    /// Step of subqueries that name none: the global evaluation interval.
    pub default_step_ms: i64,
    /// Drop metric names at the end of the query only.
    pub delayed_name_removal: bool,
    /// Most samples a query may hold at a time.
    pub samples_max: usize,
    /// Compute series by series what can be, instead of step by step. Off only to hold both ways to the same results.
    pub series_by_series: bool,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self {
            lookback_ms: LOOKBACK_MS,
            default_step_ms: 60_000,
            delayed_name_removal: false,
            samples_max: SAMPLES_MAX,
            series_by_series: true,
        }
    }
}

/// Why an evaluation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvalError(pub String);

impl EvalError {
    pub(crate) fn same_labelset() -> Self {
        Self("vector cannot contain metrics with the same labelset".to_owned())
    }
}

/// Warnings and remarks of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Something is wrong with the result.
    pub warnings: BTreeSet<String>,
    /// Something may be wrong with the query.
    pub infos: BTreeSet<String>,
}

/// One element of an instant vector.
#[derive(Debug, Clone)]
pub struct VectorSample {
    /// The labels.
    pub labels: Labels,
    /// The time in milliseconds.
    pub t_ms: i64,
    /// The value.
    pub value: Value,
    /// Whether the metric name is to be dropped at the end of the query.
    pub(crate) drop_name: bool,
}

impl VectorSample {
    pub(crate) fn float(labels: Labels, t_ms: i64, value: f64) -> Self {
        Self { labels, t_ms, value: Value::Float(value), drop_name: false }
    }
}

/// One series of a range vector or of a range query's result.
#[derive(Debug, Clone)]
pub struct Series {
    /// The labels.
    pub labels: Labels,
    /// The points in order of time.
    pub points: Vec<Point>,
    pub(crate) drop_name: bool,
}

/// The result of a query.
#[derive(Debug, Clone)]
pub enum QueryValue {
    /// A number at a time.
    Scalar(Point),
    /// A text at a time.
    String {
        /// Milliseconds.
        t_ms: i64,
        /// The text.
        text: String,
    },
    /// An instant vector; sorted by labels unless the query sorts.
    Vector(Vec<VectorSample>),
    /// Series, sorted by labels.
    Matrix(Vec<Series>),
}

/// A value inside an evaluation.
#[derive(Debug, Clone)]
pub(crate) enum Val {
    Scalar(f64),
    Str(Vec<u8>),
    Vector(Vec<VectorSample>),
    Matrix(Vec<Series>),
}

/// Evaluates at one time.
///
/// # Errors
/// [`EvalError`] with Prometheus's words.
///
/// ```
/// use sim_prometheus::{promql, store::{Point, Store}};
/// let mut store = Store::new();
/// store.append(&[("__name__", "up")].into_iter().collect(), Point::float(0, 1.0)).unwrap();
/// let query = "up + 1";
/// let (value, _) = promql::eval::instant(&store, query, &promql::parse(query).unwrap(), 1000, Default::default()).unwrap();
/// let promql::QueryValue::Vector(vector) = value else { panic!("a vector") };
/// assert_eq!(vector[0].value.float(), 2.0);
/// ```
pub fn instant(
    store: &Store,
    query: &str,
    expr: &Expr,
    t_ms: i64,
    options: EvalOptions,
) -> Result<(QueryValue, Annotations), EvalError> {
    let evaluator = Evaluator::new(store, query, options, t_ms, t_ms);
    if options.series_by_series {
        evaluator.prepare(expr, Grid::new(t_ms, t_ms, 0))?;
    }
    let value = match evaluator.eval(expr, t_ms)? {
        Val::Scalar(value) => QueryValue::Scalar(Point::float(t_ms, value)),
        Val::Str(bytes) => QueryValue::String { t_ms, text: String::from_utf8_lossy(&bytes).into_owned() },
        Val::Vector(mut vector) => {
            for sample in &mut vector {
                sample.t_ms = t_ms;
            }
            let mut vector = drop_names(vector)?;
            if !keeps_order(expr) {
                vector.sort_by(|a, b| a.labels.cmp(&b.labels));
            }
            QueryValue::Vector(vector)
        }
        Val::Matrix(series) => {
            let mut series: Vec<Series> = series.into_iter().filter(|series| !series.points.is_empty()).collect();
            for one in &mut series {
                if one.drop_name {
                    one.labels = one.labels.without_name();
                }
            }
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            if series.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
                return Err(EvalError::same_labelset());
            }
            QueryValue::Matrix(series)
        }
    };
    Ok((value, evaluator.annotations()))
}

/// Evaluates at each step from `start_ms` to `end_ms`.
///
/// # Errors
/// [`EvalError`] with Prometheus's words.
pub fn range(
    store: &Store,
    query: &str,
    expr: &Expr,
    (start_ms, end_ms, step_ms): (i64, i64, i64),
    options: EvalOptions,
) -> Result<(QueryValue, Annotations), EvalError> {
    if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
        let got = expr.value_type().documented();
        return Err(EvalError(format!(
            "invalid expression type {got:?} for range query, must be Scalar or instant Vector"
        )));
    }
    if step_ms <= 0 {
        return Err(EvalError(
            "zero or negative query resolution step widths are not accepted. Try a positive integer".to_owned(),
        ));
    }
    let evaluator = Evaluator::new(store, query, options, start_ms, end_ms);
    let grid = Grid::new(start_ms, end_ms, step_ms);
    if options.series_by_series && end_ms >= start_ms {
        if let Some(columns) = evaluator.columns(expr, grid)? {
            let point = |(t_ms, value)| Point::float(t_ms, value);
            let of = |(index, labels): (usize, &Labels)| Series {
                labels: labels.clone(),
                points: columns.present(index).map(point).collect(),
                drop_name: false,
            };
            let mut series: Vec<Series> = columns.labels.iter().enumerate().map(of).collect();
            // A comparison may have left nothing of a series.
            series.retain(|series| !series.points.is_empty());
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            return Ok((QueryValue::Matrix(series), evaluator.annotations()));
        }
        evaluator.prepare(expr, grid)?;
    }
    let mut series: BTreeMap<Labels, Vec<Point>> = BTreeMap::new();
    let mut t_ms = start_ms;
    // What stays in memory from step to step are the results.
    let mut held = evaluator.held();
    while t_ms <= end_ms {
        evaluator.hold(held);
        match evaluator.eval(expr, t_ms)? {
            Val::Scalar(value) => series.entry(Labels::empty()).or_default().push(Point::float(t_ms, value)),
            Val::Vector(vector) => {
                held += vector.len();
                for sample in drop_names(vector)? {
                    series.entry(sample.labels).or_default().push(Point { t_ms, value: sample.value });
                }
            }
            Val::Str(_) | Val::Matrix(_) => return Err(EvalError("unexpected type in a range query".to_owned())),
        }
        t_ms += step_ms;
    }
    let series = series.into_iter().map(|(labels, points)| Series { labels, points, drop_name: false }).collect();
    Ok((QueryValue::Matrix(series), evaluator.annotations()))
}

/// Whether an expression is of a kind that is computed series by series; the samples may still be of another.
pub fn is_by_series(expr: &Expr) -> bool {
    super::columns::possible(expr)
}

/// Whether the outermost operation defines the order of an instant result.
fn keeps_order(expr: &Expr) -> bool {
    match &expr.unparenthesised().kind {
        ExprKind::Call { function, .. } => function.name.starts_with("sort"),
        ExprKind::Aggregate { op, .. } => matches!(op, AggregateOp::Topk | AggregateOp::Bottomk),
        _ => false,
    }
}

fn drop_names(mut vector: Vec<VectorSample>) -> Result<Vec<VectorSample>, EvalError> {
    for sample in &mut vector {
        if sample.drop_name {
            sample.labels = sample.labels.without_name();
            sample.drop_name = false;
        }
    }
    unique(vector)
}

/// Refuses two elements with the same labels.
fn unique(vector: Vec<VectorSample>) -> Result<Vec<VectorSample>, EvalError> {
    if vector.len() > 1 {
        let mut sorted: Vec<&Labels> = vector.iter().map(|sample| &sample.labels).collect();
        sorted.sort();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(EvalError::same_labelset());
        }
    }
    Ok(vector)
}

/// The first step of a subquery after an instant: steps are aligned to the epoch, windows are open on the left.
pub(super) fn first_step(after_ms: i64, step_ms: i64) -> i64 {
    let t_ms = step_ms * (after_ms / step_ms);
    if t_ms <= after_ms { t_ms + step_ms } else { t_ms }
}

/// The window of a range selector or subquery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub start_ms: i64,
    pub end_ms: i64,
    pub range_ms: i64,
}

/// One query under evaluation.
pub(crate) struct Evaluator<'a> {
    store: &'a Store,
    query: &'a str,
    pub(crate) options: EvalOptions,
    start_ms: i64,
    end_ms: i64,
    // By address of the selector, which lives in the expression for as long as the evaluator.
    selected: RefCell<BTreeMap<usize, Rc<Vec<&'a StoredSeries>>>>,
    touched: Cell<usize>,
    // By message, the place as its value.
    notes: RefCell<BTreeMap<String, Span>>,
    failure: RefCell<Option<EvalError>>,
    // Parameters of aggregations over the query, inner ones before outer ones: the warnings are about the extremes.
    parameters: RefCell<Vec<Parameter>>,
    // By address of a subquery's expression, until when it was evaluated.
    evaluated: RefCell<BTreeMap<usize, i64>>,
    // By address of an expression, what it is at every step of the query, computed series by series.
    prepared: RefCell<BTreeMap<usize, Columns>>,
}

/// What values the parameter of an aggregation had.
struct Parameter {
    op: AggregateOp,
    span: Span,
    least: f64,
    most: f64,
    nan: bool,
}

impl<'a> Evaluator<'a> {
    fn new(store: &'a Store, query: &'a str, options: EvalOptions, start_ms: i64, end_ms: i64) -> Self {
        Self {
            store,
            query,
            options,
            start_ms,
            end_ms,
            selected: RefCell::default(),
            touched: Cell::new(0),
            notes: RefCell::default(),
            failure: RefCell::default(),
            parameters: RefCell::default(),
            evaluated: RefCell::default(),
            prepared: RefCell::default(),
        }
    }

    /// Remembers a value of the parameter of `quantile` or `limit_ratio`.
    pub(crate) fn note_parameter(&self, op: AggregateOp, value: f64, span: Span) {
        let mut parameters = self.parameters.borrow_mut();
        let nan = value.is_nan();
        match parameters.iter_mut().find(|known| known.span.start == span.start) {
            Some(known) => {
                known.least = known.least.min(value);
                known.most = known.most.max(value);
                known.nan |= nan;
            }
            None => parameters.push(Parameter { op, span, least: value, most: value, nan }),
        }
    }

    /// The annotations of the whole query.
    fn annotations(self) -> Annotations {
        for parameter in self.parameters.take() {
            let Parameter { op, span, least, most, nan } = parameter;
            if op == AggregateOp::LimitRatio {
                let warn = |value: f64, cap: f64| {
                    let message =
                        format!("ratio value should be between -1 and 1, got {}, capping to {cap}", go_g(value));
                    self.warn(&message, span);
                };
                if most > 1.0 {
                    warn(most, 1.0);
                }
                if least < -1.0 {
                    warn(least, -1.0);
                }
                continue;
            }
            let warn = |value: f64| {
                self.warn(&format!("quantile value should be between 0 and 1, got {}", go_g(value)), span);
            };
            if nan {
                // Nothing is more or less than what is no number.
                warn(f64::NAN);
                continue;
            }
            if most > 1.0 {
                warn(most);
            }
            if least < 0.0 {
                warn(least);
            }
        }
        let mut annotations = Annotations::default();
        for (message, span) in self.notes.take() {
            let text = format!("{message} ({})", position(self.query, span.start));
            let list =
                if message.starts_with("PromQL info") { &mut annotations.infos } else { &mut annotations.warnings };
            list.insert(text);
        }
        annotations
    }

    /// Something is wrong with the result. Of the same message at several places, the last place is told.
    pub(crate) fn warn(&self, message: &str, span: Span) {
        self.note(format!("PromQL warning: {message}"), span);
    }

    /// Something may be wrong with the query.
    pub(crate) fn info(&self, message: &str, span: Span) {
        self.note(format!("PromQL info: {message}"), span);
    }

    fn note(&self, message: String, span: Span) {
        self.notes.borrow_mut().insert(message, span);
    }

    /// Makes the evaluation fail from inside of a function over one series.
    pub(crate) fn fail(&self, message: String) {
        self.failure.borrow_mut().get_or_insert(EvalError(message));
    }

    /// Takes the error that a function over one series met.
    pub(super) fn failed(&self) -> Option<EvalError> {
        self.failure.take()
    }

    /// How many samples are held in memory.
    pub(super) fn held(&self) -> usize {
        self.touched.get()
    }

    /// Lets go of what was held since.
    pub(super) fn hold(&self, samples: usize) {
        self.touched.set(samples);
    }

    pub(super) fn touch(&self, samples: usize) -> Result<(), EvalError> {
        let touched = self.touched.get() + samples;
        self.touched.set(touched);
        if touched > self.options.samples_max {
            return Err(EvalError(
                "query processing would load too many samples into memory in query execution".to_owned(),
            ));
        }
        Ok(())
    }

    /// Computes what can be computed series by series, the largest parts of the expression first, for the walk to pick from.
    fn prepare(&self, expr: &Expr, grid: Grid) -> Result<(), EvalError> {
        if let Some(columns) = self.columns(expr, grid)? {
            self.prepared.borrow_mut().insert(std::ptr::from_ref(expr) as usize, columns);
            return Ok(());
        }
        match &expr.kind {
            ExprKind::Aggregate { expr, param, .. } => {
                param.iter().try_for_each(|param| self.prepare(param, grid))?;
                self.prepare(expr, grid)
            }
            ExprKind::Call { args, .. } => args.iter().try_for_each(|arg| self.prepare(arg, grid)),
            ExprKind::Binary { lhs, rhs, .. } => {
                self.prepare(lhs, grid)?;
                self.prepare(rhs, grid)
            }
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => self.prepare(expr, grid),
            // The steps of a subquery are others.
            ExprKind::Number { .. }
            | ExprKind::String(_)
            | ExprKind::Vector(_)
            | ExprKind::Matrix { .. }
            | ExprKind::Subquery { .. } => Ok(()),
        }
    }

    pub(crate) fn eval(&self, expr: &Expr, t_ms: i64) -> Result<Val, EvalError> {
        if let Some(columns) = self.prepared.borrow().get(&(std::ptr::from_ref(expr) as usize))
            && let Some(row) = columns.row(t_ms)
        {
            return Ok(Val::Vector(row));
        }
        match &expr.kind {
            ExprKind::Number { value, .. } => Ok(Val::Scalar(*value)),
            ExprKind::String(bytes) => Ok(Val::Str(bytes.clone())),
            ExprKind::Vector(selector) => self.select_instant(selector, t_ms).map(Val::Vector),
            ExprKind::Matrix { .. } | ExprKind::Subquery { .. } => {
                self.matrix(expr, t_ms).map(|(_, series)| Val::Matrix(series))
            }
            ExprKind::Aggregate { op, expr: inner, param: param_expr, grouping, without } => {
                let param = param_expr.as_ref().map(|param| self.eval(param, t_ms)).transpose()?;
                let vector = self.vector(inner, t_ms)?;
                let spans = aggregate::Spans {
                    whole: expr.span,
                    inner: inner.span,
                    param: param_expr.as_ref().map(|param| param.unparenthesised().span).unwrap_or_default(),
                };
                aggregate::aggregate(self, spans, *op, param, vector, grouping, *without).map(Val::Vector)
            }
            ExprKind::Call { function, args } => self.call(function, args, t_ms),
            ExprKind::Binary { op, lhs, rhs, return_bool, matching } => {
                let left = self.eval(lhs, t_ms)?;
                let right = self.eval(rhs, t_ms)?;
                match (left, right) {
                    (Val::Scalar(left), Val::Scalar(right)) => Ok(Val::Scalar(binary::scalars(*op, left, right))),
                    (Val::Vector(vector), Val::Scalar(scalar)) => {
                        self.vector_scalar(expr.span, *op, vector, scalar, false, *return_bool)
                    }
                    (Val::Scalar(scalar), Val::Vector(vector)) => {
                        self.vector_scalar(expr.span, *op, vector, scalar, true, *return_bool)
                    }
                    (Val::Vector(left), Val::Vector(right)) => {
                        let Some(matching) = matching else {
                            return Err(EvalError("two vectors without matching".to_owned()));
                        };
                        let vector = binary::vectors(
                            *op,
                            left,
                            right,
                            matching,
                            *return_bool,
                            self.options.delayed_name_removal,
                            |note| note.tell(self, expr.span),
                        )?;
                        Ok(Val::Vector(unique(vector)?))
                    }
                    _ => Err(EvalError("unexpected operand of a binary expression".to_owned())),
                }
            }
            ExprKind::Unary { negative, expr } => match self.eval(expr, t_ms)? {
                Val::Scalar(value) => Ok(Val::Scalar(if *negative { -value } else { value })),
                Val::Vector(mut vector) if *negative => {
                    for sample in &mut vector {
                        sample.value = match &sample.value {
                            Value::Float(value) => Value::Float(-value),
                            Value::Histogram(histogram) => {
                                let mut histogram = Histogram::clone(histogram);
                                histogram.scale(-1.0);
                                Value::from(histogram)
                            }
                        };
                        self.drop_name(sample);
                    }
                    Ok(Val::Vector(self.unique_unless_delayed(vector)?))
                }
                other => Ok(other),
            },
            ExprKind::Paren(inner) => self.eval(inner, t_ms),
        }
    }

    fn vector_scalar(
        &self,
        span: Span,
        op: BinaryOp,
        vector: Vec<VectorSample>,
        scalar: f64,
        swapped: bool,
        return_bool: bool,
    ) -> Result<Val, EvalError> {
        let mut out = binary::vector_scalar(op, vector, scalar, swapped, return_bool, |note| note.tell(self, span));
        if !op.is_comparison() || return_bool {
            for sample in &mut out {
                self.drop_name(sample);
            }
        }
        Ok(Val::Vector(self.unique_unless_delayed(out)?))
    }

    /// Drops the metric name now, or marks it to be dropped at the end.
    pub(crate) fn drop_name(&self, sample: &mut VectorSample) {
        if self.options.delayed_name_removal {
            sample.drop_name = true;
        } else {
            sample.labels = sample.labels.without_name();
        }
    }

    pub(crate) fn unique_unless_delayed(&self, vector: Vec<VectorSample>) -> Result<Vec<VectorSample>, EvalError> {
        if self.options.delayed_name_removal { Ok(vector) } else { unique(vector) }
    }

    /// Number by number; histograms are left out.
    pub(crate) fn map_dropping_name(
        &self,
        vector: Vec<VectorSample>,
        f: impl Fn(f64) -> f64,
    ) -> Result<Val, EvalError> {
        let mut out = Vec::with_capacity(vector.len());
        for mut sample in vector {
            let Some(value) = sample.value.as_float() else { continue };
            sample.value = Value::Float(f(value));
            self.drop_name(&mut sample);
            out.push(sample);
        }
        Ok(Val::Vector(self.unique_unless_delayed(out)?))
    }

    pub(crate) fn vector(&self, expr: &Expr, t_ms: i64) -> Result<Vec<VectorSample>, EvalError> {
        match self.eval(expr, t_ms)? {
            Val::Vector(vector) => Ok(vector),
            _ => Err(EvalError("expected an instant vector".to_owned())),
        }
    }

    pub(crate) fn scalar(&self, expr: &Expr, t_ms: i64) -> Result<f64, EvalError> {
        match self.eval(expr, t_ms)? {
            Val::Scalar(value) => Ok(value),
            _ => Err(EvalError("expected a scalar".to_owned())),
        }
    }

    pub(crate) fn string(&self, expr: &Expr, t_ms: i64) -> Result<Vec<u8>, EvalError> {
        match self.eval(expr, t_ms)? {
            Val::Str(bytes) => Ok(bytes),
            _ => Err(EvalError("expected a string".to_owned())),
        }
    }

    /// The time that a selector really asks for.
    pub(super) fn moved(&self, t_ms: i64, at: Option<At>, offset_ms: Option<i64>) -> i64 {
        let base = match at {
            Some(At::Timestamp(ms)) => ms,
            Some(At::Start) => self.start_ms,
            Some(At::End) => self.end_ms,
            None => t_ms,
        };
        base.saturating_sub(offset_ms.unwrap_or(0))
    }

    /// What selectors outside the expression find: the newest samples in the look-back, of series that all matchers accept; none
    /// outside the times that a selector asks for over the whole query.
    pub(crate) fn select_beside(
        &self,
        matchers: &[Matcher],
        t_ms: i64,
        beside: Option<&VectorSelector>,
    ) -> Result<Vec<VectorSample>, EvalError> {
        let (at, offset_ms) = beside.map_or((None, None), |selector| (selector.at, selector.offset_ms));
        let first = self.moved(self.start_ms, at, offset_ms).saturating_sub(self.options.lookback_ms - 1);
        let last = self.moved(self.end_ms, at, offset_ms);
        let mut found = self.newest(&self.store.find(matchers), t_ms.min(last))?;
        let oldest = first.max(t_ms.saturating_sub(self.options.lookback_ms - 1));
        found.retain(|sample| sample.t_ms >= oldest);
        Ok(found)
    }

    pub(super) fn selected(&self, selector: &VectorSelector) -> Rc<Vec<&'a StoredSeries>> {
        let key = std::ptr::from_ref(selector) as usize;
        self.selected.borrow_mut().entry(key).or_insert_with(|| Rc::new(self.store.find(&selector.matchers))).clone()
    }

    /// The newest sample of each series in the look-back, with its own time.
    pub(crate) fn select_instant(&self, selector: &VectorSelector, t_ms: i64) -> Result<Vec<VectorSample>, EvalError> {
        let until = self.moved(t_ms, selector.at, selector.offset_ms);
        self.newest(&self.selected(selector), until)
    }

    fn newest(&self, series: &[&'a StoredSeries], until: i64) -> Result<Vec<VectorSample>, EvalError> {
        self.touch(series.len())?;
        let newest = |series: &&StoredSeries| {
            let point = series.newest(until.saturating_sub(self.options.lookback_ms), until)?;
            let live = !point.is_stale();
            let Point { t_ms, value } = point;
            live.then(|| VectorSample { labels: series.labels.clone(), t_ms, value, drop_name: false })
        };
        Ok(series.iter().filter_map(newest).collect())
    }

    /// The series of a range selector or a subquery, with the window they were asked for.
    pub(crate) fn matrix(&self, expr: &Expr, t_ms: i64) -> Result<(Window, Vec<Series>), EvalError> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.matrix(inner, t_ms),
            ExprKind::Matrix { selector, range_ms } => {
                let end_ms = self.moved(t_ms, selector.at, selector.offset_ms);
                let window = Window { start_ms: end_ms.saturating_sub(*range_ms), end_ms, range_ms: *range_ms };
                let mut out = Vec::new();
                for series in self.selected(selector).iter() {
                    let mut points = series.between(window.start_ms, end_ms);
                    points.retain(|point| !point.is_stale());
                    self.touch(points.len())?;
                    if !points.is_empty() {
                        out.push(Series { labels: series.labels.clone(), points, drop_name: false });
                    }
                }
                Ok((window, out))
            }
            ExprKind::Subquery { expr, range_ms, step_ms, offset_ms, at } => {
                let end_ms = self.moved(t_ms, *at, *offset_ms);
                let window = Window { start_ms: end_ms.saturating_sub(*range_ms), end_ms, range_ms: *range_ms };
                Ok((window, self.subquery(expr, window, step_ms.unwrap_or(self.options.default_step_ms))?))
            }
            _ => Err(EvalError("expected a range vector".to_owned())),
        }
    }

    fn subquery(&self, expr: &Expr, window: Window, step_ms: i64) -> Result<Vec<Series>, EvalError> {
        // Over a range, a subquery is evaluated from its first window to its last. What lies between two windows counts for nothing
        // but its remarks and its errors.
        let until = self.evaluated.borrow_mut().insert(std::ptr::from_ref(expr) as usize, window.end_ms);
        if let Some(until) = until.filter(|until| *until < window.start_ms) {
            let mut t_ms = first_step(until, step_ms);
            while t_ms <= window.start_ms {
                self.touch(1)?;
                self.vector_or_scalar(expr, t_ms)?;
                t_ms += step_ms;
            }
        }
        let mut t_ms = first_step(window.start_ms, step_ms);
        // In the order in which they first appear; the map is looked up, never walked.
        let mut series: Vec<Series> = Vec::new();
        let mut places: HashMap<(Labels, bool), usize> = HashMap::new();
        while t_ms <= window.end_ms {
            self.touch(1)?;
            for mut sample in self.vector_or_scalar(expr, t_ms)? {
                sample.t_ms = t_ms;
                if let Value::Histogram(histogram) = &mut sample.value
                    && matches!(histogram.reset, CounterReset::Reset | CounterReset::NotReset)
                {
                    // What the store knows is of the sample before it, which may be no neighbour here.
                    Arc::make_mut(histogram).reset = CounterReset::Unknown;
                }
                let place =
                    *places.entry((sample.labels, sample.drop_name)).or_insert_with_key(|(labels, drop_name)| {
                        series.push(Series { labels: labels.clone(), points: Vec::new(), drop_name: *drop_name });
                        series.len() - 1
                    });
                series[place].points.push(Point { t_ms, value: sample.value });
            }
            t_ms += step_ms;
        }
        Ok(series)
    }

    fn vector_or_scalar(&self, expr: &Expr, t_ms: i64) -> Result<Vec<VectorSample>, EvalError> {
        match self.eval(expr, t_ms)? {
            Val::Vector(vector) => Ok(vector),
            Val::Scalar(value) => Ok(vec![VectorSample::float(Labels::empty(), t_ms, value)]),
            Val::Str(_) | Val::Matrix(_) => Err(EvalError("expected an instant vector".to_owned())),
        }
    }

    fn call(&self, function: &'static functions::Function, args: &[Expr], t_ms: i64) -> Result<Val, EvalError> {
        let call = Call { evaluator: self, function, args, t_ms };
        match function.body {
            Body::Math(f) => self.map_dropping_name(self.vector(&args[0], t_ms)?, f),
            Body::Special(f) => f(&call),
            Body::Range { f, keep_name } => {
                let index = args.iter().position(|arg| arg.value_type() == ValueType::Matrix).unwrap_or(0);
                let scalars =
                    args.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, arg)| self.scalar(arg, t_ms));
                let scalars = scalars.collect::<Result<Vec<f64>, _>>()?;
                let (window, series) = self.matrix(&args[index], t_ms)?;
                let mut out = Vec::new();
                for series in series {
                    let input = RangeInput {
                        call: &call,
                        labels: &series.labels,
                        points: &series.points,
                        window,
                        scalars: &scalars,
                    };
                    let value = f(&input);
                    if let Some(error) = self.failure.take() {
                        return Err(error);
                    }
                    if let Some(value) = value {
                        let drop_name = series.drop_name;
                        let mut sample = VectorSample { labels: series.labels, t_ms, value, drop_name };
                        if !keep_name {
                            self.drop_name(&mut sample);
                        }
                        out.push(sample);
                    }
                }
                Ok(Val::Vector(self.unique_unless_delayed(out)?))
            }
        }
    }
}
