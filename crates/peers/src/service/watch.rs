//! What happens in the network, as entries of the table: connections come and go, peers are found, met again, and dialled anew.

use std::sync::Arc;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::shared::{Shared, trust};
use crate::book::Known;
use crate::node::Event;
use crate::table::{Path, Trust};

/// How often it is looked who is over, and who is to be dialled.
const LOOK: Duration = Duration::from_secs(5);
/// How old a record may be before its peer is asked again.
const OLD: Duration = Duration::from_secs(60);
/// How often a peer of the book that is not there is dialled.
const AGAIN: u64 = 6;
/// The most that are dialled at one look.
const MOST_DIALS: usize = 32;

/// Watches until the service ends.
pub(super) async fn run(shared: Arc<Shared>, mut events: broadcast::Receiver<Event>) {
    let mut book = shared.book.changed();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u64;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => see(&shared, event),
                // What was missed shows at the next look.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            changed = book.changed() => match changed {
                Ok(()) => read(&shared),
                Err(_) => return,
            },
            _ = look.tick() => {
                around(&shared, looks.is_multiple_of(AGAIN)).await;
                looks = looks.wrapping_add(1);
            }
        }
    }
}

fn see(shared: &Arc<Shared>, event: Event) {
    match event {
        Event::Connected { peer, relayed, .. } => {
            shared.table().connected(&peer, if relayed { Path::Relayed } else { Path::Direct });
            if shared.asks_strangers() || shared.book.find(&peer).is_some() {
                meet(shared, peer, Vec::new());
            }
        }
        Event::Gone(peer) => shared.table().disconnected(&peer),
        Event::Unreachable(peer) => shared.table().unreachable(&peer, Instant::now()),
        Event::RoundTrip(peer, took) => shared.table().saw_rtt(&peer, took),
        Event::Found(peer, address) => {
            if shared.asks_strangers() || shared.book.find(&peer).is_some() {
                meet(shared, peer, vec![address]);
            }
        }
        Event::Listening(_) | Event::Known { .. } => {}
    }
}

/// Does as the book says now.
fn read(shared: &Arc<Shared>) {
    let known = shared.book.all();
    let strangers: Vec<PeerId> = {
        let mut table = shared.table();
        known.iter().for_each(|known| table.trust(known.peer, trust(known)));
        let trusted = table.views(Instant::now()).filter(|view| view.trust != Trust::Stranger);
        let forgotten: Vec<PeerId> =
            trusted.map(|view| view.id).filter(|peer| !known.iter().any(|known| known.peer == *peer)).collect();
        for peer in &forgotten {
            table.trust(*peer, Trust::Stranger);
            table.forget(peer);
        }
        forgotten
    };
    for peer in strangers {
        let shared = Arc::clone(shared);
        let node = shared.node.clone();
        shared.spawn(async move {
            let _ = node.disconnect(peer).await;
        });
    }
    known.into_iter().for_each(|known| greet(shared, known));
}

/// Meets a peer of the book of which nothing is known yet.
fn greet(shared: &Arc<Shared>, known: Known) {
    let met = shared.table().view(&known.peer, Instant::now()).is_some();
    if !met {
        meet(shared, known.peer, known.addresses);
    }
}

/// Looks who is over, whom to ask again, and whom to dial.
async fn around(shared: &Arc<Shared>, all: bool) {
    let now = Instant::now();
    let (due, old) = {
        let mut table = shared.table();
        table.sweep(now);
        let old: Vec<PeerId> = table.views(now).filter(|view| view.age >= OLD).map(|view| view.id).collect();
        (table.to_dial(MOST_DIALS, now), old)
    };
    due.into_iter().for_each(|(peer, addresses)| meet(shared, peer, addresses));
    let linked = shared.node.linked().await.unwrap_or_default();
    let is_linked = |peer: &PeerId| linked.iter().any(|linked| linked.peer == *peer);
    old.into_iter().filter(is_linked).for_each(|peer| meet(shared, peer, Vec::new()));
    if all {
        shared.book.all().into_iter().for_each(|known| greet(shared, known));
    }
}

/// Connects with a peer and hears what it serves, beside everything else.
fn meet(shared: &Arc<Shared>, peer: PeerId, addresses: Vec<Multiaddr>) {
    let meeting = Arc::clone(shared);
    shared.spawn(async move {
        if let Err(error) = meeting.meet(peer, addresses).await {
            tracing::debug!(%peer, "a peer was not met: {error}");
        }
    });
}
