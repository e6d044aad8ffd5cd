//! A cluster's API with TLS on loopback, and the kubeconfig of those who may come in.

use std::net::SocketAddr;

use sim_net::Network;

use super::Error;
use crate::{
    API_ADDRESS, Cluster,
    tls::{self, CERTIFICATE_VALIDITY, Credential, Kubeconfig, TlsError},
};

/// Port of the API server inside the world at which it speaks TLS.
pub const SECURE_PORT: u16 = crate::API_TLS_PORT;

/// Somebody who gets a client certificate.
#[derive(Clone, Debug)]
pub struct User {
    /// What the kubeconfig calls it.
    pub called: String,
    /// Its name for the API server. `system:serviceaccount:<namespace>:<name>` is that service account, as with any API
    /// server that is shown a certificate of this name.
    pub name: String,
    /// Its groups, two at most.
    pub groups: Vec<String>,
    /// The namespace of its context.
    pub namespace: String,
}

impl User {
    /// Who may do everything.
    pub fn admin() -> Self {
        Self {
            called: "admin".to_owned(),
            name: "kubernetes-admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            namespace: "default".to_owned(),
        }
    }

    /// Who may do what RBAC objects let this user name do.
    pub fn named(name: &str) -> Self {
        Self {
            called: name.to_owned(),
            name: name.to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            namespace: "default".to_owned(),
        }
    }

    /// A service account of a namespace.
    pub fn service_account(called: &str, namespace: &str, name: &str) -> Self {
        Self {
            called: called.to_owned(),
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
            namespace: namespace.to_owned(),
        }
    }
}

/// Publishes the API with TLS at `listen` and returns the address with a kubeconfig of `users`, each with a context
/// `<called>@<cluster>`; the first is the current one.
///
/// # Errors
/// If the port is taken, or a user's certificate cannot be made.
pub async fn publish(
    network: &Network,
    cluster: &Cluster,
    listen: SocketAddr,
    called: &str,
    users: &[User],
) -> Result<(SocketAddr, String), Error> {
    let now = sim_clock::now();
    let authority = cluster.api().authority()?;
    if !cluster.serves_tls() {
        let listener = cluster
            .host()
            .listen(SECURE_PORT)
            .map_err(|source| crate::Error::Listen { what: format!("kubernetes:{SECURE_PORT}"), source })?;
        sim_clock::spawn("kube-apiserver tls", tls::serve(listener, crate::cluster::endpoint(cluster.api())?));
    }
    let address = sim_loopback::publish(network, listen, &format!("{API_ADDRESS}:{SECURE_PORT}")).await?;
    let url = format!("https://{address}");
    let kubeconfig = users.iter().try_fold(Kubeconfig::new(called, &url, Some(authority.pem())), |file, user| {
        let groups: Vec<_> = user.groups.iter().map(String::as_str).collect();
        let certificate = authority.client(&user.name, &groups, now, CERTIFICATE_VALIDITY)?;
        Ok::<_, TlsError>(file.user(&user.called, Credential::from(&certificate), &user.namespace))
    })?;
    Ok((address, kubeconfig.to_yaml()))
}
