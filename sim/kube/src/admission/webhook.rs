//! Webhooks as their configurations describe them.

use std::{sync::Arc, time::Duration};

use base64::Engine as _;
use serde_json::Value;

use super::conditions::Condition;
use crate::{engine::Engine, json, selectors::LabelSelector};

/// Tables of the two kinds of configuration.
const MUTATING: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
const VALIDATING: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";
/// `timeoutSeconds` where a configuration gives none.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The port of a service reference that gives none.
const SERVICE_PORT_DEFAULT: u16 = 443;

/// When a webhook is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the server fills in and validates; it may patch the object.
    Mutating,
    /// After it; it may only refuse.
    Validating,
}

impl Phase {
    /// As metrics name it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }
}

/// Where a webhook is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// By URL.
    Url(String),
    /// A Service of the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The Service's port.
        port: u16,
        /// Path, with its leading slash, or empty.
        path: String,
    },
}

/// One entry of `rules`.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT`, `*`.
    pub operations: Vec<String>,
    /// Groups, or `*`.
    pub groups: Vec<String>,
    /// Versions, or `*`.
    pub versions: Vec<String>,
    /// `pods`, `pods/status`, `pods/*`, `*`, `*/scale`, `*/*`.
    pub resources: Vec<String>,
    /// `Cluster`, `Namespaced` or `*`.
    pub scope: String,
}

/// One webhook of a configuration.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its fully qualified name.
    pub name: String,
    /// What it is asked about.
    pub rules: Vec<Rule>,
    /// True for `Equivalent`: the same object under another version matches too.
    pub equivalent: bool,
    /// Labels of the object's namespace.
    pub namespaces: LabelSelector,
    /// Labels of the object.
    pub objects: LabelSelector,
    /// All of these must hold.
    pub conditions: Vec<Condition>,
    /// True for `Ignore`: a call that fails counts as an answer that allows.
    pub ignore_failures: bool,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// True for `IfNeeded`: asked once more if a later webhook changed the object.
    pub reinvoke: bool,
    /// True if a dry run may call it.
    pub dry_run: bool,
    /// Where it is called.
    pub destination: Destination,
    /// PEM of the authority its certificate must come from; empty: the host's own, of which a world has none.
    pub authority: String,
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    json::list(value, &[key]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

impl Rule {
    fn read(value: &Value) -> Self {
        Self {
            operations: strings(value, "operations"),
            groups: strings(value, "apiGroups"),
            versions: strings(value, "apiVersions"),
            resources: strings(value, "resources"),
            scope: match json::text(value, &["scope"]) {
                "" => "*".to_owned(),
                given => given.to_owned(),
            },
        }
    }
}

impl Webhook {
    /// Reads one entry of `webhooks`; configurations were validated when they were stored.
    pub fn read(value: &Value) -> Self {
        let config = value.get("clientConfig").unwrap_or(&Value::Null);
        let destination = match json::text(config, &["url"]) {
            "" => Destination::Service {
                namespace: json::text(config, &["service", "namespace"]).to_owned(),
                name: json::text(config, &["service", "name"]).to_owned(),
                port: json::int(config, &["service", "port"])
                    .and_then(|p| u16::try_from(p).ok())
                    .unwrap_or(SERVICE_PORT_DEFAULT),
                path: json::text(config, &["service", "path"]).to_owned(),
            },
            url => Destination::Url(url.to_owned()),
        };
        let bundle = base64::engine::general_purpose::STANDARD.decode(json::text(config, &["caBundle"]));
        let selector = |key: &str| value.get(key).and_then(|s| LabelSelector::from_object(Some(s))).unwrap_or_default();
        Self {
            name: json::text(value, &["name"]).to_owned(),
            rules: json::list(value, &["rules"]).iter().map(Rule::read).collect(),
            equivalent: json::text(value, &["matchPolicy"]) != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            conditions: json::list(value, &["matchConditions"])
                .iter()
                .map(|c| Condition::new(json::text(c, &["expression"]).trim()))
                .collect(),
            ignore_failures: json::text(value, &["failurePolicy"]) == "Ignore",
            timeout: json::int(value, &["timeoutSeconds"])
                .and_then(|s| u64::try_from(s).ok())
                .map_or(TIMEOUT_DEFAULT, Duration::from_secs),
            reinvoke: json::text(value, &["reinvocationPolicy"]) == "IfNeeded",
            dry_run: matches!(json::text(value, &["sideEffects"]), "None" | "NoneOnDryRun"),
            destination,
            authority: bundle.ok().and_then(|b| String::from_utf8(b).ok()).unwrap_or_default(),
        }
    }
}

/// The webhooks of a cluster as they were read last: read anew only when a configuration changed.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    mutating: Shelf,
    validating: Shelf,
}

/// The webhooks of one kind of configuration, and the revision of their table at which they were read.
#[derive(Debug, Default)]
struct Shelf {
    read_at: u64,
    webhooks: Arc<[Webhook]>,
}

impl Shelf {
    fn of(&mut self, engine: &Engine, table: &str) -> Arc<[Webhook]> {
        let changed_at = engine.changed_at(table);
        if changed_at != self.read_at {
            let configurations = engine.scan(table, None);
            self.webhooks = configurations.flat_map(|c| json::list(c, &["webhooks"])).map(Webhook::read).collect();
            self.read_at = changed_at;
        }
        self.webhooks.clone()
    }
}

impl Directory {
    /// The webhooks of a phase in the order in which they are asked: configurations by name, each in its own order.
    pub(crate) fn all(&mut self, engine: &Engine, phase: Phase) -> Arc<[Webhook]> {
        match phase {
            Phase::Mutating => self.mutating.of(engine, MUTATING),
            Phase::Validating => self.validating.of(engine, VALIDATING),
        }
    }
}
