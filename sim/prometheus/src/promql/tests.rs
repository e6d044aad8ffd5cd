//! Tests of parser and printer.

use super::*;
use crate::store::{Point, Store};
use proptest::prelude::*;
use sim_wire::Labels;

fn printed(query: &str) -> String {
    parse(query).unwrap_or_else(|error| panic!("{query}: {error}")).to_string()
}

fn refused(query: &str) -> String {
    match parse(query) {
        Ok(expr) => panic!("{query} was accepted as {expr}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn expressions_print_on_one_line() {
    for (query, expected) in [
        ("1", "1"),
        ("-0x1F", "-31"),
        ("1e21", "1000000000000000000000"),
        ("'\\xff'", r#""\xff""#),
        ("x{z='1', a='2'}", r#"x{a="2",z="1"}"#),
        ("1_000", "1000"),
        ("1h30m", "1h30m"),
        ("+Inf", "+Inf"),
        ("NaN", "NaN"),
        ("'a\\x41\\u00e9\\''", "\"aAé'\""),
        ("`\\n`", r#""\\n""#),
        ("foo{}", "foo"),
        ("foo { a = 'b' , c!~\"d\", }", r#"foo{a="b",c!~"d"}"#),
        ("{\"foo.bar\", \"x.y\"=\"1\", by='2'}", r#"{"x.y"="1",__name__="foo.bar",by="2"}"#),
        ("sum", "sum"),
        ("foo:bar[5m] offset -1d @ end()", "foo:bar[5m] @ end() offset -1d"),
        ("foo[300] @ 10", "foo[5m] @ 10.000"),
        ("rate(x[5m])[1h:30s] offset 5m", "rate(x[5m])[1h:30s] offset 5m"),
        ("x[1h:]", "x[1h:]"),
        ("SUM(x) BY (a, \"b.c\")", r#"sum by (a, "b.c") (x)"#),
        ("topk without(a) (3, x)", "topk without (a) (3, x)"),
        ("a + ON(x) GROUP_LEFT(y) b", "a + on (x) group_left (y) b"),
        ("a * ignoring(x) group_right b", "a * ignoring (x) group_right () b"),
        ("a == bool 1 or b and c unless d", "a == bool 1 or b and c unless d"),
        ("# comment\nx # another", "x"),
        ("-x ^ 2 # tight", "-x ^ 2"),
    ] {
        assert_eq!(printed(query), expected, "{query}");
        assert_eq!(printed(expected), expected, "printing is stable");
    }
}

#[test]
fn operators_bind_as_in_prometheus() {
    let scalar =
        |query: &str| match eval::instant(&Store::new(), query, &parse(query).unwrap(), 0, EvalOptions::default()) {
            Ok((QueryValue::Scalar(point), _)) => point.value.float(),
            other => panic!("{query}: {other:?}"),
        };
    assert_eq!(scalar("2 ^ 3 ^ 2"), 512.0);
    assert_eq!(scalar("-2 ^ 2"), -4.0);
    assert_eq!(scalar("10 - 4 - 3"), 3.0);
    assert_eq!(scalar("2 + 3 * 4 % 5"), 4.0);
    assert_eq!(scalar("-1 * 2 + 1"), -1.0);
    assert_eq!(scalar("1 + 2 > bool 2 * 1"), 1.0);
    assert_eq!(scalar("1m + 1"), 61.0);
}

#[test]
fn errors_are_those_of_prometheus() {
    for (query, expected) in [
        ("", "unknown position: parse error: no expression found in input"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        ("foo{", "1:5: parse error: unexpected end of input inside braces"),
        ("(foo", "1:5: parse error: unclosed left parenthesis"),
        ("foo)", "1:5: parse error: unexpected right parenthesis ')'"),
        ("\n foo ~ x", "2:6: parse error: unexpected character: '~'"),
        ("'abc", "1:1: parse error: unterminated quoted string"),
        ("foo{a=b}", "1:7: parse error: unexpected identifier \"b\" in label matching, expected string"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{x=''}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("foo{__name__='bar'}", "1:1: parse error: metric name must not be set twice: \"foo\" or \"bar\""),
        ("nope(x)", "1:1: parse error: unknown function with name \"nope\""),
        ("rate(x[5m], 1)", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 2"),
        ("label_join(x, 'a')", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2"),
        ("round(x, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
        ("abs(1)", "1:5: parse error: expected type instant vector in call to function \"abs\", got scalar"),
        ("sum(x[5m])", "1:5: parse error: expected type instant vector in aggregation expression, got range vector"),
        ("topk('a', x)", "1:6: parse error: expected type scalar in aggregation parameter, got string"),
        ("topk(x)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("x + bool y", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("1 and x", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("x and on(a) group_left y", "1:1: parse error: no grouping allowed for \"and\" operation"),
        ("x + on(a) group_left(a) y", "1:3: parse error: label \"a\" must not occur in ON and GROUP clause at once"),
        ("x[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        ("x + on(a) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("x offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
        ("x[0s]", "1:3: parse error: duration must be greater than 0"),
        ("sum(x)[5m]", "1:7: parse error: ranges only allowed for vector selectors"),
        ("x offset 1m [5m]", "1:13: parse error: no offset modifiers allowed before range"),
        (
            "1 offset 1m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("1d1", "1:1: parse error: bad number or duration syntax: \"1d1\""),
        ("x @ @", "1:5: parse error: unexpected \"<Item 57400>\" <op:@> in @, expected timestamp"),
        ("x[5m foo]", "1:7: parse error: unexpected colon 'o'"),
        ("sum(a b)", "1:7: parse error: unexpected identifier \"b\" in aggregation"),
        ("sum(a,)", "1:6: parse error: trailing commas not allowed in function call args"),
        ("x 'abcdefghijklmn'", "1:3: parse error: unexpected string \"'abcdefghi\"..."),
        ("x[5m+1m]", "1:3: parse error: experimental duration expression is not enabled"),
        ("0x", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"0x\": invalid syntax"),
        ("5hs", "1:1: parse error: unknown unit \"hs\" in duration \"5hs\""),
        (
            "limitk(1, x)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("sort_by_label(x, 'a')", "1:1: parse error: function \"sort_by_label\" is not enabled"),
    ] {
        assert_eq!(refused(query), expected, "{query}");
    }
}

#[test]
fn long_and_deep_queries_are_refused_instead_of_overflowing_the_stack() {
    assert!(refused(&("(".repeat(5000) + "1" + &")".repeat(5000))).contains("nested deeper"));
    assert!(refused(&("-".repeat(5000) + "x")).contains("nested deeper"));
    assert!(refused(&("1+".repeat(100_000) + "1")).contains("binary operators"));
    let long = "1+".repeat(450) + "1";
    let value = eval::instant(&Store::new(), &long, &parse(&long).unwrap(), 0, EvalOptions::default());
    assert!(matches!(value, Ok((QueryValue::Scalar(point), _)) if point.value.float() == 451.0));
    let deep = "abs(".repeat(50) + "x" + &")".repeat(50);
    eval::instant(&Store::new(), &deep, &parse(&deep).unwrap(), 0, EvalOptions::default()).unwrap();
}

#[test]
fn far_times_do_not_overflow() {
    let mut store = Store::new();
    store.append(&[("__name__", "x")].into_iter().collect::<Labels>(), Point::float(0, 1.0)).unwrap();
    for query in ["x offset 290y", "x @ 8000000000000", "x @ -8000000000000 offset -290y", "rate(x[290y] offset 290y)"]
    {
        eval::instant(&store, query, &parse(query).unwrap(), 0, EvalOptions::default()).unwrap();
    }
}

#[test]
fn matching_errors_name_group_and_side() {
    let mut store = Store::new();
    for (name, a) in [("x", "1"), ("x", "2"), ("y", "1")] {
        let labels = Labels::from_pairs([("__name__", name), ("a", a), ("g", "k")]);
        store.append(&labels, Point::float(0, 1.0)).unwrap();
    }
    let error = |query: &str| {
        eval::instant(&store, query, &parse(query).unwrap(), 0, EvalOptions::default()).unwrap_err().to_string()
    };
    assert_eq!(
        error("y * on(g) x"),
        r#"found duplicate series for the match group {g="k"} on the right hand-side of the operation: [{__name__="x", a="2", g="k"}, {__name__="x", a="1", g="k"}];many-to-many matching not allowed: matching labels must be unique on one side"#
    );
    assert_eq!(
        error("x * on(g) y"),
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
    );
    assert_eq!(
        error("x * on(g) group_left(a) y"),
        "multiple matches for labels: grouping labels must ensure unique matches"
    );
}

/// Expressions that parse, by construction.
fn vector() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("foo".to_owned()),
        Just("foo{a=\"b\",c!~\"d.*\"}".to_owned()),
        Just("foo offset 5m".to_owned()),
        Just("foo @ 10.500 offset -1m".to_owned()),
        Just("rate(foo[5m] @ start())".to_owned()),
        Just("vector(1e+21)".to_owned()),
    ];
    leaf.prop_recursive(4, 32, 2, |inner| {
        prop_oneof![
            (
                inner.clone(),
                inner.clone(),
                prop_oneof![
                    Just("+"),
                    Just("^"),
                    Just("== bool"),
                    Just("and on (a)"),
                    Just("* ignoring (x) group_left (y)")
                ]
            )
                .prop_map(|(a, b, op)| format!("({a}) {op} {b}")),
            inner.clone().prop_map(|a| format!("sum by (a, b) ({a})")),
            inner.clone().prop_map(|a| format!("quantile without (c) (0.5, {a})")),
            inner.clone().prop_map(|a| format!("max_over_time(({a})[1h:1m] offset 1m)")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.prop_map(|a| format!("label_replace({a}, \"x\", \"$1\", \"y\", \"(.*)\")")),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same_text(query in vector()) {
        let once = parse(&query).unwrap().to_string();
        prop_assert_eq!(parse(&once).unwrap().to_string(), once);
    }

    #[test]
    fn no_text_makes_the_parser_panic(query in "[a-z(){}\\[\\]0-9\"'`\\\\ .:,=~!<>+*/%^@#é-]{0,40}") {
        let _ = parse(&query);
    }

    #[test]
    fn no_sequence_of_words_makes_the_parser_panic(words in proptest::collection::vec(prop_oneof![
        Just("foo"), Just("sum"), Just("by"), Just("("), Just(")"), Just("{"), Just("}"), Just("["), Just("]"), Just("5m"), Just(":"),
        Just("offset"), Just("@"), Just("-"), Just("+"), Just("and"), Just("on"), Just("group_left"), Just("1"), Just("rate"), Just(","),
        Just("'x'"), Just("="), Just("bool"), Just("start"),
    ], 0..12)) {
        let _ = parse(&words.join(" "));
    }
}

/// Ten minutes of `x` at 0, 1, 2 … a minute, and `up` twice.
fn minutes() -> Store {
    let mut store = Store::new();
    for minute in 0..=10 {
        for (labels, value) in [
            (vec![("__name__", "x")], f64::from(minute)),
            (vec![("__name__", "up"), ("i", "a")], 1.0),
            (vec![("__name__", "up"), ("i", "b")], 1.0),
        ] {
            store.append(&labels.into_iter().collect(), Point::float(i64::from(minute) * 60_000, value)).unwrap();
        }
    }
    store
}

#[test]
fn labels_of_what_is_absent_follow_the_order_of_the_storage() {
    let store = minutes();
    let labels = |query: &str| {
        let (value, _) = eval::instant(&store, query, &parse(query).unwrap(), 0, EvalOptions::default()).unwrap();
        let QueryValue::Vector(vector) = value else { panic!("{value:?}") };
        vector[0].labels.to_string()
    };
    assert_eq!(labels("absent(n{a=\"1\",b=\"2\"})"), "{a=\"1\", b=\"2\"}");
    assert_eq!(labels("absent(n{a=\"1\",a=\"2\"})"), "{}");
    assert_eq!(labels("absent(n{a=~\".+\",a=\"2\"})"), "{a=\"2\"}");
    // What only takes away stands last, wherever it is written.
    assert_eq!(labels("absent(n{a!=\"1\",a=\"2\"})"), "{}");
}

#[test]
fn subqueries_are_evaluated_between_the_windows_of_a_range() {
    let store = minutes();
    let range = |query: &str, step_ms: i64| {
        eval::range(&store, query, &parse(query).unwrap(), (30_000, 570_000, step_ms), EvalOptions::default())
    };
    // No window holds a step, but the steps between them cannot be evaluated.
    let error = range("count_over_time((x + on () up)[1s:1m])", 180_000).unwrap_err();
    assert!(error.to_string().contains("found duplicate series"), "{error}");
    let (value, remarks) = range("count_over_time(quantile(2, x)[1s:1m])", 180_000).unwrap();
    assert_eq!(remarks.warnings.len(), 1, "{value:?}");
}

#[test]
fn of_the_same_remark_at_two_places_the_outer_one_is_told() {
    let store = minutes();
    let query = "quantile(2, quantile(2, x))";
    let (_, remarks) = eval::instant(&store, query, &parse(query).unwrap(), 0, EvalOptions::default()).unwrap();
    let told: Vec<_> = remarks.warnings.into_iter().collect();
    assert_eq!(told, ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"]);
}
