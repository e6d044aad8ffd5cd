use super::*;

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn what_does_not_fit_is_told_with_lines() {
    let text = "globl: {}\nroute:\n  receiver: a\n  continue: maybe\n  routes:\n  - recvr: x\n    matchers: {a: b}\n  - match: [a]\nreceivers:\n- name: a\n  webhook_configs:\n  - ulr: http://x/y\n";
    assert_eq!(
        refused(text),
        "yaml: unmarshal errors:\n  line 1: field globl not found in type config.plain\n  line 4: cannot unmarshal !!str `maybe` into bool\n  line 6: field recvr not found in type config.plain\n  line 7: cannot unmarshal !!map into []string\n  line 8: cannot unmarshal !!seq into map[string]string\n  line 12: field ulr not found in type webhook.plain"
    );
}

#[test]
fn the_first_value_that_is_wrong_in_itself_ends_the_reading() {
    let with_route = |route: &str| refused(&format!("route: {{receiver: a, {route}}}\nreceivers: [{{name: a}}]\n"));
    assert_eq!(with_route("group_wait: abc"), "not a valid duration string: \"abc\"");
    assert_eq!(with_route("group_interval: 0s"), "group_interval cannot be zero");
    assert_eq!(with_route("group_by: [a, a]"), "duplicated label \"a\" in group_by");
    assert_eq!(
        with_route("group_by: [a, '...']"),
        "cannot have wildcard group_by (`...`) and other labels at the same time"
    );
    assert_eq!(with_route("matchers: [a=b]"), "root route must not have any matchers");
    assert_eq!(with_route("continue: true"), "cannot have continue in root route");
    assert_eq!(with_route("routes: [{receiver: b}]"), "undefined receiver \"b\" used in route");
    assert_eq!(with_route("routes: [{mute_time_intervals: [x]}]"), "undefined time interval \"x\" used in route");
    assert_eq!(refused(""), "no route provided in config");
    assert_eq!(refused("receivers: []"), "no routes provided");
    assert_eq!(
        refused("route: {receiver: a}\nreceivers: [{name: a}, {name: a}]"),
        "notification config name \"a\" is not unique"
    );
}

#[test]
fn a_receiver_takes_from_global_what_it_lacks() {
    let text = "global: {smtp_from: a@b, smtp_smarthost: 'mail:25'}\nroute: {receiver: a}\nreceivers: [{name: a, email_configs: [{to: c@d}]}]\n";
    let config = parse(text).unwrap();
    let settings = &config.receivers[0].integrations[0].settings;
    assert_eq!(
        (settings.text("from"), settings.text("smarthost"), settings.text("hello")),
        ("a@b", "mail:25", "localhost")
    );
    assert_eq!(refused(&text.replace("smtp_from: a@b, ", "")), "no global SMTP from set");
    let slack = "route: {receiver: a}\nreceivers: [{name: a, slack_configs: [{channel: x}]}]\n";
    assert_eq!(refused(slack), "no Slack API URL nor App token set either inline or in a file");
}

#[test]
fn secrets_are_masked_and_defaults_shown() {
    let text = "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://h/secret', http_config: {bearer_token: abc}}]}]\n";
    let shown = parse(text).unwrap().shown().to_owned();
    assert!(!shown.contains("http://h/secret") && !shown.contains("abc"), "{shown}");
    assert!(shown.contains("    url: <secret>\n    url_file: \"\"\n    max_alerts: 0\n    timeout: 0s\n"), "{shown}");
    // What is shown is a configuration, but for the secrets.
    let again =
        shown.replace("url: <secret>", "url: http://h/other").replace("credentials: <secret>", "credentials: x");
    assert_eq!(parse(&again).unwrap().shown(), shown);
}

#[test]
fn deep_and_large_files_are_refused() {
    assert!(refused(&format!("route: {}a{}", "[".repeat(100), "]".repeat(100))).contains("nested deeper"));
    let bomb = format!(
        "a: &a [{0}]\nb: &b [{1}]\nc: &c [{2}]\nd: [{3}]\n",
        vec!["x"; 90].join(","),
        vec!["*a"; 90].join(","),
        vec!["*b"; 90].join(","),
        vec!["*c"; 90].join(",")
    );
    assert!(refused(&bomb).contains("excessive aliasing"));
    assert!(refused(&" ".repeat(FILE_BYTES_MAX + 1)).contains("larger than"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(route|receivers|name|a|: |- |\n  |\\[|\\]|\\{|\\}|,|'|&x |\\*x|1h|0){0,30}") {
        let _ = parse(&text);
    }
}
