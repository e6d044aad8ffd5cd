//! Time and calendar functions, and those between scalars and vectors.

use super::Call;
use crate::promql::ast::ExprKind;
use crate::promql::eval::{EvalError, Val, VectorSample};
use crate::store::Value;
use sim_wire::Labels;

pub(super) fn time(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    Ok(Val::Scalar(call.t_ms as f64 / 1000.0))
}

pub(super) fn pi(_: &Call<'_, '_>) -> Result<Val, EvalError> {
    Ok(Val::Scalar(std::f64::consts::PI))
}

pub(super) fn vector(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let value = call.evaluator.scalar(&call.args[0], call.t_ms)?;
    Ok(Val::Vector(vec![VectorSample::float(Labels::empty(), call.t_ms, value)]))
}

pub(super) fn scalar(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let vector = call.evaluator.vector(&call.args[0], call.t_ms)?;
    let mut floats = vector.iter().filter_map(|sample| sample.value.as_float());
    let first = floats.next().unwrap_or(f64::NAN);
    Ok(Val::Scalar(if floats.next().is_none() { first } else { f64::NAN }))
}

/// The time of the sample for a plain selector, the time of evaluation for everything else.
pub(super) fn timestamp(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let arg = call.args[0].unparenthesised();
    let mut vector = match &arg.kind {
        ExprKind::Vector(selector) => call.evaluator.select_instant(selector, call.t_ms)?,
        _ => {
            let mut vector = call.evaluator.vector(arg, call.t_ms)?;
            for sample in &mut vector {
                sample.t_ms = call.t_ms;
            }
            vector
        }
    };
    for sample in &mut vector {
        sample.value = Value::Float(sample.t_ms as f64 / 1000.0);
        call.evaluator.drop_name(sample);
    }
    Ok(Val::Vector(call.evaluator.unique_unless_delayed(vector)?))
}

/// A calendar date in UTC.
struct Date {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    weekday: i64,
    hour: i64,
    minute: i64,
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Seconds from the year -292277022399, from which Go counts without a sign, to 1970.
const GO_EPOCH_SECONDS: i128 = 9_223_372_028_741_760_000;

/// The date in UTC of a Unix time in seconds, as Go computes it: what is no number or does not fit is the smallest integer,
/// and what lies before Go's first year comes round from its last.
fn date(seconds: f64) -> Date {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&seconds);
    let seconds = if fits { seconds as i64 } else { i64::MIN };
    let seconds = (i128::from(seconds) + GO_EPOCH_SECONDS).rem_euclid(1 << 64) - GO_EPOCH_SECONDS;
    let days = seconds.div_euclid(86_400) as i64;
    let of_day = seconds.rem_euclid(86_400) as i64;
    // Days since 0000-03-01, in eras of 400 years; years start in March so that leap days come last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let day_of_year = (1..month).map(|month| days_in(year, month)).sum::<i64>() + day;
    Date {
        year,
        month,
        day,
        day_of_year,
        weekday: (days + 4).rem_euclid(7),
        hour: of_day / 3600,
        minute: of_day / 60 % 60,
    }
}

fn calendar(call: &Call<'_, '_>, part: fn(&Date) -> i64) -> Result<Val, EvalError> {
    let Some(arg) = call.args.first() else {
        let value = part(&date(call.t_ms as f64 / 1000.0)) as f64;
        return Ok(Val::Vector(vec![VectorSample::float(Labels::empty(), call.t_ms, value)]));
    };
    call.evaluator.map_dropping_name(call.evaluator.vector(arg, call.t_ms)?, |seconds| part(&date(seconds)) as f64)
}

pub(super) fn year(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    calendar(call, |date| date.year)
}

pub(super) fn month(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    calendar(call, |date| date.month)
}

pub(super) fn day_of_month(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    calendar(call, |date| date.day)
}

pub(super) fn day_of_week(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    calendar(call, |date| date.weekday)
}

pub(super) fn day_of_year(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    calendar(call, |date| date.day_of_year)
}

pub(super) fn days_in_month(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    calendar(call, |date| days_in(date.year, date.month))
}

pub(super) fn hour(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    calendar(call, |date| date.hour)
}

pub(super) fn minute(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    calendar(call, |date| date.minute)
}

pub(super) fn clamp(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let least = call.evaluator.scalar(&call.args[1], call.t_ms)?;
    let most = call.evaluator.scalar(&call.args[2], call.t_ms)?;
    let vector = call.evaluator.vector(&call.args[0], call.t_ms)?;
    if most < least {
        return Ok(Val::Vector(Vec::new()));
    }
    call.evaluator.map_dropping_name(vector, |value| go_max(least, go_min(most, value)))
}

pub(super) fn clamp_max(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let most = call.evaluator.scalar(&call.args[1], call.t_ms)?;
    call.evaluator.map_dropping_name(call.evaluator.vector(&call.args[0], call.t_ms)?, |value| go_min(most, value))
}

pub(super) fn clamp_min(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let least = call.evaluator.scalar(&call.args[1], call.t_ms)?;
    call.evaluator.map_dropping_name(call.evaluator.vector(&call.args[0], call.t_ms)?, |value| go_max(least, value))
}

/// Go's minimum: an infinity wins, then what is no number, unlike Rust's.
fn go_min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}

/// Go's maximum: an infinity wins, then what is no number, unlike Rust's.
fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

pub(super) fn round(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let nearest = match call.args.get(1) {
        Some(arg) => call.evaluator.scalar(arg, call.t_ms)?,
        None => 1.0,
    };
    // Dividing by the inverse keeps `round(x, 0.1)` exact.
    let inverse = 1.0 / nearest;
    call.evaluator.map_dropping_name(call.evaluator.vector(&call.args[0], call.t_ms)?, |value| {
        (value * inverse + 0.5).floor() / inverse
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_gregorian() {
        let leap = date(1_709_164_800.0);
        assert_eq!((leap.year, leap.month, leap.day, leap.day_of_year, leap.weekday), (2024, 2, 29, 60, 4));
        let before = date(-1.0);
        assert_eq!((before.year, before.month, before.day, before.hour, before.minute), (1969, 12, 31, 23, 59));
        // Measured: Prometheus 3.5.3 on x86-64.
        assert_eq!(date(f64::NAN).day_of_year, 339);
        assert_eq!(days_in(1900, 2), 28);
        assert_eq!(days_in(2000, 2), 29);
    }
}
