//! How a histogram is printed, and the notation of test files.

use super::{Bucket, Buckets, CUSTOM_SCHEMA, CounterReset, EXPONENTIAL_SCHEMAS, Histogram, Incompatible};
use std::collections::BTreeSet;
use std::fmt;

/// Most buckets that one side of a notation may list.
const BUCKETS_MAX: usize = 100_000;

/// A float as Go's `%g` prints it: with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn go_g(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return sim_wire::format_float(value);
    }
    let text = format!("{value:e}");
    let exponent: i32 = text.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    if (-4..6).contains(&exponent) { format!("{value}") } else { sim_wire::sample::exponent_form(value) }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) =
            (if self.lower_inclusive { '[' } else { '(' }, if self.upper_inclusive { ']' } else { ')' });
        write!(f, "{open}{},{}{close}:{}", go_g(self.lower), go_g(self.upper), go_g(self.count))
    }
}

/// As Prometheus prints it: count, sum, and the buckets that count anything.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", go_g(self.count), go_g(self.sum))?;
        let counting =
            |buckets: &Buckets| buckets.iter().copied().filter(|(_, count)| *count != 0.0).collect::<Vec<_>>();
        for (index, count) in counting(&self.negative).into_iter().rev() {
            write!(f, ", {}", self.negative_bucket(index, count))?;
        }
        if self.zero_count != 0.0 {
            write!(f, ", {}", self.zero_bucket())?;
        }
        for (index, count) in counting(&self.positive) {
            write!(f, ", {}", self.positive_bucket(index, count))?;
        }
        f.write_str("}")
    }
}

/// Reads what stands between `{{` and `}}`: `schema:1 sum:3 count:6 buckets:[1 2 3] offset:-1`.
///
/// # Errors
/// One sentence that names the key.
///
/// ```
/// let h = sim_prometheus::histogram::parse_notation("schema:0 sum:3 count:3 buckets:[1 2] offset:1").unwrap();
/// assert_eq!(h.positive, [(1, 1.0), (2, 2.0)]);
/// ```
pub fn parse_notation(text: &str) -> Result<Histogram, String> {
    let mut h = Histogram::default();
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    let (mut offset, mut negative_offset) = (0, 0);
    let mut seen = BTreeSet::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, tail) =
            rest.split_once(':').ok_or_else(|| format!("expected key:value in a histogram, got {rest:?}"))?;
        if !seen.insert(key) {
            return Err(format!("histogram descriptor has {key:?} twice"));
        }
        let (value, tail) = if let Some(list) = tail.strip_prefix('[') {
            list.split_once(']').ok_or_else(|| format!("unclosed list of {key:?} in a histogram"))?
        } else {
            tail.split_once([' ', '\t']).unwrap_or((tail, ""))
        };
        rest = tail.trim_start();
        let wrong = || format!("bad value {value:?} of {key:?} in a histogram");
        let number = || crate::promqltest::number(value).ok_or_else(wrong);
        let integer = || value.parse::<i32>().map_err(|_| wrong());
        let list = || -> Result<Vec<f64>, String> {
            let values: Option<Vec<f64>> = value.split_whitespace().map(crate::promqltest::number).collect();
            values.filter(|values| values.len() <= BUCKETS_MAX).ok_or_else(wrong)
        };
        match key {
            "schema" => h.schema = integer()?,
            "sum" => h.sum = number()?,
            "count" => h.count = number()?,
            "z_bucket" => h.zero_count = number()?,
            "z_bucket_w" => h.zero_threshold = number()?,
            "custom_values" => h.bounds = list()?,
            "buckets" => positive = list()?,
            "offset" => offset = integer()?,
            "n_buckets" => negative = list()?,
            "n_offset" => negative_offset = integer()?,
            "counter_reset_hint" => {
                h.reset = match value {
                    "unknown" => CounterReset::Unknown,
                    "reset" => CounterReset::Reset,
                    "not_reset" => CounterReset::NotReset,
                    "gauge" => CounterReset::Gauge,
                    _ => return Err(wrong()),
                }
            }
            _ => return Err(format!("unknown key {key:?} in a histogram")),
        }
    }
    if h.schema != CUSTOM_SCHEMA && !EXPONENTIAL_SCHEMAS.contains(&h.schema) {
        return Err(format!("histogram schema {} is not between -4 and 8", h.schema));
    }
    let indexed = |from: i32, counts: Vec<f64>| -> Buckets {
        counts.into_iter().enumerate().map(|(i, count)| (from.saturating_add(i as i32), count)).collect()
    };
    h.positive = indexed(offset, positive);
    h.negative = indexed(negative_offset, negative);
    Ok(h)
}

/// `first`, and `count` more, each the one before plus (or minus) `step`.
///
/// # Errors
/// [`Incompatible`] if they cannot be added.
pub fn progression(
    first: &Histogram,
    step: &Histogram,
    negative: bool,
    count: usize,
) -> Result<Vec<Histogram>, Incompatible> {
    let mut all = Vec::with_capacity(count + 1);
    let mut current = first.clone();
    for _ in 0..count {
        all.push(current.clone());
        if negative {
            current.subtract(step)?;
        } else {
            current.add(step)?;
        }
    }
    all.push(current);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_names_every_part() {
        let h = parse_notation("schema:1 count:12 sum:-3.5 z_bucket:2 z_bucket_w:0.01 buckets:[1 0 3] offset:-1 n_buckets:[4 2] counter_reset_hint:gauge").unwrap();
        assert_eq!(h.positive, [(-1, 1.0), (0, 0.0), (1, 3.0)]);
        assert_eq!(h.negative, [(0, 4.0), (1, 2.0)]);
        assert_eq!(
            (h.count, h.sum, h.zero_count, h.zero_threshold, h.reset),
            (12.0, -3.5, 2.0, 0.01, CounterReset::Gauge)
        );
        for wrong in [
            "schema:99",
            "sum:x",
            "sum",
            "buckets:[1 2",
            "buckets:[a]",
            "sum:1 sum:2",
            "colour:1",
            "counter_reset_hint:maybe",
        ] {
            assert!(parse_notation(wrong).is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn buckets_are_printed_from_the_lowest() {
        let h = parse_notation(
            "schema:0 count:7 sum:1e21 z_bucket:1 z_bucket_w:0.5 buckets:[1 0 2] offset:1 n_buckets:[3]",
        )
        .unwrap();
        assert_eq!(h.to_string(), "{count:7, sum:1e+21, [-1,-0.5):3, [-0.5,0.5]:1, (1,2]:1, (4,8]:2}");
    }
}
