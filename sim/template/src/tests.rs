use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A small world: a map with a list, a text and a number.
fn world() -> Value<Infallible> {
    let texts = Value::texts(["x".to_owned(), "y".to_owned()]);
    let list = Value::list(vec![Value::Int(1), Value::Float(2.5), Value::from("three"), Value::Nil]).unwrap();
    let inner = Value::map(BTreeMap::from([("name".to_owned(), Value::from("inner"))])).unwrap();
    let entries = [
        ("list", list),
        ("texts", texts),
        ("inner", inner),
        ("text", Value::from("a <b>")),
        ("number", Value::Int(7)),
        ("fraction", Value::Float(0.25)),
        ("yes", Value::Bool(true)),
        ("wait", Value::Duration(90_500_000_000)),
        ("when", Value::Time(Time::utc(Some(sim_clock::Timestamp::from_secs(1_770_832_207))))),
    ];
    Value::map(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()).unwrap()
}

fn rendered(text: &str) -> Result<String, String> {
    let templates = Templates::parse("t", text, &NoHost).map_err(|error| error.to_string())?;
    Templates::render(&[&templates], "t", &world(), &NoHost).map_err(|error| error.to_string())
}

#[test]
fn the_language_is_gos() {
    for (text, expected) in [
        ("plain", "plain"),
        ("{{ .text }} {{ .number }} {{ .fraction }} {{ .yes }} {{ .nothing }}", "a <b> 7 0.25 true <no value>"),
        ("{{ .inner.name }} {{ .inner }} {{ .list }} {{ .texts }}", "inner map[name:inner] [1 2.5 three <nil>] [x y]"),
        ("{{ range .texts }}{{ . }},{{ end }}{{ range .nothing }}{{ else }}none{{ end }}", "x,y,none"),
        ("{{ range $i, $x := .list }}{{ $i }}={{ $x }};{{ end }}", "0=1;1=2.5;2=three;3=<no value>;"),
        ("{{ range $k, $v := .inner }}{{ $k }}:{{ $v }}{{ end }}", "name:inner"),
        (
            "{{ range 5 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        ("{{ with .inner }}{{ .name }}{{ $.number }}{{ else }}no{{ end }}", "inner7"),
        ("{{ with .nothing }}a{{ else with .number }}{{ . }}{{ else }}c{{ end }}", "7"),
        ("{{ if and .yes (gt .number 6) }}a{{ else if .yes }}b{{ else }}c{{ end }}", "a"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ end }}{{ $x }}", "2"),
        ("{{ define \"d\" }}<{{ . }}>{{ end }}{{ template \"d\" .number }}{{ block \"b\" 3 }}{{ . }}{{ end }}", "<7>3"),
        ("{{ .text | printf \"%q\" | len }} {{ (index .texts 1) }} {{ index .inner \"name\" }}", "7 y inner"),
        ("{{ .when.Year }} {{ .when.Format \"15:04\" }} {{ .wait }} {{ .wait.Seconds }}", "2026 17:50 1m30.5s 90.5"),
        ("{{ (.when.Add .wait).Sub .when }} {{ .when.Before (.when.Add 5) }}", "1m30.5s true"),
        ("{{ html .text }} {{ js .text }} {{ urlquery .text }}", "a &lt;b&gt; a \\u003Cb\\u003E a+%3Cb%3E"),
        ("a {{- /* gone */ -}} b {{- 1 -}} \n c", "ab1c"),
        ("{{ slice .list 1 3 }} {{ slice .texts 1 }} {{ slice .text 2 }}", "[2.5 three] [y] <b>"),
        ("{{ printf \"%d %v\" .list .texts }}", "[1 %!d(float64=2.5) %!d(string=three) %!d(<nil>)] [x y]"),
        ("{{ define \"x\" }}{{ end }}{{ define \"x\" }}second{{ end }}{{ template \"x\" }}", "second"),
        ("{{ \"a\\tb\" }}{{ `r\\aw` }}{{ 'x' }}", "a\tbr\\aw120"),
    ] {
        assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, expected) in [
        ("{{ nope }}", "template: t:1: function \"nope\" not defined"),
        ("x\n{{ $x }}", "template: t:2: undefined variable \"$x\""),
        ("{{ if true }}\n", "template: t:2: unexpected EOF"),
        ("{{ 1\n\n", "template: t:3: unclosed action started at t:1"),
        ("{{ 1\n\n§", "template: t:3: unrecognized character in action: U+00A7 '§' in action started at t:1"),
        ("{{ \"a long text that is cut\"\n := }}", "template: t:2: unexpected \":=\" in operand"),
        ("{{ 1.x }}{{ 0b2 }}", "template: t:1: bad number syntax: \"1.x\""),
        (
            "\n {{ .text.x.y }}",
            "template: t:2:9: executing \"t\" at <.text.x.y>: can't evaluate field x in type string",
        ),
        (
            "{{ .nothing.x }}",
            "template: t:1:11: executing \"t\" at <.nothing.x>: nil pointer evaluating interface {}.x",
        ),
        ("{{ len .number }}", "template: t:1:3: executing \"t\" at <len .number>: error calling len: len of type int"),
        (
            "{{ printf .number }}",
            "template: t:1:10: executing \"t\" at <.number>: wrong type for value; expected string; got int",
        ),
        (
            "{{ .when.Format }}",
            "template: t:1:8: executing \"t\" at <.when.Format>: wrong number of args for Format: want 1 got 0",
        ),
        ("{{ .when.Add \"x\" }}", "template: t:1:13: executing \"t\" at <\"x\">: expected integer; found \"x\""),
        (
            "{{ define \"d\" }}\n{{ .x.y }}{{ end }}{{ template \"d\" . }}",
            "template: t:2:5: executing \"d\" at <.x.y>: nil pointer evaluating interface {}.y",
        ),
    ] {
        assert_eq!(rendered(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn nothing_is_without_an_end() {
    let long = |part: &str, times: usize| part.repeat(times);
    for (text, word) in [
        (long("{{if 1}}", 1000), "nested deeper than"),
        (format!("{{{{if 1}}}}{}{{{{end}}}}", long("{{else if 1}}", 1000)), "nested deeper than"),
        (format!("{{{{{}1{}}}}}", long("(", 1000), long(")", 1000)), "nested deeper than"),
        (long("x", TEXT_BYTES_MAX + 1), "text larger than"),
        (long("{{1}}", TOKENS_MAX), "tokens"),
        ("{{ range 9999999999 }}{{ end }}".to_owned(), "steps"),
        ("{{ range 9999999999 }}some text{{ end }}".to_owned(), "output larger than"),
        ("{{ $x := \"xx\" }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}".to_owned(), "text larger than"),
        (
            "{{ $x := printf \"%1000d\" 1 }}{{ range 99 }}{{ $x = printf \"%q\" $x }}{{ $x = html $x $x }}{{ end }}"
                .to_owned(),
            "text larger than",
        ),
        ("{{ define \"r\" }}{{ template \"r\" }}{{ end }}{{ template \"r\" }}".to_owned(), "template depth"),
        (
            // Each call nests as deep as a text can.
            format!(
                "{{{{define \"r\"}}}}{}{{{{template \"r\"}}}}{}{{{{end}}}}{{{{template \"r\"}}}}",
                long("{{if 1}}", 50),
                long("{{end}}", 50)
            ),
            "nested deeper than",
        ),
    ] {
        let error = rendered(&text).unwrap_err();
        assert!(error.contains(word), "{}…: {error}", text.chars().take(60).collect::<String>());
    }
}

#[test]
fn later_sets_give_way_and_empty_templates_do_not_replace() {
    let parse = |name: &str, text: &str| Templates::parse(name, text, &NoHost).unwrap();
    let mut shared = parse("a", "{{ define \"x\" }}a{{ end }}{{ define \"y\" }}a{{ end }}");
    shared.extend(parse("b", "{{ define \"x\" }}b{{ end }}{{ define \"y\" }} {{ end }}"));
    let own = parse("c", "{{ define \"y\" }}c{{ end }}{{ template \"x\" }}{{ template \"y\" }}{{ template \"z\" }}");
    let error = Templates::render(&[&own, &shared], "c", &Value::Nil, &NoHost).unwrap_err();
    assert_eq!(
        error.to_string(),
        "template: c:1:74: executing \"c\" at <{{template \"z\"}}>: template \"z\" not defined"
    );
    let own = parse("c", "{{ define \"y\" }}c{{ end }}{{ template \"x\" }}{{ template \"y\" }}");
    assert_eq!(Templates::render(&[&own, &shared], "c", &Value::Nil, &NoHost).unwrap(), "bc");
    assert_eq!(
        Templates::render(&[&own], "q", &Value::Nil, &NoHost).unwrap_err().to_string(),
        "template: no template \"q\" associated with template \"q\""
    );
}

#[test]
fn a_place_is_told_as_go_writes_the_template() {
    for (text, shown) in [
        ("{{   printf  \"%s\"   (  len   .x )  | html }}", "printf \"%s\" (len .x) | html"),
        ("{{ range  $a ,$b  :=  .x.y }}{{ end }}", "$a, $b := .x.y"),
        ("{{ (index . 1).name.z | (len) }}", "(index . 1).name.z | (len)"),
        ("{{ $.x nil 'a' 0x1F true `r` . }}", "$.x nil 'a' 0x1F true `r` ."),
    ] {
        let templates = Templates::parse("t", text, &NoHost).unwrap();
        let pipeline = match templates.nodes("t").unwrap() {
            [syntax::Node::Action(pipeline) | syntax::Node::Range(pipeline, ..)] => pipeline,
            other => panic!("{other:?}"),
        };
        assert_eq!(pipeline.to_string(), shown);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_refused_or_rendered_within_bounds(
        text in "(\\{\\{-? ?|\\{\\{ | ?-?\\}\\}|\\}\\}| |\n|if|with|range|end|else|define|template|block|break|continue|\"x\"|'a'|`|\"|\\.|\\.list|\\.text|\\.when|\\.Format|\\$|\\$x|:=|=|,|\\||\\(|\\)|len|index|slice|eq|lt|printf|\"%5.2q%[2]\\*d\"|nil|true|-?[0-9]{1,3}|1e9|/\\*|\\*/|é){0,30}"
    ) {
        if let Ok(out) = rendered(&text) {
            prop_assert!(out.len() <= OUTPUT_BYTES_MAX);
        }
    }

    /// Templates that hold together, so that more of them run.
    #[test]
    fn whole_templates_run_within_bounds(
        parts in proptest::collection::vec(
            "\\{\\{ (\\$x|\\.|\\.list|\\.text|\\.nothing|7|2\\.5|\"é%d\"|nil)( \\| (len|print|printf \"%v\"|index \\.list|slice \\.text 1|eq 1|lt 2|html|not|and 1|\\.when\\.Format))? \\}\\}",
            0..6,
        ),
        around in "(if|with|range \\$i, \\$y :=) (\\.list|\\.inner|\\.texts|3|\\.nothing|\\.text)",
    ) {
        let text = format!("{{{{ $x := .list }}}}{{{{ {around} }}}}{}{{{{ else }}}}{}{{{{ end }}}}", parts.concat(), parts.concat());
        if let Ok(out) = rendered(&text) {
            prop_assert!(out.len() <= OUTPUT_BYTES_MAX);
        }
    }

    /// What `printf` is given must not matter to its ending.
    #[test]
    fn printf_takes_any_format(format in "(%[-+# 0]{0,2}[0-9]{0,4}(\\.[0-9*]{0,3})?(\\[[0-9]\\])?[a-zA-Z%*!é]|x){0,6}") {
        let text = format!("{{{{ printf {} 1 \"a\" 2.5 nil true .list .when . }}}}", print::quote(&format));
        prop_assert!(rendered(&text).is_ok(), "{}", text);
    }
}
