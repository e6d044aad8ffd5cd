//! Kubernetes' quantities (`100m`, `1.5Gi`, `1e3`).

use std::{cmp::Ordering, fmt};

use super::Result;
use crate::value::{Value, error};

/// A quantity, exactly: `value × 10^-9`; finer parts are rounded up, as the API does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity(i128);

const NANO: i128 = 1_000_000_000;
/// Most digits of a number that is read.
const DIGITS_MAX: usize = 28;

impl Quantity {
    /// Reads a quantity.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (base, power): (i128, i32) = match suffix {
            "" => (1, 0),
            "n" => (1, -9),
            "u" => (1, -6),
            "m" => (1, -3),
            "k" => (1, 3),
            "M" => (1, 6),
            "G" => (1, 9),
            "T" => (1, 12),
            "P" => (1, 15),
            "E" => (1, 18),
            "Ki" => (1 << 10, 0),
            "Mi" => (1 << 20, 0),
            "Gi" => (1 << 30, 0),
            "Ti" => (1 << 40, 0),
            "Pi" => (1 << 50, 0),
            "Ei" => (1 << 60, 0),
            other => {
                let exponent = other.strip_prefix(['e', 'E'])?;
                (1, exponent.parse().ok().filter(|e| (-30..=30).contains(e))?)
            }
        };
        let digits: String = format!("{whole}{fraction}").trim_start_matches('0').to_owned();
        if digits.len() > DIGITS_MAX {
            return None;
        }
        let mantissa: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let shift = power + 9 - i32::try_from(fraction.len()).ok()?;
        let scaled = mantissa.checked_mul(base)?;
        let value = if shift >= 0 {
            scaled.checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?
        } else {
            let divisor = 10_i128.checked_pow(shift.unsigned_abs())?;
            scaled / divisor + i128::from(scaled % divisor != 0)
        };
        Some(Self(if negative { -value } else { value }))
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }

    fn integer(self) -> Option<i64> {
        if self.0 % NANO == 0 { i64::try_from(self.0 / NANO).ok() } else { None }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1, "n"), (1_000, "u"), (1_000_000, "m"), (NANO, "")];
        let (unit, suffix) = units.iter().rev().find(|(u, _)| self.0 % u == 0).unwrap_or(&(1, "n"));
        write!(f, "{}{suffix}", self.0 / unit)
    }
}

pub(super) fn call<'a>(name: &str, member: bool, args: &[Value<'a>]) -> Option<Result<'a>> {
    Some(match (name, member, args) {
        ("quantity", false, [Value::String(s)]) => Quantity::parse(s).map(Value::Quantity).ok_or_else(|| {
            error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
        }),
        ("isQuantity", false, [Value::String(s)]) => Ok(Value::Bool(Quantity::parse(s).is_some())),
        ("sign", true, [Value::Quantity(q)]) => Ok(Value::Int(q.0.signum() as i64)),
        ("isInteger", true, [Value::Quantity(q)]) => Ok(Value::Bool(q.integer().is_some())),
        ("asInteger", true, [Value::Quantity(q)]) => {
            q.integer().map(Value::Int).ok_or_else(|| error("cannot convert value to integer"))
        }
        ("asApproximateFloat", true, [Value::Quantity(q)]) => Ok(Value::Double(q.0 as f64 / NANO as f64)),
        ("isGreaterThan", true, [Value::Quantity(a), Value::Quantity(b)]) => Ok(Value::Bool(a.0 > b.0)),
        ("isLessThan", true, [Value::Quantity(a), Value::Quantity(b)]) => Ok(Value::Bool(a.0 < b.0)),
        ("compareTo", true, [Value::Quantity(a), Value::Quantity(b)]) => Ok(Value::Int(a.0.cmp(&b.0) as i64)),
        ("add" | "sub", true, [Value::Quantity(a), other]) => {
            let other = match other {
                Value::Quantity(b) => b.0,
                Value::Int(i) => i128::from(*i) * NANO,
                _ => return None,
            };
            let sum = if name == "add" { a.0.checked_add(other) } else { a.0.checked_sub(other) };
            sum.map(|s| Value::Quantity(Quantity(s))).ok_or_else(|| error("quantity overflow"))
        }
        _ => return None,
    })
}
