use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, ServerName};
use sim_clock::{WorldOptions, now};
use sim_net::Network;

use super::*;
use crate::{ApiServer, access::UserInfo};

const HOUR: Duration = Duration::from_secs(3600);

/// Asks a TLS endpoint on the simulated network for a path, by HTTP/1.1 or HTTP/2.
async fn ask(
    client: Arc<rustls::ClientConfig>,
    endpoint: Endpoint,
    name: &'static str,
    path: &str,
) -> Result<(u16, String), String> {
    let network = Network::new();
    let server = network.host("server");
    let listener = server.listen(443).unwrap();
    let address = format!("{}:443", server.ip());
    let serving = sim_clock::spawn("server", serve(listener, endpoint));
    let stream = network.host("client").connect(&address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(client);
    let stream = connector.connect(ServerName::try_from(name).unwrap(), stream).await.map_err(|e| e.to_string())?;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let request = http::Request::get(format!("https://{name}{path}")).header("host", name);
    let request = request.body(Full::new(bytes::Bytes::new())).unwrap();
    let response = if h2 {
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(sim_net::http::Executor, TokioIo::new(stream))
                .await
                .map_err(|e| e.to_string())?;
        sim_clock::spawn("connection", async move { drop(connection.await) });
        send.send_request(request).await
    } else {
        let (mut send, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        sim_clock::spawn("connection", async move { drop(connection.await) });
        send.send_request(request).await
    };
    let response = response.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
    serving.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn endpoint(authority: &Authority) -> Endpoint {
    let serving = authority.serving(SERVING_NAMES, now(), HOUR).unwrap();
    Endpoint::tls(ApiServer::new(), server_config(&serving, authority).unwrap())
}

#[test]
fn a_client_that_trusts_the_authority_is_answered_by_name_and_by_address_over_both_protocols() {
    let done = sim_clock::run(WorldOptions::seeded(1), || async {
        let authority = Authority::new("kubernetes", now()).unwrap();
        let config = client_config(authority.pem(), None).unwrap();
        for name in ["kubernetes.default.svc", "localhost", "127.0.0.1", "10.96.0.1"] {
            let (status, body) = ask(config.clone(), endpoint(&authority), name, "/version").await.unwrap();
            assert_eq!(status, 200, "{name}: {body}");
            assert!(body.contains(crate::discovery::VERSION), "{name}: {body}");
        }
        let mut old = (*config).clone();
        old.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (status, _) = ask(Arc::new(old), endpoint(&authority), "localhost", "/version").await.unwrap();
        assert_eq!(status, 200);
    });
    done.unwrap();
}

#[test]
fn another_authority_a_wrong_name_and_an_expired_certificate_are_refused_by_the_client() {
    let done = sim_clock::run(WorldOptions::seeded(1), || async {
        let authority = Authority::new("kubernetes", now()).unwrap();
        let stranger = Authority::new("kubernetes", now()).unwrap();
        let trusting = client_config(authority.pem(), None).unwrap();
        let refused = ask(client_config(stranger.pem(), None).unwrap(), endpoint(&authority), "localhost", "/").await;
        assert!(refused.as_ref().unwrap_err().contains("invalid peer certificate"), "{refused:?}");
        let refused = ask(trusting.clone(), endpoint(&authority), "elsewhere.example", "/").await;
        assert!(refused.as_ref().unwrap_err().contains("not valid for name"), "{refused:?}");
        let soon_old = endpoint(&authority);
        tokio::time::sleep(HOUR + Duration::from_secs(2)).await;
        let refused = ask(trusting, soon_old, "localhost", "/").await;
        assert!(refused.as_ref().unwrap_err().contains("expired"), "virtual time counts: {refused:?}");
    });
    done.unwrap();
}

#[test]
fn client_certificates_are_judged_by_authority_usage_and_virtual_time() {
    let done = sim_clock::run(WorldOptions::seeded(1), || async {
        let authority = Authority::new("kubernetes", now()).unwrap();
        let judge = ClientCertificates::of(&authority).unwrap();
        let good = authority.client("jane", &["dev", "ops"], now(), HOUR).unwrap();
        assert_eq!(judge.verify(std::slice::from_ref(good.der())), Ok(()));
        let serving = authority.serving(&["localhost"], now(), HOUR).unwrap();
        assert!(judge.verify(std::slice::from_ref(serving.der())).is_err(), "a serving certificate is no client's");
        let stranger = Authority::new("kubernetes", now()).unwrap().client("jane", &[], now(), HOUR).unwrap();
        assert!(judge.verify(std::slice::from_ref(stranger.der())).is_err(), "signed by another authority");
        assert!(judge.verify(&[]).is_err());
        tokio::time::sleep(HOUR + Duration::from_secs(1)).await;
        let late = judge.verify(std::slice::from_ref(good.der())).unwrap_err();
        assert!(late.contains("expired"), "{late}");
    });
    done.unwrap();
}

#[test]
fn the_subject_names_user_and_groups() {
    let authority = Authority::new("ca", now()).unwrap();
    let found = |groups: &[&str]| subject(authority.client("jané", groups, now(), HOUR).unwrap().der()).unwrap();
    assert_eq!(found(&[]), Subject { common_name: "jané".into(), organizations: vec![] });
    let two = Subject { common_name: "jané".into(), organizations: vec!["system:masters".into(), "b".into()] };
    assert_eq!(found(&["system:masters", "b"]), two);
    let refused = authority.client("jane", &["a", "b", "c"], now(), HOUR).unwrap_err();
    assert_eq!(refused.to_string(), "a client certificate of jane with 3 groups: at most 2 can be written");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_of_subjects_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = subject(&CertificateDer::from(bytes));
    }

    #[test]
    fn a_damaged_certificate_does_not_make_it_panic_either(at in 0_usize..300, byte in any::<u8>()) {
        let authority = Authority::new("ca", now()).unwrap();
        let mut bytes = authority.der().as_ref().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = subject(&CertificateDer::from(bytes));
    }
}

#[test]
fn the_same_seed_gives_the_same_certificates_and_another_seed_others() {
    let made = |seed| {
        sim_clock::run(WorldOptions::seeded(seed), || async {
            let authority = Authority::new("kubernetes", now()).unwrap();
            let client = authority.client("jane", &[], now(), HOUR).unwrap();
            (authority.pem().to_owned(), client.certificate_pem, client.key_pem)
        })
        .unwrap()
    };
    assert_eq!(made(3), made(3));
    assert_ne!(made(3), made(4));
}

#[test]
fn a_kubeconfig_holds_its_users_in_order() {
    let text = Kubeconfig::new("world", "https://127.0.0.1:6443", Some("PEM"))
        .user("admin", Credential::Certificate("C".into(), "K".into()), "default")
        .user("viewer", Credential::Token("t\"".into()), "x")
        .to_yaml();
    let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(read["clusters"][0]["cluster"]["certificate-authority-data"], "UEVN");
    assert_eq!(read["current-context"], "admin@world");
    assert_eq!(read["users"][0]["user"]["client-key-data"], "Sw==");
    assert_eq!(read["users"][1]["user"]["token"], "t\"");
    assert_eq!(read["contexts"][1]["context"]["namespace"], "x");
    let empty: serde_json::Value = serde_saphyr::from_str(&Kubeconfig::new("w", "http://x", None).to_yaml()).unwrap();
    assert_eq!(empty["users"], serde_json::json!([]));
}

#[test]
fn the_trusted_callers_are_masters_and_service_accounts_have_their_groups() {
    assert!(UserInfo::admin().belongs("system:masters"));
    let account = UserInfo::service_account("ns", "sa", "u");
    assert_eq!(account.name, "system:serviceaccount:ns:sa");
    assert_eq!(account.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
}
