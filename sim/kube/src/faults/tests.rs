use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use sim_clock::{Chance, Timestamp};

use super::{rule::glob, *};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn book() -> Book {
    Book::new(Chance::new(7, "faults"))
}

fn request(verb: &'static str, resource: &str, name: &str) -> RequestInfo {
    RequestInfo {
        verb,
        resource: resource.into(),
        name: name.into(),
        namespace: "default".into(),
        ..RequestInfo::default()
    }
}

fn rule(value: serde_json::Value) -> Rule {
    let rule: Rule = serde_json::from_value(value).expect("a rule");
    rule.check().expect("a possible rule");
    rule
}

#[test]
fn the_first_rule_that_strikes_wins_and_each_counts_for_itself() {
    let mut book = book();
    let first =
        book.add(rule(json!({"match": {"resource": "pods"}, "effect": "conflict", "when": {"strikes_max": 1}})), NOW);
    let second = book.add(rule(json!({"match": {"name": "a*"}, "effect": "hang"})), NOW);
    let code = |verdict: &Verdict| if let Verdict::Refuse(status) = verdict { status.code } else { 0 };
    assert_eq!(code(&book.verdict(&request("update", "pods", "ab"), NOW)), 409);
    assert_eq!(book.verdict(&request("update", "pods", "ab"), NOW), Verdict::Hang);
    assert_eq!(book.verdict(&request("update", "pods", "b"), NOW), Verdict::Pass);
    assert_eq!(book.hits(first), Some(Hits { matched: 3, struck: 1 }));
    assert_eq!(book.hits(second), Some(Hits { matched: 1, struck: 1 }));
    assert_eq!(book.remove(second), Some(Hits { matched: 1, struck: 1 }));
    assert_eq!(book.verdict(&request("update", "pods", "ab"), NOW), Verdict::Pass);
}

#[test]
fn counts_and_windows_say_which_requests_are_struck() {
    let mut book = book();
    book.add(
        rule(json!({"effect": "cut-before", "when": {"spare_first": 2, "strikes_max": 2, "from_ms": 1000, "until_ms": 5000}})),
        NOW,
    );
    let struck: Vec<bool> = (0..8)
        .map(|second| {
            let now = NOW + Duration::from_secs(second);
            book.verdict(&request("get", "pods", "a"), now) == Verdict::CutBefore
        })
        .collect();
    assert_eq!(struck, [false, false, true, true, false, false, false, false]);
}

#[test]
fn a_probability_strikes_about_so_often_and_the_same_requests_for_the_same_seed() {
    let run = || {
        let mut book = book();
        book.add(rule(json!({"effect": "unavailable", "when": {"probability": 0.25}})), NOW);
        (0..4000).map(|_| book.verdict(&request("get", "pods", "a"), NOW) != Verdict::Pass).collect::<Vec<_>>()
    };
    let (one, two) = (run(), run());
    assert_eq!(one, two);
    let struck = one.iter().filter(|s| **s).count();
    assert!((850..1150).contains(&struck), "{struck} of 4000");
}

#[test]
fn an_effect_leaves_verbs_alone_that_it_cannot_befall() {
    let mut book = book();
    book.add(rule(json!({"effect": {"watch": "expired"}})), NOW);
    book.add(rule(json!({"effect": {"stale-read": {"lag_ms": 5000, "cached_only": false}}})), NOW);
    let watch = request("watch", "pods", "");
    assert_eq!(book.watch_fault(&watch, NOW), Some(WatchFault::Expired));
    assert_eq!(book.verdict(&watch, NOW), Verdict::Pass, "a stream's fault is not its request's");
    let stale = Verdict::Stale { lag: Duration::from_secs(5), cached_only: false };
    assert_eq!(book.verdict(&request("list", "pods", ""), NOW), stale);
    assert_eq!(book.verdict(&request("create", "pods", "a"), NOW), Verdict::Pass);
}

#[test]
fn refusals_read_as_those_of_the_real_server() {
    let mut chance = Chance::new(7, "faults");
    let mut told = |effect: Effect, request: &RequestInfo| match effect.verdict(request, &mut chance) {
        Verdict::Refuse(status) => status.to_value(),
        other => panic!("{other:?}"),
    };
    let update = RequestInfo { group: "apps".into(), ..request("update", "deployments", "web") };
    assert_eq!(
        told(Effect::Conflict, &update)["message"],
        "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let many = told(Effect::TooManyRequests { retry_after_s: 3 }, &update);
    assert_eq!((&many["code"], &many["details"]["retryAfterSeconds"]), (&json!(429), &json!(3)));
    let late = told(Effect::GatewayTimeout, &update);
    assert_eq!((&late["code"], &late["reason"]), (&json!(504), &json!("Timeout")));
    assert_eq!(told(Effect::Unavailable, &update)["reason"], "ServiceUnavailable");
    assert_eq!(told(Effect::InternalError, &update)["reason"], "InternalError");
}

#[test]
fn a_rule_that_cannot_be_had_says_why() {
    for (value, expected) in [
        (
            json!({"match": {"verbs": ["read"]}, "effect": "hang"}),
            "there is no verb \"read\"; verbs are get, list, watch, create, update, patch, delete, deletecollection",
        ),
        (json!({"match": {"verbs": ["get"]}, "effect": {"watch": "cut"}}), "watch cannot befall the verb get"),
        (json!({"effect": "hang", "when": {"probability": 2.0}}), "a probability is from 0 to 1, not 2"),
        (json!({"effect": {"latency": {"min_ms": 3, "max_ms": 2}}}), "the range 3..2 ms is empty"),
        (
            json!({"effect": {"latency": {"min_ms": 3, "max_ms": 3_600_001}}}),
            "3600001 ms is longer than the longest possible, 3600000 ms",
        ),
        (json!({"effect": "hang", "when": {"from_ms": 5, "until_ms": 5}}), "the range 5..5 ms is empty"),
    ] {
        let rule: Rule = serde_json::from_value(value).expect("a rule");
        assert_eq!(rule.check().expect_err("refused").to_string(), expected);
    }
}

#[test]
fn the_book_is_bounded() {
    let mut book = book();
    let first = book.add(rule(json!({"effect": "hang"})), NOW);
    for _ in 0..RULES_MAX {
        book.add(rule(json!({"match": {"name": "nobody"}, "effect": "hang"})), NOW);
    }
    assert_eq!(book.hits(first), None);
}

proptest! {
    /// Against the same language as a regular expression.
    #[test]
    fn globs_match_what_their_regular_expressions_match(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
        let expression = format!("^{}$", pattern.replace('*', ".*").replace('?', "."));
        let expected = regex::Regex::new(&expression).expect("an expression").is_match(&text);
        prop_assert_eq!(glob(&pattern, &text), expected);
    }

    /// What is data stays the same through its JSON.
    #[test]
    fn rules_survive_their_json(verbs in prop::collection::vec(prop::sample::select(VERBS), 0..3), name in prop::option::of("[a-z*]{0,5}"), after in 0_u64..100_000, applied: bool, max in prop::option::of(0_u64..9)) {
        let rule = Rule {
            matches: Match { verbs: verbs.into_iter().map(str::to_owned).collect(), name, ..Match::default() },
            effect: Effect::Timeout { after_ms: after, applied },
            when: When { strikes_max: max, ..When::default() },
        };
        let json = serde_json::to_value(&rule).expect("JSON");
        prop_assert_eq!(serde_json::from_value::<Rule>(json).expect("a rule"), rule);
    }
}
