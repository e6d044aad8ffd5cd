//! Templates of notifications, by this crate and by `amtool template render`: the same texts, the same words of refusal.

#[path = "real/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;

use sim_alertmanager::template::{AlertData, Data, Templates};
use sim_clock::Timestamp;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

/// One template a line, rendered as text and as HTML; after `text:` only as text, since HTML pages are looked through before they run.
const TEMPLATES: &str = include_str!("data/templates.txt");
const OWN: &str = "{{ define \"own\" }}own {{ . }}{{ end }}";
/// 2026-02-11T17:50:07Z
const START_SECS: i64 = 1_770_832_207;

fn data() -> Data {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let alert = |status: &'static str, instance: &str, severity: &str| {
        Arc::new(AlertData {
            status,
            labels: map(&[("alertname", "Down"), ("instance", instance), ("severity", severity)]),
            annotations: map(&[("summary", "it is <down>")]),
            starts_at: Timestamp::from_secs(START_SECS),
            ends_at: (status == "resolved").then(|| Timestamp::from_secs(START_SECS + 100)),
            generator_url: "http://p/graph?g0.expr=up".to_owned(),
            fingerprint: "0123456789abcdef".to_owned(),
        })
    };
    Data {
        receiver: "team-x".to_owned(),
        status: "firing",
        alerts: vec![alert("firing", "a", "warning"), alert("resolved", "b", "critical")],
        reason: "",
        group_labels: map(&[("alertname", "Down")]),
        common_labels: map(&[("alertname", "Down"), ("job", "j")]),
        common_annotations: map(&[("summary", "it is <down>")]),
        external_url: "http://am".to_owned(),
    }
}

#[test]
fn templates_are_refused_and_rendered_as_by_amtool() {
    let Some(amtool) = process::amtool() else { return };
    let folder = process::folder("templates");
    std::fs::write(folder.join("own.tmpl"), OWN).unwrap();
    let mut templates = Templates::default();
    templates.add("own.tmpl", OWN).unwrap();
    let data = Arc::new(data());
    // Our own encoder writes what amtool is given, and the real one's answer to `toJson .` is compared below.
    let written = templates.text("{{ toJson . }}", &data, Timestamp::default()).unwrap();
    std::fs::write(folder.join("data.json"), written).unwrap();
    let (mut differences, mut refused) = (Vec::new(), 0);
    let kinds = |line: &'static str| match line.strip_prefix("text: ") {
        Some(text) => vec![(text, false)],
        None => vec![(line, false), (line, true)],
    };
    for (text, html) in TEMPLATES.lines().flat_map(kinds) {
        let output = Command::new(&amtool)
            .args(["template", "render", "--template.glob=own.tmpl", "--template.data=data.json"])
            .arg(if html { "--template.type=html" } else { "--template.type=text" })
            .arg(format!("--template.text={text}"))
            .current_dir(&folder)
            .output()
            .unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let theirs = if output.status.success() {
            let told = said(&output.stdout);
            Ok(told.strip_suffix('\n').unwrap_or(&told).to_owned())
        } else {
            let told = said(&output.stderr);
            // It renders a copy of what notifications are given a pointer to.
            Err(told
                .trim()
                .trim_start_matches("amtool: error: ")
                .trim_start_matches("html/")
                .replace("type template.Data", "type *template.Data"))
        };
        let ours = if html {
            templates.html(text, &data, Timestamp::default())
        } else {
            templates.text(text, &data, Timestamp::default())
        };
        let ours = ours.map_err(|error| error.to_string());
        refused += usize::from(theirs.is_err());
        if ours != theirs {
            differences
                .push(format!("{} {text}\n   ours: {ours:?}\n theirs: {theirs:?}", if html { "html" } else { "text" }));
        }
    }
    assert!(refused > 40, "{refused} refused");
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
