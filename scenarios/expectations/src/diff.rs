//! A unified diff of two snapshots.

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// Most cells of the table of a diff; beyond that everything between the common ends counts as changed.
const CELLS_MAX: usize = 16_000_000;

/// One line of an edit script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edit<'t> {
    Same(&'t str),
    Old(&'t str),
    New(&'t str),
}

/// A unified diff from the reviewed text to the new one; `None` when they are equal (line endings and the last line break aside).
pub fn diff(reviewed: &str, new: &str) -> Option<String> {
    let old_lines: Vec<&str> = reviewed.lines().collect();
    let new_lines: Vec<&str> = new.lines().collect();
    if old_lines == new_lines {
        return None;
    }
    let edits = edits(&old_lines, &new_lines);
    let changed: Vec<usize> = (0..edits.len()).filter(|place| !matches!(edits[*place], Edit::Same(_))).collect();
    let mut text = String::from("--- reviewed\n+++ new\n");
    let mut place = 0;
    while place < changed.len() {
        let first = changed[place].saturating_sub(CONTEXT);
        let mut last = changed[place];
        while place < changed.len() && changed[place] <= last + 2 * CONTEXT {
            last = changed[place];
            place += 1;
        }
        let last = (last + CONTEXT + 1).min(edits.len());
        let before = |edits: &[Edit<'_>], new: bool| {
            edits.iter().filter(|edit| !matches!((edit, new), (Edit::Old(_), true) | (Edit::New(_), false))).count()
        };
        let (old_at, new_at) = (before(&edits[..first], false), before(&edits[..first], true));
        let (old_length, new_length) = (before(&edits[first..last], false), before(&edits[first..last], true));
        let start = |at: usize, length: usize| if length == 0 { at } else { at + 1 };
        text.push_str(&format!(
            "@@ -{},{old_length} +{},{new_length} @@\n",
            start(old_at, old_length),
            start(new_at, new_length)
        ));
        for edit in &edits[first..last] {
            let (sign, line) = match edit {
                Edit::Same(line) => (' ', line),
                Edit::Old(line) => ('-', line),
                Edit::New(line) => ('+', line),
            };
            text.push_str(&format!("{sign}{line}\n"));
        }
    }
    Some(text)
}

/// The shortest edit script by the table of longest common subsequences, between the common ends.
fn edits<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Edit<'t>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut edits: Vec<Edit<'t>> = old[..head].iter().map(|line| Edit::Same(line)).collect();
    if a.len().saturating_mul(b.len()) > CELLS_MAX {
        edits.extend(a.iter().map(|line| Edit::Old(line)));
        edits.extend(b.iter().map(|line| Edit::New(line)));
    } else {
        let width = b.len() + 1;
        let mut table = vec![0u32; (a.len() + 1) * width];
        for i in (0..a.len()).rev() {
            for j in (0..b.len()).rev() {
                table[i * width + j] = if a[i] == b[j] {
                    table[(i + 1) * width + j + 1] + 1
                } else {
                    table[(i + 1) * width + j].max(table[i * width + j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            if i < a.len() && j < b.len() && a[i] == b[j] {
                edits.push(Edit::Same(a[i]));
                (i, j) = (i + 1, j + 1);
            } else if j == b.len() || (i < a.len() && table[(i + 1) * width + j] >= table[i * width + j + 1]) {
                edits.push(Edit::Old(a[i]));
                i += 1;
            } else {
                edits.push(Edit::New(b[j]));
                j += 1;
            }
        }
    }
    edits.extend(old[old.len() - tail..].iter().map(|line| Edit::Same(line)));
    edits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_told_with_its_surroundings() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let text = diff(old, &old.replace("e\n", "E\nE2\n")).unwrap();
        assert_eq!(text, "--- reviewed\n+++ new\n@@ -2,7 +2,8 @@\n b\n c\n d\n-e\n+E\n+E2\n f\n g\n h\n");
        assert_eq!(diff(old, old), None);
        assert_eq!(diff("a", "a\n"), None);
        assert_eq!(diff("", "a\n").unwrap(), "--- reviewed\n+++ new\n@@ -0,0 +1,1 @@\n+a\n");
    }

    proptest! {
        #[test]
        fn the_edit_script_gives_both_texts_back(a in proptest::collection::vec("[a-c]", 0..12), b in proptest::collection::vec("[a-c]", 0..12)) {
            let (a, b): (Vec<&str>, Vec<&str>) = (a.iter().map(String::as_str).collect(), b.iter().map(String::as_str).collect());
            let script = edits(&a, &b);
            let side = |new: bool| script.iter().filter_map(|edit| match (edit, new) {
                (Edit::Same(line), _) | (Edit::Old(line), false) | (Edit::New(line), true) => Some(*line),
                _ => None,
            }).collect::<Vec<_>>();
            prop_assert_eq!(side(false), a);
            prop_assert_eq!(side(true), b);
        }
    }
}
