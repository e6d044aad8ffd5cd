use super::*;
use crate::notify::Delivery;

/// An engine with a clock of its own and a receiver that does as it is told.
struct World {
    engine: Engine,
    now: Timestamp,
    /// Seconds from the start, receiver, status, names of the alerts with their state, reason.
    told: Vec<(f64, String, String)>,
    /// Whether deliveries fail.
    broken: bool,
}

const START: i64 = 1_770_832_200;

fn world(config: &str) -> World {
    let (config, templates) = load(config, &|_| None, &|_| Vec::new()).unwrap();
    let now = Timestamp::from_secs(START);
    let engine = Engine::new(config, templates, EngineOptions::default(), Chance::new(1, "test"), now);
    World { engine, now, told: Vec::new(), broken: false }
}

impl World {
    fn seconds(&self) -> f64 {
        self.now.since(Timestamp::from_secs(START)).as_secs_f64()
    }

    fn until(&mut self, seconds: u64) {
        let end = Timestamp::from_secs(START) + Duration::from_secs(seconds);
        loop {
            for attempt in self.engine.step(self.now) {
                let Ok(Delivery::Http(request)) = &attempt.delivery else { panic!("{:?}", attempt.delivery) };
                let outcome = if self.broken {
                    Outcome::Failed { retry: true, reason: "serverError", message: String::new() }
                } else {
                    let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
                    let alerts: Vec<String> = body["alerts"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|alert| {
                            let mark = if alert["status"] == "firing" { "" } else { "-" };
                            format!("{mark}{}", alert["labels"]["alertname"].as_str().unwrap())
                        })
                        .collect();
                    let reason = body["notification_reason"].as_str().unwrap();
                    self.told.push((
                        self.seconds(),
                        attempt.receiver.clone(),
                        format!("{} ({reason})", alerts.join(" ")),
                    ));
                    Outcome::Delivered
                };
                self.engine.finish(attempt.id, &outcome, self.now);
            }
            let next = self.engine.next_wake();
            if next > end {
                break;
            }
            self.now = next.max(self.now);
        }
        self.now = end;
    }

    fn post(&mut self, labels: &str, lasts: Option<i64>) {
        let labels = Labels::from_pairs(labels.split(' ').map(|pair| pair.split_once('=').unwrap()));
        let ends_at = lasts.map(|secs| Timestamp::from_secs(self.now.as_secs() + secs));
        self.engine.post(vec![PostedAlert { labels, ends_at, ..PostedAlert::default() }], self.now).unwrap();
    }

    /// What was told since the last call.
    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told).into_iter().map(|(at, who, what)| format!("{at} {who}: {what}")).collect()
    }
}

const ONE: &str = "route: {receiver: a, group_by: [g], group_wait: 10s, group_interval: 1m, repeat_interval: 5m}\nreceivers: [{name: a, webhook_configs: [{url: 'http://h'}]}]\n";

#[test]
fn a_group_is_told_after_its_wait_then_at_its_interval_and_again_after_its_repeat() {
    let mut w = world(ONE);
    w.post("alertname=A g=1", Some(10_000));
    w.until(5);
    w.post("alertname=B g=1", Some(10_000));
    w.post("alertname=C g=2", Some(10_000));
    w.until(20);
    assert_eq!(w.told(), ["10 a: A B (first notification)", "15 a: C (first notification)"]);
    w.post("alertname=D g=1", Some(10_000));
    w.until(100);
    assert_eq!(w.told(), ["70 a: A B D (new alerts added)"]);
    // At 370 exactly the repeat interval has passed since 70, which is not longer than it.
    w.until(440);
    assert_eq!(w.told(), ["375 a: C (repeat interval elapsed)", "430 a: A B D (repeat interval elapsed)"]);
}

#[test]
fn resolved_alerts_are_told_once_and_then_forgotten() {
    let mut w = world(ONE);
    w.post("alertname=A g=1", Some(10_000));
    w.post("alertname=B g=1", Some(30));
    w.until(80);
    assert_eq!(w.told(), ["10 a: A B (first notification)", "70 a: A -B (some alerts resolved)"]);
    w.post("alertname=A g=1", Some(0));
    w.until(200);
    assert_eq!(w.told(), ["130 a: -A (all alerts resolved)"]);
    assert_eq!(w.engine.group_count(), 0);
    // It comes back: a new group, told as if for the first time.
    w.post("alertname=A g=1", Some(10_000));
    w.until(300);
    assert_eq!(w.told(), ["210 a: A (first notification)"]);
}

#[test]
fn an_alert_that_nobody_repeats_is_over_after_the_timeout() {
    let mut w = world(&format!("global: {{resolve_timeout: 2m}}\n{ONE}"));
    w.post("alertname=A g=1", None);
    w.until(60);
    w.post("alertname=A g=1", None);
    w.until(300);
    assert_eq!(w.told(), ["10 a: A (first notification)", "190 a: -A (all alerts resolved)"]);
}

#[test]
fn what_was_never_told_is_not_told_to_be_over() {
    let mut w = world(ONE);
    w.post("alertname=A g=1", Some(5));
    w.until(100);
    assert!(w.told().is_empty());
    assert_eq!(w.engine.group_count(), 0);
}

#[test]
fn without_send_resolved_the_end_is_only_noted() {
    let mut w = world(&ONE.replace("url: 'http://h'", "url: 'http://h', send_resolved: false"));
    w.post("alertname=A g=1", Some(30));
    w.until(100);
    w.post("alertname=A g=1", Some(1000));
    w.until(200);
    assert_eq!(w.told(), ["10 a: A (first notification)", "110 a: A (first notification)"]);
}

#[test]
fn a_broken_receiver_is_tried_again_until_the_next_look() {
    let mut w = world(ONE);
    w.broken = true;
    w.post("alertname=A g=1", Some(10_000));
    w.until(65);
    let tries = w.engine.counters().requests["webhook"];
    assert!((5..20).contains(&tries), "{tries} attempts");
    w.until(100);
    assert_eq!(w.engine.counters().failed[&("webhook", "contextDeadlineExceeded")], 1);
    w.broken = false;
    w.until(200);
    let told = w.told();
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with("a: A (first notification)"), "{told:?}");
}

#[test]
fn old_alerts_do_not_wait() {
    let mut w = world(ONE);
    let starts_at = Some(w.now - Duration::from_secs(11));
    let labels = Labels::from_pairs([("alertname", "A")]);
    w.engine.post(vec![PostedAlert { labels, starts_at, ..PostedAlert::default() }], w.now).unwrap();
    w.until(1);
    assert_eq!(w.told(), ["0 a: A (first notification)"]);
}

#[test]
fn a_new_configuration_makes_groups_anew_and_tells_nothing_twice() {
    let mut w = world(ONE);
    w.post("alertname=A g=1", Some(10_000));
    w.until(30);
    assert_eq!(w.told().len(), 1);
    let (config, templates) = load(ONE, &|_| None, &|_| Vec::new()).unwrap();
    w.engine.reload(config, templates, w.now);
    w.until(200);
    assert!(w.told().is_empty());
}

#[test]
fn silences_inhibition_and_intervals_mute() {
    let config = format!(
        "{ONE}inhibit_rules: [{{source_matchers: [alertname=Big], target_matchers: [alertname=Small], equal: [g]}}]\n"
    );
    let mut w = world(&config);
    w.post("alertname=Big g=1", Some(100));
    w.post("alertname=Small g=1", Some(10_000));
    w.post("alertname=Small g=2", Some(10_000));
    w.until(20);
    assert_eq!(w.told(), ["10 a: Big (first notification)", "10 a: Small (first notification)"]);
    // The source ends at 100 and the target speaks up.
    w.until(140);
    assert_eq!(w.told(), ["130 a: -Big Small (new alerts added)"]);
    let silence = Silence {
        id: String::new(),
        matchers: vec![crate::matcher::Matcher::parse("g=2").unwrap()],
        starts_at: w.now,
        ends_at: w.now + Duration::from_secs(100),
        updated_at: w.now,
        created_by: String::new(),
        comment: String::new(),
        annotations: BTreeMap::new(),
    };
    w.engine.set_silence(silence, w.now).unwrap();
    w.post("alertname=New g=2", Some(10_000));
    w.until(240);
    assert!(w.told().is_empty());
    w.until(260);
    assert_eq!(w.told(), ["250 a: New Small (new alerts added)"]);
    assert_eq!(w.engine.counters().suppressed, BTreeMap::from([("inhibition", 2), ("silence", 2)]));
}

#[test]
fn too_many_alerts_are_counted_and_wrong_ones_told() {
    let mut w = world(ONE);
    let errors = w.engine.post(
        vec![
            PostedAlert::default(),
            PostedAlert {
                labels: Labels::from_pairs([("a", "b")]),
                starts_at: Some(w.now + Duration::from_secs(10)),
                ends_at: Some(w.now),
                ..PostedAlert::default()
            },
        ],
        w.now,
    );
    assert_eq!(errors.unwrap_err(), ["at least one label pair required", "start time must be before end time"]);
    assert_eq!(w.engine.counters().invalid, 2);
}
