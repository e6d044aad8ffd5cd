//! Selectors and functions over ranges.

use super::{ABSENT, Columns, Grid, Stop, one_name};
use crate::promql::ast::*;
use crate::promql::eval::{Evaluator, Window, first_step};
use crate::promql::functions::{Call, Function, RangeInput};
use crate::store::{Point, Value};
use sim_wire::Labels;

type RangeFunction = fn(&RangeInput<'_, '_>) -> Option<Value>;

/// The bits of the stale marker with the other sign, which a change of sign would turn into it.
const MIRRORED: u64 = sim_wire::sample::STALE_NAN_BITS | 1 << 63;

fn float(value: f64) -> f64 {
    if value.to_bits() == MIRRORED { f64::NAN } else { value }
}

impl Evaluator<'_> {
    /// The newest sample in the look-back, at every step.
    pub(super) fn instants(&self, selector: &VectorSelector, grid: Grid) -> Result<Columns, Stop> {
        let lookback = self.options.lookback_ms;
        let moved = |step: usize| self.moved(grid.at(step), selector.at, selector.offset_ms);
        let (first, last) = (moved(0), moved(grid.steps - 1));
        let mut columns = Columns::new(grid);
        let mut column = vec![ABSENT; grid.steps];
        let mut points = Vec::new();
        for series in self.selected(selector).iter() {
            if first == last {
                let newest = series.newest(first.saturating_sub(lookback), first);
                let Some(point) = newest.filter(|point| !point.is_stale()) else { continue };
                let value = float(point.value.as_float().ok_or(Stop::Walk)?);
                column.fill(value);
            } else {
                points.clear();
                series.read(first.saturating_sub(lookback), last, &mut points);
                column.fill(ABSENT);
                let mut behind = 0;
                for (step, cell) in column.iter_mut().enumerate() {
                    let until = moved(step);
                    while points.get(behind).is_some_and(|point| point.t_ms <= until) {
                        behind += 1;
                    }
                    let Some(point) = behind.checked_sub(1).and_then(|newest| points.get(newest)) else { continue };
                    if point.t_ms > until.saturating_sub(lookback) && !point.is_stale() {
                        *cell = float(point.value.as_float().ok_or(Stop::Walk)?);
                    }
                }
            }
            self.add(&mut columns, series.labels.clone(), &column)?;
        }
        Ok(columns)
    }

    /// A function of the samples in a window, at every step.
    pub(super) fn over_ranges(
        &self,
        function: &'static Function,
        f: RangeFunction,
        keep_name: bool,
        args: &[Expr],
        grid: Grid,
    ) -> Result<Columns, Stop> {
        let index = args.iter().position(|arg| arg.value_type() == ValueType::Matrix).unwrap_or(0);
        let others = args.iter().enumerate().filter(|(position, _)| *position != index);
        let scalars: Vec<f64> = others.filter_map(|(_, arg)| super::constant(arg)).collect();
        let range = args[index].unparenthesised();
        let mut over = Over { evaluator: self, function, f, args, grid, scalars, windows: Vec::new() };
        let mut columns = Columns::new(grid);
        let mut column = Vec::with_capacity(grid.steps);
        let mut points: Vec<Point> = Vec::new();
        let unique = match &range.kind {
            ExprKind::Matrix { selector, range_ms } => {
                over.windows = self.windows(grid, *range_ms, selector.at, selector.offset_ms);
                let (start, end) = over.span();
                for series in self.selected(selector).iter() {
                    points.clear();
                    series.read(start, end, &mut points);
                    points.retain(|point| !point.is_stale());
                    // What is in memory at a time: this series' samples, and the results.
                    let held = self.held();
                    self.touch(points.len())?;
                    over.slide(&series.labels, &mut points, &mut column)?;
                    self.hold(held);
                    self.add(&mut columns, series.labels.clone(), &column)?;
                }
                one_name(range)
            }
            ExprKind::Subquery { expr, range_ms, step_ms, offset_ms, at } => {
                over.windows = self.windows(grid, *range_ms, *at, *offset_ms);
                let step_ms = step_ms.unwrap_or(self.options.default_step_ms).max(1);
                let (start, end) = over.span();
                let first = first_step(start, step_ms);
                if first > end {
                    return Ok(columns);
                }
                let inner = self.compute(expr, Grid::new(first, end, step_ms))?.settle();
                for (series, labels) in inner.labels.iter().enumerate() {
                    points.clear();
                    points.extend(inner.present(series).map(|(t_ms, value)| Point::float(t_ms, value)));
                    over.slide(labels, &mut points, &mut column)?;
                    self.add(&mut columns, labels.clone(), &column)?;
                }
                false
            }
            _ => return Err(Stop::Walk),
        };
        if keep_name { Ok(columns) } else { super::nameless(columns, unique) }
    }

    /// The window of every step.
    fn windows(&self, grid: Grid, range_ms: i64, at: Option<At>, offset_ms: Option<i64>) -> Vec<Window> {
        let window = |step| {
            let end_ms = self.moved(grid.at(step), at, offset_ms);
            Window { start_ms: end_ms.saturating_sub(range_ms), end_ms, range_ms }
        };
        (0..grid.steps).map(window).collect()
    }
}

/// A function on its way along a series.
struct Over<'e, 's> {
    evaluator: &'e Evaluator<'s>,
    function: &'static Function,
    f: RangeFunction,
    args: &'e [Expr],
    grid: Grid,
    scalars: Vec<f64>,
    windows: Vec<Window>,
}

impl Over<'_, '_> {
    /// What all windows cover.
    fn span(&self) -> (i64, i64) {
        let first = self.windows.first().map_or(0, |window| window.start_ms);
        (first, self.windows.last().map_or(0, |window| window.end_ms))
    }

    fn slide(&self, labels: &Labels, points: &mut [Point], column: &mut Vec<f64>) -> Result<(), Stop> {
        column.clear();
        for point in points.iter_mut() {
            match &mut point.value {
                Value::Float(value) => *value = float(*value),
                Value::Histogram(_) => return Err(Stop::Walk),
            }
        }
        let (mut from, mut to) = (0, 0);
        for (step, window) in self.windows.iter().enumerate() {
            while points.get(to).is_some_and(|point| point.t_ms <= window.end_ms) {
                to += 1;
            }
            while from < to && points[from].t_ms <= window.start_ms {
                from += 1;
            }
            if from == to {
                column.push(ABSENT);
                continue;
            }
            let call =
                Call { evaluator: self.evaluator, function: self.function, args: self.args, t_ms: self.grid.at(step) };
            let input =
                RangeInput { call: &call, labels, points: &points[from..to], window: *window, scalars: &self.scalars };
            let value = (self.f)(&input);
            if let Some(error) = self.evaluator.failed() {
                return Err(Stop::Failed(error));
            }
            column.push(match value {
                None => ABSENT,
                Some(Value::Float(value)) => value,
                Some(Value::Histogram(_)) => return Err(Stop::Walk),
            });
        }
        Ok(())
    }
}
