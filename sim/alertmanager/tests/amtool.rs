//! amtool against our Alertmanager on loopback and against the real one: the same commands, the same answers.

#[path = "real/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;

use process::Real;
use regex::Regex;
use sim_alertmanager::server::{Alertmanager, Files, Options, run};
use sim_clock::{Speed, WorldOptions};
use sim_net::Network;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const CONFIG: &str = r#"
route:
  receiver: default
  group_by: [alertname]
  group_wait: 1h
  routes:
  - matchers: ['severity="critical"']
    receiver: page
    continue: true
  - matchers: ['team=~"db|net"']
    receiver: team
receivers:
- name: default
- name: page
  webhook_configs: [{url: 'http://127.0.0.1:1/'}]
- name: team
inhibit_rules:
- source_matchers: [severity="critical"]
  target_matchers: [severity="warning"]
  equal: [host]
"#;

/// In this order; `{0}` is the first id that an answer named, and so on.
const COMMANDS: [&[&str]; 44] = [
    &["alert", "query"],
    &["alert", "add", "Down", "severity=critical", "host=a", "--annotation=summary=it is down"],
    &[
        "alert",
        "add",
        "Slow",
        "severity=warning",
        "host=a",
        "--annotation=summary=<slow>",
        "--generator-url=http://p/graph",
    ],
    &["alert", "add", "Slow", "severity=warning", "host=b", "team=db"],
    &["alert", "add", "alertname=Odd", "naïve=é", "team=net", "--end=2100-01-02T03:04:05Z"],
    &["alert", "add", "Old", "--start=2020-01-02T03:04:05Z", "--end=2020-01-02T03:05:05Z"],
    &["alert", "add", "Wrong", "--start=2020-01-02T03:04:05Z", "--end=2019-01-02T03:05:05Z"],
    &["alert", "query", "-o", "json"],
    &["alert", "query", "-o", "extended"],
    &["alert", "query", "Slow", "-o", "json"],
    &["alert", "query", "severity=~warn.*", "-o", "json"],
    &["alert", "query", "host!=a", "-o", "json"],
    &["alert", "query", "--inhibited", "-o", "json"],
    &["alert", "query", "--silenced", "-o", "json"],
    &["alert", "query", "--active", "-o", "json"],
    &["alert", "query", "--receiver=pa.*", "-o", "json"],
    &["alert", "query", "--receiver=(", "-o", "json"],
    &["silence", "query"],
    &["silence", "add", "--author=me", "--comment=why", "--duration=1h", "host=b"],
    &[
        "silence",
        "add",
        "--author=me",
        "--comment=later",
        "--start=2100-01-01T00:00:00Z",
        "--end=2100-01-02T00:00:00Z",
        "host=~x.*",
        "severity!=info",
    ],
    &["silence", "add", "--author=me", "--comment=none", "--duration=1h", "host="],
    &[
        "silence",
        "add",
        "--author=me",
        "--comment=past",
        "--start=2020-01-01T00:00:00Z",
        "--end=2020-01-02T00:00:00Z",
        "host=a",
    ],
    &[
        "silence",
        "add",
        "--author=me",
        "--comment=back",
        "--start=2100-01-03T00:00:00Z",
        "--end=2100-01-02T00:00:00Z",
        "host=a",
    ],
    &["silence", "query", "-o", "json"],
    &["silence", "query", "-q"],
    &["silence", "query", "host=b", "-o", "json"],
    &["silence", "query", "host=~x.*", "-q"],
    &["alert", "query", "-o", "json"],
    &["alert", "query", "--silenced", "-o", "json"],
    &["silence", "update", "--comment=longer", "--duration=2h", "{0}"],
    &["silence", "update", "--comment=moved", "--start=2100-01-01T01:00:00Z", "{1}"],
    &["silence", "update", "--comment=x", "00000000-0000-4000-8000-000000000000"],
    &["silence", "query", "-o", "extended"],
    &["silence", "expire", "{0}"],
    &["silence", "expire", "{1}"],
    &["silence", "expire", "00000000-0000-4000-8000-000000000000"],
    &["silence", "query", "--expired", "-o", "json"],
    &["alert", "query", "--silenced", "-o", "json"],
    &["config", "show"],
    &["config", "routes", "show"],
    &["config", "routes", "test", "severity=critical", "team=db"],
    &["config", "routes", "test", "--tree", "team=net"],
    &["cluster", "show"],
    &["silence", "import", "--force", "IMPORT"],
];

/// What changes from one run to the next.
fn plain(text: &str, ids: &mut Vec<String>) -> String {
    let id = Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap();
    for found in id.find_iter(text) {
        if !found.as_str().starts_with("00000000") && !ids.iter().any(|known| known == found.as_str()) {
            ids.push(found.as_str().to_owned());
        }
    }
    let mut text = text.to_owned();
    for (place, id) in ids.iter().enumerate() {
        text = text.replace(id, &format!("<id {place}>"));
    }
    let now = Regex::new(r"20[2-4]\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(UTC|Z))?").unwrap();
    let port = Regex::new(r"127\.0\.0\.1:\d+").unwrap();
    port.replace_all(&now.replace_all(&text, "<time>"), "<address>").into_owned()
}

fn answers(amtool: &Path, address: &str, folder: &Path) -> Vec<(String, String)> {
    let mut ids = Vec::new();
    let import = folder.join("import.json");
    let wanted = r#"[{"comment":"imported","createdBy":"me","endsAt":"2100-01-01T00:00:00.000Z","startsAt":"2099-01-01T00:00:00.000Z","matchers":[{"isRegex":true,"isEqual":true,"name":"a","value":"b|c"}]}]"#;
    std::fs::write(&import, wanted).unwrap();
    COMMANDS
        .iter()
        .map(|command| {
            let arguments: Vec<String> = command
                .iter()
                .map(|argument| match *argument {
                    "{0}" => ids.first().cloned().unwrap_or_default(),
                    "{1}" => ids.get(1).cloned().unwrap_or_default(),
                    "IMPORT" => import.display().to_string(),
                    other => other.to_owned(),
                })
                .collect();
            let output = Command::new(amtool)
                .arg(format!("--alertmanager.url=http://{address}"))
                .arg("--no-version-check")
                .args(&arguments)
                .output()
                .unwrap();
            let said = format!(
                "{}{}[{}]",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
                output.status.code().unwrap_or(-1)
            );
            let warning = Regex::new("(?m)^time=.*level=WARN.*\n").unwrap();
            (command.join(" "), plain(&warning.replace_all(&said, ""), &mut ids))
        })
        .collect()
}

#[test]
fn amtool_is_answered_alike() {
    let Some(amtool) = process::amtool() else { return };
    let Some(real) = Real::start("amtool", CONFIG) else { return };
    let files = Files {
        read: Arc::new(|_| Some(CONFIG.as_bytes().to_vec())),
        list: Arc::new(|_| Vec::new()),
        write: Arc::new(|_, _| {}),
    };
    // Both live at the same time: amtool says when a silence begins.
    let options = WorldOptions { epoch: sim_clock::now(), ..WorldOptions::seeded(1) }.paced(Speed::REAL);
    let world = sim_loopback::start(options, move |life| async move {
        let network = Network::new();
        let host = network.host("alertmanager");
        let inside = format!("{}:9093", host.ip());
        let alertmanager = Alertmanager::new(Options::default(), files, Arc::new(|_| {})).unwrap();
        sim_clock::spawn("alertmanager", async move {
            run(host, alertmanager).await.unwrap();
        });
        let free = "127.0.0.1:0".parse().unwrap();
        let address = sim_loopback::publish(&network, free, &inside).await.unwrap();
        life.up(address).until_stopped().await;
    })
    .unwrap();
    let folder = process::folder("amtool-both");
    let theirs = answers(&amtool, &real.address, &folder);
    let ours = answers(&amtool, &world.told().to_string(), &folder);
    world.stop().unwrap();
    let differences: Vec<String> = theirs
        .iter()
        .zip(&ours)
        .filter(|(theirs, ours)| theirs != ours)
        .map(|((command, theirs), (_, ours))| format!("--- {command}\ntheirs: {theirs}\nours:   {ours}"))
        .collect();
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), theirs.len(), differences.join("\n"));
}
