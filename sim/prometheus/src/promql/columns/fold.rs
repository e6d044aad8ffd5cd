//! Aggregations: groups are found once, and every step is folded by itself.

use super::{ABSENT, Columns, Stop};
use crate::promql::aggregate::{fold_floats, group_of};
use crate::promql::ast::{AggregateOp, Span};
use crate::promql::eval::Evaluator;
use sim_wire::{Labels, METRIC_NAME, is_stale};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// Whether an operator makes one float of a group's floats without a parameter.
pub(super) fn is_fold(op: AggregateOp) -> bool {
    use AggregateOp::{Avg, Count, Group, Max, Min, Stddev, Stdvar, Sum};
    matches!(op, Sum | Avg | Count | Min | Max | Group | Stddev | Stdvar)
}

impl Evaluator<'_> {
    pub(super) fn fold(
        &self,
        columns: Columns,
        op: AggregateOp,
        param: Option<(f64, Span)>,
        grouping: &[String],
        without: bool,
    ) -> Result<Columns, Stop> {
        if let Some((value, span)) = param {
            self.note_parameter(op, value, span);
        }
        let grid = columns.grid;
        let mut out = Columns::new(grid);
        let (groups, members) = group(&columns, grouping, without);
        let mut column = vec![ABSENT; grid.steps];
        let mut values = Vec::new();
        for (labels, members) in groups.into_iter().zip(members) {
            for (step, cell) in column.iter_mut().enumerate() {
                values.clear();
                let all = members.iter().map(|series| columns.cells[series * grid.steps + step]);
                values.extend(all.filter(|value| !is_stale(*value)));
                *cell = if values.is_empty() {
                    ABSENT
                } else if op == AggregateOp::Count {
                    values.len() as f64
                } else if op == AggregateOp::Group {
                    1.0
                } else {
                    fold_floats(op, &values, param.map_or(f64::NAN, |(value, _)| value))
                };
            }
            self.add(&mut out, labels, &column)?;
        }
        Ok(out)
    }
}

/// The labels of the groups in the order in which their first members come, and which series are in each.
fn group(columns: &Columns, grouping: &[String], without: bool) -> (Vec<Labels>, Vec<Vec<usize>>) {
    let (mut groups, mut members): (Vec<Labels>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
    let by_name = grouping.iter().any(|name| name == METRIC_NAME);
    // Where names are yet to be dropped, they count for nothing.
    let nameless = columns.unnamed && by_name;
    if without || nameless {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        for (series, labels) in columns.labels.iter().enumerate() {
            let labels = if nameless { &labels.without_name() } else { labels };
            let place = *places.entry(group_of(labels, grouping, without)).or_insert_with_key(|labels| {
                groups.push(labels.clone());
                members.push(Vec::new());
                groups.len() - 1
            });
            members[place].push(series);
        }
        return (groups, members);
    }
    // By a few labels: their values tell the group, and its label set is made once. The map is looked up, never walked.
    let state = RandomState::new();
    let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
    for (series, labels) in columns.labels.iter().enumerate() {
        let mut hasher = state.build_hasher();
        for name in grouping {
            hasher.write(labels.value(name).as_bytes());
            hasher.write_u8(0xff);
        }
        let alike = places.entry(hasher.finish()).or_default();
        let same = |place: &&usize| grouping.iter().all(|name| groups[**place].value(name) == labels.value(name));
        let place = alike.iter().find(same).copied().unwrap_or_else(|| {
            alike.push(groups.len());
            groups.push(group_of(labels, grouping, without));
            members.push(Vec::new());
            groups.len() - 1
        });
        members[place].push(series);
    }
    (groups, members)
}
