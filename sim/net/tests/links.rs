//! What a link does to a conversation: latency, faults, healing, ends of hosts.

use std::{io::ErrorKind, time::Duration};

use sim_clock::{WorldOptions, now, run};
use sim_net::{Effect, Host, Match, NameTarget, Network, Rule, ServicePort, http};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

fn in_world<T: Send + 'static, F: Future<Output = T>>(program: impl FnOnce() -> F + Send + 'static) -> T {
    run(WorldOptions::seeded(3), program).unwrap()
}

fn echo(host: &Host) {
    let mut listener = host.listen(7).unwrap();
    sim_clock::spawn("echo", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            sim_clock::spawn("echo connection", async move {
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn rule(to: &str, effect: Effect) -> Rule {
    Rule { from: Match::Any, to: Match::Name(to.into()), port: Some(7), effect }
}

async fn ask(stream: &mut sim_net::Stream) -> std::io::Result<Duration> {
    let before = now();
    stream.write_all(b"hello").await?;
    let mut buffer = [0; 5];
    stream.read_exact(&mut buffer).await?;
    assert_eq!(&buffer, b"hello");
    Ok(now().since(before))
}

#[test]
fn a_round_trip_takes_the_latency_of_the_host_asked() {
    in_world(|| async {
        let network = Network::new();
        let server = network.host_with("slow", "10.0.0.1".parse().unwrap(), 5..=5);
        echo(&server);
        let mut stream = network.host("client").connect("10.0.0.1:7").await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), Duration::from_millis(5));
    });
}

#[test]
fn nobody_listening_or_unknown_is_told_at_once() {
    in_world(|| async {
        let network = Network::new();
        let (client, server) = (network.host("client"), network.host("server"));
        let closed = client.connect(&format!("{}:80", server.ip())).await.unwrap_err();
        assert_eq!(closed.kind(), ErrorKind::ConnectionRefused);
        let unknown = client.connect("nowhere.default.svc:80").await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::NotFound);
        assert!(unknown.to_string().contains("nowhere.default.svc"), "{unknown}");
    });
}

#[test]
fn refusing_ends_old_connections_and_new_ones_until_healed() {
    in_world(|| async {
        let network = Network::new();
        let (client, server) = (network.host("client"), network.host("server"));
        echo(&server);
        let target = format!("{}:7", server.ip());
        let mut old = client.connect(&target).await.unwrap();
        let fault = network.inject(rule("server", Effect::Refuse));
        assert_eq!(ask(&mut old).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.connect(&target).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        network.heal(fault);
        ask(&mut client.connect(&target).await.unwrap()).await.unwrap();
    });
}

#[test]
fn a_black_hole_holds_bytes_and_connecting_until_healed() {
    in_world(|| async {
        let network = Network::new();
        let (client, server) = (network.host("client"), network.host("server"));
        echo(&server);
        let target = format!("{}:7", server.ip());
        let mut stream = client.connect(&target).await.unwrap();
        let fault = network.inject(rule("server", Effect::BlackHole));
        assert!(timeout(Duration::from_secs(60), client.connect(&target)).await.is_err());
        let healer = network.clone();
        sim_clock::spawn("healer", async move {
            sleep(Duration::from_secs(10)).await;
            healer.heal(fault);
        });
        let took = ask(&mut stream).await.unwrap();
        assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(11), "{took:?}");
    });
}

#[test]
fn a_delay_adds_to_the_latency_within_its_bounds() {
    in_world(|| async {
        let network = Network::new();
        let (client, server) = (network.host("client"), network.host("server"));
        echo(&server);
        let mut stream = client.connect(&format!("{}:7", server.ip())).await.unwrap();
        let (min, max) = (Duration::from_millis(200), Duration::from_millis(300));
        network.inject(rule("server", Effect::Delay { min, max }));
        for _ in 0..10 {
            // Both directions are slowed.
            let took = ask(&mut stream).await.unwrap();
            assert!(took > 2 * min && took <= 2 * max + Duration::from_millis(1), "{took:?}");
        }
    });
}

#[test]
fn a_reset_breaks_what_is_open_and_what_is_opened() {
    in_world(|| async {
        let network = Network::new();
        let (client, server) = (network.host("client"), network.host("server"));
        echo(&server);
        let target = format!("{}:7", server.ip());
        let mut stream = client.connect(&target).await.unwrap();
        network.inject(rule("server", Effect::Reset));
        assert_eq!(ask(&mut stream).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.connect(&target).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn other_links_do_not_feel_a_fault() {
    in_world(|| async {
        let network = Network::new();
        let (client, server) = (network.host("client"), network.host("server"));
        echo(&server);
        network.inject(Rule { from: Match::Name("other".into()), ..rule("server", Effect::Refuse) });
        network.inject(Rule { port: Some(8), ..rule("server", Effect::Refuse) });
        ask(&mut client.connect(&format!("{}:7", server.ip())).await.unwrap()).await.unwrap();
    });
}

#[test]
fn a_service_takes_its_endpoints_in_turn_and_refuses_without_any() {
    in_world(|| async {
        let network = Network::new();
        let client = network.host("client");
        let servers = [network.host("a"), network.host("b")];
        servers.iter().for_each(echo);
        let service = |endpoints| NameTarget::Service {
            ip: "10.96.0.9".parse().unwrap(),
            ports: vec![ServicePort { port: 70, endpoints }],
        };
        network.set_name("echo.default.svc", service(servers.iter().map(|server| (server.ip(), 7)).collect()));
        let mut peers = Vec::new();
        for target in ["echo.default.svc:70", "echo.default.svc.cluster.local:70", "10.96.0.9:70"] {
            peers.push(*client.connect(target).await.unwrap().peer_addr().ip());
        }
        assert_eq!(peers, [servers[0].ip(), servers[1].ip(), servers[0].ip()]);
        assert_eq!(client.connect("echo.default.svc:71").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        network.set_name("echo.default.svc", service(Vec::new()));
        assert_eq!(client.connect("echo.default.svc:70").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_removed_host_takes_its_connections_along() {
    in_world(|| async {
        let network = Network::new();
        let (client, server) = (network.host("client"), network.host("server"));
        echo(&server);
        let mut stream = client.connect(&format!("{}:7", server.ip())).await.unwrap();
        network.remove_host(server.ip());
        assert_eq!(ask(&mut stream).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(client.connect(&format!("{}:7", server.ip())).await.is_err());
    });
}

#[test]
fn a_slow_reader_stops_the_writer_and_nothing_is_lost() {
    in_world(|| async {
        let network = Network::new();
        let (client, server) = (network.host("client"), network.host("server"));
        let mut listener = server.listen(9).unwrap();
        let total = sim_clock::spawn("sink", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            sleep(Duration::from_secs(5)).await;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == at as u8));
            bytes.len()
        });
        let mut stream = client.connect(&format!("{}:9", server.ip())).await.unwrap();
        let bytes: Vec<u8> = (0..1_000_000_usize).map(|at| at as u8).collect();
        let before = now();
        stream.write_all(&bytes).await.unwrap();
        assert!(now().since(before) >= Duration::from_secs(5), "the writer had to wait");
        drop(stream);
        assert_eq!(total.await.unwrap(), 1_000_000);
    });
}

#[test]
fn a_fingerprint_changes_with_what_a_probe_would_find_and_only_then() {
    in_world(|| async {
        let network = Network::new();
        let (node, pod) = (network.host("node"), network.host("pod"));
        let fingerprint = || network.probe_fingerprint(node.ip(), pod.ip(), 7);
        let closed = fingerprint();
        assert!(closed.is_some());
        let listener = pod.listen(7).unwrap();
        assert_eq!(fingerprint(), None, "nobody announces changes yet");
        let changer = listener.changer();
        let open = fingerprint();
        assert!(open.is_some() && open != closed);
        assert_eq!(fingerprint(), open);
        changer.changed();
        let changed = fingerprint();
        assert!(changed.is_some() && changed != open);
        let fault = network.inject(rule("pod", Effect::Refuse));
        assert_ne!(fingerprint(), changed);
        network.heal(fault);
        assert_eq!(fingerprint(), changed);
        drop(listener);
        assert_eq!(fingerprint(), closed);
    });
}

#[test]
fn http_servers_refuse_long_bodies_and_clients_time_out() {
    in_world(|| async {
        let network = Network::new();
        let (client, server) = (network.host("client"), network.host("server"));
        let limits = http::Limits { body_bytes_max: 10 };
        sim_clock::spawn(
            "server",
            http::serve(server.listen(80).unwrap(), limits, |request| async move {
                if request.uri().path() == "/never" {
                    std::future::pending::<()>().await;
                }
                ::http::Response::new(http::full(request.into_body()))
            }),
        );
        let client = http::Client::new(client).with_timeout(Duration::from_secs(3));
        let url = format!("http://{}/", server.ip());
        let post = |bytes: usize| ::http::Request::post(&url).body(vec![b'x'; bytes].into()).unwrap();
        assert_eq!(client.send(post(10)).await.unwrap().status(), 200);
        assert_eq!(client.send(post(11)).await.unwrap().status(), 413);
        let before = now();
        let error = client.get(&format!("{url}never")).await.unwrap_err();
        assert!(matches!(error, http::HttpError::Timeout { .. }), "{error}");
        assert_eq!(now().since(before), Duration::from_secs(3));
    });
}
