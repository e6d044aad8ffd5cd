//! Native histograms between the store and the wire.

use super::messages::{self, BucketSpan, Count, ResetHint, ZeroCount};
use crate::histogram::{Buckets, CUSTOM_SCHEMA, CounterReset, EXPONENTIAL_SCHEMAS, Histogram};

/// Most buckets of one side; far above what schema 8 needs for any real distribution.
const BUCKETS_MAX: usize = 65_536;

/// From the wire.
///
/// # Errors
/// What is wrong, in a sentence: buckets and spans that do not fit, an unknown schema, bounds that do not rise.
pub fn decode(wire: &messages::Histogram) -> Result<Histogram, String> {
    let custom = wire.schema == CUSTOM_SCHEMA;
    if !custom && !EXPONENTIAL_SCHEMAS.contains(&wire.schema) {
        return Err(format!("invalid histogram schema {}", wire.schema));
    }
    if custom && wire.custom_values.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err("histogram custom bounds must be in strictly increasing order".to_owned());
    }
    let float = matches!(wire.count, Some(Count::Float(_)));
    let positive = side(&wire.positive_spans, &wire.positive_deltas, &wire.positive_counts, float)
        .map_err(|why| format!("positive side: {why}"))?;
    let negative = side(&wire.negative_spans, &wire.negative_deltas, &wire.negative_counts, float)
        .map_err(|why| format!("negative side: {why}"))?;
    let count = match wire.count {
        Some(Count::Int(count)) => count as f64,
        Some(Count::Float(count)) => count,
        None => 0.0,
    };
    let zero_count = match wire.zero_count {
        Some(ZeroCount::Int(count)) => count as f64,
        Some(ZeroCount::Float(count)) => count,
        None => 0.0,
    };
    let in_buckets: f64 = positive.iter().chain(&negative).map(|(_, count)| *count).sum::<f64>() + zero_count;
    if !float && in_buckets > count {
        return Err(format!(
            "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)"
        ));
    }
    Ok(Histogram {
        reset: match ResetHint::try_from(wire.reset_hint) {
            Ok(ResetHint::Yes) => CounterReset::Reset,
            Ok(ResetHint::No) => CounterReset::NotReset,
            Ok(ResetHint::Gauge) => CounterReset::Gauge,
            Ok(ResetHint::Unknown) | Err(_) => CounterReset::Unknown,
        },
        schema: wire.schema,
        zero_threshold: wire.zero_threshold,
        zero_count,
        count,
        sum: wire.sum,
        positive,
        negative,
        bounds: wire.custom_values.clone(),
    })
}

fn side(spans: &[BucketSpan], deltas: &[i64], counts: &[f64], float: bool) -> Result<Buckets, String> {
    let given = if float { counts.len() } else { deltas.len() };
    let wanted: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if given > BUCKETS_MAX {
        return Err(format!("more than {BUCKETS_MAX} buckets"));
    }
    if wanted != given as u64 {
        return Err(format!(
            "spans need {wanted} buckets, have {given} buckets: histogram spans specify different number of buckets than provided"
        ));
    }
    let (mut buckets, mut index, mut running, mut at) = (Buckets::with_capacity(given), 0_i64, 0_i64, 0);
    for (number, span) in spans.iter().enumerate() {
        if number > 0 && span.offset < 0 {
            return Err(format!(
                "span number {} with offset {}: histogram has a span whose offset is negative",
                number + 1,
                span.offset
            ));
        }
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let count = if float {
                counts.get(at).copied().unwrap_or_default()
            } else {
                running = running.saturating_add(deltas.get(at).copied().unwrap_or_default());
                running as f64
            };
            if count < 0.0 {
                return Err(format!(
                    "bucket number {} has observation count of {count}: histogram has a bucket whose observation count is negative",
                    at + 1
                ));
            }
            buckets.push((i32::try_from(index).map_err(|_| "bucket index out of range".to_owned())?, count));
            index += 1;
            at += 1;
        }
    }
    Ok(buckets)
}

/// To the wire, with float counts: what the store holds are floats.
pub fn encode(histogram: &Histogram, timestamp: i64) -> messages::Histogram {
    let (positive_spans, positive_counts) = spans(&histogram.positive);
    let (negative_spans, negative_counts) = spans(&histogram.negative);
    let reset = match histogram.reset {
        CounterReset::Unknown => ResetHint::Unknown,
        CounterReset::Reset => ResetHint::Yes,
        CounterReset::NotReset => ResetHint::No,
        CounterReset::Gauge => ResetHint::Gauge,
    };
    messages::Histogram {
        count: Some(Count::Float(histogram.count)),
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: Some(ZeroCount::Float(histogram.zero_count)),
        negative_spans,
        negative_deltas: Vec::new(),
        negative_counts,
        positive_spans,
        positive_deltas: Vec::new(),
        positive_counts,
        reset_hint: reset.into(),
        timestamp,
        custom_values: histogram.bounds.clone(),
    }
}

fn spans(buckets: &Buckets) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut next = 0;
    for (index, _) in buckets {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(BucketSpan { offset: index - next, length: 1 }),
        }
        next = index + 1;
    }
    (spans, buckets.iter().map(|(_, count)| *count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::parse_notation;

    #[test]
    fn a_histogram_survives_the_wire() {
        for notation in [
            "schema:3 sum:1.5 count:9 z_bucket:1 z_bucket_w:0.25 buckets:[2 0 1] offset:-3 n_buckets:[1 4] n_offset:7",
            "schema:-53 sum:5 count:4 custom_values:[5 10] buckets:[1 0 3]",
            "sum:0 count:0 counter_reset_hint:gauge",
        ] {
            let histogram = parse_notation(notation).unwrap();
            let back = decode(&encode(&histogram, 1)).unwrap();
            assert!(back.same(&histogram) && back.reset == histogram.reset, "{notation}: {back}");
        }
    }

    #[test]
    fn integer_buckets_are_differences_of_differences() {
        let wire = messages::Histogram {
            count: Some(Count::Int(9)),
            positive_spans: vec![BucketSpan { offset: 1, length: 2 }, BucketSpan { offset: 1, length: 1 }],
            positive_deltas: vec![2, 1, 1],
            ..Default::default()
        };
        assert_eq!(decode(&wire).unwrap().positive, [(1, 2.0), (2, 3.0), (4, 4.0)]);
        let short = messages::Histogram { positive_deltas: vec![2], ..wire.clone() };
        assert!(decode(&short).unwrap_err().contains("spans need 3 buckets, have 1 buckets"));
        let few = messages::Histogram { count: Some(Count::Int(8)), ..wire };
        assert!(decode(&few).unwrap_err().starts_with("9 observations found in buckets, but the Count field is 8"));
    }
}
