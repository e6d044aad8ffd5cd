//! The same alerts at the same times to the real Alertmanager with short timers and to our engine: the same notifications.

#[path = "real/process.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod process;

use process::Real;
use sim_alertmanager::engine::{Engine, EngineOptions, Outcome, PostedAlert, load};
use sim_alertmanager::notify::Delivery;
use sim_clock::{Chance, Timestamp};
use sim_wire::Labels;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn config(port: u16) -> String {
    // More than Slack takes for a title.
    let long = "ä".repeat(600);
    format!(
        r#"
route:
  receiver: all
  group_by: [group]
  group_wait: 600ms
  group_interval: 2s
  repeat_interval: 3s
  routes:
  - matchers: ['group="b"']
    receiver: quiet
    continue: true
  - matchers: ['group="b"']
    receiver: all
    group_by: ['...']
    group_wait: 100ms
  - matchers: ['group="d"']
    receiver: pager
receivers:
- name: all
  webhook_configs: [{{url: 'http://127.0.0.1:{port}/all'}}]
- name: quiet
  webhook_configs:
  - {{url: 'http://127.0.0.1:{port}/quiet', send_resolved: false, max_alerts: 1}}
  - url: 'http://127.0.0.1:{port}/own'
    payload: {{text: '{{{{ template "slack.default.title" . }}}}', count: '{{{{ .Alerts | len }}}}', list: [a, '{{{{ .Status }}}}']}}
- name: pager
  pagerduty_configs:
  - {{routing_key: rk, url: 'http://127.0.0.1:{port}/pagerduty'}}
  - routing_key: rk
    url: 'http://127.0.0.1:{port}/pagerduty-all'
    severity: '{{{{ .CommonLabels.severity }}}}'
    class: c
    component: '{{{{ .GroupLabels.group }}}}'
    group: g
    source: me
    client: cl
    details: {{firing: short, n: '{{{{ len .Alerts }}}}', t: 'true', nested: {{a: '{{{{ .Status }}}}', l: [1, '{{{{ .Receiver }}}}']}}, num: 5}}
    images: [{{src: s, alt: a, href: h}}, {{alt: none}}]
    links: [{{href: h, text: '<&>'}}, {{text: none}}]
  slack_configs:
  - {{api_url: 'http://127.0.0.1:{port}/slack', channel: '#c', send_resolved: true}}
  - api_url: 'http://127.0.0.1:{port}/slack-all'
    channel: '#c'
    send_resolved: true
    title: '{{{{ range .Alerts }}}}{long}{{{{ end }}}}'
    text: '{{{{ range .Alerts }}}}<{{{{ .Labels.alertname }}}}>{{{{ end }}}}'
    message_text: 'hello {{{{ .Status }}}}'
    short_fields: true
    fields: [{{title: T, value: '{{{{ .Status }}}}'}}, {{title: U, value: v, short: false}}]
    actions:
    - {{type: button, text: Run, url: 'http://x/{{{{ .Status }}}}', style: danger}}
    - {{type: b, text: t, name: n, value: v, confirm: {{text: sure, title: ti, ok_text: o, dismiss_text: d}}}}
    mrkdwn_in: [text]
    link_names: true
    image_url: i
    thumb_url: t
    icon_emoji: ':x:'
    icon_url: u
    footer: f
    pretext: p
    callback_id: cb
inhibit_rules:
- source_matchers: [severity=critical]
  target_matchers: [severity=warning]
  equal: [host]
"#
    )
}

/// Milliseconds from the start, labels, whether it fires.
const SCRIPT: [(u64, &str, bool); 16] = [
    (0, "alertname=A group=a host=h severity=info", true),
    (200, "alertname=B group=a host=h severity=warning", true),
    (300, "alertname=X group=b host=i severity=info", true),
    (1_600, "alertname=C group=a host=h severity=info", true),
    (1_700, "alertname=Y group=b host=i severity=info", true),
    (3_600, "alertname=A group=a host=h severity=info", false),
    (3_700, "alertname=K group=c host=h severity=critical", true),
    (5_600, "alertname=B group=a host=h severity=warning", false),
    (5_700, "alertname=X group=b host=i severity=info", false),
    (7_600, "alertname=K group=c host=h severity=critical", false),
    (7_700, "alertname=C group=a host=h severity=info", false),
    (7_800, "alertname=Y group=b host=i severity=info", false),
    (7_810, "alertname=P group=d host=i severity=critical", true),
    (8_900, "alertname=Q group=d host=i severity=critical", true),
    (9_900, "alertname=P group=d host=i severity=critical", false),
    (9_910, "alertname=Q group=d host=i severity=critical", false),
];
const END_MS: u64 = 12_500;

/// Fields of PagerDuty's and Slack's requests in the order in which the real program writes them.
const ORDERED: [&str; 8] =
    ["routing_key", "dedup_key", "event_action", "payload", "channel", "username", "icon_emoji", "attachments"];

/// A notification without its times.
fn plain(path: &str, body: &str) -> String {
    let text = body;
    let mut body: serde_json::Value = serde_json::from_str(text).unwrap();
    if let Some(alerts) = body.get_mut("alerts").and_then(serde_json::Value::as_array_mut) {
        for alert in alerts {
            assert!(alert["startsAt"].as_str().unwrap().starts_with("20"));
            alert["startsAt"] = "<time>".into();
            let over = alert["status"] == "resolved";
            assert_eq!(alert["endsAt"] == "0001-01-01T00:00:00Z", !over);
            alert["endsAt"] = over.into();
        }
    }
    // PagerDuty gets the alerts as details.
    for list in ["firing", "resolved"] {
        let details = body.pointer_mut(&format!("/payload/custom_details/{list}"));
        for alert in details.and_then(serde_json::Value::as_array_mut).into_iter().flatten() {
            alert["startsAt"] = "<time>".into();
            let over = alert["status"] == "resolved";
            assert_eq!(alert["endsAt"] == "0001-01-01T00:00:00Z", !over);
            alert["endsAt"] = over.into();
        }
    }
    // The order of the fields too.
    let order: Vec<&str> = ORDERED.iter().copied().filter(|name| text.contains(&format!("\"{name}\":"))).collect();
    let places: Vec<usize> = order.iter().filter_map(|name| text.find(&format!("\"{name}\":"))).collect();
    let mut sorted = places.clone();
    sorted.sort_unstable();
    let in_order = if places == sorted { "in order" } else { "out of order" };
    format!("{path} {in_order} {body}")
}

/// Takes requests and notes them.
fn listen(noted: Arc<Mutex<Vec<String>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::Builder::new()
        .spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let noted = noted.clone();
                std::thread::Builder::new()
                    .spawn(move || {
                        let mut reader = BufReader::new(stream.try_clone().unwrap());
                        loop {
                            let mut head = Vec::new();
                            loop {
                                let mut line = String::new();
                                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                                    return;
                                }
                                if line == "\r\n" {
                                    break;
                                }
                                head.push(line);
                            }
                            let length = head
                                .iter()
                                .find_map(|line| {
                                    line.to_lowercase()
                                        .strip_prefix("content-length: ")
                                        .map(|n| n.trim().parse::<usize>().unwrap())
                                })
                                .unwrap_or(0);
                            let mut body = vec![0; length];
                            reader.read_exact(&mut body).unwrap();
                            let path = head[0].split(' ').nth(1).unwrap();
                            noted.lock().unwrap().push(plain(path, std::str::from_utf8(&body).unwrap()));
                            stream
                                .write_all(
                                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
                                )
                                .unwrap();
                        }
                    })
                    .unwrap();
            }
        })
        .unwrap();
    port
}

fn ours(config: &str) -> Vec<String> {
    let start = Timestamp::from_secs(1_770_832_200);
    let (config, templates) = load(config, &|_| None, &|_| Vec::new()).unwrap();
    let options = EngineOptions { external_url: "http://am.example".to_owned(), ..EngineOptions::default() };
    let mut engine = Engine::new(config, templates, options, Chance::new(1, "test"), start);
    let mut noted = Vec::new();
    let mut script = SCRIPT.iter().peekable();
    let end = start + Duration::from_millis(END_MS);
    loop {
        let next = script.peek().map(|(at, ..)| start + Duration::from_millis(*at));
        let now = next.map_or(engine.next_wake(), |next| next.min(engine.next_wake()));
        if now > end {
            return noted;
        }
        if next == Some(now)
            && let Some((_, labels, firing)) = script.next()
        {
            let labels = Labels::from_pairs(labels.split(' ').map(|pair| pair.split_once('=').unwrap()));
            let ends_at = Some(if *firing { now + Duration::from_secs(300) } else { now });
            engine.post(vec![PostedAlert { labels, ends_at, ..PostedAlert::default() }], now).unwrap();
        }
        for attempt in engine.step(now) {
            let Ok(Delivery::Http(request)) = &attempt.delivery else { panic!("{:?}", attempt.delivery) };
            noted.push(plain(&request.url[request.url.rfind('/').unwrap()..], &request.body));
            engine.finish(attempt.id, &Outcome::Delivered, now);
        }
    }
}

fn theirs(real: &Real) {
    #[allow(clippy::disallowed_methods, reason = "the real program lives in real time")]
    let start = std::time::Instant::now();
    for (at, labels, firing) in SCRIPT {
        wait(start, at);
        let labels: std::collections::BTreeMap<&str, &str> =
            labels.split(' ').map(|pair| pair.split_once('=').unwrap()).collect();
        let now = sim_clock::now();
        let ends_at = if firing { now + Duration::from_secs(300) } else { now };
        let body = serde_json::json!([{"labels": labels, "endsAt": ends_at.rfc3339_micros()}]);
        let (status, answer) = real.ask("POST", "/api/v2/alerts", &body.to_string());
        assert_eq!(status, 200, "{answer}");
    }
    wait(start, END_MS);
}

#[allow(clippy::disallowed_methods, reason = "the real program lives in real time")]
fn wait(start: std::time::Instant, until_ms: u64) {
    let due = Duration::from_millis(until_ms);
    std::thread::sleep(due.saturating_sub(start.elapsed()));
}

#[test]
fn the_same_alerts_make_the_same_notifications() {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let port = listen(noted.clone());
    let config = config(port);
    let Some(real) = Real::start("notifications", &config) else { return };
    theirs(&real);
    let mut theirs = noted.lock().unwrap().clone();
    let mut ours = ours(&config);
    assert!(ours.len() > 12, "only {} notifications", ours.len());
    // What is sent at one instant to several has no order.
    theirs.sort();
    ours.sort();
    let only =
        |a: &[String], b: &[String]| a.iter().filter(|one| !b.contains(one)).cloned().collect::<Vec<_>>().join("\n");
    assert_eq!(theirs, ours, "only theirs:\n{}\nonly ours:\n{}", only(&theirs, &ours), only(&ours, &theirs));
}
