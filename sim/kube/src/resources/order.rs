//! Which of a group's versions is the best: Kubernetes' order of version names.
//!
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#version-priority>.

use std::cmp::{Ordering, Reverse};

/// How far along a version is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Alpha,
    Beta,
    Stable,
}

/// Stage, major and minor of `v1`, `v2beta1`; `None` for names of another form.
fn parse(version: &str) -> Option<(Stage, u64, u64)> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let rest = version.strip_prefix('v')?;
    for (word, stage) in [("alpha", Stage::Alpha), ("beta", Stage::Beta)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stage, number(major)?, number(minor)?));
        }
    }
    Some((Stage::Stable, number(rest)?, 0))
}

/// Orders versions, the best first: stable, beta, alpha, of each the newest first; then all others by their names.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    match (parse(one), parse(other)) {
        (Some(one), Some(other)) => Reverse(one).cmp(&Reverse(other)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_stand_in_the_order_that_the_documentation_shows() {
        let documented =
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"];
        let mut sorted = documented;
        sorted.sort_unstable();
        assert_ne!(sorted, documented);
        sorted.sort_by(|a, b| super::compare(a, b));
        assert_eq!(sorted, documented);
    }
}
