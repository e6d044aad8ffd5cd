//! A world talks to real sockets.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use sim_clock::{Speed, WorldOptions};
use sim_loopback::{Error, Running, publish, reach, start};
use sim_net::{Effect, Match, Network, Rule, http};

fn free() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn paced(speed: &str) -> WorldOptions {
    WorldOptions::seeded(7).paced(speed.parse().unwrap())
}

/// A world with one web server that answers with the number of bytes it got and the virtual time.
fn web(speed: &str, rule: Option<Rule>) -> Running<SocketAddr> {
    start(paced(speed), |life| async move {
        let network = Network::new();
        let host = network.host("web");
        let listener = host.listen(80).unwrap();
        sim_clock::spawn(
            "web",
            http::serve(listener, http::Limits::default(), |request: ::http::Request<bytes::Bytes>| async move {
                let text = format!("{} bytes at {}\n", request.body().len(), sim_clock::now().as_nanos());
                ::http::Response::new(http::full(text))
            }),
        );
        if let Some(rule) = rule {
            network.inject(rule);
        }
        let address = publish(&network, free(), &format!("{}:80", host.ip())).await.unwrap();
        life.up(address).until_stopped().await;
    })
    .unwrap()
}

fn ask(address: SocketAddr, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn requests_of_any_size_are_answered_at_every_speed() {
    for speed in ["1x", "60x", "max"] {
        let world = web(speed, None);
        for length in [0, 1, 300 << 10, 3 << 20] {
            let answer = ask(*world.told(), &vec![b'x'; length]);
            assert!(answer.contains(&format!("{length} bytes at ")), "{speed}: {answer}");
        }
        world.stop().unwrap();
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "it is about real time")]
fn an_answer_takes_less_than_two_milliseconds() {
    let world = web("1x", None);
    let mut took: Vec<_> = (0..50)
        .map(|_| {
            let start = std::time::Instant::now();
            ask(*world.told(), b"x");
            start.elapsed()
        })
        .collect();
    took.sort();
    println!("connect, ask and answer: median {:?}, slowest {:?}", took[25], took[49]);
    // The median: single ones wait for whatever else the machine does.
    assert!(took[25] < Duration::from_millis(2), "{took:?}");
}

#[test]
fn a_stopped_world_gives_its_port_back() {
    let world = web("1x", None);
    let address = *world.told();
    assert!(world.is_running());
    world.stop().unwrap();
    assert!(TcpStream::connect(address).is_err());
    TcpListener::bind(address).unwrap();
}

#[test]
fn what_refuses_inside_is_closed_outside() {
    let rule = Rule { from: Match::Any, to: Match::Any, port: None, effect: Effect::Refuse };
    let world = web("1x", Some(rule));
    let mut stream = TcpStream::connect(world.told()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_taken_port_a_foreign_address_and_a_closed_world_are_one_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let asked = move |listen: SocketAddr, options: WorldOptions| {
        let refused = sim_clock::run(options, move || async move {
            publish(&Network::new(), listen, "web:80").await.unwrap_err().to_string()
        });
        refused.unwrap()
    };
    let error = asked(address, paced("1x"));
    assert_eq!(error, format!("cannot listen on {address}: Address already in use (os error 98)"));
    let error = asked("0.0.0.0:0".parse().unwrap(), paced("1x"));
    assert!(error.contains("0.0.0.0:0 is no loopback address"), "{error}");
    let error = asked(free(), WorldOptions::seeded(1));
    assert!(error.contains("WorldOptions::paced"), "{error}");
}

#[test]
fn the_world_calls_a_server_of_the_machine() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap();
    let world = start(paced("1x"), move |life| async move {
        let network = Network::new();
        reach(&network, "hook.outside", 443, target).unwrap();
        let client = http::Client::new(network.host("apiserver"));
        let life = life.up(());
        let answer = client.get("http://hook.outside:443/").await.unwrap();
        assert_eq!(&answer.into_body()[..], b"real");
        life.until_stopped().await;
    })
    .unwrap();
    let (mut stream, _) = server.accept().unwrap();
    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nreal").unwrap();
    world.stop().unwrap();
}

#[test]
fn a_world_that_fails_before_it_is_up_says_why() {
    let failed = start::<(), _, _>(paced("1x"), |_| async { panic!("no moon today") });
    assert_eq!(failed.unwrap_err().to_string(), "the world panicked: no moon today");
    let early = start::<(), _, _>(WorldOptions::seeded(1).paced(Speed::Max), |_| async {});
    assert!(matches!(early, Err(Error::EndedEarly)));
}
