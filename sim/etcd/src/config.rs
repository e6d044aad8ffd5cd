//! A member's settings, from the environment of its pod.

use std::collections::BTreeMap;

use crate::error::EtcdError;

const NAME: &str = "ETCD_NAME";
const CLIENT_URLS: &str = "ETCD_LISTEN_CLIENT_URLS";
const PEER_URLS: &str = "ETCD_LISTEN_PEER_URLS";
const METRICS_URLS: &str = "ETCD_LISTEN_METRICS_URLS";
const ADVERTISED_CLIENT_URLS: &str = "ETCD_ADVERTISE_CLIENT_URLS";
const INITIAL_CLUSTER: &str = "ETCD_INITIAL_CLUSTER";
const INITIAL_CLUSTER_TOKEN: &str = "ETCD_INITIAL_CLUSTER_TOKEN";

/// Members of one cluster, at most.
pub const MEMBERS_MAX: usize = 63;

/// A member as the initial cluster names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its peer URL.
    pub url: String,
    /// Host name and port of the URL.
    pub address: String,
}

/// The settings of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberConfig {
    /// Its name, one of the initial cluster's.
    pub name: String,
    /// Ports for clients.
    pub client_ports: Vec<u16>,
    /// Ports for peers.
    pub peer_ports: Vec<u16>,
    /// Ports that answer `/health` and `/metrics` only.
    pub metrics_ports: Vec<u16>,
    /// Where clients are told to find it.
    pub advertised_client_urls: Vec<String>,
    /// All members, itself included, by name.
    pub initial_cluster: Vec<Peer>,
    /// The cluster's token.
    pub token: String,
}

impl MemberConfig {
    /// Reads etcd's environment variables; what is not set has etcd's default. Variables that this model has no use for
    /// (`ETCD_DATA_DIR`, `ETCD_INITIAL_CLUSTER_STATE`, …) are accepted and ignored.
    ///
    /// ```
    /// let env = [("ETCD_NAME", "topo-0"), ("ETCD_INITIAL_CLUSTER", "topo-0=http://topo-0.topo:2380")];
    /// let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    /// let config = sim_etcd::MemberConfig::from_env(&env)?;
    /// assert_eq!((config.client_ports, config.peer_ports, config.metrics_ports), (vec![2379], vec![2380], vec![]));
    /// # Ok::<(), sim_etcd::EtcdError>(())
    /// ```
    pub fn from_env(env: &BTreeMap<String, String>) -> Result<Self, EtcdError> {
        let get = |variable: &str| env.get(variable).map(String::as_str).filter(|value| !value.is_empty());
        let name = get(NAME).unwrap_or("default").to_owned();
        let ports = |variable, default: &str| -> Result<Vec<u16>, EtcdError> {
            urls(variable, get(variable).unwrap_or(default)).map(|urls| urls.into_iter().map(|url| url.port).collect())
        };
        let advertised = get(ADVERTISED_CLIENT_URLS).unwrap_or("http://localhost:2379");
        let initial_cluster = match get(INITIAL_CLUSTER) {
            Some(value) => peers(value)?,
            None => peers(&format!("{name}=http://localhost:2380"))?,
        };
        if !initial_cluster.iter().any(|peer| peer.name == name) {
            let reason = format!("{NAME} {name:?} is not among its members");
            return Err(invalid(INITIAL_CLUSTER, get(INITIAL_CLUSTER).unwrap_or_default(), reason));
        }
        Ok(Self {
            client_ports: ports(CLIENT_URLS, "http://localhost:2379")?,
            peer_ports: ports(PEER_URLS, "http://localhost:2380")?,
            metrics_ports: match get(METRICS_URLS) {
                Some(_) => ports(METRICS_URLS, "")?,
                None => Vec::new(),
            },
            advertised_client_urls: urls(ADVERTISED_CLIENT_URLS, advertised)?.into_iter().map(|url| url.text).collect(),
            initial_cluster,
            token: get(INITIAL_CLUSTER_TOKEN).unwrap_or("etcd-cluster").to_owned(),
            name,
        })
    }

    /// What makes two members belong to the same cluster: the token and the members' peer URLs, as in etcd's own
    /// cluster id.
    pub fn cluster_key(&self) -> String {
        let mut urls: Vec<&str> = self.initial_cluster.iter().map(|peer| peer.url.as_str()).collect();
        urls.sort_unstable();
        format!("{} {}", self.token, urls.join(","))
    }
}

struct Url {
    text: String,
    address: String,
    port: u16,
}

fn urls(variable: &'static str, value: &str) -> Result<Vec<Url>, EtcdError> {
    value.split(',').map(|url| parse(variable, value, url.trim())).collect()
}

fn parse(variable: &'static str, value: &str, text: &str) -> Result<Url, EtcdError> {
    let uri: http::Uri = text.parse().map_err(|error| invalid(variable, value, format!("{text:?}: {error}")))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(invalid(variable, value, format!("{text:?}: TLS is not modelled"))),
        _ => return Err(invalid(variable, value, format!("{text:?}: a URL starts with http://"))),
    }
    match (uri.host(), uri.port_u16()) {
        (Some(host), Some(port)) => Ok(Url { text: text.to_owned(), address: format!("{host}:{port}"), port }),
        _ => Err(invalid(variable, value, format!("{text:?}: a URL names a host and a port"))),
    }
}

fn peers(value: &str) -> Result<Vec<Peer>, EtcdError> {
    let mut peers = Vec::new();
    for entry in value.split(',') {
        let (name, url) = entry
            .trim()
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| invalid(INITIAL_CLUSTER, value, format!("{entry:?} is not name=url")))?;
        let url = parse(INITIAL_CLUSTER, value, url)?;
        peers.push(Peer { name: name.to_owned(), url: url.text, address: url.address });
    }
    peers.sort();
    if peers.len() > MEMBERS_MAX {
        return Err(invalid(INITIAL_CLUSTER, value, format!("more than {MEMBERS_MAX} members")));
    }
    if let Some(pair) = peers.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(invalid(INITIAL_CLUSTER, value, format!("{:?} is named twice", pair[0].name)));
    }
    Ok(peers)
}

fn invalid(variable: &'static str, value: &str, reason: String) -> EtcdError {
    EtcdError::Config { variable, value: value.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_member_of_three_finds_its_peers_ports_and_cluster() {
        let config = MemberConfig::from_env(&env(&[
            (NAME, "t-1"),
            (CLIENT_URLS, "http://0.0.0.0:2379"),
            (PEER_URLS, "http://0.0.0.0:2380"),
            (METRICS_URLS, "http://0.0.0.0:2381"),
            (INITIAL_CLUSTER, "t-1=http://t-1.h:2380,t-0=http://t-0.h:2380,t-2=http://t-2.h:2380"),
            (INITIAL_CLUSTER_TOKEN, "t"),
        ]))
        .unwrap();
        let addresses: Vec<&str> = config.initial_cluster.iter().map(|peer| peer.address.as_str()).collect();
        assert_eq!(addresses, ["t-0.h:2380", "t-1.h:2380", "t-2.h:2380"]);
        assert_eq!(config.metrics_ports, [2381]);
        assert_eq!(config.cluster_key(), "t http://t-0.h:2380,http://t-1.h:2380,http://t-2.h:2380");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_variable_and_reason() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[(NAME, "x"), (INITIAL_CLUSTER, "y=http://y:2380")], "ETCD_NAME \"x\" is not among its members"),
            (&[(INITIAL_CLUSTER, "http://y:2380")], "is not name=url"),
            (
                &[(CLIENT_URLS, "https://0.0.0.0:2379")],
                "ETCD_LISTEN_CLIENT_URLS=https://0.0.0.0:2379: \"https://0.0.0.0:2379\": TLS",
            ),
            (&[(CLIENT_URLS, "0.0.0.0:2379")], "a URL starts with http://"),
            (&[(METRICS_URLS, "http://0.0.0.0")], "names a host and a port"),
            (&[(INITIAL_CLUSTER, "default=http://a:1,default=http://b:1")], "is named twice"),
        ];
        for (variables, expected) in cases {
            let error = MemberConfig::from_env(&env(variables)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
