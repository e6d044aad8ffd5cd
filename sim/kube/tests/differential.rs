//! Requests and what a real API server answers, by its documentation: every file of `fixtures/differential/kube/`.
//!
//! ```yaml
//! source: where the expected side is documented (required)
//! unreached: what is answered instead        # if so; the difference is then no failure, but agreement is
//! given:                       # objects applied before, if any
//! - {apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default}}
//! steps:
//! - request: GET /api/v1/namespaces/default/configmaps/a
//!   headers: {Accept: application/json}        # if any
//!   body: {...}                                # if any; a text is sent as it is
//!   after: 5s                                  # virtual time before the request, if any
//!   status: 200
//!   response: {metadata: {name: a}}            # if any
//!   response_headers: {warning: "~299 .*"}     # if any
//! ```
//!
//! A response agrees if everything written is there: maps may hold more, lists may not. `null` means that the key must
//! be absent (or null), a text `~…` is a regular expression, and `$NAME` stands for what an earlier step remembered with
//! `remember: {NAME: /json/pointer}`, in requests as well.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Trial};
use regex::Regex;
use serde_json::{Map, Value};
use sim_kube::{Cluster, KubeOptions, local::Idle};
use sim_net::{Network, http::Client};

const FOLDER: &str = "../../fixtures/differential/kube";
const SERVER: &str = "http://kubernetes.default.svc:443";

fn main() {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(!paths.is_empty(), "{} has files", folder.display());
    let trials = paths.into_iter().map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(name, move || check(&path).map_err(Into::into))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn check(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file: Value = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    known_keys(&file, &["source", "unreached", "given", "steps"])?;
    if file["source"].as_str().is_none_or(str::is_empty) {
        return Err("a file names its source".to_owned());
    }
    let steps = file["steps"].as_array().filter(|steps| !steps.is_empty()).ok_or("a file has steps")?.clone();
    let given = file["given"].as_array().cloned().unwrap_or_default();
    let played = sim_clock::run(sim_clock::WorldOptions::seeded(7), move || play(given, steps));
    let compared = played.map_err(|error| error.to_string())?;
    match (compared, file["unreached"].as_str()) {
        (Ok(()), Some(_)) => Err("now as it should be: take `unreached` away".to_owned()),
        (Err(_), Some(_)) => Ok(()),
        (compared, None) => compared,
    }
}

async fn play(given: Vec<Value>, steps: Vec<Value>) -> Result<(), String> {
    let network = Network::new();
    let cluster = Cluster::start(&network, Arc::new(Idle), KubeOptions::default()).map_err(|e| e.to_string())?;
    for object in given {
        cluster.api().apply(object.clone()).map_err(|error| format!("given {object}: {error}"))?;
    }
    let client = Client::new(network.host("pod/default/client"));
    let mut known = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        let at = |error: String| format!("step {}, {}: {error}", number + 1, step["request"]);
        take(&client, step, &mut known).await.map_err(at)?;
    }
    Ok(())
}

async fn take(client: &Client, step: &Value, known: &mut BTreeMap<String, String>) -> Result<(), String> {
    let keys = ["request", "headers", "body", "after", "status", "response", "response_headers", "remember"];
    known_keys(step, &keys)?;
    if let Some(after) = step["after"].as_str() {
        let seconds = after.strip_suffix('s').and_then(|s| s.parse().ok()).ok_or("after: seconds, as in 5s")?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    let request = filled(step["request"].as_str().ok_or("a step has a request")?, known);
    let (method, target) = request.split_once(' ').ok_or("a request is METHOD /path")?;
    let mut builder = http::Request::builder().method(method).uri(format!("{SERVER}{target}"));
    let headers = step["headers"].as_object().cloned().unwrap_or_default();
    if !step["body"].is_null() && !headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
        builder = builder.header("Content-Type", "application/json");
    }
    for (name, value) in &headers {
        builder = builder.header(name, filled(value.as_str().ok_or("a header is a text")?, known));
    }
    let body = match &step["body"] {
        Value::Null => String::new(),
        Value::String(text) => filled(text, known),
        value => filled(&value.to_string(), known),
    };
    let request = builder.body(bytes::Bytes::from(body)).map_err(|error| error.to_string())?;
    let response = client.send(request).await.map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_slice(response.body())
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(response.body()).into_owned()));
    if step["status"].as_u64() != Some(u64::from(response.status().as_u16())) {
        return Err(format!("status {}, wanted {}: {answer}", response.status().as_u16(), step["status"]));
    }
    for (name, wanted) in step["response_headers"].as_object().unwrap_or(&Map::new()) {
        let found = response.headers().get(name).map_or(Value::Null, |v| Value::from(v.to_str().unwrap_or_default()));
        compare(&format!("header {name}"), wanted, &found, known)?;
    }
    if !step["response"].is_null() {
        compare("", &step["response"], &answer, known).map_err(|error| format!("{error}\nanswer: {answer:#}"))?;
    }
    for (name, pointer) in step["remember"].as_object().unwrap_or(&Map::new()) {
        let pointer = pointer.as_str().ok_or("remember: a JSON pointer")?;
        let value = answer.pointer(pointer).ok_or_else(|| format!("nothing at {pointer} to remember"))?;
        known.insert(name.clone(), value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned));
    }
    Ok(())
}

fn known_keys(value: &Value, keys: &[&str]) -> Result<(), String> {
    let map = value.as_object().ok_or("a map is wanted")?;
    match map.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown key \"{key}\"")),
        None => Ok(()),
    }
}

fn filled(text: &str, known: &BTreeMap<String, String>) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
}

fn compare(path: &str, wanted: &Value, found: &Value, known: &BTreeMap<String, String>) -> Result<(), String> {
    let differs = || Err(format!("{path}: wanted {wanted}, found {found}"));
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().try_for_each(|(key, value)| {
            compare(&format!("{path}/{key}"), value, found.get(key).unwrap_or(&Value::Null), known)
        }),
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => wanted
            .iter()
            .zip(found)
            .enumerate()
            .try_for_each(|(index, (wanted, found))| compare(&format!("{path}/{index}"), wanted, found, known)),
        (Value::String(text), found) => {
            let shown = found.as_str().map_or_else(|| found.to_string(), ToOwned::to_owned);
            let agrees = match text.strip_prefix('~') {
                Some(pattern) => {
                    let whole = Regex::new(&format!("^(?s:{})$", filled(pattern, known)));
                    !found.is_null() && whole.map_err(|error| error.to_string())?.is_match(&shown)
                }
                None => found.is_string() && shown == filled(text, known),
            };
            if agrees { Ok(()) } else { differs() }
        }
        (wanted, found) if wanted == found => Ok(()),
        _ => differs(),
    }
}
