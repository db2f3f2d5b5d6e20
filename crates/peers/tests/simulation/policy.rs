//! Ways to choose a server, as one client does: the crate's table and picker, and two simple ones to compare them with.

use std::time::Duration;

use fastrand::Rng;
use libp2p_identity::PeerId;
use llm_router_peers::picker::Need;
use llm_router_peers::record::{Heard, Load, Record};
use llm_router_peers::table::{Bounds, Failure, Lease, Outcome, Source, Table};
use tokio::time::Instant;

use super::world::{MODEL, SLOTS};

/// How servers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Any that is not known to be down.
    Random,
    /// The one that advertises the least load.
    LeastAdvertised,
    /// The picker, without homes for prompts.
    Picker,
    /// The picker with them.
    PickerWithHomes,
}

/// What a client knows, as its policy needs it.
pub(crate) enum Client {
    Simple { least: bool, ads: Vec<Option<u32>>, rng: Rng },
    Book { homes: bool, table: Box<Table>, ids: Vec<PeerId> },
}

/// A request of a client at a server.
pub(crate) enum Held {
    Nothing,
    Lease(Lease),
}

impl Client {
    pub(crate) fn new(policy: Policy, servers: usize, ids: &[PeerId], seed: u64, now: Instant) -> Self {
        match policy {
            Policy::Random | Policy::LeastAdvertised => Self::Simple {
                least: policy == Policy::LeastAdvertised,
                ads: vec![None; servers],
                rng: Rng::with_seed(seed),
            },
            Policy::Picker | Policy::PickerWithHomes => Self::Book {
                homes: policy == Policy::PickerWithHomes,
                table: Box::new(Table::new(Bounds::default(), seed, now)),
                ids: ids.to_vec(),
            },
        }
    }

    /// Hears what a server says of itself.
    pub(crate) fn hear(&mut self, server: usize, record: &Record, now: Instant) {
        match self {
            Self::Simple { ads, .. } => ads[server] = Some(record.load.in_flight + record.load.queue),
            Self::Book { table, .. } => {
                let _ = table.hear(&Heard::unsigned(record.clone()), Source::hearsay(), now);
            }
        }
    }

    /// Hears with an answer how busy a server is.
    pub(crate) fn saw_load(&mut self, server: usize, load: u32, now: Instant) {
        match self {
            Self::Simple { .. } => {}
            Self::Book { table, ids, .. } => table.saw_load(&ids[server], Load::new(load, 0), now),
        }
    }

    pub(crate) fn saw_rtt(&mut self, server: usize, rtt: Duration) {
        if let Self::Book { table, ids, .. } = self {
            table.saw_rtt(&ids[server], rtt);
        }
    }

    /// Chooses; none where nobody is left.
    pub(crate) fn pick(
        &mut self,
        prefix: u64,
        tried: &[usize],
        now: Instant,
        find: impl Fn(&PeerId) -> usize,
    ) -> Option<(usize, Held)> {
        match self {
            Self::Simple { least, ads, rng } => {
                let able = |server: usize| ads[server].filter(|_| !tried.contains(&server));
                let server = match least {
                    true => (0..ads.len())
                        .filter_map(|server| Some((able(server)?, rng.u16(..), server)))
                        .min()
                        .map(|(_, _, server)| server),
                    false => (0..50).map(|_| rng.usize(..ads.len())).find(|server| able(*server).is_some()),
                };
                server.map(|server| (server, Held::Nothing))
            }
            Self::Book { homes, table, ids } => {
                let tried: Vec<PeerId> = tried.iter().map(|server| ids[*server]).collect();
                let mut need = Need::new(MODEL, 100, 100);
                (need.strangers, need.explore, need.tried) = (true, true, &tried);
                need.prefix = homes.then_some(prefix);
                let pick = table.pick(&need, now).ok()?;
                Some((find(&pick.peer), Held::Lease(pick.lease)))
            }
        }
    }

    pub(crate) fn first_token(&mut self, held: &mut Held, now: Instant) {
        if let (Self::Book { table, .. }, Held::Lease(lease)) = (self, held) {
            table.first_token(lease, now);
        }
    }

    pub(crate) fn answered(&mut self, held: Held, took: Duration, now: Instant) {
        if let (Self::Book { table, .. }, Held::Lease(lease)) = (self, held) {
            table.end(lease, Outcome::Answered { further: 99, took }, now);
        }
    }

    /// A server refused for want of room.
    pub(crate) fn busy(&mut self, server: usize, held: Held, now: Instant) {
        match (self, held) {
            (Self::Simple { ads, .. }, _) => ads[server] = Some(3 * u32::from(SLOTS)),
            (Self::Book { table, .. }, Held::Lease(lease)) => {
                table.end(lease, Outcome::Failed(Failure::Busy(None)), now);
            }
            _ => {}
        }
    }

    /// A server could not be reached.
    pub(crate) fn unreachable(&mut self, server: usize, held: Held, now: Instant) {
        match (self, held) {
            (Self::Simple { ads, .. }, _) => ads[server] = None,
            (Self::Book { table, .. }, Held::Lease(lease)) => {
                table.end(lease, Outcome::Failed(Failure::Unreachable), now);
            }
            _ => {}
        }
    }
}
