//! The configuration file: read as strictly as by the real program, refused in its words, shown with secrets masked.

mod checks;
mod decode;
mod emit;
pub(crate) mod go_duration;
pub(crate) mod schema;
mod url;
pub(crate) mod value;

pub(crate) use decode::{scalar, to_json};

use crate::Error;
use crate::matcher::{MatchType, Matcher, Matchers};
use crate::time_interval::TimeInterval;
use std::collections::BTreeMap;
use std::time::Duration;
use value::Record;

/// Largest configuration file.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// A configuration that was accepted.
#[derive(Debug, Clone)]
pub struct Config {
    /// The root of the routing tree.
    pub route: RouteConfig,
    /// The rules by which alerts mute others, in order.
    pub inhibit_rules: Vec<InhibitRule>,
    /// The receivers, in order.
    pub receivers: Vec<Receiver>,
    /// Paths of template files, which may hold stars.
    pub templates: Vec<String>,
    /// Named time intervals.
    pub time_intervals: BTreeMap<String, Vec<TimeInterval>>,
    /// How long an alert without an end lives after it was last seen.
    pub resolve_timeout: Duration,
    shown: String,
}

/// A route as written; what it leaves out it takes from its parent.
#[derive(Debug, Clone, Default)]
pub struct RouteConfig {
    /// Who is notified; empty: as the parent.
    pub receiver: String,
    /// The labels to group by; `None`: as the parent. `...` alone stands for all.
    pub group_by: Option<Vec<String>>,
    /// Conditions of all three spellings.
    pub matchers: Matchers,
    /// Whether later siblings are tried too.
    pub continues: bool,
    /// When it is silent.
    pub mute_time_intervals: Vec<String>,
    /// When it is not silent.
    pub active_time_intervals: Vec<String>,
    /// How long the first notification of a group waits.
    pub group_wait: Option<Duration>,
    /// Between two looks at a group.
    pub group_interval: Option<Duration>,
    /// After how long nothing new is told again.
    pub repeat_interval: Option<Duration>,
    /// Its children, in order.
    pub routes: Vec<RouteConfig>,
}

/// Alerts that match the source mute those that match the target and agree in the labels of `equal`.
#[derive(Debug, Clone, Default)]
pub struct InhibitRule {
    /// Its name, if it has one.
    pub name: String,
    /// What mutes.
    pub source: Matchers,
    /// What is muted.
    pub target: Matchers,
    /// The labels in which both agree.
    pub equal: Vec<String>,
}

/// A receiver with its integrations.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// Its labels, its name among them.
    pub labels: BTreeMap<String, String>,
    /// In the order in which the real program builds them.
    pub integrations: Vec<Integration>,
}

/// One way in which a receiver is told.
#[derive(Debug, Clone)]
pub struct Integration {
    /// `webhook`, `email`, `pagerduty` …
    pub kind: &'static str,
    /// Its place among those of its kind.
    pub index: usize,
    /// Whether it is told that alerts are resolved.
    pub send_resolved: bool,
    pub(crate) settings: Record,
}

/// The kinds of integrations in the order in which the real program builds them.
pub const INTEGRATIONS: [(&str, &str); 18] = [
    ("webhook", "webhook_configs"),
    ("email", "email_configs"),
    ("pagerduty", "pagerduty_configs"),
    ("opsgenie", "opsgenie_configs"),
    ("wechat", "wechat_configs"),
    ("slack", "slack_configs"),
    ("victorops", "victorops_configs"),
    ("pushover", "pushover_configs"),
    ("sns", "sns_configs"),
    ("telegram", "telegram_configs"),
    ("discord", "discord_configs"),
    ("webex", "webex_configs"),
    ("msteams", "msteams_configs"),
    ("msteamsv2", "msteamsv2_configs"),
    ("jira", "jira_configs"),
    ("rocketchat", "rocketchat_configs"),
    ("mattermost", "mattermost_configs"),
    ("incidentio", "incidentio_configs"),
];

/// Reads a configuration file.
///
/// # Errors
/// [`Error::Config`] with the message of the real program.
///
/// ```
/// let text = "route: {receiver: team}\nreceivers: [{name: team}]\n";
/// let config = sim_alertmanager::config::parse(text).unwrap();
/// assert_eq!(config.receivers[0].name, "team");
/// let refused = sim_alertmanager::config::parse("route: {receiver: nobody}").unwrap_err();
/// assert_eq!(refused.to_string(), "undefined receiver \"nobody\" used in route");
/// ```
pub fn parse(text: &str) -> Result<Config, Error> {
    let refuse = |message: String| Error::Config { message };
    if text.len() > FILE_BYTES_MAX {
        return Err(refuse(format!("file larger than {FILE_BYTES_MAX} bytes")));
    }
    let node = crate::yaml::read(text).map_err(refuse)?;
    let Some(node) = node.filter(|node| !node.is_null()) else {
        return Err(refuse("no route provided in config".to_owned()));
    };
    let mut decoder = decode::Decoder::default();
    let mut record = decoder.record(&node, &schema::CONFIG).map_err(refuse)?;
    if !decoder.errors.is_empty() {
        return Err(refuse(format!("yaml: unmarshal errors:\n  {}", decoder.errors.join("\n  "))));
    }
    checks::whole(&mut record).map_err(refuse)?;
    let Some(root) = record.record("route") else {
        return Err(refuse("no route provided in config".to_owned()));
    };
    if root.bool("continue") {
        return Err(refuse("cannot have continue in root route".to_owned()));
    }
    let resolve_timeout = record.record("global").and_then(|global| duration(global, "resolve_timeout"));
    Ok(Config {
        route: route(root),
        inhibit_rules: record.list("inhibit_rules").map(inhibit_rule).collect(),
        receivers: record.list("receivers").map(receiver).collect(),
        templates: record.texts("templates").to_vec(),
        time_intervals: record
            .list("mute_time_intervals")
            .chain(record.list("time_intervals"))
            .map(|named| {
                let intervals = named.list("time_intervals").map(TimeInterval::from_record).collect();
                (named.text("name").to_owned(), intervals)
            })
            .collect(),
        resolve_timeout: resolve_timeout.unwrap_or_default(),
        shown: emit::to_text(&record),
    })
}

fn duration(record: &Record, name: &str) -> Option<Duration> {
    record.nanos(name).map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or_default()))
}

/// The matchers of the old spellings. Their labels and expressions were checked when they were read.
fn old_matchers(record: &Record, equal: &str, regexp: &str) -> Vec<Matcher> {
    let of = |field: &str, kind: MatchType| {
        let map = record.text_map(field);
        map.into_iter().filter_map(move |(name, value)| {
            // The real program keeps an expression as it compiled it, with the anchors.
            let value = if kind.is_regex() { format!("^(?:{value})$") } else { value };
            Matcher::new(kind, &name, &value).ok()
        })
    };
    of(equal, MatchType::Equal).chain(of(regexp, MatchType::Regexp)).collect()
}

fn route(record: &Record) -> RouteConfig {
    let mut matchers = Matchers::new(old_matchers(record, "match", "match_re"));
    matchers.extend(record.matchers("matchers").iter().cloned());
    let group_by = match record.get("group_by") {
        value::Val::Texts(names) => Some(names.clone()),
        _ => None,
    };
    RouteConfig {
        receiver: record.text("receiver").to_owned(),
        group_by,
        matchers,
        continues: record.bool("continue"),
        mute_time_intervals: record.texts("mute_time_intervals").to_vec(),
        active_time_intervals: record.texts("active_time_intervals").to_vec(),
        group_wait: duration(record, "group_wait"),
        group_interval: duration(record, "group_interval"),
        repeat_interval: duration(record, "repeat_interval"),
        routes: record.list("routes").map(route).collect(),
    }
}

fn inhibit_rule(record: &Record) -> InhibitRule {
    let side = |equal: &str, regexp: &str, matchers: &str| {
        let mut all = Matchers::new(old_matchers(record, equal, regexp));
        all.extend(record.matchers(matchers).iter().cloned());
        all
    };
    InhibitRule {
        name: record.text("name").to_owned(),
        source: side("source_match", "source_match_re", "source_matchers"),
        target: side("target_match", "target_match_re", "target_matchers"),
        equal: record.texts("equal").to_vec(),
    }
}

fn receiver(record: &Record) -> Receiver {
    let integrations = INTEGRATIONS
        .iter()
        .flat_map(|(kind, configs)| {
            record.list(configs).enumerate().map(|(index, settings)| Integration {
                kind,
                index,
                send_resolved: settings.bool("send_resolved"),
                settings: settings.clone(),
            })
        })
        .collect();
    Receiver { name: record.text("name").to_owned(), labels: record.text_map("labels"), integrations }
}

impl Config {
    /// The configuration as the real program shows it: with every default, and without secrets.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// A receiver by name.
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.name == name)
    }

    /// What `amtool check-config` says of a file that is right.
    pub fn summary(&self) -> String {
        let mut out = String::from("Found:\n - global config\n - route\n");
        out.push_str(&format!(" - {} inhibit rules\n", self.inhibit_rules.len()));
        out.push_str(&format!(" - {} receivers\n", self.receivers.len()));
        out.push_str(&format!(" - {} templates\n", self.templates.len()));
        out
    }
}

#[cfg(test)]
mod tests;
