//! Peers as they are shown: what the book, the table and the node know of each, in one.

use std::sync::Arc;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use llm_router::deps::{PeerModel, PeerStatus};
use tokio::time::Instant;

use super::shared::Shared;
use crate::picker::{Considered, Need};
use crate::table::{PeerView, State, Trust};

/// How many peers of a model are compared for what is shown of one.
const COMPARED: usize = 256;

/// A peer as it is shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// Who it is.
    pub peer: PeerId,
    /// What it is called here.
    pub name: Option<String>,
    /// How far it is trusted.
    pub trust: Trust,
    /// Whether a connection is open.
    pub connected: bool,
    /// Whether a relay stands between.
    pub relayed: bool,
    /// Over what it is connected: `tcp`, `quic-v1`, `memory`.
    pub transport: Option<&'static str>,
    /// The other ends of its connections, or where it can be dialled.
    pub addresses: Vec<Multiaddr>,
    /// There and back, as measured.
    pub round_trip: Option<Duration>,
    /// Its program and version, as it says.
    pub agent: Option<String>,
    /// What is known of its models; none where it never said anything.
    pub view: Option<PeerView>,
    /// For each of its models, why it would be chosen or not, in words.
    pub why: Vec<(String, String)>,
}

/// Those of the book, of the table, and those that are connected.
pub(crate) async fn list(shared: &Arc<Shared>) -> Vec<Seen> {
    let linked = shared.node.linked().await.unwrap_or_default();
    let known = shared.book.all();
    let now = Instant::now();
    let table = shared.table();
    let views: Vec<PeerView> = table.views(now).collect();
    let ids = known.iter().map(|known| known.peer);
    let ids = ids.chain(linked.iter().map(|linked| linked.peer)).chain(views.iter().map(|view| view.id));
    let mut ids: Vec<PeerId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let strangers = shared.asks_strangers();
    let one = |peer: PeerId| {
        let known = known.iter().find(|known| known.peer == peer);
        let linked = linked.iter().find(|linked| linked.peer == peer);
        let view = views.iter().find(|view| view.id == peer).cloned();
        let models = view.iter().flat_map(|view| &view.models);
        let why = models.map(|model| {
            let mut need = Need::new(&model.model, 0, 0);
            need.strangers = strangers;
            let all = table.consider(&need, COMPARED, now);
            let state = all.iter().position(|one| one.peer == peer).map(|place| says(&all, place));
            (model.model.clone(), state.unwrap_or_else(|| "there are many cheaper ones".to_owned()))
        });
        let why = why.collect();
        let addresses = match (linked, known) {
            (Some(linked), _) => linked.addresses.clone(),
            (None, Some(known)) => known.addresses.clone(),
            (None, None) => view.as_ref().map(|view| view.addresses.clone()).unwrap_or_default(),
        };
        Seen {
            peer,
            name: known.and_then(|known| known.name.clone()),
            trust: known.map_or(Trust::Stranger, super::shared::trust),
            connected: linked.is_some(),
            relayed: linked.is_some_and(|linked| linked.relayed),
            transport: linked.and_then(|_| addresses.first()).and_then(transport),
            addresses,
            round_trip: linked.and_then(|linked| linked.round_trip),
            agent: linked.and_then(|linked| linked.agent.clone()),
            view,
            why,
        }
    };
    ids.into_iter().map(one).collect()
}

/// Why the one at this place would be chosen, or not.
fn says(all: &[Considered], place: usize) -> String {
    let Some(one) = all.get(place) else { return String::new() };
    match (&one.out, place) {
        (Some(why), _) => format!("not asked: {}", why.says()),
        (None, 0) => format!("the cheapest: {:.2} s", one.cost.as_secs_f64()),
        (None, place) => format!("number {}: {:.2} s", place + 1, one.cost.as_secs_f64()),
    }
}

/// Over what an address leads.
fn transport(address: &Multiaddr) -> Option<&'static str> {
    let mut found = None;
    for part in address {
        found = match part {
            Protocol::Tcp(_) => Some("tcp"),
            Protocol::QuicV1 => Some("quic-v1"),
            Protocol::Memory(_) => Some("memory"),
            Protocol::Ws(_) | Protocol::Wss(_) => Some("ws"),
            _ => found,
        };
    }
    found
}

impl Seen {
    /// The word for its state: `ready`, `held`, `half_open`, `over`; `met` where it serves nothing, `absent` where it is not there.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (&self.view, self.connected) {
            (Some(view), _) if !self.connected && view.state == State::Ready => "absent",
            (Some(view), _) => view.state.name(),
            (None, true) => "met",
            (None, false) => "absent",
        }
    }
}

impl From<Seen> for PeerStatus {
    fn from(seen: Seen) -> Self {
        let mut status = Self::default();
        status.state = seen.state().to_owned();
        status.id = seen.peer.to_string();
        status.trust = match seen.trust {
            Trust::Stranger => "stranger",
            Trust::Trusted => "trusted",
            Trust::WithTools => "tools",
        }
        .to_owned();
        status.path = match (seen.connected, seen.relayed) {
            (false, _) => "none",
            (true, false) => "direct",
            (true, true) => "relayed",
        }
        .to_owned();
        status.transport = seen.transport.map(str::to_owned);
        status.addresses = seen.addresses.iter().map(ToString::to_string).collect();
        status.round_trip = seen.round_trip.map(|took| took.as_secs_f64());
        (status.name, status.agent) = (seen.name, seen.agent);
        let models = seen.view.into_iter().flat_map(|view| view.models);
        let models = models.map(|model| {
            let mut shown = PeerModel::default();
            shown.why =
                seen.why.iter().find(|(name, _)| *name == model.model).map(|(_, why)| why.clone()).unwrap_or_default();
            shown.state = model.state.name().to_owned();
            shown.first_token = model.first_token.as_secs_f64();
            (shown.samples, shown.context) = (model.samples.into(), model.context.into());
            shown.model = model.model;
            shown
        });
        status.models = models.collect();
        status
    }
}
