//! Series descriptions: labels and values in the expanding notation.

use crate::histogram::{Histogram, parse_notation, progression};
use crate::promql::parse_metric;
use crate::store::Value;
use sim_wire::{Labels, STALE_NAN};

/// Most values that one notation expands to.
const VALUES_MAX: usize = 1_000_000;

/// A series as described by a line.
pub(crate) struct Described {
    pub labels: Labels,
    /// `None` where the series has no sample.
    pub values: Vec<Option<Value>>,
}

/// A number of a series: never hexadecimal, since `0x5` is a zero and five more.
fn plain(text: &str) -> Option<f64> {
    if text.contains(['x', 'X']) { None } else { number(text) }
}

/// A number as test files write it.
pub(crate) fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['-', '+']) || digits.is_empty() {
        return None;
    }
    if let Some(hex) = digits.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(|value| sign * value as f64);
    }
    if digits.eq_ignore_ascii_case("inf")
        || digits.eq_ignore_ascii_case("nan")
        || digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return digits.parse::<f64>().ok().map(|value| sign * value);
    }
    None
}

pub(crate) fn describe(line: &str) -> Result<Described, String> {
    let end = metric_end(line)?;
    let (metric, values) = line.split_at(end);
    let labels = parse_metric(metric.trim()).map_err(|error| error.to_string())?;
    let mut out = Described { labels, values: Vec::new() };
    let mut rest = values.trim_start();
    while !rest.is_empty() {
        if rest.starts_with("{{") {
            rest = histograms(rest, &mut out.values)?;
            continue;
        }
        let end = rest.find([' ', '\t']).unwrap_or(rest.len());
        expand(&rest[..end], &mut out.values)?;
        rest = rest[end..].trim_start();
    }
    Ok(out)
}

/// Where the metric ends: at the closing brace, or at the first blank that no brace follows.
fn metric_end(line: &str) -> Result<usize, String> {
    let blank = line.find([' ', '\t']).unwrap_or(line.len());
    let after_blank = line[blank..].trim_start();
    let brace = match line.find('{') {
        Some(brace) if brace < blank || (after_blank.starts_with('{') && !after_blank.starts_with("{{")) => brace,
        _ => return Ok(blank),
    };
    let mut quote = None;
    let mut escaped = false;
    for (index, c) in line.char_indices().skip_while(|(index, _)| *index < brace) {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '}') => return Ok(index + 1),
            (None, _) => {}
        }
    }
    Err("unclosed braces in a series description".to_owned())
}

/// One of `{{…}}`, `{{…}}xn`, `{{…}}+{{…}}xn`, `{{…}}-{{…}}xn` from the start of the text; gives what follows.
fn histograms<'t>(text: &'t str, values: &mut Vec<Option<Value>>) -> Result<&'t str, String> {
    fn one(text: &str) -> Result<(Histogram, &str), String> {
        let inner = text.strip_prefix("{{").ok_or_else(|| format!("expected a histogram, got {text:?}"))?;
        let (notation, rest) = inner.split_once("}}").ok_or("unclosed histogram")?;
        Ok((parse_notation(notation)?, rest))
    }
    let (first, mut rest) = one(text)?;
    let mut step = None;
    if let Some(sign) = rest.chars().next().filter(|c| matches!(c, '+' | '-')) {
        let (by, after) = one(&rest[1..])?;
        step = Some((by, sign == '-'));
        rest = after;
    }
    let end = rest.find([' ', '\t']).unwrap_or(rest.len());
    let (times, after) = rest.split_at(end);
    let count = match times.strip_prefix('x') {
        Some(count) => {
            count.parse().ok().filter(|n| *n <= VALUES_MAX).ok_or_else(|| format!("invalid repetition {times:?}"))?
        }
        None if times.is_empty() && step.is_none() => 0,
        None => return Err(format!("expected xN after a histogram, got {times:?}")),
    };
    match step {
        Some((step, negative)) => {
            let all = progression(&first, &step, negative, count).map_err(|_| "histograms that cannot be added")?;
            values.extend(all.into_iter().map(|histogram| Some(Value::from(histogram))));
        }
        None => values.extend(std::iter::repeat_n(Some(Value::from(first)), count + 1)),
    }
    Ok(after.trim_start())
}

fn expand(word: &str, values: &mut Vec<Option<Value>>) -> Result<(), String> {
    let malformed = || format!("invalid value {word:?}");
    let times = |text: &str| text.parse::<usize>().ok().filter(|n| *n <= VALUES_MAX).ok_or_else(malformed);
    if word == "stale" {
        values.push(Some(Value::Float(STALE_NAN)));
        return Ok(());
    }
    if let Some(rest) = word.strip_prefix('_') {
        let count = if rest.is_empty() { 1 } else { times(rest.strip_prefix('x').ok_or_else(malformed)?)? };
        values.extend(std::iter::repeat_n(None, count));
        return Ok(());
    }
    if let Some(value) = plain(word) {
        values.push(Some(Value::Float(value)));
        return Ok(());
    }
    let (base, count) = word.rsplit_once('x').ok_or_else(malformed)?;
    let count = times(count)?;
    if let Some(value) = plain(base) {
        values.extend(std::iter::repeat_n(Some(Value::Float(value)), count + 1));
        return Ok(());
    }
    // The sign between start and step is the last one that does not belong to an exponent.
    let split = base
        .char_indices()
        .skip(1)
        .find(|(index, c)| matches!(c, '+' | '-') && !matches!(base.as_bytes()[index - 1], b'e' | b'E'));
    let (at, _) = split.ok_or_else(malformed)?;
    let start = plain(&base[..at]).ok_or_else(malformed)?;
    let step = plain(&base[at..]).ok_or_else(malformed)?;
    let mut value = start;
    for _ in 0..=count {
        values.push(Some(Value::Float(value)));
        value += step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<Option<f64>> {
        let values = describe(&format!("x{{a=\"}} b\"}} {text}")).unwrap().values;
        values.into_iter().map(|value| value.map(|value| value.float())).collect()
    }

    #[test]
    fn the_notation_expands() {
        assert_eq!(values("1 2.5 -3"), [Some(1.0), Some(2.5), Some(-3.0)]);
        assert_eq!(values("1+2x2"), [Some(1.0), Some(3.0), Some(5.0)]);
        assert_eq!(values("-1-2x1"), [Some(-1.0), Some(-3.0)]);
        assert_eq!(values("7x1 _ _x2 8"), [Some(7.0), Some(7.0), None, None, None, Some(8.0)]);
        assert_eq!(values("1e+2+1x1"), [Some(100.0), Some(101.0)]);
        assert_eq!(values("0x2 -0x1"), [Some(0.0), Some(0.0), Some(0.0), Some(-0.0), Some(-0.0)]);
        assert!(values("stale")[0].unwrap().is_nan());
    }
}
