//! URLs as far as the configuration looks into them.

/// Checks a URL for scheme and host.
pub(super) fn check(text: &str) -> Result<String, String> {
    if let Some(control) = text.chars().find(|c| c.is_ascii_control()) {
        let _ = control;
        return Err(format!("parse {text:?}: net/url: invalid control character in URL"));
    }
    let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    }) else {
        if text.starts_with(':') {
            return Err(format!("parse {text:?}: missing protocol scheme"));
        }
        return Err("unsupported scheme \"\" for URL".to_owned());
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(format!("unsupported scheme {scheme:?} for URL"));
    }
    let host = rest.strip_prefix("//").map_or("", |rest| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        &rest[..end]
    });
    if host.is_empty() {
        return Err("missing host for URL".to_owned());
    }
    let address = host.rsplit_once('@').map_or(host, |(_, address)| address);
    if let Some((_, port)) = address.rsplit_once(':')
        && !address.ends_with(']')
        && !port.chars().all(|c| c.is_ascii_digit())
    {
        return Err(format!("parse {text:?}: invalid port {:?} after host", format!(":{port}")));
    }
    if address.contains(' ') {
        return Err(format!("parse {text:?}: invalid character \" \" in host name"));
    }
    Ok(format!("{scheme}:{rest}"))
}

/// The same URL with a slash at the end of its path.
pub(super) fn with_slash(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (path, rest) = url.split_at(end);
    if path.ends_with('/') { url.to_owned() } else { format!("{path}/{rest}") }
}
