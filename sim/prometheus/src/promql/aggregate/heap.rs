//! The best of a group, with ties settled as Prometheus settles them: by a binary heap in the order of the series.

use crate::promql::eval::VectorSample;

/// The `count` largest (or smallest) samples, the best first.
pub(super) fn best(members: Vec<VectorSample>, count: usize, largest: bool) -> Vec<VectorSample> {
    // The worst of those kept is on top; what is no number is worse than anything.
    let worse = |a: &VectorSample, b: &VectorSample| {
        let (a, b) = (a.value.float(), b.value.float());
        a.is_nan() || if largest { a < b } else { a > b }
    };
    let mut heap: Vec<VectorSample> = Vec::with_capacity(count.min(members.len()));
    for sample in members {
        if heap.len() < count {
            heap.push(sample);
            sift_up(&mut heap, worse);
            continue;
        }
        let (top, new) = (heap[0].value.float(), sample.value.float());
        let better = if largest { top < new } else { top > new };
        if better || (top.is_nan() && !new.is_nan()) {
            heap[0] = sample;
            sift_down(&mut heap, worse);
        }
    }
    // A stable sort by insertion, the best first.
    for end in 1..heap.len() {
        let mut at = end;
        while at > 0 && worse(&heap[at - 1], &heap[at]) {
            heap.swap(at - 1, at);
            at -= 1;
        }
    }
    heap
}

fn sift_up(heap: &mut [VectorSample], worse: impl Fn(&VectorSample, &VectorSample) -> bool) {
    let mut at = heap.len() - 1;
    while at > 0 {
        let parent = (at - 1) / 2;
        if !worse(&heap[at], &heap[parent]) {
            break;
        }
        heap.swap(parent, at);
        at = parent;
    }
}

fn sift_down(heap: &mut [VectorSample], worse: impl Fn(&VectorSample, &VectorSample) -> bool) {
    let mut at = 0;
    loop {
        let mut child = 2 * at + 1;
        if child >= heap.len() {
            break;
        }
        if child + 1 < heap.len() && worse(&heap[child + 1], &heap[child]) {
            child += 1;
        }
        if !worse(&heap[child], &heap[at]) {
            break;
        }
        heap.swap(at, child);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim_wire::Labels;

    fn chosen(values: &[f64], count: usize, largest: bool) -> Vec<f64> {
        let members = values.iter().map(|value| VectorSample::float(Labels::empty(), 0, *value)).collect();
        best(members, count, largest).iter().map(|sample| sample.value.float()).collect()
    }

    #[test]
    fn the_best_come_first_and_no_number_last() {
        assert_eq!(chosen(&[3.0, f64::NAN, 1.0, 5.0, 2.0], 3, true), [5.0, 3.0, 2.0]);
        assert_eq!(chosen(&[3.0, f64::NAN, 1.0, 5.0, 2.0], 2, false), [1.0, 2.0]);
        assert!(chosen(&[f64::NAN, 4.0], 3, true)[1].is_nan());
    }
}
