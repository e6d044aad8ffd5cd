//! Which series has which labels.

use super::{SeriesId, StoredSeries};
use sim_wire::{Labels, MatchOp, Matcher};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

fn same<'l>(known: &Labels, labels: impl Iterator<Item = (&'l str, &'l str)>) -> bool {
    let mut known = known.iter();
    let mut labels = labels;
    labels.all(|(name, value)| known.next().is_some_and(|known| known.0 == name && known.1 == value))
        && known.next().is_none()
}

/// From label sets to series, and from each label to the series that have it. Texts are held once.
#[derive(Debug, Default)]
pub(super) struct Index {
    state: RandomState,
    // By the hash of the labels, or the next free number after it; looked up, never walked.
    by_hash: HashMap<u64, SeriesId>,
    postings: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<SeriesId>>>,
}

impl Index {
    /// The series of a label set that is sorted by name, or the place for it.
    pub fn find<'l>(
        &self,
        series: &[StoredSeries],
        labels: impl Iterator<Item = (&'l str, &'l str)> + Clone,
    ) -> Result<SeriesId, u64> {
        let mut hasher = self.state.build_hasher();
        for (name, value) in labels.clone() {
            // 0xff is no byte of any text.
            hasher.write(name.as_bytes());
            hasher.write_u8(0xff);
            hasher.write(value.as_bytes());
            hasher.write_u8(0xff);
        }
        let mut place = hasher.finish();
        loop {
            match self.by_hash.get(&place) {
                None => return Err(place),
                Some(id) if same(&series[id.0 as usize].labels, labels.clone()) => return Ok(*id),
                Some(_) => place = place.wrapping_add(1),
            }
        }
    }

    /// Takes a new series in, at the place that [`Index::find`] told, and gives its labels.
    pub fn insert<'l>(&mut self, place: u64, id: SeriesId, labels: impl Iterator<Item = (&'l str, &'l str)>) -> Labels {
        self.by_hash.insert(place, id);
        let held = labels.map(|(name, value)| {
            let name = self.postings.get_key_value(name).map_or_else(|| Arc::from(name), |(name, _)| name.clone());
            let values = self.postings.entry(name.clone()).or_default();
            let value = values.get_key_value(value).map_or_else(|| Arc::from(value), |(value, _)| value.clone());
            values.entry(value.clone()).or_default().push(id);
            (name, value)
        });
        Labels::from_pairs(held)
    }

    /// The shortest posting list among the matchers that need their label, in order; `None` if no matcher does.
    pub fn candidates(&self, matchers: &[Matcher]) -> Option<Cow<'_, [SeriesId]>> {
        let mut best: Option<Cow<'_, [SeriesId]>> = None;
        for matcher in matchers.iter().filter(|matcher| !matcher.matches("")) {
            let values = self.postings.get(matcher.name.as_str());
            let ids = match (matcher.op, values) {
                (_, None) => Cow::default(),
                (MatchOp::Equal, Some(values)) => {
                    values.get(matcher.value.as_str()).map(|ids| Cow::Borrowed(ids.as_slice())).unwrap_or_default()
                }
                (_, Some(values)) => {
                    let matching = values.iter().filter(|(value, _)| matcher.matches(value));
                    Cow::Owned(matching.flat_map(|(_, ids)| ids.iter().copied()).collect())
                }
            };
            if best.as_ref().is_none_or(|best| ids.len() < best.len()) {
                best = Some(ids);
            }
        }
        // Those of several values come value by value.
        if let Some(Cow::Owned(ids)) = &mut best
            && !ids.is_sorted()
        {
            ids.sort_unstable();
        }
        best
    }
}
