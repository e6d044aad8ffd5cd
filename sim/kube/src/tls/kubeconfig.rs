//! Kubeconfig files with everything embedded.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Certified;

/// How a user of a kubeconfig shows who it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A client certificate: certificate and key, PEM.
    Certificate(String, String),
    /// A bearer token.
    Token(String),
}

impl From<&Certified> for Credential {
    fn from(certified: &Certified) -> Self {
        Self::Certificate(certified.certificate_pem.clone(), certified.key_pem.clone())
    }
}

/// A kubeconfig of one cluster with a context for each user, in the order in which they were added; the first is the
/// current one.
///
/// ```
/// use sim_kube::tls::{Credential, Kubeconfig};
/// let text = Kubeconfig::new("world", "https://127.0.0.1:6443", Some("-----BEGIN CERTIFICATE-----\n"))
///     .user("viewer", Credential::Token("t".into()), "default")
///     .to_yaml();
/// assert!(text.contains("current-context: \"viewer@world\""), "{text}");
/// ```
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    cluster: String,
    server: String,
    authority_pem: Option<String>,
    users: Vec<(String, Credential, String)>,
}

impl Kubeconfig {
    /// Of a cluster at a URL; without an authority the URL is plain HTTP.
    pub fn new(cluster: &str, server: &str, authority_pem: Option<&str>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            server: server.to_owned(),
            authority_pem: authority_pem.map(str::to_owned),
            users: Vec::new(),
        }
    }

    /// Adds a user, and a context `<user>@<cluster>` with a default namespace.
    pub fn user(mut self, name: &str, credential: Credential, namespace: &str) -> Self {
        self.users.push((name.to_owned(), credential, namespace.to_owned()));
        self
    }

    /// The file. Texts are quoted as JSON quotes them, which YAML reads alike.
    pub fn to_yaml(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let embedded = |text: &str| STANDARD.encode(text);
        let cluster = quoted(&self.cluster);
        let mut out = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {cluster}\n  cluster:\n    server: {}\n",
            quoted(&self.server)
        );
        if let Some(pem) = &self.authority_pem {
            out.push_str(&format!("    certificate-authority-data: {}\n", embedded(pem)));
        }
        let context = |user: &str| quoted(&format!("{user}@{}", self.cluster));
        let (mut contexts, mut users) = (String::new(), String::new());
        for (name, credential, namespace) in &self.users {
            contexts.push_str(&format!(
                "- name: {}\n  context:\n    cluster: {cluster}\n    user: {}\n    namespace: {}\n",
                context(name),
                quoted(name),
                quoted(namespace)
            ));
            users.push_str(&format!("- name: {}\n  user:\n", quoted(name)));
            match credential {
                Credential::Certificate(certificate, key) => users.push_str(&format!(
                    "    client-certificate-data: {}\n    client-key-data: {}\n",
                    embedded(certificate),
                    embedded(key)
                )),
                Credential::Token(token) => users.push_str(&format!("    token: {}\n", quoted(token))),
            }
        }
        let or_none = |text: String| if text.is_empty() { " []\n".to_owned() } else { format!("\n{text}") };
        out.push_str(&format!("contexts:{}", or_none(contexts)));
        let current = self.users.first().map_or_else(|| "\"\"".to_owned(), |(name, ..)| context(name));
        out.push_str(&format!("current-context: {current}\nusers:{}preferences: {{}}\n", or_none(users)));
        out
    }
}
