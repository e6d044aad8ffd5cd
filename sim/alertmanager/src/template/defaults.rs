//! The templates that are there without any file. Their names and what they render are the real program's; the page of
//! an e-mail is plainer than the real one.

/// A subject, links and lists of alerts, which the templates of the receivers call.
const SHARED: &str = r#"
{{- define "__alertmanager" }}Alertmanager{{ end -}}
{{- define "__alertmanagerURL" }}{{ .ExternalURL }}/#/alerts?receiver={{ .Receiver | urlquery }}{{ end -}}
{{- define "__description" }}{{ end -}}
{{- define "__subject" -}}
[{{ .Status | toUpper }}{{ if eq .Status "firing" }}:{{ len .Alerts.Firing }}{{ end }}] {{ join " " .GroupLabels.Values }} {{ "" -}}
{{ if gt (len .CommonLabels) (len .GroupLabels) }}({{ with .CommonLabels.Remove .GroupLabels.Names }}{{ join " " .Values }}{{ end }}){{ end -}}
{{ end -}}
{{- define "__text_alert_list" }}{{ range . }}Labels:
{{ range .Labels.SortedPairs }}{{ printf " - %s = %s\n" .Name .Value }}{{ end }}Annotations:
{{ range .Annotations.SortedPairs }}{{ printf " - %s = %s\n" .Name .Value }}{{ end }}Source: {{ .GeneratorURL }}
{{ end }}{{ end -}}
{{- define "__text_alert_list_markdown" }}{{ range . }}
Labels:
{{ range .Labels.SortedPairs }}{{ printf "  - %s = %s\n" .Name .Value }}{{ end }}
Annotations:
{{ range .Annotations.SortedPairs }}{{ printf "  - %s = %s\n" .Name .Value }}{{ end }}
Source: {{ .GeneratorURL }}
{{ end }}
{{ end -}}
"#;

/// Both lists with headings, blank lines around them; the heading's mark and the list's template vary.
fn spaced(mark: &str, list: &str) -> String {
    format!(
        "{{{{ if gt (len .Alerts.Firing) 0 }}}}\n{mark}Alerts Firing:\n{{{{ template \"{list}\" .Alerts.Firing }}}}\n{{{{ end }}}}\n\
         {{{{ if gt (len .Alerts.Resolved) 0 }}}}\n{mark}Alerts Resolved:\n{{{{ template \"{list}\" .Alerts.Resolved }}}}\n{{{{ end }}}}\n"
    )
}

/// Both lists with headings, without blank lines.
const DENSE: &str = r#"{{ if .Alerts.Firing }}Alerts Firing:
{{ template "__text_alert_list" .Alerts.Firing }}{{ end }}
{{ if .Alerts.Resolved }}Alerts Resolved:
{{ template "__text_alert_list" .Alerts.Resolved }}{{ end }}"#;

/// The annotations that all alerts share, one line.
const ANNOTATIONS: &str = "{{ join \" \" .CommonAnnotations.Values }}\n";

/// Jira's priority: the highest severity of what fires, or of what fired.
const PRIORITY: &str = r#"
{{- $priority := "" -}}
{{- range .Alerts.Firing }}{{ $severity := index .Labels "severity" -}}
  {{- if eq $severity "critical" }}{{ $priority = "High" }}
  {{- else if and (eq $severity "warning") (ne $priority "High") }}{{ $priority = "Medium" }}
  {{- else if and (eq $severity "info") (eq $priority "") }}{{ $priority = "Low" }}{{ end -}}
{{- end -}}
{{- if eq $priority "" }}{{ range .Alerts.Resolved }}{{ $severity := index .Labels "severity" -}}
  {{- if eq $severity "critical" }}{{ $priority = "High" }}
  {{- else if and (eq $severity "warning") (ne $priority "High") }}{{ $priority = "Medium" }}
  {{- else if and (eq $severity "info") (eq $priority "") }}{{ $priority = "Low" }}{{ end -}}
{{- end }}{{ end -}}
{{- $priority -}}
"#;

const SUBJECT: &str = "{{ template \"__subject\" . }}";
const LINK: &str = "{{ template \"__alertmanagerURL\" . }}";
const NAME: &str = "{{ template \"__alertmanager\" . }}";
const COLOR: &str = "{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}";

/// All of them as one file.
pub(super) fn texts() -> String {
    let spaced_text = spaced("", "__text_alert_list");
    let markdown = format!("\n{}", spaced("# ", "__text_alert_list_markdown"));
    let told = format!("{ANNOTATIONS}{spaced_text}");
    let dense = format!("{ANNOTATIONS}{DENSE}");
    let wechat = format!("{SUBJECT}\n{dense}\nAlertmanagerUrl:\n{LINK}");
    let leading = format!("\n{spaced_text}");
    let fallback = |kind: &str| {
        format!("{{{{ template \"{kind}.default.title\" . }}}} | {{{{ template \"{kind}.default.titlelink\" . }}}}")
    };
    let (slack, mattermost) = (fallback("slack"), fallback("mattermost"));
    let bodies: Vec<(&str, &str)> = vec![
        ("slack.default.title", SUBJECT),
        ("slack.default.username", NAME),
        ("slack.default.fallback", &slack),
        ("slack.default.callbackid", ""),
        ("slack.default.pretext", ""),
        ("slack.default.titlelink", LINK),
        ("slack.default.iconemoji", ""),
        ("slack.default.iconurl", ""),
        ("slack.default.text", ""),
        ("slack.default.footer", ""),
        ("slack.default.color", COLOR),
        ("pagerduty.default.description", SUBJECT),
        ("pagerduty.default.client", NAME),
        ("pagerduty.default.clientURL", LINK),
        ("pagerduty.default.instances", "{{ template \"__text_alert_list\" . }}"),
        ("opsgenie.default.message", SUBJECT),
        ("opsgenie.default.description", &dense),
        ("opsgenie.default.source", LINK),
        ("wechat.default.message", &wechat),
        ("wechat.default.to_user", ""),
        ("wechat.default.to_party", ""),
        ("wechat.default.to_tag", ""),
        ("wechat.default.agent_id", ""),
        ("victorops.default.state_message", &dense),
        ("victorops.default.entity_display_name", SUBJECT),
        ("victorops.default.monitoring_tool", NAME),
        ("pushover.default.title", SUBJECT),
        ("pushover.default.message", &told),
        ("pushover.default.url", LINK),
        ("sns.default.subject", SUBJECT),
        ("sns.default.message", &told),
        ("telegram.default.message", &leading),
        ("discord.default.content", ""),
        ("discord.default.title", SUBJECT),
        ("discord.default.message", &leading),
        ("webex.default.message", &told),
        ("msteams.default.summary", SUBJECT),
        ("msteams.default.title", SUBJECT),
        ("msteams.default.text", &markdown),
        ("msteamsv2.default.title", SUBJECT),
        ("msteamsv2.default.text", &markdown),
        ("jira.default.summary", SUBJECT),
        ("jira.default.description", &markdown),
        ("jira.default.priority", PRIORITY),
        ("rocketchat.default.title", SUBJECT),
        ("rocketchat.default.alias", NAME),
        ("rocketchat.default.titlelink", LINK),
        ("rocketchat.default.emoji", ""),
        ("rocketchat.default.iconurl", ""),
        ("rocketchat.default.text", ""),
        ("mattermost.default.color", COLOR),
        ("mattermost.default.username", NAME),
        ("mattermost.default.title", SUBJECT),
        ("mattermost.default.titlelink", LINK),
        ("mattermost.default.fallback", &mattermost),
        ("mattermost.default.text", &markdown),
    ];
    let mut all = SHARED.to_owned();
    for (name, body) in bodies {
        all.push_str(&format!("{{{{ define \"{name}\" }}}}{body}{{{{ end }}}}\n"));
    }
    all
}

/// Subject and page of an e-mail.
pub(super) const EMAIL: &str = r#"{{ define "email.default.subject" }}{{ template "__subject" . }}{{ end }}
{{ define "__email_alerts" }}{{ range . }}<h3>{{ .Labels.alertname }}</h3>
<p><b>Labels</b><br>{{ range .Labels.SortedPairs }}{{ .Name }} = {{ .Value }}<br>{{ end }}</p>
{{ if .Annotations }}<p><b>Annotations</b><br>{{ range .Annotations.SortedPairs }}{{ .Name }} = {{ .Value }}<br>{{ end }}</p>
{{ end }}<p><a href="{{ .GeneratorURL }}">Source</a></p>
{{ end }}{{ end }}
{{ define "email.default.html" }}<!DOCTYPE html>
<html><head><title>{{ template "__subject" . }}</title></head><body>
<p>{{ len .Alerts }} alert{{ if gt (len .Alerts) 1 }}s{{ end }} for {{ range .GroupLabels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}</p>
<p><a href="{{ template "__alertmanagerURL" . }}">View in {{ template "__alertmanager" . }}</a></p>
{{ if .Alerts.Firing }}<h2>[{{ len .Alerts.Firing }}] Firing</h2>
{{ template "__email_alerts" .Alerts.Firing }}{{ end }}{{ if .Alerts.Resolved }}<h2>[{{ len .Alerts.Resolved }}] Resolved</h2>
{{ template "__email_alerts" .Alerts.Resolved }}{{ end }}<p><a href="{{ .ExternalURL }}">Sent by {{ template "__alertmanager" . }}</a></p>
</body></html>
{{ end }}
"#;
