//! Who brings the webhook port's certificate, and whether it still counts.
//!
//! Files, where somebody else puts them there, and they need not be there at the start: cert-manager may be slower than the operator. Files
//! that hold what the operator itself has issued are nobody else's: where its own Secret is mounted, as the original's manifests do,
//! the certificate is the operator's to renew like any other of its own.

use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use super::certificates::{RETRY_AFTER, RotationError, Rotator};
use crate::{
    config::{CertificateFiles, CertificateSource},
    host::{Files, system_time},
    observability::{
        export::with_sources,
        health::{Health, Probe},
    },
    tls::{
        TlsError,
        server::{Certificate, FILES_REREAD_EVERY, FileCertificate},
    },
};

const CHECK: &str = "webhook-certificate";
/// A certificate with less than this left is told of; with a [`TOLD_SHARE`]th of its life, if that is less. The operator's own are made
/// anew before.
const TOLD_BEFORE: Duration = Duration::from_secs(3600);
const TOLD_SHARE: u32 = 60;

/// Keeps the certificate of the port, whoever brings it, and the readiness that goes with it.
pub struct Keeper {
    source: CertificateSource,
    files: Arc<dyn Files>,
    paths: CertificateFiles,
    certificate: Certificate,
    health: Health,
    rotator: Rotator,
    /// When the rotator is asked again.
    rotation_due: Instant,
    /// The files, once they have held a certificate of somebody else's: from then on it is theirs.
    foreign: Option<FileCertificate>,
    /// A certificate in the files that is the operator's own.
    own: Option<Vec<u8>>,
    /// Whether it was told what is wrong with the files.
    files_told: bool,
    /// Whether it was told that the present certificate ends.
    end_told: bool,
}

impl Keeper {
    /// Keeps `certificate`, which `rotator` sees to where nobody else does.
    pub fn new(
        source: CertificateSource,
        files: Arc<dyn Files>,
        paths: CertificateFiles,
        certificate: Certificate,
        health: Health,
        rotator: Rotator,
    ) -> Self {
        health.fail(Probe::Ready, CHECK, "there is none yet");
        Self {
            source,
            files,
            paths,
            certificate,
            health,
            rotator,
            rotation_due: Instant::now(),
            foreign: None,
            own: None,
            files_told: false,
            end_told: false,
        }
    }

    /// Looks, and sees to what has to be done, again and again. Never ends.
    pub async fn run(mut self) {
        loop {
            let looked = self.look(system_time()).await;
            let pause = looked.unwrap_or_else(|error| {
                // An API server comes back by itself; files stay as wrong as they are, which is told once.
                let about_files = matches!(error, RotationError::Tls(_));
                if !(about_files && self.files_told) {
                    tracing::warn!(error = %with_sources(&error), "the webhook's certificate could not be seen to; it is tried again");
                }
                self.files_told |= about_files;
                RETRY_AFTER
            });
            self.tell(system_time());
            sleep(pause).await;
        }
    }

    /// One look; says when the next one is due.
    async fn look(&mut self, now: SystemTime) -> Result<Duration, RotationError> {
        let found = self.look_for_files().await;
        if let Some(foreign) = &mut self.foreign {
            if foreign.look()? {
                tracing::info!(path = %self.paths.certificate, "certificate renewed");
            }
            self.files_told = false;
            return Ok(FILES_REREAD_EVERY);
        }
        // Where the files are there and cannot be used the operator does not put itself in the place of whoever brings them; but what is
        // its own already it renews.
        let found = match found {
            Err(error) if self.certificate.validity().is_none() => return Err(error),
            found => found,
        };
        let pause = self.rotate(now).await?;
        found?;
        self.files_told = false;
        Ok(if self.source == CertificateSource::Auto { pause.min(FILES_REREAD_EVERY) } else { pause })
    }

    /// Asks the rotator where that is due; says when it is again.
    async fn rotate(&mut self, now: SystemTime) -> Result<Duration, RotationError> {
        if self.rotation_due <= Instant::now() {
            let pause = self.rotator.look(now).await?;
            self.rotation_due = Instant::now() + pause;
        }
        Ok(self.rotation_due.saturating_duration_since(Instant::now()))
    }

    /// Finds out whether somebody else brings the certificate, as long as that is not known.
    async fn look_for_files(&mut self) -> Result<(), RotationError> {
        if self.foreign.is_some() || self.source == CertificateSource::Operator {
            return Ok(());
        }
        let path = &self.paths.certificate;
        let auto = self.source == CertificateSource::Auto;
        let present = match self.files.read(path) {
            Ok(present) => present,
            Err(source) if auto && source.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(TlsError::File { path: path.clone(), source }.into()),
        };
        if auto && self.is_own(&present).await? {
            return Ok(());
        }
        let mut foreign = FileCertificate::unread(self.certificate.clone(), self.files.clone(), &self.paths);
        foreign.look()?;
        self.foreign = Some(foreign);
        tracing::info!(path = %self.paths.certificate, "the webhook's certificate is somebody else's to renew");
        Ok(())
    }

    /// Whether the operator has issued this certificate.
    async fn is_own(&mut self, certificate: &[u8]) -> Result<bool, RotationError> {
        if self.own.as_deref() == Some(certificate) {
            return Ok(true);
        }
        let own = self.rotator.has_issued(&String::from_utf8_lossy(certificate)).await?;
        if own {
            self.own = Some(certificate.to_vec());
        }
        Ok(own)
    }

    /// Ready is who can be asked: with a certificate that has ended nobody can.
    fn tell(&mut self, now: SystemTime) {
        let Some((from, until)) = self.certificate.validity() else { return };
        let left = until.duration_since(now).unwrap_or_default();
        if left.is_zero() {
            self.health.fail(Probe::Ready, CHECK, "the certificate has ended");
        } else {
            self.health.pass(Probe::Ready, CHECK);
        }
        let soon = left < TOLD_BEFORE.min(until.duration_since(from).unwrap_or_default() / TOLD_SHARE);
        if soon && !self.end_told {
            tracing::error!(left_seconds = left.as_secs(), "the webhook's certificate ends, and nobody has renewed it");
        }
        self.end_told = soon;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io, sync::Mutex};

    use bytes::Bytes;
    use futures::future::BoxFuture;
    use http::{Response, Uri, request::Parts};
    use serde_json::json;

    use super::*;
    use crate::{
        config::{Config, Invocation},
        host::{BoxedIo, Connector},
        observability::{EventRecorder, Telemetry, kube_client},
        testing::{self, Body, Lines, Server, full, in_runtime},
        tls::pki::{self, Pair},
    };

    const DAY: Duration = Duration::from_secs(86_400);

    /// Knows nothing, and counts what it is asked.
    #[derive(Clone, Default)]
    struct Empty(Arc<Mutex<Vec<String>>>);

    impl Server for Empty {
        fn answer(&self, parts: Parts, _: Bytes) -> Response<Body> {
            self.0.lock().unwrap().push(format!("{} {}", parts.method, parts.uri.path()));
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "no"});
            full(404, status.to_string())
        }
    }

    #[derive(Clone, Default)]
    struct Folder(Arc<Mutex<BTreeMap<String, String>>>);

    impl Folder {
        fn put(&self, pair: &Pair) {
            let files = [("tls.crt", &pair.certificate), ("tls.key", &pair.key)];
            *self.0.lock().unwrap() = files.map(|(name, text)| (name.to_owned(), text.clone())).into();
        }
    }

    impl Files for Folder {
        fn read(&self, path: &str) -> io::Result<Vec<u8>> {
            let files = self.0.lock().unwrap();
            files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| ErrorKind::NotFound.into())
        }
    }

    struct Kept {
        keeper: Keeper,
        health: Health,
        api: Empty,
        files: Folder,
    }

    /// Keeps a certificate in the face of an API server that knows nothing.
    fn kept(source: CertificateSource) -> Kept {
        let (api, files, health) = (Empty::default(), Folder::default(), Health::default());
        let to_api = api.clone();
        let connector = Connector::new(move |_: Uri| -> BoxFuture<'static, io::Result<BoxedIo>> {
            let api = to_api.clone();
            Box::pin(async move { Ok(testing::open(api)) })
        });
        let (_, mut host) = testing::host(connector, &Lines::default());
        host.env = BTreeMap::from([("POD_NAMESPACE".to_owned(), "multigres-operator".to_owned())]);
        let args = ["--webhook-enable=false".to_owned()];
        let Ok(Invocation::Run(config)) = Config::parse(&args, &host.env) else { panic!("a good configuration") };
        let telemetry = Telemetry::new(&config.telemetry, &host);
        let client = kube_client::client(&host, &telemetry).unwrap();
        let (events, _) = EventRecorder::new(client.clone(), telemetry.metrics());
        let certificate = Certificate::missing();
        let rotator = Rotator::new(client, "multigres-operator", "hooks", DAY, certificate.clone(), events);
        let paths = CertificateFiles { certificate: "tls.crt".to_owned(), key: "tls.key".to_owned() };
        let keeper = Keeper::new(source, Arc::new(files.clone()), paths, certificate, health.clone(), rotator);
        Kept { keeper, health, api, files }
    }

    /// A certificate of somebody else's.
    fn foreign(now: SystemTime) -> Pair {
        let names = ["hooks.multigres-operator.svc".to_owned()];
        pki::leaf(&pki::authority("somebody", now, DAY).unwrap(), &names, now, DAY).unwrap()
    }

    #[test]
    fn who_has_no_certificate_or_one_that_has_ended_is_not_ready() {
        in_runtime(async {
            let now = system_time();
            let Kept { mut keeper, health, api, files } = kept(CertificateSource::Files);
            keeper.look(now).await.unwrap_err();
            keeper.tell(now);
            assert!(!health.passes(Probe::Ready), "nobody has brought it yet");
            files.put(&foreign(now));
            keeper.look(now).await.unwrap();
            for (later, ready) in [(Duration::ZERO, true), (DAY / 2, true), (DAY, false), (Duration::ZERO, true)] {
                keeper.tell(now + later);
                assert_eq!(health.passes(Probe::Ready), ready, "{later:?} later");
            }
            assert_eq!(*api.0.lock().unwrap(), Vec::<String>::new(), "the API server is asked nothing");
        });
    }

    #[test]
    fn files_that_cannot_be_used_make_nobody_else_an_authority() {
        in_runtime(async {
            let now = system_time();
            let Kept { mut keeper, health, api, files } = kept(CertificateSource::Auto);
            let (first, second) = (foreign(now), foreign(now));
            files.put(&Pair { certificate: "nonsense".to_owned(), ..first.clone() });
            keeper.look(now).await.unwrap_err();
            files.put(&Pair { key: second.key, ..first.clone() });
            keeper.look(now).await.unwrap_err();
            keeper.tell(now);
            assert!(!health.passes(Probe::Ready));
            files.put(&first);
            keeper.look(now).await.unwrap();
            keeper.tell(now);
            assert!(health.passes(Probe::Ready));
            let asked = api.0.lock().unwrap();
            assert!(asked.iter().all(|one| one.ends_with("/secrets/multigres-operator-ca-secret")), "{asked:?}");
        });
    }

    #[test]
    fn where_there_are_no_files_the_operator_is_its_own_authority() {
        in_runtime(async {
            for (source, asks) in [
                (CertificateSource::Auto, true),
                (CertificateSource::Operator, true),
                (CertificateSource::Files, false),
            ] {
                let Kept { mut keeper, api, .. } = kept(source);
                keeper.look(system_time()).await.unwrap_err();
                assert_eq!(!api.0.lock().unwrap().is_empty(), asks, "{source:?}");
            }
        });
    }
}
