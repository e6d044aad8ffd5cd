//! Addresses, names and services; listening and connecting.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddrV4},
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use sim_clock::watch;
use tokio::sync::mpsc;

use crate::{
    fault::{Effect, FaultId, Rule},
    stream::{self, Condition, Pipe, Stream},
};

/// Connections that may wait to be accepted on one port; further ones are refused, as by a full backlog.
const BACKLOG_CONNECTIONS_MAX: usize = 4_096;
const POD_LATENCY_MS: RangeInclusive<u64> = 1..=1;
const FIRST_CLIENT_PORT: u16 = 32_768;
/// Of a range that is kept for documentation: nothing else in a world has it.
const OUTSIDE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The network of one world. Cloning gives another handle to the same network.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<Ipv4Addr, HostState>,
    names: BTreeMap<String, NameTarget>,
    turns: BTreeMap<(String, u16), usize>,
    rules: BTreeMap<FaultId, Rule>,
    connections: Vec<Connection>,
    next_fault: u64,
    next_address: u32,
    next_listener: u64,
    next_connection: u64,
}

struct HostState {
    name: Arc<str>,
    latency_ms: RangeInclusive<u64>,
    listeners: BTreeMap<u16, ListenerState>,
    next_client_port: u16,
}

struct ListenerState {
    id: u64,
    accept: mpsc::Sender<(Stream, SocketAddrV4)>,
    /// Counts changes of what the listener answers; zero as long as nobody has promised to announce them.
    answers: Arc<AtomicU64>,
}

struct Connection {
    from: Arc<str>,
    to: Arc<str>,
    from_ip: Ipv4Addr,
    to_ip: Ipv4Addr,
    port: u16,
    pipes: [Weak<Pipe>; 2],
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameTarget {
    /// Addresses of hosts (a headless service, a pod's name): the first one that exists is connected to.
    Addresses(Vec<Ipv4Addr>),
    /// A virtual address whose ports lead to endpoints in turn.
    Service {
        /// The cluster IP.
        ip: Ipv4Addr,
        /// Its ports; connecting to any other is refused.
        ports: Vec<ServicePort>,
    },
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The service's own port.
    pub port: u16,
    /// The ready endpoints behind it; connecting is refused where there are none.
    pub endpoints: Vec<(Ipv4Addr, u16)>,
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl Network {
    /// A network without hosts, names or faults.
    pub fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), revision: watch::Sender::new(1) }))
    }

    /// A host with the next free address of `10.244.0.0/16` and the latency of a pod (1 ms).
    pub fn host(&self, name: &str) -> Host {
        let ip = {
            let mut state = self.lock();
            loop {
                state.next_address += 1;
                // Not x.y.z.0 and not x.y.z.255.
                let (third, fourth) = (state.next_address / 254, state.next_address % 254 + 1);
                let ip = Ipv4Addr::new(10, 244, third as u8, fourth as u8);
                if !state.hosts.contains_key(&ip) {
                    break ip;
                }
            }
        };
        self.host_with(name, ip, POD_LATENCY_MS)
    }

    /// The host that clients outside of the world come from: no simulated link lies between it and others, so its
    /// connections have no latency besides what rules give them. It has no name in DNS and is made when first asked for.
    pub fn outside(&self) -> Host {
        let exists = self.lock().hosts.get(&OUTSIDE_ADDRESS).map(|host| host.name.clone());
        match exists {
            Some(name) => Host { network: self.clone(), name, ip: OUTSIDE_ADDRESS },
            None => self.host_with("outside", OUTSIDE_ADDRESS, 0..=0),
        }
    }

    /// A host with this address; a connection to it takes `latency_ms` (whole milliseconds, drawn for each write).
    pub fn host_with(&self, name: &str, ip: Ipv4Addr, latency_ms: RangeInclusive<u64>) -> Host {
        let name: Arc<str> = Arc::from(name);
        self.lock().hosts.insert(
            ip,
            HostState {
                name: name.clone(),
                latency_ms,
                listeners: BTreeMap::new(),
                next_client_port: FIRST_CLIENT_PORT,
            },
        );
        self.changed();
        Host { network: self.clone(), name, ip }
    }

    /// Takes a host away: its listeners are gone and its connections are reset.
    pub fn remove_host(&self, ip: Ipv4Addr) {
        let mut state = self.lock();
        state.hosts.remove(&ip);
        state.connections.retain(|connection| {
            let gone = connection.from_ip == ip || connection.to_ip == ip;
            if gone {
                connection.break_off();
            }
            !gone
        });
        drop(state);
        self.changed();
    }

    /// Lets `name` (without a final dot) stand for `target` from now on.
    pub fn set_name(&self, name: &str, target: NameTarget) {
        let mut state = self.lock();
        if state.names.get(name) == Some(&target) {
            return;
        }
        state.names.insert(name.to_owned(), target);
        drop(state);
        self.changed();
    }

    /// Forgets a name.
    pub fn remove_name(&self, name: &str) {
        if self.lock().names.remove(name).is_some() {
            self.changed();
        }
    }

    /// Lets `rule` hold until [`Network::heal`]. Established connections feel it at once.
    pub fn inject(&self, rule: Rule) -> FaultId {
        let mut state = self.lock();
        state.next_fault += 1;
        let id = FaultId(state.next_fault);
        state.rules.insert(id, rule);
        state.reapply();
        drop(state);
        self.changed();
        id
    }

    /// Ends a fault. Held bytes go on their way; what was reset stays reset.
    pub fn heal(&self, id: FaultId) {
        let mut state = self.lock();
        if state.rules.remove(&id).is_some() {
            state.reapply();
            drop(state);
            self.changed();
        }
    }

    /// Grows whenever anything about reachability changes: hosts, listeners, names, faults.
    pub fn revision(&self) -> u64 {
        *self.0.revision.borrow()
    }

    /// Says that something which a probe depends on has changed although nothing of the network has.
    pub fn announce_change(&self) {
        self.changed();
    }

    /// Tells of each change of [`Network::revision`].
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    /// A number for what a probe from one host to another host's port would find. While it stays the same, the answer
    /// to a repeated probe may be assumed without asking; `None`: it must be asked each time, because nobody has
    /// promised to announce changes (see [`Listener::changer`]) or because chance decides.
    pub fn probe_fingerprint(&self, from: Ipv4Addr, to: Ipv4Addr, port: u16) -> Option<u64> {
        let state = self.lock();
        let Some(target) = state.hosts.get(&to) else { return Some(0) };
        let source = state.hosts.get(&from).map_or("", |host| &host.name);
        let verdict = match state.first_effect(source, &target.name, port) {
            None => 1,
            Some(Effect::Refuse) => 2,
            Some(Effect::BlackHole) => 3,
            Some(Effect::Reset) => 4,
            Some(Effect::Delay { .. }) => return None,
        };
        let (listener, answers) = match target.listeners.get(&port) {
            None => (0, 0),
            Some(listener) => match listener.answers.load(Ordering::Relaxed) {
                0 if verdict == 1 => return None,
                answers => (listener.id, answers),
            },
        };
        // Distinct for distinct triples as long as none of them passes 2^20.
        Some(verdict << 40 | listener << 20 | answers)
    }

    /// How many connections are open at present.
    pub fn open_connections(&self) -> usize {
        let mut state = self.lock();
        state.forget_closed();
        state.connections.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no code panics while it holds the network")
    }

    fn changed(&self) {
        self.0.revision.send_modify(|revision| *revision += 1);
    }
}

impl State {
    fn first_effect(&self, from: &str, to: &str, port: u16) -> Option<&Effect> {
        self.rules.values().find(|rule| rule.matches(from, to, port)).map(|rule| &rule.effect)
    }

    fn condition(&self, from: &str, to: &str, port: u16) -> Condition {
        match self.first_effect(from, to, port) {
            Some(Effect::BlackHole) => Condition { held: true, extra: None },
            Some(Effect::Delay { min, max }) => Condition { held: false, extra: Some((*min, *max)) },
            _ => Condition::default(),
        }
    }

    fn reapply(&mut self) {
        self.forget_closed();
        let connections = std::mem::take(&mut self.connections);
        self.connections = connections
            .into_iter()
            .filter(|connection| {
                let (from, to, port) = (&connection.from, &connection.to, connection.port);
                if matches!(self.first_effect(from, to, port), Some(Effect::Refuse | Effect::Reset)) {
                    connection.break_off();
                    return false;
                }
                let condition = self.condition(from, to, port);
                for pipe in connection.pipes.iter().filter_map(Weak::upgrade) {
                    pipe.set_condition(condition);
                }
                true
            })
            .collect();
    }

    fn forget_closed(&mut self) {
        self.connections.retain(|connection| connection.pipes.iter().any(|pipe| pipe.strong_count() > 0));
    }

    /// Where a connection to `name:port` goes.
    fn resolve(&mut self, name: &str, port: u16) -> io::Result<(Ipv4Addr, u16)> {
        if let Ok(ip) = name.parse() {
            return Ok(self.behind_service(ip, port).unwrap_or((ip, port)));
        }
        let target = self
            .names
            .get(name)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("lookup {name}: no such host")))?;
        match target {
            NameTarget::Addresses(addresses) => addresses
                .iter()
                .find(|address| self.hosts.contains_key(address))
                .or(addresses.first())
                .map(|address| (*address, port))
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("lookup {name}: no such host"))),
            NameTarget::Service { ip, .. } => {
                let ip = *ip;
                self.behind_service(ip, port).ok_or_else(|| refused(name, port))
            }
        }
    }

    fn behind_service(&mut self, ip: Ipv4Addr, port: u16) -> Option<(Ipv4Addr, u16)> {
        let endpoints = self.names.values().find_map(|target| match target {
            NameTarget::Service { ip: service, ports } if *service == ip => {
                ports.iter().find(|service| service.port == port).map(|service| &service.endpoints)
            }
            _ => None,
        })?;
        let turn = self.turns.entry((ip.to_string(), port)).or_default();
        let endpoint = *endpoints.get(*turn % endpoints.len().max(1))?;
        *turn = (*turn + 1) % endpoints.len();
        Some(endpoint)
    }
}

impl Connection {
    fn break_off(&self) {
        for pipe in self.pipes.iter().filter_map(Weak::upgrade) {
            pipe.break_off();
        }
    }
}

fn refused(host: &str, port: u16) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, format!("dial tcp {host}:{port}: connect: connection refused"))
}

/// Something with an address: a pod, a node, the API server.
#[derive(Clone)]
pub struct Host {
    network: Network,
    name: Arc<str>,
    ip: Ipv4Addr,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.ip)
    }
}

impl Host {
    /// Its address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Its name, by which fault rules match.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The network it is on.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Listens on `port`; fails where something listens already or the host is gone.
    pub fn listen(&self, port: u16) -> io::Result<Listener> {
        let mut state = self.network.lock();
        state.next_listener += 1;
        let id = state.next_listener;
        let host = state
            .hosts
            .get_mut(&self.ip)
            .ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{} is gone", self.name)))?;
        if host.listeners.contains_key(&port) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("listen tcp {}:{port}: bind: address already in use", self.ip),
            ));
        }
        let (accept, incoming) = mpsc::channel(BACKLOG_CONNECTIONS_MAX);
        let answers = Arc::new(AtomicU64::new(0));
        host.listeners.insert(port, ListenerState { id, accept, answers: answers.clone() });
        drop(state);
        self.network.changed();
        Ok(Listener {
            network: self.network.clone(),
            ip: self.ip,
            port,
            id,
            incoming,
            changer: Changer { answers, network: self.network.clone() },
        })
    }

    /// Connects to `name:port` or `address:port`. Names resolve as cluster DNS does, with `.cluster.local` optional.
    ///
    /// # Errors
    /// `NotFound` for an unknown name, `ConnectionRefused` where nobody listens or a fault refuses,
    /// `ConnectionReset` where a fault resets; a black-holed link lets it hang until healed.
    pub async fn connect(&self, target: &str) -> io::Result<Stream> {
        let (name, port) = target
            .rsplit_once(':')
            .and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("\"{target}\" is not name:port")))?;
        let name = name.trim_end_matches('.').trim_end_matches(".cluster.local");
        let mut changes = self.network.watch();
        loop {
            changes.borrow_and_update();
            if let Some(connected) = self.try_connect(name, port)? {
                return Ok(connected);
            }
            // Black-holed: the SYN is sent again for as long as the caller cares to wait.
            if changes.changed().await.is_err() {
                return Err(refused(name, port));
            }
        }
    }

    fn try_connect(&self, name: &str, port: u16) -> io::Result<Option<Stream>> {
        let mut state = self.network.lock();
        let (ip, port_there) = state.resolve(name, port)?;
        let unreachable = || {
            io::Error::new(
                io::ErrorKind::HostUnreachable,
                format!("dial tcp {ip}:{port_there}: connect: no route to host"),
            )
        };
        let to = state.hosts.get(&ip).ok_or_else(unreachable)?.name.clone();
        match state.first_effect(&self.name, &to, port_there) {
            Some(Effect::Refuse) => return Err(refused(name, port)),
            Some(Effect::Reset) => {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer"));
            }
            Some(Effect::BlackHole) => return Ok(None),
            Some(Effect::Delay { .. }) | None => {}
        }
        let condition = state.condition(&self.name, &to, port_there);
        state.next_connection += 1;
        let number = state.next_connection;
        let from_port = match state.hosts.get_mut(&self.ip) {
            Some(here) => {
                let port = here.next_client_port;
                here.next_client_port = port.checked_add(1).unwrap_or(FIRST_CLIENT_PORT);
                port
            }
            None => return Err(io::Error::new(io::ErrorKind::NetworkUnreachable, format!("{} is gone", self.name))),
        };
        let client = SocketAddrV4::new(self.ip, from_port);
        let target = state.hosts.get(&ip).ok_or_else(unreachable)?;
        let latency = match self.ip {
            OUTSIDE_ADDRESS => (0, 0),
            _ => (*target.latency_ms.start(), *target.latency_ms.end()),
        };
        let listener = target.listeners.get(&port_there).ok_or_else(|| refused(name, port))?;
        let chance = sim_clock::seeded(&format!("link {}->{to}:{port_there} #{number}", self.name));
        let server = SocketAddrV4::new(ip, port_there);
        let (near, far, pipes) = stream::pair(client, server, latency, chance, condition);
        listener.accept.try_send((far, client)).map_err(|_| refused(name, port))?;
        if state.connections.len() >= 64 && state.connections.len().is_power_of_two() {
            state.forget_closed();
        }
        state.connections.push(Connection {
            from: self.name.clone(),
            to,
            from_ip: self.ip,
            to_ip: ip,
            port: port_there,
            pipes: pipes.each_ref().map(Arc::downgrade),
        });
        Ok(Some(near))
    }
}

/// Takes the connections that come in on one port of a host; dropping it closes the port.
pub struct Listener {
    network: Network,
    ip: Ipv4Addr,
    port: u16,
    id: u64,
    incoming: mpsc::Receiver<(Stream, SocketAddrV4)>,
    changer: Changer,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({}:{})", self.ip, self.port)
    }
}

impl Listener {
    /// The next connection and who made it.
    pub async fn accept(&mut self) -> io::Result<(Stream, SocketAddrV4)> {
        self.incoming
            .recv()
            .await
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, format!("{}:{} is gone", self.ip, self.port)))
    }

    /// The address and port it listens on.
    pub fn local_addr(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.ip, self.port)
    }

    /// Says that a probe may be answered otherwise from now on; see [`Listener::changer`].
    pub fn answers_changed(&self) {
        self.changer.changed();
    }

    /// A handle to announce changes of the answers with. Whoever takes one promises to announce each, and allows the
    /// kubelet in return to assume an unchanged answer to a repeated probe.
    pub fn changer(&self) -> Changer {
        self.changer.answers.fetch_max(1, Ordering::Relaxed);
        self.changer.clone()
    }

    /// The connections as a stream.
    pub fn incoming(mut self) -> impl futures::Stream<Item = io::Result<Stream>> + Send {
        futures::stream::poll_fn(move |context| {
            // `self` moves in whole, so that the port stays open as long as the stream.
            let listener = &mut self;
            listener.incoming.poll_recv(context).map(|next| next.map(|(stream, _)| Ok(stream)))
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        if let Some(host) = state.hosts.get_mut(&self.ip)
            && host.listeners.get(&self.port).is_some_and(|listener| listener.id == self.id)
        {
            host.listeners.remove(&self.port);
            drop(state);
            self.network.changed();
        }
    }
}

/// Announces changes of what a [`Listener`] answers.
#[derive(Clone)]
pub struct Changer {
    answers: Arc<AtomicU64>,
    network: Network,
}

impl fmt::Debug for Changer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Changer({})", self.answers.load(Ordering::Relaxed))
    }
}

impl Changer {
    /// The answers may differ from now on.
    pub fn changed(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.network.changed();
    }
}
