//! Who is told of a scenario's alerts, by a real Alertmanager with the deployed configuration: the same as by ours.

use std::{collections::BTreeMap, path::Path, time::Duration};

use scenario_backends::{
    alertmanager::{Heard, Posted, Replay, replay},
    image::{ALERTMANAGER, Image},
};
use scenario_expectations::{LogLine, RunClock, notification::Told};
use scenario_runner::{Loaded, Options, Project, run};
use serde_json::json;

use crate::{runtime, session, skip, variable};

/// Scenarios whose notifications are asked for again.
const SCENARIOS: [&str; 2] =
    ["scenarios/alerts/etcd-outage-pages-once.yaml", "scenarios/alerts/critical-inhibits-warnings.yaml"];
/// How many times as fast as in the scenario: 45 minutes are 22 seconds.
const SPEED: u32 = 120;
/// Half a real second, for a machine that is busy.
const TOLERANCE: Duration = Duration::from_secs(60);
/// How often a group is looked at that has been told before, in the deployed configuration.
const GROUP_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Every five minutes, give or take a look at the group each minute.
const HEARTBEAT: &str = "heartbeat";

/// The deployed configuration of Alertmanager.
fn configuration(loaded: &Loaded) -> String {
    let of_alertmanager = |object: &&serde_json::Value| {
        object["kind"] == "Secret" && object["metadata"]["name"] == "alertmanager-multigres"
    };
    let secret = loaded.manifests.deployed.iter().find(of_alertmanager).unwrap();
    secret["stringData"]["alertmanager.yaml"].as_str().unwrap().to_owned()
}

/// What was told, without its time: alerts with their labels in order, and why.
fn what(told: &Told) -> String {
    let mut alerts: Vec<String> = told.alerts.iter().map(|(labels, firing)| format!("{labels:?} {firing}")).collect();
    alerts.sort();
    let [key, labels, annotations] = ["groupKey", "commonLabels", "commonAnnotations"].map(|name| &told.body[name]);
    format!("{key} {} {labels} {annotations} {alerts:?}", told.reason)
}

/// When the last of its alerts began or ended, as Prometheus says.
fn changed(told: &Told, clock: &RunClock) -> Duration {
    let instant = |alert: &serde_json::Value| {
        let name = if alert["status"] == "resolved" { "endsAt" } else { "startsAt" };
        alert[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
    };
    let last = told.body["alerts"].as_array().unwrap().iter().map(instant).max().unwrap();
    clock.since_zero_ms(last)
}

/// Whether the two told the same at the same time; or, where the change reached them about when they looked at its group, one of them
/// at the next look.
fn about_when(theirs: &Told, ours: &Told, clock: &RunClock) -> bool {
    let apart = theirs.at.abs_diff(ours.at);
    let at_a_look = changed(ours, clock).abs_diff(theirs.at.min(ours.at)) <= TOLERANCE;
    apart <= TOLERANCE || at_a_look && apart.abs_diff(GROUP_INTERVAL) <= TOLERANCE
}

fn by_receiver(all: Vec<Told>) -> BTreeMap<String, Vec<Told>> {
    let mut receivers: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    for told in all {
        receivers.entry(told.receiver.clone()).or_default().push(told);
    }
    receivers
}

/// What the real one sent, as the program that takes notifications in a world would have logged it.
fn told(heard: &Heard, clock: &RunClock) -> Option<Told> {
    let json = json!({"to": heard.to, "notification": heard.body});
    let ts_ns = heard.at_ms * 1_000_000;
    Told::of(&LogLine { ts_ns, process: "notifications".to_owned(), text: String::new(), json: Some(json) }, clock)
}

#[test]
fn a_real_alertmanager_tells_the_same_people_the_same() {
    let project = Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let image = Image::of(ALERTMANAGER, variable);
    if let Err(error) = runtime().block_on(session().available(&image)) {
        skip(&error);
        return;
    }
    let mut compared = 0;
    for scenario in SCENARIOS {
        let loaded = project.load(&project.root().join(scenario)).unwrap();
        let outcome = run(&loaded, &Options { record: true, ..Options::default() });
        assert!(outcome.report.passed(), "{scenario}");
        let recording = outcome.recording.unwrap();
        let clock = recording.clock.unwrap();
        let posted: Vec<Posted> =
            recording.posted.iter().map(|(at_ms, body)| Posted { at_ms: *at_ms, body: body.clone() }).collect();
        let first_ms = posted.first().expect("the dead man's switch, at least").at_ms;
        let wanted = Replay {
            configuration: &configuration(&loaded),
            receivers: (sim_world::notifications::NAME, sim_world::notifications::PORT),
            posted: &posted,
            from_ms: first_ms.min(clock.at_ms(Duration::ZERO)),
            to_ms: clock.at_ms(clock.end),
            speed: SPEED,
        };
        let heard = runtime().block_on(replay(&session(), &image, &wanted)).unwrap();
        let theirs = by_receiver(heard.iter().filter_map(|heard| told(heard, &clock)).collect());
        let ours = by_receiver(recording.told.into_iter().filter(|told| told.at <= clock.end).collect());
        assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{scenario}");
        for (receiver, ours) in &ours {
            let theirs = &theirs[receiver];
            if receiver == HEARTBEAT {
                assert!(theirs.len().abs_diff(ours.len()) <= 2, "{scenario}: {} and {}", theirs.len(), ours.len());
                assert_eq!(what(&theirs[1]), what(&ours[1]));
                continue;
            }
            let whats = |all: &[Told]| all.iter().map(what).collect::<Vec<_>>();
            assert_eq!(whats(theirs), whats(ours), "{scenario}: {receiver} by the real one, and by ours");
            for (theirs, ours) in theirs.iter().zip(ours) {
                let (at, by_ours) = (theirs.at, ours.at);
                assert!(about_when(theirs, ours, &clock), "{scenario}: {receiver} at {at:?}, by ours at {by_ours:?}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 6, "{compared} notifications");
    println!("agree {compared} notifications");
}
