//! The fields of the configuration file, in the order in which the real program writes them.

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// Shown as `<secret>`.
    Secret,
    Bool,
    Int,
    Uint,
    /// `1h30m` in Prometheus's notation.
    Duration,
    /// `1h0m0s` in Go's notation.
    GoDuration,
    Url,
    /// A URL that is a secret.
    SecretUrl,
    /// A secret URL or a template of one.
    TemplateUrl,
    HostPort,
    Regexp,
    Texts,
    TextMap,
    RegexpMap,
    Matchers,
    /// Anything.
    Any,
    /// A mapping of texts to anything.
    AnyMap,
    /// A text or a mapping with these fields (Jira's summary).
    TextOr(&'static Schema),
    Struct(&'static Schema),
    /// A list of mappings; an empty item is allowed.
    List(&'static Schema),
    Times,
    Range(RangeKind),
    Location,
}

/// What a range of a time interval counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeKind {
    Weekday,
    DayOfMonth,
    Month,
    Year,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// Written even when it is empty.
    pub always: bool,
    /// Whether the real program tells an explicit zero from nothing.
    pub pointer: bool,
    /// As it would be written in the file.
    pub default: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Schema {
    /// The name that messages about unknown fields give the mapping.
    pub type_name: &'static str,
    pub fields: &'static [Field],
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, always: false, pointer: false, default: None }
}

impl Field {
    const fn always(mut self) -> Self {
        self.always = true;
        self
    }

    const fn pointer(mut self) -> Self {
        self.pointer = true;
        self
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }
}

const fn text(name: &'static str) -> Field {
    field(name, Kind::Text)
}

const fn secret(name: &'static str) -> Field {
    field(name, Kind::Secret)
}

const fn http() -> Field {
    field("http_config", Kind::Struct(&HTTP))
}

/// `send_resolved`, as the kind of receiver has it by default.
const fn resolved(default: &'static str) -> Field {
    field("send_resolved", Kind::Bool).always().or(default)
}

const fn timeout() -> Field {
    field("timeout", Kind::GoDuration).always()
}

pub(crate) static CONFIG: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        field("global", Kind::Struct(&GLOBAL)),
        field("route", Kind::Struct(&ROUTE)),
        field("inhibit_rules", Kind::List(&INHIBIT_RULE)),
        field("receivers", Kind::List(&RECEIVER)),
        field("templates", Kind::Texts).always(),
        field("mute_time_intervals", Kind::List(&NAMED_INTERVALS)),
        field("time_intervals", Kind::List(&NAMED_INTERVALS)),
        field("tracing", Kind::AnyMap),
        field("event_recorder", Kind::AnyMap),
    ],
};

pub(crate) static GLOBAL: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        field("resolve_timeout", Kind::Duration).always().or("5m"),
        http().or("{}"),
        field("jira_api_url", Kind::Url),
        text("smtp_from"),
        text("smtp_hello").or("localhost"),
        field("smtp_smarthost", Kind::HostPort),
        text("smtp_auth_username"),
        secret("smtp_auth_password"),
        text("smtp_auth_password_file"),
        secret("smtp_auth_secret"),
        text("smtp_auth_secret_file"),
        text("smtp_auth_identity"),
        field("smtp_require_tls", Kind::Bool).always().or("true"),
        field("smtp_tls_config", Kind::Struct(&TLS)).or("{}"),
        field("smtp_force_implicit_tls", Kind::Bool).pointer(),
        field("slack_api_url", Kind::SecretUrl),
        text("slack_api_url_file"),
        secret("slack_app_token"),
        text("slack_app_token_file"),
        field("slack_app_url", Kind::Url).or("https://slack.com/api/chat.postMessage"),
        field("pagerduty_url", Kind::Url).or("https://events.pagerduty.com/v2/enqueue"),
        field("opsgenie_api_url", Kind::Url).or("https://api.opsgenie.com/"),
        secret("opsgenie_api_key"),
        text("opsgenie_api_key_file"),
        field("wechat_api_url", Kind::Url).or("https://qyapi.weixin.qq.com/cgi-bin/"),
        secret("wechat_api_secret"),
        text("wechat_api_secret_file"),
        text("wechat_api_corp_id"),
        field("victorops_api_url", Kind::Url).or("https://alert.victorops.com/integrations/generic/20131114/alert/"),
        secret("victorops_api_key"),
        text("victorops_api_key_file"),
        field("telegram_api_url", Kind::Url).or("https://api.telegram.org"),
        secret("telegram_bot_token"),
        text("telegram_bot_token_file"),
        field("webex_api_url", Kind::Url).or("https://webexapis.com/v1/messages"),
        field("rocketchat_api_url", Kind::Url).or("https://open.rocket.chat/"),
        secret("rocketchat_token"),
        text("rocketchat_token_file"),
        secret("rocketchat_token_id"),
        text("rocketchat_token_id_file"),
        field("mattermost_webhook_url", Kind::SecretUrl),
        text("mattermost_webhook_url_file"),
    ],
};

pub(crate) static ROUTE: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        text("receiver"),
        field("group_by", Kind::Texts),
        field("match", Kind::TextMap),
        field("match_re", Kind::RegexpMap),
        field("matchers", Kind::Matchers),
        field("mute_time_intervals", Kind::Texts),
        field("active_time_intervals", Kind::Texts),
        field("continue", Kind::Bool).always(),
        field("routes", Kind::List(&ROUTE)),
        field("group_wait", Kind::Duration).pointer(),
        field("group_interval", Kind::Duration).pointer(),
        field("repeat_interval", Kind::Duration).pointer(),
    ],
};

pub(crate) static INHIBIT_RULE: Schema = Schema {
    type_name: "common.plain",
    fields: &[
        text("name"),
        field("source_match", Kind::TextMap),
        field("source_match_re", Kind::RegexpMap),
        field("source_matchers", Kind::Matchers),
        field("target_match", Kind::TextMap),
        field("target_match_re", Kind::RegexpMap),
        field("target_matchers", Kind::Matchers),
        field("equal", Kind::Texts),
    ],
};

pub(crate) static NAMED_INTERVALS: Schema = Schema {
    type_name: "config.plain",
    fields: &[text("name").always(), field("time_intervals", Kind::List(&INTERVAL)).always()],
};

pub(crate) static INTERVAL: Schema = Schema {
    type_name: "timeinterval.TimeInterval",
    fields: &[
        field("times", Kind::Times),
        field("weekdays", Kind::Range(RangeKind::Weekday)),
        field("days_of_month", Kind::Range(RangeKind::DayOfMonth)),
        field("months", Kind::Range(RangeKind::Month)),
        field("years", Kind::Range(RangeKind::Year)),
        field("location", Kind::Location),
    ],
};

pub(crate) static TIME_RANGE: Schema = Schema {
    type_name: "timeinterval.yamlTimeRange",
    fields: &[text("start_time").always(), text("end_time").always()],
};

pub(crate) static HTTP: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        field("basic_auth", Kind::Struct(&BASIC_AUTH)),
        field("authorization", Kind::Struct(&AUTHORIZATION)),
        field("oauth2", Kind::Struct(&OAUTH2)),
        secret("bearer_token"),
        text("bearer_token_file"),
        field("tls_config", Kind::Struct(&TLS)),
        field("follow_redirects", Kind::Bool).always().or("true"),
        field("enable_http2", Kind::Bool).always().or("true"),
        field("proxy_url", Kind::Url),
        text("no_proxy"),
        field("proxy_from_environment", Kind::Bool),
        field("proxy_connect_header", Kind::AnyMap),
        field("http_headers", Kind::AnyMap),
    ],
};

pub(crate) static BASIC_AUTH: Schema = Schema {
    type_name: "config.BasicAuth",
    fields: &[
        text("username"),
        text("username_file"),
        text("username_ref"),
        secret("password"),
        text("password_file"),
        text("password_ref"),
    ],
};

pub(crate) static AUTHORIZATION: Schema = Schema {
    type_name: "config.Authorization",
    fields: &[text("type"), secret("credentials"), text("credentials_file"), text("credentials_ref")],
};

pub(crate) static OAUTH2: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        text("client_id").always(),
        secret("client_secret").always(),
        text("client_secret_file"),
        text("client_secret_ref"),
        field("scopes", Kind::Texts),
        text("token_url").always(),
        field("endpoint_params", Kind::TextMap),
        field("tls_config", Kind::Struct(&TLS)),
        field("proxy_url", Kind::Url),
        text("no_proxy"),
        field("proxy_from_environment", Kind::Bool),
        field("proxy_connect_header", Kind::AnyMap),
    ],
};

pub(crate) static TLS: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        text("ca"),
        text("cert"),
        secret("key"),
        text("ca_file"),
        text("cert_file"),
        text("key_file"),
        text("ca_ref"),
        text("cert_ref"),
        text("key_ref"),
        text("server_name"),
        field("insecure_skip_verify", Kind::Bool).always(),
        text("min_version"),
        text("max_version"),
    ],
};

pub(crate) static RECEIVER: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        text("name").always(),
        field("labels", Kind::TextMap),
        field("discord_configs", Kind::List(&DISCORD)),
        field("email_configs", Kind::List(&EMAIL)),
        field("incidentio_configs", Kind::List(&INCIDENTIO)),
        field("pagerduty_configs", Kind::List(&PAGERDUTY)),
        field("slack_configs", Kind::List(&SLACK)),
        field("webhook_configs", Kind::List(&WEBHOOK)),
        field("opsgenie_configs", Kind::List(&OPSGENIE)),
        field("wechat_configs", Kind::List(&WECHAT)),
        field("pushover_configs", Kind::List(&PUSHOVER)),
        field("victorops_configs", Kind::List(&VICTOROPS)),
        field("sns_configs", Kind::List(&SNS)),
        field("telegram_configs", Kind::List(&TELEGRAM)),
        field("webex_configs", Kind::List(&WEBEX)),
        field("msteams_configs", Kind::List(&MSTEAMS)),
        field("msteamsv2_configs", Kind::List(&MSTEAMSV2)),
        field("jira_configs", Kind::List(&JIRA)),
        field("rocketchat_configs", Kind::List(&ROCKETCHAT)),
        field("mattermost_configs", Kind::List(&MATTERMOST)),
    ],
};

pub(crate) static DISCORD: Schema = Schema {
    type_name: "discord.plain",
    fields: &[
        resolved("true"),
        http(),
        field("webhook_url", Kind::SecretUrl),
        text("webhook_url_file"),
        text("content"),
        text("title").or(r#"{{ template "discord.default.title" . }}"#),
        text("message").or(r#"{{ template "discord.default.message" . }}"#),
        text("username"),
        text("avatar_url"),
    ],
};

pub(crate) static EMAIL: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("false"),
        text("to"),
        text("from"),
        text("hello"),
        field("smarthost", Kind::HostPort),
        text("auth_username"),
        secret("auth_password"),
        text("auth_password_file"),
        secret("auth_secret"),
        text("auth_secret_file"),
        text("auth_identity"),
        field("headers", Kind::TextMap),
        text("html").or(r#"{{ template "email.default.html" . }}"#),
        text("text"),
        field("require_tls", Kind::Bool).pointer(),
        field("tls_config", Kind::Struct(&TLS)),
        field("force_implicit_tls", Kind::Bool).pointer(),
        field("threading", Kind::Struct(&THREADING)),
    ],
};

pub(crate) static THREADING: Schema =
    Schema { type_name: "config.ThreadingConfig", fields: &[field("enabled", Kind::Bool), text("thread_by_date")] };

pub(crate) static INCIDENTIO: Schema = Schema {
    type_name: "incidentio.plain",
    fields: &[
        resolved("true"),
        http(),
        field("url", Kind::Url).always(),
        text("url_file").always(),
        secret("alert_source_token"),
        text("alert_source_token_file"),
        field("max_alerts", Kind::Uint).always(),
        timeout(),
    ],
};

pub(crate) static PAGERDUTY: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("true"),
        http(),
        secret("service_key"),
        text("service_key_file"),
        secret("routing_key"),
        text("routing_key_file"),
        field("url", Kind::Url),
        text("client").or(r#"{{ template "pagerduty.default.client" . }}"#),
        text("client_url").or(r#"{{ template "pagerduty.default.clientURL" . }}"#),
        text("description").or(r#"{{ template "pagerduty.default.description" .}}"#),
        field("details", Kind::AnyMap),
        field("images", Kind::List(&PAGERDUTY_IMAGE)),
        field("links", Kind::List(&PAGERDUTY_LINK)),
        text("source"),
        text("severity"),
        text("class"),
        text("component"),
        text("group"),
        timeout(),
    ],
};

pub(crate) static PAGERDUTY_IMAGE: Schema =
    Schema { type_name: "config.PagerdutyImage", fields: &[text("src"), text("alt"), text("href")] };

pub(crate) static PAGERDUTY_LINK: Schema =
    Schema { type_name: "config.PagerdutyLink", fields: &[text("href"), text("text")] };

pub(crate) static SLACK: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("false"),
        http(),
        field("api_url", Kind::SecretUrl),
        text("api_url_file"),
        secret("app_token"),
        text("app_token_file"),
        field("app_url", Kind::Url),
        text("channel"),
        text("username").or(r#"{{ template "slack.default.username" . }}"#),
        text("color").or(r#"{{ template "slack.default.color" . }}"#),
        text("title").or(r#"{{ template "slack.default.title" . }}"#),
        text("title_link").or(r#"{{ template "slack.default.titlelink" . }}"#),
        text("pretext").or(r#"{{ template "slack.default.pretext" . }}"#),
        text("text").or(r#"{{ template "slack.default.text" . }}"#),
        text("message_text"),
        field("fields", Kind::List(&SLACK_FIELD)),
        field("short_fields", Kind::Bool).always(),
        text("footer").or(r#"{{ template "slack.default.footer" . }}"#),
        text("fallback").or(r#"{{ template "slack.default.fallback" . }}"#),
        text("callback_id").or(r#"{{ template "slack.default.callbackid" . }}"#),
        text("icon_emoji").or(r#"{{ template "slack.default.iconemoji" . }}"#),
        text("icon_url").or(r#"{{ template "slack.default.iconurl" . }}"#),
        text("image_url"),
        text("thumb_url"),
        field("link_names", Kind::Bool).always(),
        field("mrkdwn_in", Kind::Texts),
        field("actions", Kind::List(&SLACK_ACTION)),
        field("update_message", Kind::Bool).always(),
        timeout(),
    ],
};

pub(crate) static SLACK_FIELD: Schema =
    Schema { type_name: "config.plain", fields: &[text("title"), text("value"), field("short", Kind::Bool).pointer()] };

pub(crate) static SLACK_ACTION: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        text("type"),
        text("text"),
        text("url"),
        text("style"),
        text("name"),
        text("value"),
        field("confirm", Kind::Struct(&SLACK_CONFIRM)),
    ],
};

pub(crate) static SLACK_CONFIRM: Schema =
    Schema { type_name: "config.plain", fields: &[text("text"), text("title"), text("ok_text"), text("dismiss_text")] };

pub(crate) static WEBHOOK: Schema = Schema {
    type_name: "webhook.plain",
    fields: &[
        resolved("true"),
        http(),
        field("url", Kind::TemplateUrl),
        text("url_file").always(),
        field("max_alerts", Kind::Uint).always(),
        timeout(),
        field("payload", Kind::Any),
    ],
};

pub(crate) static OPSGENIE: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("true"),
        http(),
        secret("api_key"),
        text("api_key_file"),
        field("api_url", Kind::Url),
        text("message").or(r#"{{ template "opsgenie.default.message" . }}"#),
        text("description").or(r#"{{ template "opsgenie.default.description" . }}"#),
        text("source").or(r#"{{ template "opsgenie.default.source" . }}"#),
        field("details", Kind::TextMap),
        text("entity"),
        field("responders", Kind::List(&OPSGENIE_RESPONDER)),
        text("actions"),
        text("tags"),
        text("note"),
        text("priority"),
        field("update_alerts", Kind::Bool),
    ],
};

pub(crate) static OPSGENIE_RESPONDER: Schema = Schema {
    type_name: "config.OpsGenieConfigResponder",
    fields: &[text("id"), text("name"), text("username"), text("type")],
};

pub(crate) static WECHAT: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("false"),
        http(),
        secret("api_secret"),
        text("api_secret_file"),
        text("corp_id"),
        text("message").or(r#"{{ template "wechat.default.message" . }}"#),
        field("api_url", Kind::Url),
        text("to_user").or(r#"{{ template "wechat.default.to_user" . }}"#),
        text("to_party").or(r#"{{ template "wechat.default.to_party" . }}"#),
        text("to_tag").or(r#"{{ template "wechat.default.to_tag" . }}"#),
        text("agent_id").or(r#"{{ template "wechat.default.agent_id" . }}"#),
        text("message_type").or("text"),
    ],
};

pub(crate) static PUSHOVER: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("true"),
        http(),
        secret("user_key"),
        text("user_key_file"),
        secret("token"),
        text("token_file"),
        text("title").or(r#"{{ template "pushover.default.title" . }}"#),
        text("message").or(r#"{{ template "pushover.default.message" . }}"#),
        text("url").or(r#"{{ template "pushover.default.url" . }}"#),
        text("url_title"),
        text("device"),
        text("sound"),
        text("priority").or(r#"{{ if eq .Status "firing" }}2{{ else }}0{{ end }}"#),
        field("retry", Kind::GoDuration).or("1m"),
        field("expire", Kind::GoDuration).or("1h"),
        field("ttl", Kind::GoDuration),
        field("html", Kind::Bool),
        field("monospace", Kind::Bool),
    ],
};

pub(crate) static VICTOROPS: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("true"),
        http(),
        secret("api_key"),
        text("api_key_file"),
        field("api_url", Kind::Url).always(),
        text("routing_key").always(),
        text("message_type").always().or("CRITICAL"),
        text("state_message").always().or(r#"{{ template "victorops.default.state_message" . }}"#),
        text("entity_display_name").always().or(r#"{{ template "victorops.default.entity_display_name" . }}"#),
        text("monitoring_tool").always().or(r#"{{ template "victorops.default.monitoring_tool" . }}"#),
        field("custom_fields", Kind::TextMap),
    ],
};

pub(crate) static SNS: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("true"),
        http(),
        text("api_url"),
        field("sigv4", Kind::Struct(&SIGV4)).always().or("{}"),
        text("topic_arn"),
        text("phone_number"),
        text("target_arn"),
        text("subject").or(r#"{{ template "sns.default.subject" . }}"#),
        text("message").or(r#"{{ template "sns.default.message" . }}"#),
        field("attributes", Kind::TextMap),
        field("use_aws_http_client", Kind::Bool),
    ],
};

pub(crate) static SIGV4: Schema = Schema {
    type_name: "sigv4.plain",
    fields: &[
        text("region"),
        text("access_key"),
        secret("secret_key"),
        text("profile"),
        text("role_arn"),
        text("external_id"),
        field("use_fips_sts_endpoint", Kind::Bool),
    ],
};

pub(crate) static TELEGRAM: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("true"),
        http(),
        field("api_url", Kind::Url).always(),
        secret("bot_token"),
        text("bot_token_file"),
        field("chat_id", Kind::Int),
        text("chat_id_file"),
        field("message_thread_id", Kind::Int),
        text("message").or(r#"{{ template "telegram.default.message" . }}"#),
        field("disable_notifications", Kind::Bool),
        text("parse_mode").or("HTML"),
    ],
};

pub(crate) static WEBEX: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("true"),
        http(),
        field("api_url", Kind::Url),
        text("message").or(r#"{{ template "webex.default.message" . }}"#),
        text("room_id").always(),
    ],
};

pub(crate) static MSTEAMS: Schema = Schema {
    type_name: "msteams.plain",
    fields: &[
        resolved("true"),
        http(),
        field("webhook_url", Kind::SecretUrl),
        text("webhook_url_file"),
        text("title").or(r#"{{ template "msteams.default.title" . }}"#),
        text("summary").or(r#"{{ template "msteams.default.summary" . }}"#),
        text("text").or(r#"{{ template "msteams.default.text" . }}"#),
    ],
};

pub(crate) static MSTEAMSV2: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("true"),
        http(),
        field("webhook_url", Kind::SecretUrl),
        text("webhook_url_file"),
        text("title").or(r#"{{ template "msteamsv2.default.title" . }}"#),
        text("text").or(r#"{{ template "msteamsv2.default.text" . }}"#),
    ],
};

pub(crate) static JIRA: Schema = Schema {
    type_name: "jira.plain",
    fields: &[
        resolved("true"),
        http(),
        field("api_url", Kind::Url),
        text("api_type").or("auto"),
        text("project"),
        field("summary", Kind::TextOr(&JIRA_FIELD)).or(r#"{{ template "jira.default.summary" . }}"#),
        field("description", Kind::TextOr(&JIRA_FIELD)).or(r#"{{ template "jira.default.description" . }}"#),
        field("labels", Kind::Texts),
        text("priority").or(r#"{{ template "jira.default.priority" . }}"#),
        text("issue_type"),
        text("reopen_transition"),
        text("resolve_transition"),
        text("wont_fix_resolution"),
        field("reopen_duration", Kind::Duration),
        field("fields", Kind::AnyMap),
    ],
};

pub(crate) static JIRA_FIELD: Schema =
    Schema { type_name: "jira.plain", fields: &[text("template"), field("enable_update", Kind::Bool).pointer()] };

pub(crate) static ROCKETCHAT: Schema = Schema {
    type_name: "config.plain",
    fields: &[
        resolved("false"),
        http(),
        field("api_url", Kind::Url),
        secret("token_id"),
        text("token_id_file"),
        secret("token"),
        text("token_file"),
        text("channel"),
        text("color").or(r#"{{ if eq .Status "firing" }}red{{ else }}green{{ end }}"#),
        text("title").or(r#"{{ template "rocketchat.default.title" . }}"#),
        text("title_link").or(r#"{{ template "rocketchat.default.titlelink" . }}"#),
        text("text").or(r#"{{ template "rocketchat.default.text" . }}"#),
        field("fields", Kind::List(&ROCKETCHAT_FIELD)),
        field("short_fields", Kind::Bool).always(),
        text("emoji").or(r#"{{ template "rocketchat.default.emoji" . }}"#),
        text("icon_url").or(r#"{{ template "rocketchat.default.iconurl" . }}"#),
        text("image_url"),
        text("thumb_url"),
        field("link_names", Kind::Bool).always(),
        field("actions", Kind::List(&ROCKETCHAT_ACTION)),
    ],
};

// The real types carry no names for YAML: the parser takes the fields' names in small letters.
pub(crate) static ROCKETCHAT_FIELD: Schema = Schema {
    type_name: "config.RocketchatAttachmentField",
    fields: &[field("short", Kind::Bool).pointer().always(), text("title").always(), text("value").always()],
};

pub(crate) static ROCKETCHAT_ACTION: Schema = Schema {
    type_name: "config.RocketchatAttachmentAction",
    fields: &[
        text("type").always(),
        text("text").always(),
        text("url").always(),
        text("imageurl").always(),
        field("iswebview", Kind::Bool).always(),
        text("webviewheightratio").always(),
        text("msg").always(),
        field("msginchatwindow", Kind::Bool).always(),
        text("msgprocessingtype").always(),
    ],
};

pub(crate) static MATTERMOST: Schema = Schema {
    type_name: "mattermost.plain",
    fields: &[
        resolved("true"),
        http(),
        field("webhook_url", Kind::SecretUrl),
        text("webhook_url_file"),
        text("channel"),
        text("username").or(r#"{{ template "mattermost.default.username" . }}"#),
        text("text").or(r#"{{ template "mattermost.default.text" . }}"#),
        text("fallback").or(r#"{{ template "mattermost.default.fallback" . }}"#),
        text("color").or(r#"{{ template "mattermost.default.color" . }}"#),
        text("pretext"),
        text("author_name"),
        text("author_link"),
        text("author_icon"),
        text("title").or(r#"{{ template "mattermost.default.title" . }}"#),
        text("title_link").or(r#"{{ template "mattermost.default.titlelink" . }}"#),
        field("fields", Kind::List(&MATTERMOST_FIELD)),
        text("thumb_url"),
        text("footer"),
        text("footer_icon"),
        text("image_url"),
        text("icon_url"),
        text("icon_emoji"),
        field("attachments", Kind::List(&MATTERMOST_ATTACHMENT)),
        text("type"),
        field("props", Kind::Struct(&MATTERMOST_PROPS)),
        field("priority", Kind::Struct(&MATTERMOST_PRIORITY)),
    ],
};

pub(crate) static MATTERMOST_FIELD: Schema = Schema {
    type_name: "mattermost.plain",
    fields: &[text("title"), text("value"), field("short", Kind::Bool).pointer()],
};

pub(crate) static MATTERMOST_PROPS: Schema =
    Schema { type_name: "mattermost.MattermostProps", fields: &[text("card")] };

pub(crate) static MATTERMOST_PRIORITY: Schema = Schema {
    type_name: "mattermost.MattermostPriority",
    fields: &[text("priority"), field("requested_ack", Kind::Bool), field("persistent_notifications", Kind::Bool)],
};

pub(crate) static MATTERMOST_ATTACHMENT: Schema = Schema {
    type_name: "mattermost.MattermostAttachment",
    fields: &[
        text("fallback"),
        text("color"),
        text("pretext"),
        text("text"),
        text("author_name"),
        text("author_link"),
        text("author_icon"),
        text("title"),
        text("title_link"),
        field("fields", Kind::List(&MATTERMOST_FIELD)),
        text("thumb_url"),
        text("footer"),
        text("footer_icon"),
        text("image_url"),
    ],
};
