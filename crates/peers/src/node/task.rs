//! The task that owns the swarm: it does what it is told, and tells what happens.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::futures::StreamExt;
use libp2p::kad::{self, QueryId, RecordKey};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, mdns, ping};
use llm_router::{Error, Result};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::behaviour::{Behaviour, BehaviourEvent, KAD};
use super::handle::Command;
use super::{Event, Linked, NodeConfig};

/// Those who wait for one peer's connection at most: more are refused at once.
const MOST_WAITING: usize = 256;

/// Questions to the DHT at once: more are answered with nobody.
const MOST_QUERIES: usize = 32;

/// Addresses of one peer that are remembered of what it says itself.
const MOST_ADDRESSES: usize = 16;

/// Failures in a row after which a connection is closed: the library only says that they happened, and a cut cable would hold a TCP connection for a quarter of an hour.
const LOST: u32 = 2;

/// How long a relayed connection stays beside a direct one: answers that run on it come to their end.
const RELAY_STAYS: Duration = Duration::from_secs(120);

/// How often it is looked for such ones.
const LOOK: Duration = Duration::from_secs(5);

struct Connection {
    peer: PeerId,
    address: Multiaddr,
    relayed: bool,
    lost: u32,
    /// When it is closed, where a better one is there.
    until: Option<Instant>,
}

/// A node's task.
pub(super) struct Task {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    events: broadcast::Sender<Event>,
    connections: HashMap<ConnectionId, Connection>,
    round_trips: HashMap<PeerId, Duration>,
    agents: HashMap<PeerId, String>,
    waiting: HashMap<PeerId, Vec<oneshot::Sender<Result<()>>>>,
    queries: HashMap<QueryId, (HashSet<PeerId>, oneshot::Sender<Vec<PeerId>>)>,
    /// Listeners that have no address yet.
    binding: HashSet<ListenerId>,
    /// Those who want to know the addresses.
    asking: Vec<oneshot::Sender<Vec<Multiaddr>>>,
}

impl Task {
    /// Listens and begins with the peers of the configuration.
    pub(super) fn new(
        mut swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<Command>,
        events: broadcast::Sender<Event>,
        config: &NodeConfig,
    ) -> Result<Self> {
        let mut binding = HashSet::new();
        for address in &config.listen {
            let listener = swarm.listen_on(address.clone()).map_err(|error| {
                Error::invalid(format!("{address}: it cannot be listened on: {error}"))
                    .with_hint("/ip4/0.0.0.0/tcp/0 listens on any free port")
            })?;
            binding.insert(listener);
        }
        config.announce.iter().for_each(|address| swarm.add_external_address(address.clone()));
        for address in &config.bootstrap {
            if let Some(Protocol::P2p(peer)) = address.iter().last() {
                if let Some(dht) = swarm.behaviour_mut().kad.as_mut() {
                    dht.add_address(&peer, address.clone());
                }
                // What comes of it is an event.
                let _ = swarm.dial(address.clone());
            }
        }
        Ok(Self {
            swarm,
            commands,
            events,
            connections: HashMap::new(),
            round_trips: HashMap::new(),
            agents: HashMap::new(),
            waiting: HashMap::new(),
            queries: HashMap::new(),
            binding,
            asking: Vec::new(),
        })
    }

    /// Works until nobody commands it any more.
    pub(super) async fn run(mut self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.see(event),
                _ = look.tick() => self.close_relayed(),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Connect(peer, addresses, done) => self.connect(peer, addresses, done),
            Command::Disconnect(peer) => drop(self.swarm.disconnect_peer_id(peer)),
            Command::Allow(peer) => {
                if let Some(allowed) = self.swarm.behaviour_mut().allowed.as_mut() {
                    allowed.allow_peer(peer);
                }
            }
            Command::Block(peer) => drop(self.swarm.behaviour_mut().blocked.block_peer(peer)),
            Command::Unblock(peer) => drop(self.swarm.behaviour_mut().blocked.unblock_peer(peer)),
            Command::Listening(reply) => {
                self.asking.push(reply);
                self.tell_addresses();
            }
            Command::Linked(reply) => drop(reply.send(self.linked())),
            Command::Provide(key) => {
                if let Some(dht) = self.swarm.behaviour_mut().kad.as_mut() {
                    let _ = dht.start_providing(RecordKey::new(&key));
                }
            }
            Command::Withdraw(key) => {
                if let Some(dht) = self.swarm.behaviour_mut().kad.as_mut() {
                    dht.stop_providing(&RecordKey::new(&key));
                }
            }
            Command::Providers(key, reply) => {
                let room = self.queries.len() < MOST_QUERIES;
                if let Some(dht) = self.swarm.behaviour_mut().kad.as_mut().filter(|_| room) {
                    self.queries.insert(dht.get_providers(RecordKey::new(&key)), (HashSet::new(), reply));
                } else {
                    drop(reply.send(Vec::new()));
                }
            }
        }
    }

    /// The library's streams would dial by themselves, and forget about it where two do so at once: who wants a stream waits here for the connection first.
    fn connect(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, done: oneshot::Sender<Result<()>>) {
        if self.swarm.is_connected(&peer) {
            drop(done.send(Ok(())));
            return;
        }
        let waiting = self.waiting.entry(peer).or_default();
        // Those who went away make room.
        waiting.retain(|other| !other.is_closed());
        if waiting.len() >= MOST_WAITING {
            let full = Error::connection(format!("{MOST_WAITING} requests wait for the peer {peer} already"));
            drop(done.send(Err(full.unsent())));
            return;
        }
        waiting.push(done);
        let dial = DialOpts::peer_id(peer)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        match self.swarm.dial(dial) {
            // Under way already: its end is the end of waiting.
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.unreachable(peer, &error),
        }
    }

    fn unreachable(&mut self, peer: PeerId, error: &DialError) {
        let why = match error {
            DialError::NoAddresses => "none of its addresses is known".to_owned(),
            DialError::WrongPeerId { .. } => "somebody else answers at its address".to_owned(),
            DialError::Denied { .. } => "connections with it are refused here".to_owned(),
            DialError::Transport(tried) => format!("none of its {} addresses answers", tried.len()),
            other => other.to_string(),
        };
        let error = Error::connection(format!("no connection with the peer {peer}: {why}")).unsent();
        for waiting in self.waiting.remove(&peer).into_iter().flatten() {
            drop(waiting.send(Err(error.clone())));
        }
        self.say(Event::Unreachable(peer));
    }

    fn see(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.heard(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.connections.remove(&connection_id);
                if num_established == 0 {
                    self.round_trips.remove(&peer_id);
                    self.agents.remove(&peer_id);
                    self.say(Event::Gone(peer_id));
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. }
                if !self.swarm.is_connected(&peer) =>
            {
                self.unreachable(peer, &error);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.bound(listener_id);
                self.say(Event::Listening(address));
            }
            SwarmEvent::ListenerClosed { listener_id, .. } | SwarmEvent::ListenerError { listener_id, .. } => {
                self.bound(listener_id);
            }
            _ => {}
        }
    }

    fn connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let address = endpoint.get_remote_address().clone();
        let relayed = endpoint.is_relayed();
        if !relayed {
            let until = Instant::now() + RELAY_STAYS;
            let worse = self.connections.values_mut().filter(|other| other.peer == peer && other.relayed);
            worse.for_each(|other| other.until = Some(until));
        }
        self.connections.insert(id, Connection { peer, address: address.clone(), relayed, lost: 0, until: None });
        for waiting in self.waiting.remove(&peer).into_iter().flatten() {
            drop(waiting.send(Ok(())));
        }
        self.say(Event::Connected { peer, address, relayed });
    }

    fn heard(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Ping(ping::Event { peer, connection, result }) => {
                self.pinged(peer, connection, result.ok())
            }
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => self.known(peer_id, info),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.swarm.add_peer_address(peer, address.clone());
                    self.say(Event::Found(peer, address));
                }
            }
            BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                id,
                result: kad::QueryResult::GetProviders(found),
                step,
                ..
            }) => {
                if let (Some((all, _)), Ok(kad::GetProvidersOk::FoundProviders { providers, .. })) =
                    (self.queries.get_mut(&id), found)
                {
                    all.extend(providers);
                }
                if step.last
                    && let Some((all, reply)) = self.queries.remove(&id)
                {
                    drop(reply.send(all.into_iter().collect()));
                }
            }
            _ => {}
        }
    }

    fn pinged(&mut self, peer: PeerId, id: ConnectionId, took: Option<Duration>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(took) = took else {
            connection.lost += 1;
            if connection.lost >= LOST {
                self.swarm.close_connection(id);
            }
            return;
        };
        connection.lost = 0;
        self.round_trips.insert(peer, took);
        self.say(Event::RoundTrip(peer, took));
    }

    fn known(&mut self, peer: PeerId, info: identify::Info) {
        if info.protocols.contains(&KAD)
            && let Some(dht) = self.swarm.behaviour_mut().kad.as_mut()
        {
            for address in info.listen_addrs.into_iter().take(MOST_ADDRESSES) {
                dht.add_address(&peer, address);
            }
        }
        let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(128).collect::<String>();
        let agent = short(&info.agent_version);
        self.agents.insert(peer, agent.clone());
        let protocols = info.protocols.iter().take(64).map(|name| short(name.as_ref())).collect();
        self.say(Event::Known { peer, agent, protocols });
    }

    fn bound(&mut self, listener: ListenerId) {
        self.binding.remove(&listener);
        self.tell_addresses();
    }

    fn tell_addresses(&mut self) {
        if self.binding.is_empty() {
            let all: Vec<Multiaddr> = self.swarm.listeners().chain(self.swarm.external_addresses()).cloned().collect();
            self.asking.drain(..).for_each(|reply| drop(reply.send(all.clone())));
        } else {
            self.asking.retain(|reply| !reply.is_closed());
        }
    }

    fn linked(&self) -> Vec<Linked> {
        let mut all: HashMap<PeerId, Linked> = HashMap::new();
        for connection in self.connections.values() {
            let linked = all.entry(connection.peer).or_insert_with(|| Linked {
                peer: connection.peer,
                addresses: Vec::new(),
                relayed: true,
                round_trip: self.round_trips.get(&connection.peer).copied(),
                agent: self.agents.get(&connection.peer).cloned(),
            });
            linked.addresses.push(connection.address.clone());
            linked.relayed &= connection.relayed;
        }
        all.into_values().collect()
    }

    fn close_relayed(&mut self) {
        let now = Instant::now();
        let over = self.connections.iter().filter(|(_, connection)| connection.until.is_some_and(|until| until <= now));
        let over: Vec<ConnectionId> = over.map(|(id, _)| *id).collect();
        for id in over {
            self.swarm.close_connection(id);
        }
    }

    /// Nobody need listen.
    fn say(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
