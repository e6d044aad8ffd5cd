//! The parser against its precedence table, structural operators against a naive model.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;

use super::trace::TraceView;
use super::{ParseErrorKind, parse};

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Span ids are index + 1; the parent 0 is none.
fn span(index: u8, parent: u8, name: &str) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![0, 0, 0, 0, 0, 0, 0, index + 1],
        parent_span_id: if parent == 0 { vec![] } else { vec![0, 0, 0, 0, 0, 0, 0, parent] },
        name: name.into(),
        kind: 1,
        start_time_unix_nano: 1_000_000_000 * u64::from(index + 1),
        end_time_unix_nano: 1_000_000_000 * u64::from(index + 1) * 2,
        attributes: vec![attribute("index", Value::IntValue(i64::from(index)))],
        ..Span::default()
    }
}

fn batches(spans: Vec<Span>) -> Vec<ResourceSpans> {
    let resource = Resource {
        attributes: vec![attribute("service.name", Value::StringValue("operator".into()))],
        ..Resource::default()
    };
    vec![ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }]
}

fn matched(query: &str, batches: &[ResourceSpans]) -> Vec<usize> {
    let view = TraceView::new(batches);
    let sets = parse(query).unwrap_or_else(|error| panic!("{query}: {error}")).evaluate(&view);
    sets.into_iter().flat_map(|set| set.spans).collect::<BTreeSet<_>>().into_iter().collect()
}

fn family() -> Vec<ResourceSpans> {
    // 0 ─┬─ 1 ── 2
    //    └─ 3          4: an orphan
    let mut failed = span(2, 2, "c");
    failed.status = Some(Status { code: 2, message: "etcd unavailable".into() });
    failed.attributes.push(attribute("k8s.resource-name", Value::StringValue("shard-0".into())));
    batches(vec![span(0, 0, "a"), span(1, 1, "b"), failed, span(3, 1, "d"), span(4, 99, "e")])
}

#[test]
fn and_and_or_bind_equally_from_the_left() {
    assert_eq!(parse("{ .a || .b && .c }").unwrap().to_string(), parse("{ (.a || .b) && .c }").unwrap().to_string());
    assert_ne!(parse("{ .a || .b && .c }").unwrap().to_string(), parse("{ .a || (.b && .c) }").unwrap().to_string());
}

#[test]
fn precedence_is_that_of_the_table() {
    for (short, long) in [
        ("{ .a + .b * .c = 1 }", "{ (.a + (.b * .c)) = 1 }"),
        ("{ .a ^ .b ^ .c = 1 }", "{ (.a ^ (.b ^ .c)) = 1 }"),
        ("{ - .a * .b = 1 }", "{ (-(.a * .b)) = 1 }"),
        ("{ !.a && .b }", "{ (!(.a)) && .b }"),
        ("{ .a = 1 && .b > 2 }", "{ (.a = 1) && (.b > 2) }"),
        ("{ .a } && { .b } >> { .c }", "{ .a } && ({ .b } >> { .c })"),
        ("{ .a } > { .b } > { .c }", "({ .a } > { .b }) > { .c }"),
    ] {
        assert_eq!(parse(short).unwrap().to_string(), parse(long).unwrap().to_string(), "{short}");
    }
}

#[test]
fn errors_have_a_position_and_a_class() {
    for (query, message, kind) in [
        ("{ span.a = }", "parse error at line 1, col 12: syntax error: unexpected }", ParseErrorKind::Syntax),
        (
            "{ name = 5 }",
            "parse error at line 1, col 8: binary operations must operate on the same type",
            ParseErrorKind::Type,
        ),
        ("{ status > error }", "parse error at line 1, col 10: illegal operation", ParseErrorKind::Type),
        (
            "{ .a }\n| rate()",
            "parse error at line 2, col 3: function rate is not supported",
            ParseErrorKind::Unsupported,
        ),
        (
            "{ parent.a = 1 }",
            "parse error at line 1, col 3: parent attributes not yet supported",
            ParseErrorKind::Unsupported,
        ),
        ("{ .a =~ \"(\" }", "parse error at line 1, col 9: invalid regex", ParseErrorKind::Syntax),
        ("{ .a = 1", "parse error at line 1, col 9: syntax error: unexpected $end", ParseErrorKind::Syntax),
        ("{ duration > 5x }", "parse error at line 1, col 14: unknown unit", ParseErrorKind::Syntax),
        (
            "{ 5 }",
            "parse error at line 1, col 3: span filter field expressions must resolve to a boolean",
            ParseErrorKind::Type,
        ),
    ] {
        let error = parse(query).unwrap_err();
        assert!(error.to_string().starts_with(message), "{query}: {error}");
        assert_eq!(error.kind, kind, "{query}");
    }
}

#[test]
fn nesting_is_limited_and_not_a_stack_overflow() {
    let error = parse(&format!("{{ {}.a{} }}", "(".repeat(100_000), ")".repeat(100_000)));
    assert!(error.is_err());
    let error = parse(&"(".repeat(50_000)).unwrap_err();
    assert_eq!(error.kind, ParseErrorKind::Limit);
}

#[test]
fn intrinsics_and_attributes_are_found_in_both_spellings() {
    let trace = family();
    for (query, expected) in [
        ("{ status = error }", vec![2]),
        ("{ span:status = error }", vec![2]),
        ("{ statusMessage =~ \"etcd.*\" }", vec![2]),
        ("{ statusMessage =~ \"etcd\" }", vec![]),
        ("{ span.k8s.resource-name = \"shard-0\" }", vec![2]),
        ("{ .\"k8s.resource-name\" != nil }", vec![2]),
        ("{ span.k8s.resource-name = nil }", vec![0, 1, 3, 4]),
        ("{ span.k8s.resource-name != \"x\" }", vec![2]),
        ("{ duration >= 4s }", vec![3, 4]),
        ("{ duration > 1500ms && .index < 3 }", vec![1, 2]),
        ("{ nestedSetParent < 0 }", vec![0]),
        ("{ resource.service.name = \"operator\" && name = \"b\" }", vec![1]),
        ("{ rootName = \"a\" && kind = internal && .index * 2 = 6 }", vec![3]),
        ("{ span:id = \"0000000000000003\" }", vec![2]),
        ("{ .index = 1.0 }", vec![1]),
        ("{ !(.index > 0) }", vec![0]),
    ] {
        assert_eq!(matched(query, &trace), expected, "{query}");
    }
}

#[test]
fn structural_operators_keep_the_right_side() {
    let trace = family();
    for (query, expected) in [
        ("{ name = \"a\" } > { }", vec![1, 3]),
        ("{ name = \"a\" } >> { }", vec![1, 2, 3]),
        ("{ name = \"c\" } < { }", vec![1]),
        ("{ name = \"c\" } << { }", vec![0, 1]),
        ("{ name = \"b\" } ~ { }", vec![3]),
        ("{ name = \"a\" } !> { }", vec![0, 2, 4]),
        ("{ name = \"a\" } &> { status = unset }", vec![0, 1, 3]),
        ("{ name = \"a\" } && { name = \"nobody\" }", vec![]),
        ("{ name = \"a\" } || { name = \"nobody\" }", vec![0]),
        ("{ } >> { name = \"e\" }", vec![]),
    ] {
        assert_eq!(matched(query, &trace), expected, "{query}");
    }
}

#[test]
fn pipelines_count_and_group() {
    let trace = family();
    for (query, expected) in [
        ("{ status = unset } | count() > 3", vec![0, 1, 2, 3, 4].into_iter().filter(|i| *i != 2).collect::<Vec<_>>()),
        ("{ } | count() > 5", vec![]),
        ("{ } | avg(duration) > 2s", vec![0, 1, 2, 3, 4]),
        ("{ } | max(duration) < 5s", vec![]),
        ("{ } | by(status) | count() = 1", vec![2]),
        ("{ } | by(status) | count() = 1 | coalesce() | select(name, span.index)", vec![2]),
        ("{ } | sum(.index) = 10", vec![0, 1, 2, 3, 4]),
        ("({ name = \"b\" } | count() = 1) > { }", vec![2]),
        ("{ } | (count() + 1) * 2 = 12", vec![0, 1, 2, 3, 4]),
    ] {
        assert_eq!(matched(query, &trace), expected, "{query}");
    }
}

#[test]
fn a_cycle_of_parents_is_no_tree_and_no_endless_loop() {
    let trace = batches(vec![span(0, 2, "a"), span(1, 1, "b"), span(2, 0, "root")]);
    assert_eq!(matched("{ } >> { }", &trace), Vec::<usize>::new());
    assert_eq!(matched("{ name = \"a\" }", &trace), vec![0]);
}

/// Who is whose ancestor, by walking up the parents: nothing here shares a thought with nested sets.
fn ancestors(parents: &[u8], of: usize) -> Vec<usize> {
    let mut out = Vec::new();
    let mut at = of;
    while parents[at] != 0 {
        at = usize::from(parents[at]) - 1;
        out.push(at);
    }
    out
}

proptest! {
    #[test]
    fn structural_operators_agree_with_walking_up_the_parents(
        shape in proptest::collection::vec((any::<u8>(), any::<bool>(), any::<bool>()), 1..24),
        operator in 0usize..5,
        form in 0usize..3,
    ) {
        // A span's parent has a smaller index, or it is a root.
        let parents: Vec<u8> = shape.iter().enumerate().map(|(i, (n, _, _))| n % (i as u8 + 1)).collect();
        let spans = shape.iter().enumerate().map(|(i, (_, left, right))| {
            let mut span = span(i as u8, parents[i], "x");
            span.attributes.push(attribute("left", Value::BoolValue(*left)));
            span.attributes.push(attribute("right", Value::BoolValue(*right)));
            span
        });
        let trace = batches(spans.collect());
        let related = |l: usize, r: usize| match operator {
            0 => ancestors(&parents, r).first() == Some(&l),
            1 => ancestors(&parents, r).contains(&l),
            2 => ancestors(&parents, l).first() == Some(&r),
            3 => ancestors(&parents, l).contains(&r),
            _ => l != r && parents[l] != 0 && parents[l] == parents[r],
        };
        let all = 0..shape.len();
        let hit = |r: usize| shape[r].2 && all.clone().any(|l| shape[l].1 && related(l, r));
        let expected: Vec<usize> = all.clone().filter(|&i| match form {
            0 => hit(i),
            1 => shape[i].2 && !hit(i),
            _ => hit(i) || (shape[i].1 && all.clone().any(|r| shape[r].2 && related(i, r))),
        }).collect();
        let sign = format!("{}{}", ["", "!", "&"][form], [">", ">>", "<", "<<", "~"][operator]);
        prop_assert_eq!(matched(&format!("{{ .left }} {sign} {{ .right }}"), &trace), expected, "{}", sign);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[{}()|&!<>=~.a-z0-9\" *+^-]{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn what_is_printed_is_read_back_the_same(
        parts in proptest::collection::vec((0usize..8, 0usize..6, 0usize..4), 1..6),
    ) {
        let operands = [".a = 1", "span.b-c.d > 1.5", "duration > 1m30s", "name =~ \"x.*\"", "!.e", ".\"q r\" != nil", "-.f < 2ms", "kind = client"];
        let operators = ["&&", "||", "&&", "||", "&&", "||"];
        let mut text = String::new();
        for (i, (operand, operator, _)) in parts.iter().enumerate() {
            if i > 0 {
                text.push_str(&format!(" {} ", operators[*operator]));
            }
            text.push_str(operands[*operand]);
        }
        let stages = ["", " | count() > 2", " | by(name) | avg(duration) >= 1s", " > { .z } | select(name, .a)"];
        let query = parse(&format!("{{ {text} }}{}", stages[parts[0].2])).unwrap();
        prop_assert_eq!(parse(&query.to_string()).unwrap().to_string(), query.to_string());
    }
}
