//! What a mapping must meet on its own, and what the whole file must, in the real program's words and order.

use super::decode::defaults;
use super::schema::{self, Schema};
use super::url::with_slash;
use super::value::{Record, Val};
use std::collections::{BTreeMap, BTreeSet};

type Checked = Result<(), String>;

fn fail(message: impl Into<String>) -> Checked {
    Err(message.into())
}

/// At most one of a value and the file it stands in.
fn not_both(record: &Record, one: &str, other: &str) -> Checked {
    if record.has(one) && record.has(other) {
        return fail(format!("at most one of {one} & {other} must be configured"));
    }
    Ok(())
}

fn need_text(record: &Record, name: &str, message: &str) -> Checked {
    if record.text(name).is_empty() { fail(message) } else { Ok(()) }
}

fn is(record: &Record, schema: &'static Schema) -> bool {
    std::ptr::eq(record.schema, schema)
}

/// A valid name in the UTF-8 grammar.
fn is_label_name(name: &str) -> bool {
    !name.is_empty()
}

/// Checks one mapping.
pub(super) fn record(record: &mut Record) -> Checked {
    let r = &*record;
    if is(r, &schema::ROUTE) {
        route(r)
    } else if is(r, &schema::INHIBIT_RULE) {
        inhibit_rule(r)
    } else if is(r, &schema::RECEIVER) {
        receiver(record)
    } else if is(r, &schema::NAMED_INTERVALS) {
        need_text(r, "name", "missing name in time interval")
    } else if is(r, &schema::TIME_RANGE) {
        if r.has("start_time") && r.has("end_time") {
            Ok(())
        } else {
            fail("both start and end times must be provided")
        }
    } else if is(r, &schema::HTTP) {
        http(record)
    } else if is(r, &schema::DISCORD) || is(r, &schema::MSTEAMS) || is(r, &schema::MSTEAMSV2) {
        if !r.has("webhook_url") && !r.has("webhook_url_file") {
            return fail("one of webhook_url or webhook_url_file must be configured");
        }
        not_both(r, "webhook_url", "webhook_url_file")
    } else if is(r, &schema::MATTERMOST) {
        not_both(r, "webhook_url", "webhook_url_file")
    } else if is(r, &schema::MATTERMOST_FIELD) {
        need_text(r, "title", "missing title in Mattermost field configuration")?;
        need_text(r, "value", "missing value in Mattermost field configuration")
    } else if is(r, &schema::WEBHOOK) {
        if !r.has("url") && !r.has("url_file") {
            return fail("one of url or url_file must be configured");
        }
        not_both(r, "url", "url_file")
    } else if is(r, &schema::INCIDENTIO) {
        incidentio(r)
    } else if is(r, &schema::EMAIL) {
        email(record)
    } else if is(r, &schema::PAGERDUTY) {
        pagerduty(record)
    } else if is(r, &schema::SLACK) {
        slack(r)
    } else if is(r, &schema::SLACK_FIELD) {
        need_text(r, "title", "missing title in Slack field configuration")?;
        need_text(r, "value", "missing value in Slack field configuration")
    } else if is(r, &schema::SLACK_CONFIRM) {
        need_text(r, "text", "missing text in Slack confirmation configuration")
    } else if is(r, &schema::SLACK_ACTION) {
        slack_action(record)
    } else if is(r, &schema::OPSGENIE) {
        opsgenie(r)
    } else if is(r, &schema::WECHAT) {
        if r.text("message_type").is_empty() {
            record.set("message_type", Val::Text("text".to_owned()));
        }
        let kind = record.text("message_type");
        if !matches!(kind, "text" | "markdown") {
            return fail(format!("weChat message type {kind:?} does not match valid options ^(text|markdown)$"));
        }
        not_both(record, "api_secret", "api_secret_file")
    } else if is(r, &schema::VICTOROPS) {
        victorops(r)
    } else if is(r, &schema::PUSHOVER) {
        pushover(r)
    } else if is(r, &schema::SNS) {
        let empty = |name: &str| !r.has(name);
        if (empty("target_arn") != empty("topic_arn")) != empty("phone_number") {
            return fail("must provide either a Target ARN, Topic ARN, or Phone Number for SNS config");
        }
        Ok(())
    } else if is(r, &schema::TELEGRAM) {
        telegram(r)
    } else if is(r, &schema::WEBEX) {
        need_text(r, "room_id", "missing room_id on webex_config")?;
        if r.record("http_config").and_then(|http| http.record("authorization")).is_none() {
            return fail("missing webex_configs.http_config.authorization");
        }
        Ok(())
    } else if is(r, &schema::JIRA) {
        need_text(r, "project", "missing project in jira_config")?;
        need_text(r, "issue_type", "missing issue_type in jira_config")?;
        if !matches!(r.text("api_type"), "auto" | "cloud" | "datacenter") {
            return fail("unknown api_type on jira_config, must be auto, cloud or datacenter");
        }
        Ok(())
    } else if is(r, &schema::ROCKETCHAT) {
        not_both(r, "token", "token_file")?;
        not_both(r, "token_id", "token_id_file")
    } else {
        Ok(())
    }
}

fn route(r: &Record) -> Checked {
    if let Some(name) = r.text_map("match").keys().find(|name| !sim_wire::labels::is_legacy_label_name(name)) {
        return fail(format!("invalid label name {name:?}"));
    }
    let group_by = r.texts("group_by");
    let (all, names): (Vec<&String>, Vec<&String>) = group_by.iter().partition(|name| *name == "...");
    if let Some(name) = names.iter().find(|name| !is_label_name(name)) {
        return fail(format!("invalid label name {name:?} in group_by list"));
    }
    if !all.is_empty() && !names.is_empty() {
        return fail("cannot have wildcard group_by (`...`) and other labels at the same time");
    }
    let mut seen = BTreeSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return fail(format!("duplicated label {name:?} in group_by"));
    }
    for name in ["group_interval", "repeat_interval"] {
        if r.nanos(name) == Some(0) {
            return fail(format!("{name} cannot be zero"));
        }
    }
    Ok(())
}

fn inhibit_rule(r: &Record) -> Checked {
    for name in ["source_match", "target_match"] {
        if let Some(label) = r.text_map(name).keys().find(|label| !sim_wire::labels::is_legacy_label_name(label)) {
            return fail(format!("invalid label name {label:?}"));
        }
    }
    if let Some(label) = r.texts("equal").iter().find(|label| !is_label_name(label)) {
        return fail(format!("invalid label name {label:?} in equal list"));
    }
    Ok(())
}

fn receiver(r: &mut Record) -> Checked {
    need_text(r, "name", "missing name in receiver")?;
    let name = r.text("name").to_owned();
    let mut labels = r.text_map("labels");
    if let Some(other) = labels.get("name").filter(|other| **other != name) {
        return fail(format!("receiver label \"name\" must match receiver name {name:?}, got {other:?}"));
    }
    labels.insert("name".to_owned(), name);
    r.set("labels", Val::TextMap(labels));
    Ok(())
}

fn http(r: &mut Record) -> Checked {
    not_both(r, "bearer_token", "bearer_token_file")?;
    if let Some(basic) = r.record("basic_auth") {
        not_both(basic, "username", "username_file")?;
        not_both(basic, "password", "password_file")?;
    }
    let bearer = r.has("bearer_token") || r.has("bearer_token_file");
    let (basic, oauth) = (r.record("basic_auth").is_some(), r.record("oauth2").is_some());
    if (basic || oauth) && bearer {
        return fail("at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured");
    }
    if let Some(authorization) = r.record("authorization") {
        if bearer {
            return fail("authorization is not compatible with bearer_token & bearer_token_file");
        }
        not_both(authorization, "credentials", "credentials_file")
            .map_err(|_| "at most one of authorization credentials & credentials_file must be configured".to_owned())?;
        let kind = authorization.text("type").trim().to_ascii_lowercase();
        if kind == "basic" {
            return fail("authorization type cannot be set to \"basic\", use \"basic_auth\" instead");
        }
        if basic || oauth {
            return fail("at most one of basic_auth, oauth2 & authorization must be configured");
        }
    }
    if basic && oauth {
        return fail("at most one of basic_auth, oauth2 & authorization must be configured");
    }
    if let Some(Val::Struct(authorization)) = r.get_mut("authorization")
        && authorization.text("type").trim().is_empty()
    {
        authorization.set("type", Val::Text("Bearer".to_owned()));
    }
    // The old fields are an authorization, spelt otherwise.
    if bearer {
        let mut authorization = defaults(&schema::AUTHORIZATION);
        authorization.set("type", Val::Text("Bearer".to_owned()));
        authorization.set("credentials", r.get("bearer_token").clone());
        authorization.set("credentials_file", r.get("bearer_token_file").clone());
        r.set("authorization", Val::Struct(Box::new(authorization)));
        r.set("bearer_token", Val::Unset);
        r.set("bearer_token_file", Val::Unset);
    }
    Ok(())
}

fn incidentio(r: &Record) -> Checked {
    if !r.has("url") && !r.has("url_file") {
        return fail("one of url or url_file must be configured");
    }
    not_both(r, "url", "url_file")?;
    not_both(r, "alert_source_token", "alert_source_token_file")?;
    let token = r.has("alert_source_token") || r.has("alert_source_token_file");
    match r.record("http_config").map(|http| http.record("authorization").is_some()) {
        Some(true) if token => {
            fail("cannot specify alert_source_token or alert_source_token_file when using http_config.authorization")
        }
        Some(false) if !token => fail(
            "at least one of alert_source_token, alert_source_token_file or http_config.authorization must be configured",
        ),
        _ => Ok(()),
    }
}

/// `x-priority` as mail headers are written: `X-Priority`.
fn canonical_header(name: &str) -> String {
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)) {
        return name.to_owned();
    }
    let mut upper = true;
    name.chars()
        .map(|c| {
            let c = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            c
        })
        .collect()
}

fn email(r: &mut Record) -> Checked {
    need_text(r, "to", "missing to address in email config")?;
    let mut headers = BTreeMap::new();
    for (name, value) in r.text_map("headers") {
        let name = canonical_header(&name);
        if headers.insert(name.clone(), value).is_some() {
            return fail(format!("duplicate header {name:?} in email config"));
        }
    }
    if let Some(threading) = r.record("threading").filter(|threading| threading.bool("enabled")) {
        for name in ["References", "In-Reply-To"] {
            if headers.contains_key(name) {
                return fail(format!(
                    "conflicting configuration: threading.enabled conflicts with custom {name} header"
                ));
            }
        }
        if !matches!(threading.text("thread_by_date"), "none" | "daily") {
            return fail("threading.thread_by_date must be either 'none' or 'daily'");
        }
    }
    r.set("headers", Val::TextMap(headers));
    Ok(())
}

/// What a page to PagerDuty tells beside the summary.
const PAGERDUTY_DETAILS: [(&str, &str); 4] = [
    ("firing", "{{ .Alerts.Firing | toJson }}"),
    ("resolved", "{{ .Alerts.Resolved | toJson }}"),
    ("num_firing", "{{ .Alerts.Firing | len }}"),
    ("num_resolved", "{{ .Alerts.Resolved | len }}"),
];

fn pagerduty(r: &mut Record) -> Checked {
    if ["routing_key", "service_key", "routing_key_file", "service_key_file"].iter().all(|name| !r.has(name)) {
        return fail("missing service or routing key in PagerDuty config");
    }
    not_both(r, "routing_key", "routing_key_file")?;
    not_both(r, "service_key", "service_key_file")?;
    if !r.has("source") {
        r.set("source", r.get("client").clone());
    }
    let mut details = match r.get("details") {
        Val::Any(serde_json::Value::Object(map)) => map.clone(),
        _ => serde_json::Map::new(),
    };
    for (name, template) in PAGERDUTY_DETAILS {
        details.entry(name).or_insert_with(|| template.into());
    }
    r.set("details", Val::Any(details.into()));
    Ok(())
}

/// The subject of an e-mail that sets none.
const EMAIL_SUBJECT: &str = "{{ template \"email.default.subject\" . }}";

/// Where bots of Slack post.
const SLACK_POST: &str = "https://slack.com/api/chat.postMessage";

fn slack(r: &Record) -> Checked {
    not_both(r, "api_url", "api_url_file")?;
    not_both(r, "app_token", "app_token_file")?;
    if (r.has("api_url") || r.has("api_url_file")) && (r.has("app_token") || r.has("app_token_file")) {
        return fail("at most one of api_url/api_url_file & app_token/app_token_file must be configured");
    }
    if r.bool("update_message") && r.text("api_url") != SLACK_POST {
        return fail(format!("update_message can only be used with bot tokens. api_url must be set to {SLACK_POST}"));
    }
    Ok(())
}

fn slack_action(r: &mut Record) -> Checked {
    need_text(r, "type", "missing type in Slack action configuration")?;
    need_text(r, "text", "missing text in Slack action configuration")?;
    if r.has("url") {
        for name in ["name", "value", "confirm"] {
            r.set(name, Val::Unset);
        }
    } else {
        need_text(r, "name", "missing name or url in Slack action configuration")?;
    }
    Ok(())
}

fn opsgenie(r: &Record) -> Checked {
    not_both(r, "api_key", "api_key_file")?;
    for responder in r.list("responders") {
        let text = |name: &str| responder.text(name).to_owned();
        let (id, name, username, kind) = (text("id"), text("name"), text("username"), text("type"));
        let lower = kind.to_lowercase();
        if id.is_empty() && username.is_empty() && name.is_empty() {
            return fail(format!(
                "opsGenieConfig responder {{{id} {name} {username} {kind}}} has to have at least one of id, username or name specified"
            ));
        }
        if !kind.contains("{{") && !matches!(lower.as_str(), "team" | "teams" | "user" | "escalation" | "schedule") {
            return fail(format!(
                "opsGenieConfig responder {{{id} {name} {username} {lower}}} type does not match valid options ^(team|teams|user|escalation|schedule)$"
            ));
        }
    }
    Ok(())
}

fn victorops(r: &Record) -> Checked {
    need_text(r, "routing_key", "missing Routing key in VictorOps config")?;
    not_both(r, "api_key", "api_key_file")?;
    let fields = r.text_map("custom_fields");
    let reserved = [
        "routing_key",
        "message_type",
        "state_message",
        "entity_display_name",
        "monitoring_tool",
        "entity_id",
        "entity_state",
    ];
    if let Some(name) = reserved.iter().find(|name| fields.contains_key(**name)) {
        return fail(format!(
            "victorOps config contains custom field {name} which cannot be used as it conflicts with the fixed/static fields"
        ));
    }
    Ok(())
}

fn pushover(r: &Record) -> Checked {
    for (one, other) in [("user_key", "user_key_file"), ("token", "token_file")] {
        if !r.has(one) && !r.has(other) {
            return fail(format!("one of {one} or {other} must be configured"));
        }
        not_both(r, one, other)?;
    }
    if r.bool("html") && r.bool("monospace") {
        return fail("at most one of monospace & html must be configured");
    }
    Ok(())
}

fn telegram(r: &Record) -> Checked {
    not_both(r, "bot_token", "bot_token_file")?;
    let chat = r.int("chat_id") != 0;
    if !chat && !r.has("chat_id_file") {
        return fail("missing chat_id or chat_id_file on telegram_config");
    }
    if chat && r.has("chat_id_file") {
        return fail("at most one of chat_id & chat_id_file must be configured");
    }
    if !matches!(r.text("parse_mode"), "" | "Markdown" | "MarkdownV2" | "HTML") {
        return fail("unknown parse_mode on telegram_config, must be Markdown, MarkdownV2, HTML or empty string");
    }
    Ok(())
}

/// What a kind of receiver takes from `global`, and what it then must have.
struct Inherited {
    configs: &'static str,
    /// Told for an item that is written empty; without it the item is an empty mapping.
    missing: Option<&'static str>,
    /// Field, field of `global`.
    from_global: &'static [(&'static str, &'static str)],
    /// Pairs that are taken together where neither is there.
    pair: Option<(&'static str, &'static str, &'static str, &'static str)>,
    /// At least one of these, or this message.
    need: &'static [(&'static [&'static str], &'static str)],
    slash: bool,
}

impl Inherited {
    const fn new(configs: &'static str) -> Self {
        Self { configs, missing: None, from_global: &[], pair: None, need: &[], slash: false }
    }
}

const HTTP: (&str, &str) = ("http_config", "http_config");

/// In the order in which the real program looks at them.
const INHERITED: [Inherited; 18] = [
    Inherited { missing: Some("missing webhook config"), from_global: &[HTTP], ..Inherited::new("webhook_configs") },
    Inherited {
        missing: Some("missing email config"),
        from_global: &[
            ("tls_config", "smtp_tls_config"),
            ("smarthost", "smtp_smarthost"),
            ("from", "smtp_from"),
            ("hello", "smtp_hello"),
            ("auth_username", "smtp_auth_username"),
            ("auth_secret", "smtp_auth_secret"),
            ("auth_secret_file", "smtp_auth_secret_file"),
            ("auth_identity", "smtp_auth_identity"),
            ("require_tls", "smtp_require_tls"),
            ("force_implicit_tls", "smtp_force_implicit_tls"),
        ],
        pair: Some(("auth_password", "auth_password_file", "smtp_auth_password", "smtp_auth_password_file")),
        need: &[(&["smarthost"], "no global SMTP smarthost set"), (&["from"], "no global SMTP from set")],
        ..Inherited::new("email_configs")
    },
    Inherited::new("slack_configs"),
    Inherited { missing: Some("missing pushover config"), from_global: &[HTTP], ..Inherited::new("pushover_configs") },
    Inherited {
        missing: Some("missing pagerduty config"),
        from_global: &[HTTP, ("url", "pagerduty_url")],
        need: &[(&["url"], "no global PagerDuty URL set")],
        ..Inherited::new("pagerduty_configs")
    },
    Inherited {
        missing: Some("missing incidentio config"),
        from_global: &[HTTP],
        ..Inherited::new("incidentio_configs")
    },
    Inherited {
        from_global: &[
            HTTP,
            ("api_url", "opsgenie_api_url"),
            ("api_key", "opsgenie_api_key"),
            ("api_key_file", "opsgenie_api_key_file"),
        ],
        need: &[
            (&["api_url"], "no global OpsGenie URL set"),
            (&["api_key", "api_key_file"], "no global OpsGenie API Key set either inline or in a file"),
        ],
        slash: true,
        ..Inherited::new("opsgenie_configs")
    },
    Inherited {
        from_global: &[HTTP, ("api_url", "wechat_api_url"), ("corp_id", "wechat_api_corp_id")],
        pair: Some(("api_secret", "api_secret_file", "wechat_api_secret", "wechat_api_secret_file")),
        need: &[
            (&["api_url"], "no global Wechat URL set"),
            (&["api_secret", "api_secret_file"], "no global Wechat Api Secret set either inline or in a file"),
            (&["corp_id"], "no global Wechat CorpID set"),
        ],
        slash: true,
        ..Inherited::new("wechat_configs")
    },
    Inherited {
        missing: Some("missing victorops config"),
        from_global: &[
            HTTP,
            ("api_url", "victorops_api_url"),
            ("api_key", "victorops_api_key"),
            ("api_key_file", "victorops_api_key_file"),
        ],
        need: &[
            (&["api_url"], "no global VictorOps URL set"),
            (&["api_key", "api_key_file"], "no global VictorOps API Key set"),
        ],
        slash: true,
        ..Inherited::new("victorops_configs")
    },
    Inherited { missing: Some("missing sns config"), from_global: &[HTTP], ..Inherited::new("sns_configs") },
    Inherited {
        missing: Some("missing telegram config"),
        from_global: &[HTTP, ("api_url", "telegram_api_url")],
        pair: Some(("bot_token", "bot_token_file", "telegram_bot_token", "telegram_bot_token_file")),
        need: &[(&["bot_token", "bot_token_file"], "missing bot_token or bot_token_file on telegram_config")],
        ..Inherited::new("telegram_configs")
    },
    Inherited { missing: Some("missing discord config"), from_global: &[HTTP], ..Inherited::new("discord_configs") },
    Inherited {
        missing: Some("missing webex config"),
        from_global: &[HTTP, ("api_url", "webex_api_url")],
        need: &[(&["api_url"], "no global Webex URL set")],
        ..Inherited::new("webex_configs")
    },
    Inherited { missing: Some("missing msteams config"), from_global: &[HTTP], ..Inherited::new("msteams_configs") },
    Inherited {
        missing: Some("missing msteamsv2 config"),
        from_global: &[HTTP],
        ..Inherited::new("msteamsv2_configs")
    },
    Inherited {
        missing: Some("missing jira config"),
        from_global: &[HTTP, ("api_url", "jira_api_url")],
        need: &[(&["api_url"], "no global Jira Cloud URL set")],
        ..Inherited::new("jira_configs")
    },
    Inherited {
        from_global: &[
            HTTP,
            ("api_url", "rocketchat_api_url"),
            ("token_id", "rocketchat_token_id"),
            ("token_id_file", "rocketchat_token_id_file"),
            ("token", "rocketchat_token"),
            ("token_file", "rocketchat_token_file"),
        ],
        need: &[
            (&["token_id", "token_id_file"], "no global Rocketchat TokenID set either inline or in a file"),
            (&["token", "token_file"], "no global Rocketchat Token set either inline or in a file"),
        ],
        ..Inherited::new("rocketchat_configs")
    },
    Inherited {
        missing: Some("missing mattermost config"),
        from_global: &[HTTP],
        pair: Some(("webhook_url", "webhook_url_file", "mattermost_webhook_url", "mattermost_webhook_url_file")),
        need: &[(&["webhook_url", "webhook_url_file"], "missing webhook_url or webhook_url_file on mattermost_config")],
        ..Inherited::new("mattermost_configs")
    },
];

/// Fills the receivers from `global` and checks the file as a whole.
pub(super) fn whole(config: &mut Record) -> Checked {
    if config.record("global").is_none() {
        config.set("global", Val::Struct(Box::new(defaults(&schema::GLOBAL))));
    }
    let Some(global) = config.record("global").cloned() else { return Ok(()) };
    globals(&global)?;
    let mut names = BTreeSet::new();
    if let Some(Val::List(receivers)) = config.get_mut("receivers") {
        for receiver in receivers.iter_mut() {
            let receiver = receiver.get_or_insert_with(|| defaults(&schema::RECEIVER));
            let name = receiver.text("name").to_owned();
            if names.contains(&name) {
                return fail(format!("notification config name {name:?} is not unique"));
            }
            for inherited in &INHERITED {
                inherit(receiver, inherited, &global)?;
            }
            names.insert(name);
        }
    }
    let Some(route) = config.record("route") else { return fail("no routes provided") };
    need_text(route, "receiver", "root route must specify a default receiver")?;
    let matches = !route.text_map("match").is_empty() || !route.text_map("match_re").is_empty();
    if matches || !route.matchers("matchers").is_empty() {
        return fail("root route must not have any matchers");
    }
    if !route.texts("mute_time_intervals").is_empty() {
        return fail("root route must not have any mute time intervals");
    }
    if !route.texts("active_time_intervals").is_empty() {
        return fail("root route must not have any active time intervals");
    }
    receivers_exist(route, &names)?;
    let mut intervals = BTreeSet::new();
    for (list, what) in [("mute_time_intervals", "mute time interval"), ("time_intervals", "time interval")] {
        for interval in config.list(list) {
            let name = interval.text("name");
            if !intervals.insert(name.to_owned()) {
                return fail(format!("{what} {name:?} is not unique"));
            }
        }
    }
    intervals_exist(route, &intervals)
}

fn globals(global: &Record) -> Checked {
    not_both(global, "slack_app_token", "slack_app_token_file")?;
    not_both(global, "slack_api_url", "slack_api_url_file")?;
    let app = global.has("slack_app_token") || global.has("slack_app_token_file");
    if app
        && (global.has("slack_api_url") || global.has("slack_api_url_file"))
        && global.text("slack_api_url") != global.text("slack_app_url")
    {
        return fail(
            "at most one of slack_app_token/slack_app_token_file & slack_api_url/slack_api_url_file must be configured",
        );
    }
    for name in [
        "opsgenie_api_key",
        "victorops_api_key",
        "telegram_bot_token",
        "smtp_auth_password",
        "rocketchat_token",
        "rocketchat_token_id",
        "smtp_auth_secret",
        "wechat_api_secret",
        "mattermost_webhook_url",
    ] {
        not_both(global, name, &format!("{name}_file"))?;
    }
    Ok(())
}

fn take(record: &mut Record, name: &str, from: &Record, other: &str) {
    let kind_zero = match record.get(name) {
        Val::Unset => true,
        Val::Text(text) => text.is_empty(),
        _ => false,
    };
    if kind_zero {
        record.set(name, from.get(other).clone());
    }
}

fn inherit(receiver: &mut Record, rule: &Inherited, global: &Record) -> Checked {
    let Some(Val::List(items)) = receiver.get_mut(rule.configs) else { return Ok(()) };
    for item in items.iter_mut() {
        // What is written empty and tolerated is a mapping without even its defaults.
        let record = match (item, rule.missing) {
            (Some(record), _) => record,
            (None, Some(message)) => return fail(message),
            // A copy is filled in and thrown away: the real program checks it and keeps the empty item.
            (None, None) => &mut empty_of(rule.configs),
        };
        if rule.configs == "slack_configs" {
            slack_inherits(record, global)?;
            continue;
        }
        for (name, other) in rule.from_global {
            take(record, name, global, other);
        }
        if let Some((one, other, from_one, from_other)) = rule.pair
            && !record.has(one)
            && !record.has(other)
        {
            record.set(one, global.get(from_one).clone());
            record.set(other, global.get(from_other).clone());
        }
        for (names, message) in rule.need {
            if names.iter().all(|name| !record.has(name)) {
                return fail(*message);
            }
        }
        if rule.configs == "email_configs" {
            let mut headers = record.text_map("headers");
            for (name, value) in [("Subject", EMAIL_SUBJECT), ("To", record.text("to")), ("From", record.text("from"))]
            {
                headers.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
            record.set("headers", Val::TextMap(headers));
        }
        if rule.slash {
            let url = with_slash(record.text("api_url"));
            record.set("api_url", Val::Text(url));
        }
    }
    Ok(())
}

fn empty_of(configs: &str) -> Record {
    let schema = match configs {
        "opsgenie_configs" => &schema::OPSGENIE,
        "wechat_configs" => &schema::WECHAT,
        "rocketchat_configs" => &schema::ROCKETCHAT,
        _ => &schema::SLACK,
    };
    Record { schema, values: vec![Val::Unset; schema.fields.len()] }
}

fn slack_inherits(r: &mut Record, global: &Record) -> Checked {
    take(r, "app_url", global, "slack_app_url");
    if !r.has("app_url") {
        return fail("no global Slack App URL set");
    }
    let authorized = r.record("http_config").is_some_and(|http| http.record("authorization").is_some());
    if !r.has("app_token") && !r.has("app_token_file") && !authorized && !r.has("api_url") {
        r.set("app_token", global.get("slack_app_token").clone());
        r.set("app_token_file", global.get("slack_app_token_file").clone());
    }
    if !r.has("api_url") && !r.has("api_url_file") {
        r.set("api_url", global.get("slack_api_url").clone());
        r.set("api_url_file", global.get("slack_api_url_file").clone());
    }
    let app = r.has("app_token") || r.has("app_token_file");
    if !r.has("api_url") && !r.has("api_url_file") && !app {
        return fail("no Slack API URL nor App token set either inline or in a file");
    }
    take(r, "http_config", global, "http_config");
    if app {
        if authorized {
            return fail("http authorization can't be set when using Slack App tokens");
        }
        let mut authorization = defaults(&schema::AUTHORIZATION);
        authorization.set("type", Val::Text("Bearer".to_owned()));
        authorization.set("credentials", r.get("app_token").clone());
        authorization.set("credentials_file", r.get("app_token_file").clone());
        if let Some(Val::Struct(http)) = r.get_mut("http_config") {
            http.set("authorization", Val::Struct(Box::new(authorization)));
        }
        r.set("api_url", r.get("app_url").clone());
    }
    Ok(())
}

fn receivers_exist(route: &Record, names: &BTreeSet<String>) -> Checked {
    for child in route.list("routes") {
        receivers_exist(child, names)?;
    }
    let name = route.text("receiver");
    if !name.is_empty() && !names.contains(name) {
        return fail(format!("undefined receiver {name:?} used in route"));
    }
    Ok(())
}

fn intervals_exist(route: &Record, names: &BTreeSet<String>) -> Checked {
    for child in route.list("routes") {
        intervals_exist(child, names)?;
    }
    for list in ["active_time_intervals", "mute_time_intervals"] {
        if let Some(name) = route.texts(list).iter().find(|name| !names.contains(*name)) {
            return fail(format!("undefined time interval {name:?} used in route"));
        }
    }
    Ok(())
}
