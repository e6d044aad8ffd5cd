use super::*;

fn shown(text: &str) -> Result<String, String> {
    parse_all(text).map(|matchers| Matchers::new(matchers).to_string())
}

#[test]
fn both_grammars_are_read() {
    for (text, expected) in [
        ("", "{}"),
        ("{}", "{}"),
        ("foo=bar", r#"{foo="bar"}"#),
        ("{foo=\"bar\", a!=b,}", r#"{a!="b",foo="bar"}"#),
        ("foo=~\"b.*\"", r#"{foo=~"b.*"}"#),
        ("\"a b\"=c", r#"{"a b"="c"}"#),
        ("föö=bar", r#"{föö="bar"}"#),
        ("foo=\"a\\u0062\"", r#"{foo="a\\u0062"}"#),
        ("foo=", r#"{foo=""}"#),
        ("foo=a b", r#"{foo="a b"}"#),
        ("foo=\"a,b\",c=d", r#"{c="d",foo="a,b"}"#),
        ("a:b=c", r#"{a:b="c"}"#),
    ] {
        assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_neither_grammar_reads_is_told_in_the_classic_ones_words() {
    for (text, expected) in [
        ("foo", "bad matcher format: foo"),
        ("{foo=\"bar}", "matcher value contains unescaped double quote: \"bar"),
        ("foo=b\"r", "matcher value contains unescaped double quote: b\"r"),
        ("foo=~\"(\"", "error parsing regexp: missing closing ): `^(?:()$`"),
        ("a=b,,c=d", "bad matcher format: "),
    ] {
        assert_eq!(shown(text).unwrap_err(), expected, "{text}");
    }
    assert_eq!(Matcher::parse("{a=b}").unwrap_err(), "unexpected open or close brace: {a=b}");
}

#[test]
fn an_absent_label_is_an_empty_value() {
    let labels = Labels::from_pairs([("a", "1")]);
    for (text, met) in [
        ("a=1", true),
        ("b=\"\"", true),
        ("b!=\"\"", false),
        ("b!=x", true),
        ("b=~\".*\"", true),
        ("a!~\"1|2\"", false),
    ] {
        assert_eq!(Matcher::parse(text).unwrap().matches(&labels), met, "{text}");
    }
}

#[test]
fn regular_expressions_match_the_whole_value() {
    let matcher = Matcher::parse("a=~\"b|c\"").unwrap();
    assert!(matcher.matches_value("c") && !matcher.matches_value("bc"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "[a-c={}~!\",\\\\ nx0-9é]{0,24}") {
        let _ = parse_all(&text);
        let _ = Matcher::parse(&text);
    }

    #[test]
    fn what_is_printed_is_read_back(name in "[a-z][a-z .]{0,4}[a-z]", value in "[a-z\"\\\\\n, =é]{0,8}") {
        let matcher = Matcher::new(MatchType::Equal, &name, &value).unwrap();
        proptest::prop_assert_eq!(Matcher::parse(&matcher.to_string()).unwrap(), matcher);
    }
}
