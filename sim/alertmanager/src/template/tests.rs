use super::*;
use std::collections::BTreeMap;

fn data() -> Arc<Data> {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let alert = |status: &'static str, instance: &str, severity: &str| {
        Arc::new(AlertData {
            status,
            labels: map(&[("alertname", "Down"), ("instance", instance), ("severity", severity)]),
            annotations: map(&[("summary", "it is <down>")]),
            starts_at: Timestamp::from_secs(1_770_832_207),
            ends_at: (status == "resolved").then(|| Timestamp::from_secs(1_770_832_307)),
            generator_url: "http://p/graph?g0.expr=up".to_owned(),
            fingerprint: "0123456789abcdef".to_owned(),
        })
    };
    Arc::new(Data {
        receiver: "team-x".to_owned(),
        status: "firing",
        alerts: vec![alert("firing", "a", "warning"), alert("resolved", "b", "critical")],
        reason: "first notification",
        group_labels: map(&[("alertname", "Down")]),
        common_labels: map(&[("alertname", "Down"), ("job", "j")]),
        common_annotations: map(&[("summary", "it is <down>")]),
        external_url: "http://am".to_owned(),
    })
}

fn rendered(text: &str) -> Result<String, String> {
    Templates::default().text(text, &data(), Timestamp::from_secs(1_770_832_267)).map_err(|error| error.to_string())
}

#[test]
fn the_language_is_gos() {
    for (text, expected) in [
        ("{{ .Status }} {{ .Receiver }} {{ $.ExternalURL }}", "firing team-x http://am"),
        ("{{ len .Alerts }}/{{ .Alerts.Firing | len }}", "2/1"),
        ("{{ range $i, $a := .Alerts }}{{ if $i }}, {{ end }}{{ $a.Labels.instance }}{{ end }}", "a, b"),
        ("{{ range .Alerts }}{{ if eq .Labels.instance \"b\" }}{{ break }}{{ end }}{{ .Status }}{{ end }}", "firing"),
        ("{{ .GroupLabels }} {{ .CommonLabels.Remove .GroupLabels.Names }}", "alertname=Down job=j"),
        ("{{ .CommonLabels.nothing }}|{{ index .CommonLabels \"job\" }}", "|j"),
        (
            "{{ define \"x\" }}<{{ . }}>{{ end }}{{ template \"x\" .Status }}{{ block \"y\" 3 }}{{ . }}{{ end }}",
            "<firing>3",
        ),
        ("{{ with .CommonLabels.none }}a{{ else with .Status }}{{ . }}{{ else }}c{{ end }}", "firing"),
        ("{{ $x := 1 }}{{ range .Alerts }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ (index .Alerts 0).StartsAt.Format \"15:04\" }} {{ since (index .Alerts 0).StartsAt }}", "17:50 1m0s"),
        ("{{ (index .Alerts 0).StartsAt | tz \"Europe/Rome\" | date \"15:04 MST\" }}", "18:50 CET"),
        (
            "{{ title \"hello wORLD\" }} {{ \" x \" | trimSpace }} {{ join \"+\" (stringSlice \"a\" \"b\") }}",
            "Hello World x a+b",
        ),
        ("{{ reReplaceAll \"(a+)\" \"<$1>\" \"baab\" }} {{ match \"^a\" \"ba\" }}", "b<aa>b false"),
        ("{{ dict \"a\" 1 \"b\" (list 1 \"x\") | toJson }}", r#"{"a":1,"b":[1,"x"]}"#),
        ("{{ .CommonAnnotations | toJson }}", r#"{"summary":"it is \u003cdown\u003e"}"#),
        ("{{ and 0 (index .Alerts 9) }}{{ or \"x\" (index .Alerts 9) }}{{ not true }}", "0xfalse"),
        (
            "{{ printf \"%-4s|%04d|%q|%v|%.1f|%d%%\" \"a\" 7 \"q\" .Status 2.25 }}",
            "a   |0007|\"q\"|firing|2.2|%!d(MISSING)%",
        ),
        ("a {{- /* gone */ -}} b{{ \"\\t\" }}{{ `r\\aw` }}", "ab\tr\\aw"),
        ("{{ urlUnescape \"a%20b+c\" }} {{ urlquery \"a b&c\" }} {{ html \"<a>\" }}", "a b c a+b%26c &lt;a&gt;"),
        ("{{ humanizeDuration 93784 }} {{ humanizeDuration \"0.0123\" }}", "1d 2h 3m 4s 12.3ms"),
        ("{{ .NotificationReason }} {{ (index .Alerts 1).EndsAt.Unix }}", "first notification 1770832307"),
    ] {
        assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, expected) in [
        ("{{ nope }}", "template: :1: function \"nope\" not defined"),
        ("x\n{{ $x }}", "template: :2: undefined variable \"$x\""),
        ("{{ if true }}", "template: :1: unexpected EOF"),
        ("{{ end }}", "template: :1: unexpected {{end}}"),
        ("{{ .Nope }}", "template: :1:3: executing \"\" at <.Nope>: can't evaluate field Nope in type *template.Data"),
        (
            "{{ template \"nope\" . }}",
            "template: :1:12: executing \"\" at <{{template \"nope\" .}}>: template \"nope\" not defined",
        ),
        (
            "{{ index .Alerts 5 }}",
            "template: :1:3: executing \"\" at <index .Alerts 5>: error calling index: index out of range: 5",
        ),
        (
            "{{ define \"r\" }}{{ template \"r\" }}{{ end }}{{ template \"r\" }}",
            "template: :1:28: executing \"r\" at <{{template \"r\"}}>: exceeded maximum template depth (100)",
        ),
    ] {
        assert_eq!(rendered(text).unwrap_err(), expected, "{text}");
    }
    assert!(
        rendered("{{ range 100000 }}{{ range 100000 }}long{{ end }}{{ end }}").unwrap_err().contains("larger than")
    );
    assert!(
        rendered("{{ range 100000 }}{{ range 100000 }}{{ $a := 1 }}{{ end }}{{ end }}").unwrap_err().contains("steps")
    );
    // Lists in lists that could be neither printed nor dropped, and texts that double.
    for endless in
        ["list $l", "list $l $l", "dict \"a\" $l \"b\" $l", "append $l $l", "print $l $l", "printf \"%s%s\" $l $l"]
    {
        let text =
            format!("{{{{ $l := list 1 }}}}{{{{ range 100000 }}}}{{{{ $l = {endless} }}}}{{{{ end }}}}{{{{ $l }}}}");
        let error = rendered(&text).unwrap_err();
        assert!(error.contains("deeper than") || error.contains("larger than"), "{endless}: {error}");
    }
    assert!(check(&"{{if 1}}".repeat(100)).unwrap_err().to_string().contains("nested deeper"));
}

#[test]
fn html_escapes_what_actions_print() {
    let html = Templates::default()
        .html(
            "<a href=\"{{ .ExternalURL }}/?a b\">{{ .CommonAnnotations.summary }}{{ safeHtml \"<b>\" }}</a>",
            &data(),
            Timestamp::default(),
        )
        .unwrap();
    assert_eq!(html, "<a href=\"http://am/?a b\">it is &lt;down&gt;<b></a>");
    let page =
        Templates::default().html("{{ template \"email.default.html\" . }}", &data(), Timestamp::default()).unwrap();
    assert!(page.contains("<h2>[1] Firing</h2>") && page.contains("it is &lt;down&gt;"), "{page}");
}

#[test]
fn a_file_replaces_a_default_template() {
    let mut templates = Templates::default();
    templates.add("own.tmpl", "{{ define \"slack.default.title\" }}own{{ end }}").unwrap();
    let text = templates.text("{{ template \"slack.default.title\" . }}", &data(), Timestamp::default()).unwrap();
    assert_eq!(text, "own");
    assert_eq!(
        templates.add("bad.tmpl", "\n{{ define \"x\" }}").unwrap_err().to_string(),
        "template: bad.tmpl:2: unexpected EOF"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_renderer_panic(text in "(\\{\\{ ?|-?\\}\\}| |if|range|end|else|define|template|\"x\"|\\.|\\.Alerts|\\$|\\$x|:=|\\||\\(|\\)|len|1|slice|printf|é){0,20}") {
        let _ = rendered(&text);
    }
}
