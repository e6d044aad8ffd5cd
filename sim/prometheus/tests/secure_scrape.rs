//! Scraping and sending alerts as in production: TLS with authorities, client certificates, tokens and passwords from files.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use sim_net::{Network, http as net_http};
use sim_prometheus::server::{Files, Options, Prometheus, run};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// PEM of a certificate and of its key.
struct Pair {
    certificate: String,
    key: String,
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

fn year(year: i32) -> (i32, u8, u8) {
    (year, 1, 1)
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn pair(&self, name: &str, until: i32) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let ((from_year, from_month, from_day), (year, month, day)) = (year(2020), year(until));
        params.not_before = rcgen::date_time_ymd(from_year, from_month, from_day);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate").pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

/// Takes paths and authorizations of requests.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// An exporter behind TLS; with `clients`, only for those that this authority knows. It shows the header that it got.
fn exporter(network: &Network, name: &str, serving: &Pair, clients: Option<&Authority>) -> String {
    server(network, name, serving, clients, &Seen::default())
}

/// An exporter behind TLS that also takes note of what came.
fn server(network: &Network, name: &str, serving: &Pair, clients: Option<&Authority>, seen: &Seen) -> String {
    let seen = seen.clone();
    let host = network.host(name);
    let mut listener = host.listen(8443).expect("a free port");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM")).expect("an authority");
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(serving.certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(serving.key.as_bytes()).expect("PEM");
    let config = Arc::new(builder.with_single_cert(chain, key).expect("a server"));
    sim_clock::spawn(name, async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = tokio_rustls::TlsAcceptor::from(config.clone());
            let seen = seen.clone();
            sim_clock::spawn("connection", async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| {
                    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
                    let given = given.unwrap_or("none").to_owned();
                    let page = format!("given{{authorization=\"{given}\"}} 1\n");
                    seen.lock().expect("no panic while locked").push((request.uri().path().to_owned(), given));
                    async move {
                        Ok::<_, std::convert::Infallible>(net_http::response(http::StatusCode::OK, "text/plain", page))
                    }
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    format!("{}:8443", host.ip())
}

#[test]
fn pages_are_fetched_over_tls_by_those_who_may() {
    let program = || async {
        let network = Network::new();
        let (authority, other) = (Authority::new(), Authority::new());
        let good = authority.pair("operator.svc", 2099);
        let (open, closed) =
            (exporter(&network, "open", &good, None), exporter(&network, "closed", &good, Some(&authority)));
        let expired = exporter(&network, "expired", &authority.pair("operator.svc", 2021), None);
        let client = authority.pair("prometheus", 2099);
        let tree = BTreeMap::from([
            ("/ca.pem", authority.pem()),
            ("/other.pem", other.pem()),
            ("/tls.crt", client.certificate),
            ("/tls.key", client.key),
            ("/token", "secret-token\n".to_owned()),
            ("/password", "p:w\n".to_owned()),
        ]);
        let job = |name: &str, address: &str, rest: &str| {
            format!("- {{job_name: {name}, scheme: https, static_configs: [{{targets: ['{address}']}}], {rest}}}\n")
        };
        let trusting = "tls_config: {ca_file: /ca.pem, server_name: operator.svc}";
        let config = "global: {scrape_interval: 10s}\nscrape_configs:\n".to_owned()
            + &job("token", &open, &format!("{trusting}, authorization: {{credentials_file: /token}}"))
            + &job("password", &open, &format!("{trusting}, basic_auth: {{username: u, password_file: /password}}"))
            + &job(
                "certificate",
                &closed,
                "tls_config: {ca_file: /ca.pem, server_name: operator.svc, cert_file: /tls.crt, key_file: /tls.key}",
            )
            + &job("nobody", &closed, trusting)
            + &job("careless", &expired, "tls_config: {insecure_skip_verify: true}")
            + &job("expired", &expired, trusting)
            + &job("stranger", &open, "tls_config: {ca_file: /other.pem, server_name: operator.svc}")
            + &job("misnamed", &open, "tls_config: {ca_file: /ca.pem, server_name: elsewhere.svc}")
            + &job("no-file", &open, &format!("{trusting}, authorization: {{credentials_file: /nowhere}}"));
        let (_changed, revision) = sim_clock::watch::channel(0);
        let (_shutdown, stopped) = sim_clock::watch::channel(false);
        let files = Files {
            read: Arc::new(move |path| {
                tree.get(path)
                    .cloned()
                    .or_else(|| path.ends_with(".yaml").then(|| config.clone()))
                    .map(String::into_bytes)
            }),
            list: Arc::new(|_| Vec::new()),
            revision,
        };
        let prometheus = Prometheus::new();
        let running = run(network.host("prometheus"), prometheus.clone(), Options::default(), files, stopped);
        sim_clock::spawn("prometheus", async move { running.await.expect("a good configuration") });
        tokio::time::sleep(Duration::from_secs(25)).await;
        let request = http::Request::get("/api/v1/targets").body(bytes::Bytes::new()).expect("a request");
        let answer: Value = serde_json::from_slice(prometheus.answer(&request, sim_clock::now()).body()).expect("JSON");
        let error = |job: &str| {
            let targets = answer["data"]["activeTargets"].as_array().expect("targets");
            let target = targets.iter().find(|target| target["scrapePool"] == job).expect("a target");
            target["lastError"].as_str().expect("text").to_owned()
        };
        let given = |job: &str| {
            prometheus.with_store(|store| {
                let wanted = sim_wire::Matcher::equal("__name__", "given");
                let found = store.select(&[wanted, sim_wire::Matcher::equal("job", job)]);
                found.first().map(|series| series.labels.value("authorization").to_owned())
            })
        };
        for job in ["token", "password", "certificate", "careless"] {
            assert_eq!(error(job), "", "{job}");
        }
        assert_eq!(given("token").as_deref(), Some("Bearer secret-token"));
        assert_eq!(given("password").as_deref(), Some("Basic dTpwOnc="));
        assert_eq!(given("certificate").as_deref(), Some("none"));
        for (job, expected) in [
            ("nobody", "remote error: tls: certificate required"),
            ("expired", "x509: certificate has expired or is not yet valid"),
            ("stranger", "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
            ("misnamed", "x509: certificate is not valid for the name asked for"),
            ("no-file", "unable to read authorization credentials: open /nowhere: no such file or directory"),
        ] {
            assert!(error(job).contains(expected), "{job}: {}", error(job));
        }
    };
    sim_clock::run(sim_clock::WorldOptions::seeded(7), program).expect("the world ends well");
}

#[test]
fn alerts_are_sent_over_tls_to_those_who_are_trusted() {
    let program = || async {
        let network = Network::new();
        let (authority, other) = (Authority::new(), Authority::new());
        let good = authority.pair("alertmanager.svc", 2099);
        let [password, certificate, nobody, stranger] = std::array::from_fn(|_| Seen::default());
        let open = server(&network, "open", &good, None, &password);
        let closed = server(&network, "closed", &good, Some(&authority), &certificate);
        let shut = server(&network, "shut", &good, Some(&authority), &nobody);
        let false_one = server(&network, "false", &other.pair("alertmanager.svc", 2099), None, &stranger);
        let client = authority.pair("prometheus", 2099);
        let tree = BTreeMap::from([
            ("/ca.pem", authority.pem()),
            ("/tls.crt", client.certificate),
            ("/tls.key", client.key),
            ("/password", "p:w\n".to_owned()),
            ("/rules.yaml", "groups: [{name: g, rules: [{alert: Watchdog, expr: vector(1)}]}]".to_owned()),
        ]);
        let trusting = "ca_file: /ca.pem, server_name: alertmanager.svc";
        let entry = |address: &str, rest: &str| {
            format!("  - {{scheme: https, path_prefix: /am, static_configs: [{{targets: ['{address}']}}], {rest}}}\n")
        };
        let config = "global: {evaluation_interval: 10s}\nrule_files: [/rules.yaml]\nalerting:\n  alertmanagers:\n"
            .to_owned()
            + &entry(
                &open,
                &format!("tls_config: {{{trusting}}}, basic_auth: {{username: u, password_file: /password}}"),
            )
            + &entry(&closed, &format!("tls_config: {{{trusting}, cert_file: /tls.crt, key_file: /tls.key}}"))
            + &entry(&shut, &format!("tls_config: {{{trusting}}}"))
            + &entry(&false_one, &format!("tls_config: {{{trusting}}}"));
        let (_changed, revision) = sim_clock::watch::channel(0);
        let (_shutdown, stopped) = sim_clock::watch::channel(false);
        let files = Files {
            read: Arc::new(move |path| {
                let found = tree.get(path).cloned();
                found.or_else(|| path.ends_with("prometheus.yml").then(|| config.clone())).map(String::into_bytes)
            }),
            list: Arc::new(|glob| vec![glob.to_owned()]),
            revision,
        };
        let options = Options { config_file: "/prometheus.yml".to_owned(), ..Options::default() };
        let running = run(network.host("prometheus"), Prometheus::new(), options, files, stopped);
        sim_clock::spawn("prometheus", async move { running.await.expect("a good configuration") });
        tokio::time::sleep(Duration::from_secs(25)).await;
        let first = |seen: &Seen| seen.lock().expect("no panic while locked").first().cloned();
        let expected = |authorization: &str| Some(("/am/api/v2/alerts".to_owned(), authorization.to_owned()));
        assert_eq!(first(&password), expected("Basic dTpwOnc="));
        assert_eq!(first(&certificate), expected("none"));
        assert_eq!(first(&nobody), None, "it asks for a certificate");
        assert_eq!(first(&stranger), None, "its authority is not trusted");
    };
    sim_clock::run(sim_clock::WorldOptions::seeded(8), program).expect("the world ends well");
}
