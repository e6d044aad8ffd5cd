//! The real Alertmanager and amtool referee. They are found by `ALERTMANAGER` and `AMTOOL` or on the PATH; where there is
//! none the tests say SKIPPED, and fail where `REQUIRE_BACKENDS` names it (`alertmanager`, `amtool`).

#[path = "real/configs.rs"]
mod configs;
#[path = "real/process.rs"]
mod process;
#[path = "real/random.rs"]
mod random;

use process::Real;
use sim_alertmanager::config;
use sim_alertmanager::route::Routes;
use sim_wire::Labels;
use std::collections::BTreeMap;
use std::process::Command;

const PLAIN: &str = "route: {receiver: a}\nreceivers: [{name: a}]\n";

/// Both readings of a configuration: what is shown of it, or why it is refused.
fn both(real: &Real, text: &str) -> (Result<String, String>, Result<String, String>) {
    let theirs = real.reload(text).map(|()| {
        let (_, body) = real.ask("GET", "/api/v2/status", "");
        let status: serde_json::Value = serde_json::from_str(&body).unwrap();
        status["config"]["original"].as_str().unwrap().to_owned()
    });
    let ours = config::parse(text).map(|config| config.shown().to_owned()).map_err(|error| error.to_string());
    (theirs, ours)
}

#[test]
fn configurations_are_accepted_refused_and_shown_alike() {
    let Some(real) = Real::start("configs", PLAIN) else { return };
    let mut differences = Vec::new();
    let all = configs::all();
    for text in &all {
        let (theirs, ours) = both(&real, text);
        if theirs != ours {
            let lines = |reading: &Result<String, String>| match reading {
                Ok(shown) => shown.lines().map(str::to_owned).collect::<Vec<_>>(),
                Err(error) => vec![format!("refused: {error}")],
            };
            let (theirs, ours) = (lines(&theirs), lines(&ours));
            let only = |a: &[String], b: &[String], mark: &str| {
                a.iter()
                    .filter(|line| !b.contains(line))
                    .fold(String::new(), |all, line| format!("{all}{mark} {line}\n"))
            };
            let told = format!("--- {text}{}{}", only(&theirs, &ours, "theirs"), only(&ours, &theirs, "ours  "));
            differences.push(told);
        }
    }
    assert!(differences.is_empty(), "{} of {} differ:\n{}", differences.len(), all.len(), differences.join("\n"));
}

#[test]
fn random_trees_route_alike() {
    let Some(real) = Real::start("routes", PLAIN) else { return };
    let mut compared = 0;
    for seed in 0..20 {
        let mut random = random::Random::new(seed);
        let tree = random.tree();
        real.reload(&tree).unwrap_or_else(|error| panic!("{error}\n{tree}"));
        let sets: Vec<BTreeMap<String, String>> = (0..200).map(|_| random.labels()).collect();
        let alerts: Vec<serde_json::Value> = sets.iter().map(|labels| serde_json::json!({"labels": labels})).collect();
        let (status, body) = real.ask("POST", "/api/v2/alerts", &serde_json::Value::from(alerts).to_string());
        assert_eq!(status, 200, "{body}");
        let (_, body) = real.ask("GET", "/api/v2/alerts", "");
        let routes = Routes::new(&config::parse(&tree).unwrap().route);
        let theirs: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
        for alert in theirs {
            let labels: BTreeMap<String, String> = serde_json::from_value(alert["labels"].clone()).unwrap();
            let receivers: Vec<&str> =
                alert["receivers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
            let labels = Labels::from(&labels);
            assert_eq!(routes.receivers(&labels), receivers, "seed {seed}, {labels} in\n{tree}");
            compared += 1;
        }
    }
    assert!(compared >= 4000, "only {compared} alerts were compared");
}

#[test]
fn amtool_draws_and_tests_routes_alike() {
    let Some(amtool) = process::amtool() else { return };
    let folder = process::folder("amtool-routes");
    for seed in 100..106 {
        let mut random = random::Random::new(seed);
        let tree = random.tree();
        let path = folder.join(format!("{seed}.yml"));
        std::fs::write(&path, &tree).unwrap();
        let run = |arguments: &[String]| {
            let output = Command::new(&amtool)
                .args(["config", "routes"])
                .arg(arguments[0].as_str())
                .arg(format!("--config.file={}", path.display()))
                .args(&arguments[1..])
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let config = config::parse(&tree).unwrap();
        let routes = Routes::new(&config.route);
        assert_eq!(run(&["show".to_owned()]), format!("Routing tree:\n{}\n", routes.drawn()), "{tree}");
        for _ in 0..10 {
            let labels = random.labels();
            let mut arguments = vec!["test".to_owned()];
            arguments.extend(labels.iter().map(|(name, value)| format!("{name}={value}")));
            let ours = routes.receivers(&Labels::from(&labels)).join(",");
            // Before its answer it may warn of the classic grammar.
            let said = run(&arguments);
            assert_eq!(said.lines().last(), Some(ours.as_str()), "{arguments:?} in\n{tree}");
        }
        let checked = Command::new(&amtool).arg("check-config").arg(&path).output().unwrap();
        let expected = format!("Checking '{}'  SUCCESS\n{}\n", path.display(), config.summary());
        assert_eq!(String::from_utf8_lossy(&checked.stdout), expected);
    }
}
