//! Whether a tree of spans has a shape, and if not, how far from it it is.

use scenario_language::{SpanPattern, StatusPattern};
use serde_json::Value;

use crate::path::{shorten, tell};
use crate::span_tree::{SpanNode, SpanTree};

/// The result of comparing one pattern with one span, line by line.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Whether everything below holds.
    pub ok: bool,
    /// How many single things hold: the nearest span is the one with the most.
    pub score: usize,
    /// The comparison as lines with ✓ and ✗, indented by depth.
    pub lines: Vec<String>,
}

impl Match {
    fn note(&mut self, ok: bool, text: impl Into<String>) {
        self.ok &= ok;
        self.score += usize::from(ok);
        self.lines.push(format!("{} {}", mark(ok), text.into()));
    }

    /// Takes over the lines of a match below this one.
    fn adopt(&mut self, below: &Match) {
        self.score += below.score;
        self.lines.extend(below.lines.iter().map(|line| format!("  {line}")));
    }
}

fn mark(ok: bool) -> char {
    if ok { '✓' } else { '✗' }
}

/// The best match of a pattern among all spans of a tree: the pattern may stand anywhere in it.
pub fn find(pattern: &SpanPattern, tree: &SpanTree) -> Option<Match> {
    let all: Vec<usize> = (0..tree.spans.len()).collect();
    let named: Vec<usize> = all.into_iter().filter(|place| pattern.is_named(&tree.spans[*place].name)).collect();
    if let Some(count) = &pattern.count {
        let matches: Vec<Match> = named.iter().map(|place| compare(pattern, tree, *place)).collect();
        let number = matches.iter().filter(|found| found.ok).count();
        let ok = count.holds_number(number as f64);
        let mut result = best(matches).unwrap_or(Match { ok, score: 0, lines: Vec::new() });
        result.ok = ok;
        result.lines.insert(0, format!("{} {} × {count}, is {number}", mark(ok), pattern.name));
        return Some(result);
    }
    best(named.iter().map(|place| compare(pattern, tree, *place)).collect())
}

/// The match that holds, or the nearest one; the first among equals.
fn best(matches: Vec<Match>) -> Option<Match> {
    let mut best: Option<Match> = None;
    for candidate in matches {
        let better = best.as_ref().is_none_or(|best| (candidate.ok, candidate.score) > (best.ok, best.score));
        if better {
            best = Some(candidate);
        }
    }
    best
}

/// Compares one span, and what stands below it, with a pattern.
pub fn compare(pattern: &SpanPattern, tree: &SpanTree, place: usize) -> Match {
    let span = &tree.spans[place];
    let mut result = Match { ok: true, score: 1, lines: Vec::new() };
    compare_itself(pattern, span, &mut result);
    let below = compare_children(pattern, tree, place, &mut result);
    for wanted in &pattern.descendants {
        compare_descendant(wanted, tree, place, &mut result);
    }
    if pattern.exactly {
        for child in span.children.iter().filter(|child| !below.contains(child)) {
            result.note(false, format!("only the children above, there is also {}", tree.spans[*child].name));
        }
    }
    let head = format!("{} {}", mark(result.ok), pattern.name);
    let mut lines = vec![head];
    lines.extend(result.lines.iter().map(|line| format!("  {line}")));
    result.lines = lines;
    result
}

fn compare_itself(pattern: &SpanPattern, span: &SpanNode, result: &mut Match) {
    if !pattern.is_named(&span.name) {
        result.note(false, format!("name: {}, is {}", pattern.name, span.name));
    }
    if let Some(status) = pattern.status {
        let wanted = match status {
            StatusPattern::Ok => "ok",
            StatusPattern::Error => "error",
            StatusPattern::Unset => "unset",
        };
        let message = if span.status_message.is_empty() {
            String::new()
        } else {
            format!(" ({})", shorten(&span.status_message))
        };
        tell_field(result, "status", wanted, wanted == span.status, &format!("{}{message}", span.status));
    }
    if let Some(kind) = &pattern.kind {
        tell_field(result, "kind", kind, kind == span.kind, span.kind);
    }
    if let Some(service) = &pattern.service {
        tell_field(result, "service", &service.to_string(), service.holds_text(&span.service), &span.service);
    }
    for (name, comparison) in &pattern.attributes {
        let value = span.attributes.get(name);
        tell_field(result, name, &comparison.to_string(), comparison.holds(value), &tell(value));
    }
    for wanted in &pattern.events {
        let fits = |attributes: &serde_json::Map<String, Value>| {
            wanted.attributes.iter().all(|(name, c)| c.holds(attributes.get(name)))
        };
        let named: Vec<_> = span.events.iter().filter(|(name, _, _)| *name == wanted.name).collect();
        let ok = named.iter().any(|(_, _, attributes)| fits(attributes));
        let is = match named.first() {
            Some((_, _, attributes)) => format!("one with {}", shorten(&Value::Object(attributes.clone()).to_string())),
            None if span.events.is_empty() => "no events".to_string(),
            None => span.events.iter().map(|(name, _, _)| name.as_str()).collect::<Vec<_>>().join(", "),
        };
        tell_field(result, "event", &wanted.name, ok, &is);
    }
    if let Some(links) = &pattern.links {
        let number = span.links.len();
        tell_field(result, "links", &links.to_string(), links.holds_number(number as f64), &number.to_string());
    }
    if let Some(duration) = &pattern.duration {
        let seconds = span.seconds();
        tell_field(result, "duration", &duration.to_string(), duration.holds_number(seconds), &format!("{seconds}s"));
    }
}

fn tell_field(result: &mut Match, name: &str, wanted: &str, ok: bool, is: &str) {
    let text = if ok { format!("{name}: {wanted}") } else { format!("{name}: {wanted}, is {is}") };
    result.note(ok, text);
}

/// Compares the direct children and gives the ones that some pattern claims.
fn compare_children(pattern: &SpanPattern, tree: &SpanTree, place: usize, result: &mut Match) -> Vec<usize> {
    let children = &tree.spans[place].children;
    let table: Vec<Vec<Match>> = pattern
        .children
        .iter()
        .map(|wanted| children.iter().map(|child| compare_named(wanted, tree, *child)).collect())
        .collect();
    // Patterns with a count take every span of their shape; the others take one span each, each its own.
    let singles: Vec<usize> =
        (0..pattern.children.len()).filter(|index| pattern.children[*index].count.is_none()).collect();
    let taken =
        if pattern.ordered { assign_in_order(&table, &singles) } else { assign(&table, &singles, children.len()) };
    let mut claimed = Vec::new();
    for (index, wanted) in pattern.children.iter().enumerate() {
        let row = &table[index];
        if let Some(count) = &wanted.count {
            let fitting: Vec<usize> = (0..row.len()).filter(|column| row[*column].ok).collect();
            let number = fitting.len();
            result.note(count.holds_number(number as f64), format!("{} × {count}, is {number}", wanted.name));
            if !count.holds_number(number as f64)
                && let Some(nearest) = best(row.iter().filter(|found| !found.ok && found.score > 0).cloned().collect())
            {
                result.adopt(&nearest);
            }
            claimed.extend(fitting.into_iter().map(|column| children[column]));
            continue;
        }
        match taken.iter().find(|(row, _)| *row == index) {
            Some((_, column)) => {
                result.adopt_plain(&row[*column]);
                claimed.push(children[*column]);
            }
            None => {
                result.ok = false;
                let fits = row.iter().any(|found| found.ok);
                match best(row.iter().filter(|found| found.score > 0).cloned().collect()) {
                    Some(_) if fits && pattern.ordered => {
                        result.note(false, format!("{} comes in this order", wanted.name));
                    }
                    Some(_) if fits => result.note(false, format!("one more {}", wanted.name)),
                    Some(nearest) => result.adopt_plain(&nearest),
                    None => {
                        let names: Vec<&str> = children.iter().map(|child| tree.spans[*child].name.as_str()).collect();
                        let is = if names.is_empty() { "no children".to_string() } else { shorten(&names.join(", ")) };
                        result.note(false, format!("{}, there is {is}", wanted.name));
                    }
                }
            }
        }
    }
    claimed
}

impl Match {
    /// The lines of a child stand at the depth of the fields of its parent.
    fn adopt_plain(&mut self, below: &Match) {
        self.score += below.score;
        self.lines.extend(below.lines.iter().cloned());
    }
}

/// A span of another name has nothing in common with a pattern.
fn compare_named(pattern: &SpanPattern, tree: &SpanTree, place: usize) -> Match {
    if pattern.is_named(&tree.spans[place].name) {
        compare(pattern, tree, place)
    } else {
        Match { ok: false, score: 0, lines: Vec::new() }
    }
}

fn compare_descendant(wanted: &SpanPattern, tree: &SpanTree, place: usize, result: &mut Match) {
    let mut below = Vec::new();
    let mut open = tree.spans[place].children.clone();
    while let Some(next) = open.pop() {
        open.extend(&tree.spans[next].children);
        below.push(next);
    }
    below.sort_unstable();
    let matches: Vec<Match> = below.iter().map(|place| compare_named(wanted, tree, *place)).collect();
    let number = matches.iter().filter(|found| found.ok).count();
    let ok = wanted.count.as_ref().map_or(number > 0, |count| count.holds_number(number as f64));
    let count = wanted.count.as_ref().map(|count| format!(" × {count}, is {number}")).unwrap_or_default();
    result.note(ok, format!("{}{count} somewhere below", wanted.name));
    if !ok && let Some(nearest) = best(matches).filter(|nearest| !nearest.ok && nearest.score > 0) {
        result.adopt(&nearest);
    }
}

/// Gives as many patterns as possible a span of their own (augmenting paths): pairs of row and column.
fn assign(table: &[Vec<Match>], rows: &[usize], columns: usize) -> Vec<(usize, usize)> {
    let mut owner: Vec<Option<usize>> = vec![None; columns];
    for row in rows {
        let mut seen = vec![false; columns];
        augment(table, *row, &mut owner, &mut seen);
    }
    owner.iter().enumerate().filter_map(|(column, row)| row.map(|row| (row, column))).collect()
}

fn augment(table: &[Vec<Match>], row: usize, owner: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for column in 0..owner.len() {
        if !table[row][column].ok || seen[column] {
            continue;
        }
        seen[column] = true;
        let free = match owner[column] {
            None => true,
            Some(other) => augment(table, other, owner, seen),
        };
        if free {
            owner[column] = Some(row);
            return true;
        }
    }
    false
}

/// Gives each pattern the first fitting span behind that of the pattern before it.
fn assign_in_order(table: &[Vec<Match>], rows: &[usize]) -> Vec<(usize, usize)> {
    let mut next = 0;
    let mut taken = Vec::new();
    for row in rows {
        if let Some(column) = (next..table[*row].len()).find(|column| table[*row][*column].ok) {
            taken.push((*row, column));
            next = column + 1;
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    fn span(name: &str, id: usize, parent: usize, status: &'static str) -> SpanNode {
        SpanNode {
            trace_id: "t".to_string(),
            span_id: format!("{id}"),
            parent_id: if parent == 0 { String::new() } else { format!("{parent}") },
            name: name.to_string(),
            kind: "internal",
            status,
            status_message: String::new(),
            service: "multigres-operator".to_string(),
            attributes: Map::from_iter([("k8s.resource.kind".to_string(), json!("Cell"))]),
            resource: Map::new(),
            scope: String::new(),
            start_ns: id as i64,
            end_ns: id as i64 + 1_000_000_000,
            events: if status == "error" { vec![("exception".to_string(), 0, Map::new())] } else { Vec::new() },
            links: Vec::new(),
            children: Vec::new(),
        }
    }

    fn tree() -> SpanTree {
        SpanTree::from_spans(vec![
            span("Root", 1, 0, "unset"),
            span("A", 2, 1, "error"),
            span("B", 3, 1, "ok"),
            span("A", 4, 1, "ok"),
            span("Deep", 5, 3, "unset"),
        ])
    }

    fn pattern(yaml: &str) -> SpanPattern {
        crate::testing::expectation(&format!("trace:\n  where: '{{}}'\n  tree:\n{}", indent(yaml)))
            .trace()
            .tree
            .unwrap()
    }

    fn indent(text: &str) -> String {
        text.lines().flat_map(|line| ["    ", line, "\n"]).collect()
    }

    fn matches(yaml: &str) -> bool {
        find(&pattern(yaml), &tree()).is_some_and(|found| found.ok)
    }

    #[test]
    fn children_match_in_any_order_and_each_needs_a_span_of_its_own() {
        assert!(matches("Root: { children: [B, A, A] }"));
        assert!(!matches("Root: { children: [B, A, A, A] }"));
        assert!(matches("Root: { children: [A, { A: { status: error } }] }"));
        assert!(!matches("Root: { children: [{ A: { status: error } }, { A: { status: error } }] }"));
    }

    #[test]
    fn order_exactness_depth_and_counts_are_judged() {
        assert!(matches("Root: { ordered: true, children: [A, B, A] }"));
        assert!(!matches("Root: { ordered: true, children: [B, A, A] }"));
        assert!(!matches("Root: { exactly: true, children: [A, A] }"));
        assert!(matches("Root: { exactly: true, children: [A, A, B] }"));
        assert!(matches("Root: { exactly: true, children: [{ A: { count: 2 } }, B] }"));
        assert!(!matches("Root: { children: [{ A: { count: '> 2' } }] }"));
        assert!(matches("Root: { descendants: [Deep] }"));
        assert!(!matches("Root: { children: [Deep] }"));
        assert!(matches("Root: { descendants: [{ Deep: { count: 1 } }, { Nope: { count: 0 } }] }"));
        assert!(matches("B: { children: [Deep] }"), "a shape may stand below the root");
        assert!(matches("A: { count: 2 }"));
        assert!(matches("Root: { children: [~ ^B, { '~ ^A$': { count: 2 } }] }"));
        assert!(!matches("Root: { children: ['~ ^C'] }"));
    }

    #[test]
    fn fields_of_a_span_are_compared() {
        assert!(matches(
            "A: { status: error, events: [exception], attributes: { k8s.resource.kind: Cell }, duration: 1s, links: 0, kind: internal, service: ~ operator }"
        ));
        for wrong in [
            "status: ok",
            "events: [other]",
            "attributes: { x: exists }",
            "duration: '> 2s'",
            "links: 1",
            "kind: client",
            "service: x",
        ] {
            assert!(!matches(&format!("Root: {{ {wrong} }}")), "{wrong}");
        }
        assert!(matches("Root: { attributes: { error.message: absent } }"));
    }

    #[test]
    fn the_nearest_span_is_told_line_by_line() {
        let pattern = pattern("Root:\n  status: ok\n  children:\n    - B: { status: error }\n    - C");
        let found = find(&pattern, &tree()).unwrap();
        assert!(!found.ok);
        assert_eq!(
            found.lines,
            ["✗ Root", "  ✗ status: ok, is unset", "  ✗ B", "    ✗ status: error, is ok", "  ✗ C, there is A, B, A"]
        );
    }

    #[test]
    fn a_name_that_no_span_has_matches_nothing() {
        assert!(find(&pattern("Nope: {}"), &tree()).is_none());
    }

    /// A pattern that says everything about the shape of a span.
    fn photograph(tree: &SpanTree, place: usize) -> SpanPattern {
        let span = &tree.spans[place];
        SpanPattern {
            name: span.name.clone(),
            children: span.children.iter().map(|child| photograph(tree, *child)).collect(),
            exactly: true,
            ..SpanPattern::default()
        }
    }

    proptest! {
        #[test]
        fn every_tree_matches_its_own_photograph(parents in proptest::collection::vec((0usize..8, 0usize..3), 1..12)) {
            let spans: Vec<SpanNode> = parents.iter().enumerate()
                .map(|(index, (parent, name))| span(["X", "Y", "Z"][*name], index + 1, (*parent).min(index), "unset")).collect();
            let tree = SpanTree::from_spans(spans);
            prop_assert_eq!(tree.lines().len(), parents.len());
            for root in &tree.roots {
                let mut pattern = photograph(&tree, *root);
                prop_assert!(compare(&pattern, &tree, *root).ok);
                // Reversed children still match, one child more does not.
                pattern.children.reverse();
                prop_assert!(compare(&pattern, &tree, *root).ok);
                pattern.children.push(SpanPattern { name: "W".into(), ..SpanPattern::default() });
                prop_assert!(!compare(&pattern, &tree, *root).ok);
            }
        }
    }
}
