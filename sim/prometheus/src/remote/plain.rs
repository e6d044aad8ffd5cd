//! Reads what most requests of version 1 are, series of floats, without a copy of any text. Everything else, malformed requests
//! among it, is left to the whole decoder, which has the words for it.

use sim_wire::METRIC_NAME;

/// A request's series, flat: what belongs to which tells [`Request::series`].
#[derive(Debug, Default)]
pub(super) struct Request<'a> {
    labels: Vec<(&'a str, &'a str)>,
    samples: Vec<(i64, f64)>,
    ends: Vec<(usize, usize)>,
}

/// Labels and samples of a series.
pub(super) type Series<'r, 'a> = (&'r [(&'a str, &'a str)], &'r [(i64, f64)]);

impl<'a> Request<'a> {
    /// `None` where anything is not plain.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut request = Self::default();
        for field in Fields(body) {
            match field? {
                (1, Field::Bytes(series)) => request.read_series(series)?,
                // Metadata of families.
                (3, Field::Bytes(_)) => {}
                _ => return None,
            }
        }
        Some(request)
    }

    fn read_series(&mut self, body: &'a [u8]) -> Option<()> {
        let first = self.labels.len();
        for field in Fields(body) {
            match field? {
                (1, Field::Bytes(label)) => {
                    let (mut name, mut value) = ("", "");
                    for field in Fields(label) {
                        match field? {
                            (1, Field::Bytes(text)) => name = std::str::from_utf8(text).ok()?,
                            (2, Field::Bytes(text)) => value = std::str::from_utf8(text).ok()?,
                            _ => return None,
                        }
                    }
                    self.labels.push((name, value));
                }
                (2, Field::Bytes(sample)) => {
                    let (mut t_ms, mut value) = (0, 0.0);
                    for field in Fields(sample) {
                        match field? {
                            (1, Field::Eight(bits)) => value = f64::from_bits(bits),
                            (2, Field::Number(number)) => t_ms = number as i64,
                            _ => return None,
                        }
                    }
                    self.samples.push((t_ms, value));
                }
                _ => return None,
            }
        }
        let labels = &self.labels[first..];
        let sorted = labels.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let whole = labels.iter().all(|(name, value)| !name.is_empty() && !value.is_empty());
        if !sorted || !whole || !labels.iter().any(|(name, _)| *name == METRIC_NAME) {
            return None;
        }
        self.ends.push((self.labels.len(), self.samples.len()));
        Some(())
    }

    /// Each series with its labels, sorted by name, none of them empty or twice.
    pub fn series(&self) -> impl Iterator<Item = Series<'_, 'a>> {
        let starts = std::iter::once((0, 0)).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| (&self.labels[start.0..end.0], &self.samples[start.1..end.1]))
    }
}

enum Field<'a> {
    Number(u64),
    Eight(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message by their numbers; `None` for one that is malformed or of another kind, and then no more.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            // The tenth byte has one bit left.
            if shift == 63 && *byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => {
                let (eight, rest) = self.0.split_at_checked(8)?;
                self.0 = rest;
                Field::Eight(u64::from_le_bytes(eight.try_into().ok()?))
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::messages::{Exemplar, Label, Sample, TimeSeries, WriteRequest};
    use proptest::prelude::*;
    use prost::Message as _;

    fn series(pairs: &[(String, String)], samples: &[(i64, f64)]) -> TimeSeries {
        TimeSeries {
            labels: pairs.iter().map(|(name, value)| Label { name: name.clone(), value: value.clone() }).collect(),
            samples: samples.iter().map(|(timestamp, value)| Sample { timestamp: *timestamp, value: *value }).collect(),
            ..TimeSeries::default()
        }
    }

    fn named(name: &str) -> Vec<(String, String)> {
        vec![(METRIC_NAME.to_owned(), name.to_owned())]
    }

    #[test]
    fn what_is_not_plain_is_left_alone() {
        let read = |timeseries: TimeSeries| {
            Request::read(&WriteRequest { timeseries: vec![timeseries], metadata: Vec::new() }.encode_to_vec())
                .is_some()
        };
        assert!(read(series(&named("x"), &[(-1, 0.0)])));
        assert!(!read(series(&named(""), &[(1, 1.0)])), "an empty value");
        assert!(!read(series(&[("a".to_owned(), "b".to_owned())], &[])), "no name");
        let twice = [named("x"), named("y")].concat();
        assert!(!read(series(&twice, &[])), "a label twice");
        let with_exemplar = TimeSeries { exemplars: vec![Exemplar::default()], ..series(&named("x"), &[]) };
        assert!(!read(with_exemplar));
        assert!(Request::read(&[0x0a, 0x7f, 1]).is_none(), "cut off");
        assert!(Request::read(&[0xff; 11]).is_none(), "a number without end");
    }

    proptest! {
        #[test]
        // The encoder leaves zeros out, the negative one too: hence no negative zero.
        fn it_reads_what_the_whole_decoder_reads(
            all in proptest::collection::vec((proptest::collection::btree_map("[a-z]{1,3}", "[a-zä]{1,4}", 0..4), proptest::collection::vec((any::<i64>(), any::<f64>().prop_map(|value| value + 0.0)), 0..4)), 0..5),
        ) {
            let timeseries = all.iter().map(|(labels, samples)| {
                let pairs: Vec<_> = named("x").into_iter().chain(labels.clone()).collect();
                series(&pairs, samples)
            });
            let body = WriteRequest { timeseries: timeseries.collect(), metadata: Vec::new() }.encode_to_vec();
            let read = Request::read(&body).unwrap();
            prop_assert_eq!(read.series().count(), all.len());
            for ((labels, samples), (wanted, points)) in read.series().zip(&all) {
                let wanted = std::iter::once((METRIC_NAME, "x")).chain(wanted.iter().map(|(n, v)| (n.as_str(), v.as_str())));
                prop_assert!(labels.iter().copied().eq(wanted));
                let bits = |points: &[(i64, f64)]| points.iter().map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>();
                prop_assert_eq!(bits(samples), bits(points));
            }
        }

        #[test]
        fn any_bytes_are_read_or_left(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(read) = Request::read(&body) {
                let whole = WriteRequest::decode(body.as_slice()).unwrap();
                prop_assert_eq!(read.series().count(), whole.timeseries.len());
            }
        }
    }
}
