//! The certificate of the webhook port, and what the API server knows of it.
//!
//! The operator is its own authority: a CA and a leaf in two Secrets, shared by all replicas, and the CA in the `caBundle` of the two webhook
//! configurations. Both are made anew before they end. A new CA is first made known beside the old one, and only
//! [`OVERLAP`] later signs the leaf that is served, so that at no instant a call fails for want of trust: not while the configurations
//! are still on their way to every API server, and not while another replica still serves the old leaf.
//!
//! An authority that is lost (its Secret deleted, or no longer readable) is made anew in the same way: what vouches for the leaf that is
//! served stays known until the new one is.
//!
//! Where somebody else brings a certificate (cert-manager, an administrator), it is read from files, and neither Secrets nor
//! configurations are touched: see [`super::keeper`].

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{
            MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
        },
        apps::v1::Deployment,
        core::v1::Secret,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, PostParams},
};
use tokio::time::Instant;

use crate::{
    observability::EventRecorder,
    tls::{
        TlsError,
        pki::{self, BACKDATED, Pair},
        server::Certificate,
    },
};

/// The Secret of the authority, as the original operator calls it.
pub const CA_SECRET: &str = "multigres-operator-ca-secret";
/// The Secret of the leaf.
pub const LEAF_SECRET: &str = "multigres-webhook-certs";
/// The configurations that are told of the authority.
pub const MUTATING: &str = "multigres-operator-mutating-webhook-configuration";
/// See [`MUTATING`].
pub const VALIDATING: &str = "multigres-operator-validating-webhook-configuration";
/// How long a new authority is made known before its leaf is served.
pub const OVERLAP: Duration = Duration::from_secs(60);
/// How long a leaf counts unless told otherwise.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(365 * 86_400);
/// An authority counts so many times as long as its leaves.
const CA_TIMES: u32 = 10;
/// Certificates with less than this left are made anew; a third of their life if that is less.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// How often everything is looked at; a twelfth of a leaf's life if that is less.
const ROUND_EVERY: Duration = Duration::from_secs(3600);
/// How often the configurations are looked at in between. Whoever applies their manifest takes the authority out of them, and nothing is
/// stored until it is put back.
const KNOWN_EVERY: Duration = Duration::from_secs(30);
/// How long a failed look waits.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);
/// What the authority calls itself.
const AUTHORITY: &str = "multigres-operator-ca";
const PREVIOUS: &str = "previous.crt";

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The API server.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// A certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An authority, and the one before it.
#[derive(Clone, Debug, PartialEq)]
struct Authority {
    pair: Pair,
    /// Certificates that still count for leaves that are served somewhere.
    previous: Option<String>,
}

impl Authority {
    fn bundle(&self) -> String {
        format!("{}{}", self.pair.certificate, self.previous.as_deref().unwrap_or_default())
    }

    /// Whether it is known for long enough to sign what is served.
    fn may_sign(&self, now: SystemTime) -> bool {
        let made = pki::validity(&self.pair.certificate).map(|(from, _)| from + BACKDATED);
        self.previous.is_none() || made.is_none_or(|made| now.duration_since(made).unwrap_or_default() >= OVERLAP)
    }
}

fn renew_before(validity: Duration) -> Duration {
    RENEW_BEFORE.min(validity / 3)
}

/// Makes the certificate of the port, and makes its authority known.
pub struct Rotator {
    client: Client,
    namespace: String,
    /// What the leaf is for: the Service, as the API server calls it.
    names: Vec<String>,
    validity: Duration,
    certificate: Certificate,
    events: EventRecorder,
    served: Option<Pair>,
    /// What was made known last.
    bundle: Option<String>,
    /// When everything is looked at again.
    round_due: Option<Instant>,
}

impl Rotator {
    /// Keeps `certificate` one for the Service `service` of `namespace`.
    pub fn new(
        client: Client,
        namespace: &str,
        service: &str,
        validity: Duration,
        certificate: Certificate,
        events: EventRecorder,
    ) -> Self {
        let name = format!("{service}.{namespace}.svc");
        Self {
            client,
            namespace: namespace.to_owned(),
            names: vec![name.clone(), format!("{name}.cluster.local")],
            validity,
            certificate,
            events,
            served: None,
            bundle: None,
            round_due: None,
        }
    }

    /// One look, at everything or only at what is known; says when the next one is due.
    pub async fn look(&mut self, now: SystemTime) -> Result<Duration, RotationError> {
        let due = self.round_due.filter(|due| *due > Instant::now());
        // Where something else is known another replica may have made a new authority: its Secret is looked at before anything is written.
        let settled = match (due, &self.bundle) {
            (Some(due), Some(bundle)) => self.is_known(bundle).await?.then_some(due),
            _ => None,
        };
        let due = match settled {
            Some(due) => due,
            None => {
                self.round_due = None;
                let due = Instant::now() + self.round(now).await?;
                *self.round_due.insert(due)
            }
        };
        Ok(due.saturating_duration_since(Instant::now()).min(KNOWN_EVERY))
    }

    /// Whether an authority of the operator has issued this certificate.
    pub async fn has_issued(&self, certificate: &str) -> Result<bool, RotationError> {
        let Some(issuer) = pki::issuer(certificate) else { return Ok(false) };
        if issuer == AUTHORITY {
            return Ok(true);
        }
        // The original operator's, in the same Secret, under whatever name.
        let bundle = match self.secret(CA_SECRET).await {
            Ok(secret) => secret.and_then(|secret| text(&secret, "ca.crt")),
            // Where somebody else brings the certificate these Secrets need not be the operator's to read.
            Err(kube::Error::Api(status)) if status.code == 403 => None,
            Err(error) => return Err(error.into()),
        };
        let issued = bundle
            .zip(pki::validity(certificate))
            .is_some_and(|(bundle, (from, _))| pki::is_good(certificate, &bundle, &self.names, from + BACKDATED));
        Ok(issued)
    }

    /// Looks at everything; says when that is due again.
    async fn round(&mut self, now: SystemTime) -> Result<Duration, RotationError> {
        let authority = self.authority(now).await?;
        let bundle = authority.bundle();
        self.make_known(&bundle).await?;
        self.bundle = Some(bundle);
        let leaf = self.leaf(&authority, now).await?;
        if self.served.as_ref() != Some(&leaf) {
            self.certificate.exchange(LEAF_SECRET, leaf.certificate.as_bytes(), leaf.key.as_bytes())?;
            if self.served.replace(leaf).is_some() {
                tracing::info!("the webhook's certificate was exchanged");
            }
        }
        Ok(if authority.may_sign(now) { ROUND_EVERY.min(self.validity / 12) } else { OVERLAP })
    }

    async fn authority(&self, now: SystemTime) -> Result<Authority, RotationError> {
        let validity = self.validity * CA_TIMES;
        let known = self.secret(CA_SECRET).await?;
        let present = known.as_ref().and_then(|secret| {
            let pair = Pair { certificate: text(secret, "ca.crt")?, key: text(secret, "ca.key")? };
            pki::can_sign(&pair).then(|| Authority { pair, previous: text(secret, PREVIOUS) })
        });
        let fresh = present.as_ref().is_some_and(|authority| {
            pki::validity(&authority.pair.certificate)
                .is_some_and(|(_, until)| until.duration_since(now).is_ok_and(|left| left >= renew_before(validity)))
        });
        if let (Some(authority), true) = (&present, fresh) {
            return Ok(authority.clone());
        }
        let previous = match present {
            Some(before) => Some(before.pair.certificate),
            None => self.vouches_for_what_is_served(now).await?,
        };
        let pair = pki::authority(AUTHORITY, now, validity)?;
        let next = Authority { pair, previous };
        let mut data = BTreeMap::from([("ca.crt", next.pair.certificate.clone()), ("ca.key", next.pair.key.clone())]);
        if let Some(previous) = &next.previous {
            data.insert(PREVIOUS, previous.clone());
        }
        self.store(CA_SECRET, "Opaque", data, known, "webhook CA").await?;
        Ok(next)
    }

    /// Of an authority that is lost: the certificate by which the present leaf is still believed, here or by another replica.
    async fn vouches_for_what_is_served(&self, now: SystemTime) -> Result<Option<String>, RotationError> {
        let secret = self.secret(LEAF_SECRET).await?;
        let stored = secret.as_ref().and_then(|secret| Some((text(secret, "tls.crt")?, text(secret, "ca.crt")?)));
        let held = self.served.as_ref().and_then(|leaf| Some((leaf.certificate.clone(), self.bundle.clone()?)));
        Ok(stored.into_iter().chain(held).find_map(|(leaf, bundle)| {
            let vouches = pki::chosen(&bundle, |one| pki::is_good(&leaf, one, &self.names, now));
            (!vouches.is_empty()).then_some(vouches)
        }))
    }

    async fn leaf(&self, authority: &Authority, now: SystemTime) -> Result<Pair, RotationError> {
        let known = self.secret(LEAF_SECRET).await?;
        let present = known
            .as_ref()
            .and_then(|secret| Some(Pair { certificate: text(secret, "tls.crt")?, key: text(secret, "tls.key")? }))
            .filter(|pair| Certificate::of(LEAF_SECRET, pair.certificate.as_bytes(), pair.key.as_bytes()).is_ok())
            // Its Secret may be lost, too: then what is served goes on until it can be made anew.
            .or_else(|| if authority.may_sign(now) { None } else { self.served.clone() });
        if let Some(present) = present {
            let soon = now + renew_before(self.validity);
            let good = |authority: &str, at| pki::is_good(&present.certificate, authority, &self.names, at);
            if good(&authority.pair.certificate, soon) {
                return Ok(present);
            }
            // What the old authority signed is served until the new one is known everywhere.
            if !authority.may_sign(now) && good(&authority.bundle(), now) {
                return Ok(present);
            }
        }
        let pair = pki::leaf(&authority.pair, &self.names, now, self.validity)?;
        let data = BTreeMap::from([
            ("tls.crt", pair.certificate.clone()),
            ("tls.key", pair.key.clone()),
            ("ca.crt", authority.bundle()),
        ]);
        self.store(LEAF_SECRET, "kubernetes.io/tls", data, known, "webhook server certificate").await?;
        Ok(pair)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn secret(&self, name: &str) -> Result<Option<Secret>, kube::Error> {
        self.secrets().get_opt(name).await
    }

    /// Creates or replaces a Secret. Where another replica was faster this fails, and the next round takes what that one made.
    async fn store(
        &self,
        name: &str,
        kind: &str,
        data: BTreeMap<&'static str, String>,
        known: Option<Secret>,
        what: &str,
    ) -> Result<(), RotationError> {
        let rotated = known.is_some();
        let mut secret = match known {
            Some(known) => known,
            None => Secret { metadata: self.metadata(name).await?, type_: Some(kind.to_owned()), ..Secret::default() },
        };
        secret.data =
            Some(data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect());
        let stored = if rotated {
            self.secrets().replace(name, &PostParams::default(), &secret).await?
        } else {
            self.secrets().create(&PostParams::default(), &secret).await?
        };
        let (reason, verb) = if rotated { ("Rotated", "Rotated") } else { ("Generated", "Generated new") };
        tracing::info!(secret = name, "{verb} {what}");
        self.events.normal(&stored, reason, format!("{verb} {what}"));
        Ok(())
    }

    /// The Secrets go with the operator's Deployment, if there is exactly one.
    async fn metadata(&self, name: &str) -> Result<ObjectMeta, kube::Error> {
        let labels = BTreeMap::from([("app.kubernetes.io/name".to_owned(), "multigres-operator".to_owned())]);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let selector = "app.kubernetes.io/name=multigres-operator,control-plane=controller-manager";
        let found = deployments.list(&ListParams::default().labels(selector)).await?.items;
        let owner = match found.as_slice() {
            [one] => one.uid().map(|uid| OwnerReference {
                api_version: Deployment::api_version(&()).into_owned(),
                kind: Deployment::kind(&()).into_owned(),
                name: one.name_any(),
                uid,
                ..OwnerReference::default()
            }),
            _ => None,
        };
        Ok(ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        })
    }

    /// Whether the webhook configurations hold these authorities, and nothing else.
    async fn is_known(&self, bundle: &str) -> Result<bool, kube::Error> {
        let wanted = ByteString(bundle.as_bytes().to_vec());
        let holds = |config: &WebhookClientConfig| config.ca_bundle.as_ref() == Some(&wanted);
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        Ok(mutating.get(MUTATING).await?.webhooks.iter().flatten().all(|webhook| holds(&webhook.client_config))
            && validating.get(VALIDATING).await?.webhooks.iter().flatten().all(|webhook| holds(&webhook.client_config)))
    }

    /// Writes the authorities into the webhook configurations, where they are not.
    async fn make_known(&self, bundle: &str) -> Result<(), RotationError> {
        let wanted = ByteString(bundle.as_bytes().to_vec());
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let mut present = configurations.get(MUTATING).await?;
        let mut changed = false;
        for webhook in present.webhooks.iter_mut().flatten() {
            changed |= put(&mut webhook.client_config, &wanted);
        }
        if changed {
            configurations.replace(MUTATING, &PostParams::default(), &present).await?;
        }
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let mut present = configurations.get(VALIDATING).await?;
        let mut changed = false;
        for webhook in present.webhooks.iter_mut().flatten() {
            changed |= put(&mut webhook.client_config, &wanted);
        }
        if changed {
            configurations.replace(VALIDATING, &PostParams::default(), &present).await?;
        }
        Ok(())
    }
}

fn put(config: &mut WebhookClientConfig, bundle: &ByteString) -> bool {
    let changed = config.ca_bundle.as_ref() != Some(bundle);
    config.ca_bundle = Some(bundle.clone());
    changed
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_new_authority_signs_only_when_it_has_been_known_for_a_while() {
        let now = UNIX_EPOCH + Duration::from_secs(1_770_000_000);
        let pair = pki::authority("ca", now, LEAF_VALIDITY).unwrap();
        let first = Authority { pair: pair.clone(), previous: None };
        assert!(first.may_sign(now), "before it nothing was served");
        let next = Authority { pair, previous: Some("before".into()) };
        assert!(!next.may_sign(now));
        assert!(!next.may_sign(now + OVERLAP - Duration::from_secs(1)));
        assert!(next.may_sign(now + OVERLAP));
        assert!(next.bundle().ends_with("before"));
    }

    #[test]
    fn what_lives_long_is_renewed_a_month_before_its_end_and_what_does_not_at_two_thirds() {
        assert_eq!(renew_before(LEAF_VALIDITY), RENEW_BEFORE);
        assert_eq!(renew_before(Duration::from_secs(1800)), Duration::from_secs(600));
    }
}
