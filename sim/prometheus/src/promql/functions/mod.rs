//! The functions of PromQL: one table, one file a family.

mod histogram;
mod info;
mod labels;
pub(crate) mod math;
mod range;
mod time;

use super::ast::{Expr, ExprKind, Span, ValueType};
use super::eval::{EvalError, Evaluator, Val, Window};
use crate::store::Value;
use sim_wire::Labels;

/// A function of PromQL.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments; the last repeats for variadic functions.
    pub args: &'static [ValueType],
    /// How many arguments at the end may be left out; `-1` says that the last may be absent or repeat.
    pub optional: i8,
    /// The type of its value.
    pub returns: ValueType,
    /// Whether it hides behind a feature flag.
    pub experimental: bool,
    pub(crate) body: Body,
}

impl Function {
    /// Whether the time of the evaluation itself is part of the result.
    pub(crate) fn depends_on_time(&self) -> bool {
        matches!(
            self.name,
            "days_in_month"
                | "day_of_month"
                | "day_of_week"
                | "day_of_year"
                | "hour"
                | "minute"
                | "month"
                | "year"
                | "predict_linear"
                | "time"
                | "timestamp"
        )
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// How a function computes.
pub(crate) enum Body {
    /// Number by number, dropping the metric name.
    Math(fn(f64) -> f64),
    /// Series by series of a range vector.
    Range { f: fn(&RangeInput<'_, '_>) -> Option<Value>, keep_name: bool },
    /// In its own way.
    Special(fn(&Call<'_, '_>) -> Result<Val, EvalError>),
}

/// A call under evaluation.
pub(crate) struct Call<'e, 's> {
    pub evaluator: &'e Evaluator<'s>,
    pub function: &'static Function,
    pub args: &'e [Expr],
    pub t_ms: i64,
}

impl Call<'_, '_> {
    /// Where annotations about an argument point: into its parentheses, unless it is evaluated once for all steps; and nowhere for
    /// a subquery, which Prometheus replaces by the samples it gave.
    pub fn place(&self, index: usize) -> Span {
        let Some(arg) = self.args.get(index) else { return Span::default() };
        let inner = arg.unparenthesised();
        if matches!(inner.kind, ExprKind::Subquery { .. }) {
            return Span::default();
        }
        let whole = !self.function.depends_on_time() && self.args.iter().all(Expr::is_step_invariant);
        if arg.is_step_invariant() && !whole { arg.span } else { inner.span }
    }
}

/// One series of a range vector under evaluation.
pub(crate) struct RangeInput<'e, 's> {
    pub call: &'e Call<'e, 's>,
    pub labels: &'e Labels,
    pub points: &'e [crate::store::Point],
    pub window: Window,
    pub scalars: &'e [f64],
}

/// The function of a name.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

const S: ValueType = ValueType::Scalar;
const T: ValueType = ValueType::String;
const V: ValueType = ValueType::Vector;
const M: ValueType = ValueType::Matrix;

const fn math(name: &'static str, f: fn(f64) -> f64) -> Function {
    Function { name, args: &[V], optional: 0, returns: V, experimental: false, body: Body::Math(f) }
}

const fn over(name: &'static str, args: &'static [ValueType], f: fn(&RangeInput<'_, '_>) -> Option<Value>) -> Function {
    Function { name, args, optional: 0, returns: V, experimental: false, body: Body::Range { f, keep_name: false } }
}

const fn special(
    name: &'static str,
    args: &'static [ValueType],
    optional: i8,
    returns: ValueType,
    f: fn(&Call<'_, '_>) -> Result<Val, EvalError>,
) -> Function {
    Function { name, args, optional, returns, experimental: false, body: Body::Special(f) }
}

const fn experimental(mut function: Function) -> Function {
    function.experimental = true;
    function
}

/// Every function, sorted by name within its family.
pub static FUNCTIONS: &[Function] = &[
    math("abs", f64::abs),
    math("acos", f64::acos),
    math("acosh", math::acosh),
    math("asin", f64::asin),
    math("asinh", math::asinh),
    math("atan", f64::atan),
    math("atanh", math::atanh),
    math("ceil", f64::ceil),
    math("cos", f64::cos),
    math("cosh", f64::cosh),
    math("deg", |value| value * 180.0 / std::f64::consts::PI),
    math("exp", f64::exp),
    math("floor", f64::floor),
    math("ln", f64::ln),
    math("log10", f64::log10),
    math("log2", f64::log2),
    math("rad", |value| value * std::f64::consts::PI / 180.0),
    math("sgn", |value| {
        if value > 0.0 {
            1.0
        } else if value < 0.0 {
            -1.0
        } else {
            value
        }
    }),
    math("sin", f64::sin),
    math("sinh", f64::sinh),
    math("sqrt", f64::sqrt),
    math("tan", f64::tan),
    math("tanh", f64::tanh),
    over("avg_over_time", &[M], range::avg_over_time),
    over("changes", &[M], range::changes),
    over("count_over_time", &[M], range::count_over_time),
    over("delta", &[M], range::delta),
    over("deriv", &[M], range::deriv),
    experimental(over("double_exponential_smoothing", &[M, S, S], range::double_exponential_smoothing)),
    over("idelta", &[M], range::idelta),
    over("increase", &[M], range::increase),
    over("irate", &[M], range::irate),
    Function {
        name: "last_over_time",
        args: &[M],
        optional: 0,
        returns: V,
        experimental: false,
        body: Body::Range { f: range::last_over_time, keep_name: true },
    },
    experimental(over("mad_over_time", &[M], range::mad_over_time)),
    over("max_over_time", &[M], range::max_over_time),
    over("min_over_time", &[M], range::min_over_time),
    over("predict_linear", &[M, S], range::predict_linear),
    over("present_over_time", &[M], range::present_over_time),
    over("quantile_over_time", &[S, M], range::quantile_over_time),
    over("rate", &[M], range::rate),
    over("resets", &[M], range::resets),
    over("stddev_over_time", &[M], range::stddev_over_time),
    over("stdvar_over_time", &[M], range::stdvar_over_time),
    over("sum_over_time", &[M], range::sum_over_time),
    experimental(over("ts_of_last_over_time", &[M], range::ts_of_last_over_time)),
    experimental(over("ts_of_max_over_time", &[M], range::ts_of_max_over_time)),
    experimental(over("ts_of_min_over_time", &[M], range::ts_of_min_over_time)),
    special("absent", &[V], 0, V, labels::absent),
    special("absent_over_time", &[M], 0, V, labels::absent_over_time),
    special("clamp", &[V, S, S], 0, V, time::clamp),
    special("clamp_max", &[V, S], 0, V, time::clamp_max),
    special("clamp_min", &[V, S], 0, V, time::clamp_min),
    special("day_of_month", &[V], 1, V, time::day_of_month),
    special("day_of_week", &[V], 1, V, time::day_of_week),
    special("day_of_year", &[V], 1, V, time::day_of_year),
    special("days_in_month", &[V], 1, V, time::days_in_month),
    special("histogram_avg", &[V], 0, V, histogram::histogram_avg),
    special("histogram_count", &[V], 0, V, histogram::histogram_count),
    special("histogram_fraction", &[S, S, V], 0, V, histogram::histogram_fraction),
    special("histogram_quantile", &[S, V], 0, V, histogram::histogram_quantile),
    special("histogram_stddev", &[V], 0, V, histogram::histogram_stddev),
    special("histogram_stdvar", &[V], 0, V, histogram::histogram_stdvar),
    special("histogram_sum", &[V], 0, V, histogram::histogram_sum),
    experimental(special("info", &[V, V], 1, V, info::info)),
    special("hour", &[V], 1, V, time::hour),
    special("label_join", &[V, T, T, T], -1, V, labels::label_join),
    special("label_replace", &[V, T, T, T, T], 0, V, labels::label_replace),
    special("minute", &[V], 1, V, time::minute),
    special("month", &[V], 1, V, time::month),
    special("pi", &[], 0, S, time::pi),
    special("round", &[V, S], 1, V, time::round),
    special("scalar", &[V], 0, S, time::scalar),
    special("sort", &[V], 0, V, labels::sort),
    experimental(special("sort_by_label", &[V, T], -1, V, labels::sort_by_label)),
    experimental(special("sort_by_label_desc", &[V, T], -1, V, labels::sort_by_label_desc)),
    special("sort_desc", &[V], 0, V, labels::sort_desc),
    special("time", &[], 0, S, time::time),
    special("timestamp", &[V], 0, V, time::timestamp),
    special("vector", &[S], 0, V, time::vector),
    special("year", &[V], 1, V, time::year),
];
