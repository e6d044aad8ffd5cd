//! Pages, good and bad, and what the real Prometheus 3.5.3 made of each: `fixtures/differential/scrape/pages.jsonl`.
//!
//! One JSON object a line: the page with its content type; `up`, `scraped` and `kept` as the real server reported them; its error.
//! Whether a page is taken, and how many samples of it are counted, must be the same; of the error texts those that are not
//! about the lexer's state.

use base64::Engine as _;
use serde::Deserialize;
use sim_prometheus::config;
use sim_prometheus::scrape::{Memory, Outcome, Settings, ingest};
use sim_prometheus::store::Store;
use sim_wire::Labels;
use std::path::Path;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    name: String,
    content_type: String,
    body: String,
    encoding: Option<String>,
    up: String,
    scraped: String,
    kept: String,
    error: String,
}

/// Errors in whose text the same words are expected.
const SAME_WORDS: [&str; 3] = ["Content-Type", "is not unique", "data does not end with # EOF"];

#[test]
fn pages_are_taken_and_refused_as_by_the_real_prometheus() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/differential/scrape/pages.jsonl");
    let lines = std::fs::read_to_string(path).expect("the fixture");
    let config = config::parse("scrape_configs: [{job_name: j}]").expect("a configuration");
    let settings = Settings::from(&config.scrape_configs[0]);
    let (mut seen, mut differences) = (0, Vec::new());
    for line in lines.lines() {
        let page: Page = serde_json::from_str(line).expect("JSON");
        let body = match page.encoding.as_deref() {
            Some("base64") => base64::engine::general_purpose::STANDARD.decode(&page.body).expect("base64"),
            _ => page.body.clone().into_bytes(),
        };
        let outcome = match std::str::from_utf8(&body) {
            Ok(body) => Outcome::Page { content_type: &page.content_type, body },
            Err(_) => Outcome::Failed("invalid UTF-8 in the body".to_owned()),
        };
        let (mut store, mut memory) = (Store::new(), Memory::default());
        let target = Labels::from_pairs([("job", page.name.as_str())]);
        let time = Duration::from_millis(1);
        let summary = ingest(&mut store, &mut memory, &settings, &target, 1_000_000, time, &outcome);
        seen += 1;
        let up = if summary.error.is_none() { "1" } else { "0" };
        let ours = (up.to_owned(), summary.scraped.to_string(), summary.kept.to_string());
        if ours != (page.up.clone(), page.scraped.clone(), page.kept.clone()) {
            differences.push(format!(
                "{}: real up {} scraped {} kept {} {:?}, ours {ours:?} {:?}",
                page.name, page.up, page.scraped, page.kept, page.error, summary.error
            ));
        }
        let error = summary.error.unwrap_or_default();
        if SAME_WORDS.iter().any(|words| page.error.contains(words))
            && !error.contains(page.error.lines().next().unwrap_or_default())
        {
            differences.push(format!("{}: real {:?}, ours {error:?}", page.name, page.error));
        }
    }
    assert_eq!(seen, 56);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
