//! Rules evaluated ahead: each over all its evaluations at once, one rule after the other.
//!
//! Where the whole past is known, as in a unit test, a rule's expression is a range query, and what it records a column for each
//! series: many times faster than every rule at every instant. It gives the same samples and the same alerts as long as no
//! rule reads what it, or one after it, writes; where that (or anything like it) is not so, [`evaluate_ahead`] says so, and the
//! evaluations have to be walked. A property test holds both ways to the same results.

use super::{Group, Rule, RuleGroup, history::History};
use crate::promql::{self, EvalOptions, Expr, ExprKind, QueryValue, Series, ast::VectorSelector};
use crate::store::{Point, Store, Value};
use crate::template::External;
use sim_wire::{Labels, METRIC_NAME, STALE_NAN};
use std::collections::{BTreeMap, HashMap};

/// What alerting rules write.
const OF_ALERTS: [&str; 2] = ["ALERTS", "ALERTS_FOR_STATE"];

/// Rules cannot be evaluated ahead; evaluation by evaluation they can.
#[derive(Debug)]
pub(crate) struct NotAhead;

/// Evaluations from the epoch on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evaluations {
    /// The last is not after this instant, in milliseconds.
    pub end_ms: i64,
    /// Milliseconds from one to the next.
    pub interval_ms: i64,
}

impl Evaluations {
    fn times(self) -> impl Iterator<Item = i64> {
        (0..=self.end_ms / self.interval_ms).map(move |step| step * self.interval_ms)
    }
}

/// Which rule wrote a series; what none did was there before.
#[derive(Debug, Default)]
pub(crate) struct Writers(HashMap<Labels, usize>);

impl Writers {
    /// Notes who writes a series.
    fn claim(&mut self, labels: &Labels, rule: usize) -> Result<(), NotAhead> {
        match self.0.insert(labels.clone(), rule) {
            Some(other) if other != rule => Err(NotAhead),
            _ => Ok(()),
        }
    }

    /// Whether what an expression selects is in the order in which it would be, had the evaluations been walked: floats are added
    /// in that order.
    ///
    /// # Errors
    /// [`NotAhead`] where several rules wrote it.
    pub(crate) fn keep_order(&self, store: &Store, expr: &Expr) -> Result<(), NotAhead> {
        if matches!(expr.unparenthesised().kind, ExprKind::Vector(_)) {
            // A vector is sorted in the end.
            return Ok(());
        }
        let mut in_order = true;
        expr.for_each_selector(&mut |selector| {
            let mut writers = store.find(&selector.matchers).into_iter().map(|series| self.0.get(&series.labels));
            let first = writers.next();
            in_order &= writers.all(|writer| Some(writer) == first);
        });
        if in_order { Ok(()) } else { Err(NotAhead) }
    }
}

/// Evaluates every rule of the groups, in order, at each of the evaluations. The store holds all that is not the rules' own.
/// `seen` is shown each alerting rule after each evaluation in which it has alerts.
///
/// # Errors
/// [`NotAhead`]; the groups and the store are useless then.
pub(crate) fn evaluate_ahead(
    groups: &mut [Group],
    store: &mut Store,
    evaluations: Evaluations,
    external: &External,
    options: EvalOptions,
    seen: &mut dyn FnMut(i64, &Rule),
) -> Result<Writers, NotAhead> {
    check(groups, store)?;
    let mut writers = Writers::default();
    let mut number = 0;
    for Group { spec, rules, .. } in groups {
        for rule in rules {
            writers.keep_order(store, &rule.expr)?;
            let range = (0, evaluations.end_ms, evaluations.interval_ms);
            let outcome = promql::eval::range(store, &rule.spec.expr, &rule.expr, range, options);
            let Ok((QueryValue::Matrix(series), _)) = outcome else { return Err(NotAhead) };
            if rule.spec.alert || !rule.record_columns(store, spec, evaluations, &series, (&mut writers, number))? {
                let work = Walk { store, spec, evaluations, external, options };
                work.walk(rule, series, (&mut writers, number), seen)?;
            }
            number += 1;
        }
    }
    Ok(writers)
}

/// Whether the rules can be evaluated ahead, as far as the expressions tell.
fn check(groups: &[Group], store: &Store) -> Result<(), NotAhead> {
    let rules = || groups.iter().flat_map(|group| &group.rules);
    let written = |rule: &Rule| -> Vec<String> {
        if rule.spec.alert { OF_ALERTS.map(str::to_owned).to_vec() } else { vec![rule.spec.name.clone()] }
    };
    // The last rule that writes a metric.
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for (number, rule) in rules().enumerate() {
        last.extend(written(rule).into_iter().map(|name| (name, number)));
    }
    let foreign = store.all().into_iter().any(|series| last.contains_key(series.labels.value(METRIC_NAME)));
    let late = groups.iter().any(|group| !group.query_offset.is_zero() || !group.is_restored());
    if foreign || late {
        return Err(NotAhead);
    }
    for (number, rule) in rules().enumerate() {
        let texts = rule.spec.annotations.values().chain(rule.spec.labels.values());
        // Such a template looks at what others have written by then.
        let asks = rule.spec.alert
            && texts.chain(groups.iter().flat_map(|g| g.spec.labels.values())).any(|t| t.contains("query"));
        if asks || !of_the_past(&rule.expr) {
            return Err(NotAhead);
        }
        let mut behind = true;
        rule.expr.for_each_selector(&mut |selector| {
            behind &= last.iter().all(|(name, writer)| *writer < number || !may_select(selector, name));
        });
        if !behind {
            return Err(NotAhead);
        }
    }
    Ok(())
}

fn may_select(selector: &VectorSelector, name: &str) -> bool {
    selector.matchers.iter().filter(|matcher| matcher.name == METRIC_NAME).all(|matcher| matcher.matches(name))
}

/// Whether an expression looks nowhere but into the past of the evaluation, by what its selectors say.
fn of_the_past(expr: &Expr) -> bool {
    let past = |offset_ms: Option<i64>| offset_ms.unwrap_or(0) >= 0;
    let own = match &expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
            selector.at.is_none() && past(selector.offset_ms)
        }
        ExprKind::Subquery { at, offset_ms, .. } => at.is_none() && past(*offset_ms),
        // It selects what is written nowhere.
        ExprKind::Call { function, .. } => function.name != "info",
        _ => true,
    };
    own && expr.children().all(of_the_past)
}

impl Rule {
    /// Records what a query gave, series by series. False where the results of one evaluation have to be looked at together.
    fn record_columns(
        &mut self,
        store: &mut Store,
        group: &RuleGroup,
        evaluations: Evaluations,
        series: &[Series],
        (writers, number): (&mut Writers, usize),
    ) -> Result<bool, NotAhead> {
        let mut columns: Vec<(i64, Labels, &[Point])> = Vec::with_capacity(series.len());
        for one in series {
            let Some(first) = one.points.first() else { continue };
            columns.push((first.t_ms, self.recorded(group, &one.labels), &one.points));
        }
        // In the order in which the series come to be.
        columns.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut names: Vec<&Labels> = columns.iter().map(|column| &column.1).collect();
        names.sort();
        if group.limit > 0 || names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Ok(false);
        }
        for (_, labels, points) in columns {
            writers.claim(&labels, number)?;
            let Ok(id) = store.series_id(&labels) else { return Err(NotAhead) };
            let last_ms = points.last().map_or(0, |point| point.t_ms);
            let mut missing_ms = None;
            for point in points {
                if let Some(gap_ms) = missing_ms.filter(|gap_ms| *gap_ms < point.t_ms) {
                    store.append_to(id, Point::float(gap_ms, STALE_NAN)).map_err(|_| NotAhead)?;
                }
                store.append_to(id, point.clone()).map_err(|_| NotAhead)?;
                missing_ms = Some(point.t_ms + evaluations.interval_ms);
            }
            let end_ms = last_ms + evaluations.interval_ms;
            if end_ms <= evaluations.end_ms {
                store.append_to(id, Point::float(end_ms, STALE_NAN)).map_err(|_| NotAhead)?;
            }
        }
        Ok(true)
    }
}

/// What the evaluations of a rule need, one after the other.
struct Walk<'a> {
    store: &'a mut Store,
    spec: &'a RuleGroup,
    evaluations: Evaluations,
    external: &'a External,
    options: EvalOptions,
}

impl Walk<'_> {
    /// Takes a rule through its evaluations, whose results are known.
    fn walk(
        self,
        rule: &mut Rule,
        series: Vec<Series>,
        (writers, number): (&mut Writers, usize),
        seen: &mut dyn FnMut(i64, &Rule),
    ) -> Result<(), NotAhead> {
        let mut columns: Vec<_> =
            series.into_iter().map(|one| (one.labels, one.points.into_iter().peekable())).collect();
        let mut history = History::default();
        for now_ms in self.evaluations.times() {
            let row = |(labels, points): &mut (Labels, std::iter::Peekable<std::vec::IntoIter<Point>>)| {
                points.next_if(|point| point.t_ms == now_ms).map(|point| (labels.clone(), point.value))
            };
            let result: Vec<(Labels, Value)> = columns.iter_mut().filter_map(row).collect();
            if result.is_empty() && rule.active.is_empty() && rule.previous.is_empty() {
                continue;
            }
            let times = (now_ms, now_ms);
            let alerts = (true, &mut history);
            let samples = rule.absorb(result, self.store, times, self.external, self.options, self.spec, alerts);
            let samples = samples.map_err(|_| NotAhead)?;
            for (labels, _) in samples.iter().filter(|(labels, _)| !rule.previous.contains(labels)) {
                writers.claim(labels, number)?;
            }
            rule.write(self.store, now_ms, samples);
            seen(now_ms, rule);
        }
        Ok(())
    }
}
