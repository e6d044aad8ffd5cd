//! Binary operations between vectors: who goes with whom is found once.

use super::{ABSENT, Columns, Stop, distinct};
use crate::promql::ast::{BinaryOp, Cardinality, VectorMatching};
use crate::promql::binary::{floats, result_labels, signature};
use crate::promql::eval::Evaluator;
use sim_wire::{Labels, is_stale};
use std::collections::HashMap;

impl Evaluator<'_> {
    pub(super) fn join(
        &self,
        op: BinaryOp,
        left: &Columns,
        right: &Columns,
        matching: &VectorMatching,
        return_bool: bool,
    ) -> Result<Columns, Stop> {
        match op {
            BinaryOp::And | BinaryOp::Unless | BinaryOp::Or => return self.of_sets(op, left, right, matching),
            _ => {}
        }
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        // Looked up, never walked.
        let mut ones: HashMap<Labels, usize> = HashMap::with_capacity(one.labels.len());
        for (series, labels) in one.labels.iter().enumerate() {
            if ones.insert(signature(labels, matching), series).is_some() {
                // Whether they are there at the same step is for the walk to find out.
                return Err(Stop::Walk);
            }
        }
        let one_to_one = matching.cardinality == Cardinality::OneToOne;
        let mut taken = vec![false; one.labels.len()];
        let mut out = Columns::new(left.grid);
        let mut column = vec![ABSENT; left.grid.steps];
        for (series, labels) in many.labels.iter().enumerate() {
            let Some(other) = ones.get(&signature(labels, matching)).copied() else { continue };
            if one_to_one && std::mem::replace(&mut taken[other], true) {
                return Err(Stop::Walk);
            }
            let pairs = many.column(series).iter().zip(one.column(other));
            for (cell, (a, b)) in column.iter_mut().zip(pairs) {
                *cell = if is_stale(*a) || is_stale(*b) {
                    ABSENT
                } else {
                    let (value, keep) = if swapped { floats(op, *b, *a) } else { floats(op, *a, *b) };
                    match (return_bool, keep) {
                        (true, _) => f64::from(u8::from(keep)),
                        (false, true) => value,
                        (false, false) => ABSENT,
                    }
                };
            }
            let mut result = result_labels(labels, &one.labels[other], op, matching);
            if return_bool {
                result = result.without_name();
            }
            self.add(&mut out, result, &column)?;
        }
        distinct(&out.labels)?;
        Ok(out)
    }

    fn of_sets(
        &self,
        op: BinaryOp,
        left: &Columns,
        right: &Columns,
        matching: &VectorMatching,
    ) -> Result<Columns, Stop> {
        let steps = left.grid.steps;
        // By signature, at which steps any series of the other side is there. Looked up, never walked.
        let others = if op == BinaryOp::Or { left } else { right };
        let mut there: HashMap<Labels, Vec<bool>> = HashMap::new();
        for (series, labels) in others.labels.iter().enumerate() {
            let steps = there.entry(signature(labels, matching)).or_insert_with(|| vec![false; steps]);
            for (step, value) in steps.iter_mut().zip(others.column(series)) {
                *step |= !is_stale(*value);
            }
        }
        let mut out = Columns::new(left.grid);
        let mut column = Vec::with_capacity(steps);
        if op == BinaryOp::Or {
            for (series, labels) in left.labels.iter().enumerate() {
                self.add(&mut out, labels.clone(), left.column(series))?;
            }
        }
        let kept = if op == BinaryOp::Or { right } else { left };
        for (series, labels) in kept.labels.iter().enumerate() {
            let met = there.get(&signature(labels, matching));
            let keeps = |step: usize| met.is_some_and(|met| met[step]) == (op == BinaryOp::And);
            column.clear();
            let values = kept.column(series).iter().enumerate();
            column.extend(values.map(|(step, value)| if keeps(step) { *value } else { ABSENT }));
            self.add(&mut out, labels.clone(), &column)?;
        }
        // A label set from both sides, at different steps: rare, and the walk can do it.
        distinct(&out.labels)?;
        Ok(out)
    }
}
