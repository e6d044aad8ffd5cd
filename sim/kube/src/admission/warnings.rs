//! Limits of warnings, as the real server's recorder has them.

/// Characters of all warnings of one answer; beyond them each is cut.
pub const WARNINGS_CHARS_MAX: usize = 4096;
/// Characters a warning is cut to once there are too many.
pub const WARNING_CHARS_CUT: usize = 256;

/// Drops repetitions; if the rest is too long, cuts each and then leaves out what still does not fit.
pub(super) fn limit(warnings: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    warnings.retain(|w| !w.is_empty() && seen.insert(w.clone()));
    let length = |w: &String| w.chars().count();
    if warnings.iter().map(length).sum::<usize>() <= WARNINGS_CHARS_MAX {
        return;
    }
    for warning in warnings.iter_mut() {
        if let Some((end, _)) = warning.char_indices().nth(WARNING_CHARS_CUT) {
            warning.truncate(end);
        }
    }
    let mut total = 0;
    warnings.retain(|w| {
        total += length(w);
        total <= WARNINGS_CHARS_MAX
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_warnings_stay_and_long_ones_are_cut_and_then_left_out() {
        let mut few = vec!["a".to_owned(), "a".to_owned(), String::new(), "b".to_owned()];
        limit(&mut few);
        assert_eq!(few, ["a", "b"]);
        let mut many: Vec<String> = (0..40).map(|i| format!("{i:02}{}", "ä".repeat(300))).collect();
        limit(&mut many);
        assert_eq!(many.len(), WARNINGS_CHARS_MAX / WARNING_CHARS_CUT);
        assert!(many.iter().all(|w| w.chars().count() == WARNING_CHARS_CUT));
    }
}
