//! The shapes of names, and what the real server says of those that do not have them.

/// Longest DNS-1123 subdomain, bytes.
const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest DNS label, label value and name part of a key, bytes.
const LABEL_BYTES_MAX: usize = 63;
/// Longest name of a port, bytes.
const PORT_NAME_BYTES_MAX: usize = 15;

const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_PART: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

fn lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn edges(text: &str, fit: impl Fn(char) -> bool) -> bool {
    text.chars().next().is_some_and(&fit) && text.chars().last().is_some_and(&fit)
}

fn is_label(name: &str) -> bool {
    name.chars().all(|c| lower(c) || c == '-') && edges(name, lower)
}

fn too_long(text: &str, max: usize) -> Option<String> {
    (text.len() > max).then(|| format!("must be no more than {max} bytes"))
}

fn is_name_part(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) && edges(text, |c| c.is_ascii_alphanumeric())
}

fn both(first: Option<String>, second: Option<&str>) -> Vec<String> {
    first.into_iter().chain(second.map(str::to_owned)).collect()
}

/// DNS-1123 label: containers, volumes, namespaces.
pub(super) fn label(name: &str) -> Vec<String> {
    both(too_long(name, LABEL_BYTES_MAX), (!is_label(name)).then_some(LABEL_1123))
}

/// DNS-1035 label: services.
pub(super) fn label_1035(name: &str) -> Vec<String> {
    let fits = is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase());
    both(too_long(name, LABEL_BYTES_MAX), (!fits).then_some(LABEL_1035))
}

/// DNS-1123 subdomain: most names.
pub(super) fn subdomain(name: &str) -> Vec<String> {
    both(too_long(name, SUBDOMAIN_BYTES_MAX), (!name.split('.').all(is_label)).then_some(SUBDOMAIN_1123))
}

const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Host of an Ingress: a subdomain, or one below `*.`.
pub(super) fn host(name: &str) -> Vec<String> {
    if !name.contains('*') {
        return subdomain(name);
    }
    let fits = name.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label));
    both(too_long(name, SUBDOMAIN_BYTES_MAX), (!fits).then_some(WILDCARD))
}

/// A name that only has to fit in a path: roles and bindings.
pub(super) fn path_segment(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    if name == "." || name == ".." {
        found.push(format!("may not be '{name}'"));
    }
    for part in ['/', '%'] {
        if name.contains(part) {
            found.push(format!("may not contain '{part}'"));
        }
    }
    found
}

/// `prefix/name` of labels, annotations and finalizers.
pub(crate) fn qualified(key: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut parts = key.split('/');
    let (first, second, more) = (parts.next().unwrap_or(""), parts.next(), parts.next());
    if more.is_some() {
        return vec![format!(
            "a qualified name {NAME_PART} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )];
    }
    let name = match second {
        None => first,
        Some(name) => {
            if first.is_empty() {
                found.push("prefix part must be non-empty".to_owned());
            } else {
                found.extend(subdomain(first).into_iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else {
        found.extend(too_long(name, LABEL_BYTES_MAX).map(|why| format!("name part {why}")));
    }
    if !is_name_part(name) {
        found.push(format!("name part {NAME_PART}"));
    }
    found
}

/// Value of a label.
pub(crate) fn label_value(value: &str) -> Vec<String> {
    let fits = value.is_empty() || is_name_part(value);
    both(too_long(value, LABEL_BYTES_MAX), (!fits).then_some(LABEL_VALUE))
}

/// Key of a ConfigMap or Secret.
pub(super) fn config_key(key: &str) -> Vec<String> {
    let fits = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let mut found = both(too_long(key, SUBDOMAIN_BYTES_MAX), (!fits).then_some(CONFIG_KEY));
    if key == "." {
        found.push("must not be '.'".to_owned());
    } else if key == ".." {
        found.push("must not be '..'".to_owned());
    } else if key.starts_with("..") {
        found.push("must not start with '..'".to_owned());
    }
    found
}

/// Name of a container's port (an IANA service name).
pub(super) fn port_name(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    if name.len() > PORT_NAME_BYTES_MAX {
        found.push(format!("must be no more than {PORT_NAME_BYTES_MAX} characters"));
    }
    if !name.chars().all(|c| lower(c) || c == '-') {
        found.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.chars().any(|c| c.is_ascii_lowercase()) {
        found.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        found.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        found.push("must not begin or end with a hyphen".to_owned());
    }
    found
}
