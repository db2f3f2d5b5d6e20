//! The book: who is trusted, and what each side gave the other.
//!
//! In memory. Whether a peer may ask is read from here for each request, so that what is changed holds at once; who waits for changes is told by [`Book::changed`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use libp2p::{Multiaddr, PeerId};
use llm_router::{Error, ErrorKind, Result};
use tokio::sync::watch;

use crate::grant::{Bearers, Grant, Granted};

/// The most peers that are known by name.
const MOST: usize = 10_000;

/// A peer that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Known {
    /// Who it is.
    pub peer: PeerId,
    /// What its owner, or ours, calls it.
    pub name: Option<String>,
    /// Where it can be dialled.
    pub addresses: Vec<Multiaddr>,
    /// What it gave us: shown to it with each request.
    pub ours: Option<Grant>,
    /// What we gave it: as long as it holds, it may ask.
    pub theirs: Option<Grant>,
    /// Whether it may ask without a grant.
    pub may_ask: bool,
    /// Whether its answers may call tools.
    pub tools: bool,
}

impl Known {
    /// A peer that may ask and be asked.
    #[must_use]
    pub fn new(peer: PeerId) -> Self {
        Self { peer, name: None, addresses: Vec::new(), ours: None, theirs: None, may_ask: true, tools: false }
    }

    /// Reached at these addresses.
    #[must_use]
    pub fn at(mut self, addresses: Vec<Multiaddr>) -> Self {
        self.addresses = addresses;
        self
    }

    /// With a grant of its own to show.
    #[must_use]
    pub fn showing(mut self, grant: Grant) -> Self {
        self.ours = Some(grant);
        self
    }

    /// Whose answers may call tools.
    #[must_use]
    pub fn with_tools(mut self) -> Self {
        self.tools = true;
        self
    }

    /// One that asks by a grant of ours alone.
    #[must_use]
    pub fn by_grant(mut self, grant: Grant) -> Self {
        (self.theirs, self.may_ask) = (Some(grant), false);
        self
    }
}

/// Who is trusted.
#[derive(Debug)]
pub struct Book {
    pages: Mutex<Pages>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Pages {
    known: HashMap<PeerId, Known>,
    bearers: Bearers,
}

impl Book {
    /// One that ends with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { pages: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// Writes a peer in, in place of what was known of it.
    ///
    /// # Errors
    /// `router_overloaded` where no more are remembered.
    pub fn allow(&self, known: Known) -> Result<()> {
        let mut pages = self.pages();
        if pages.known.len() >= MOST && !pages.known.contains_key(&known.peer) {
            let message = format!("{MOST} peers are known by name, which is the most");
            return Err(Error::new(ErrorKind::RouterOverloaded, message).with_hint("forget some: llm-router peers ls"));
        }
        if pages.known.get(&known.peer) != Some(&known) {
            pages.known.insert(known.peer, known);
            drop(pages);
            self.tell();
        }
        Ok(())
    }

    /// Takes a peer out, and says whether it was there.
    ///
    /// # Errors
    /// Where that cannot be kept.
    pub fn forget(&self, peer: &PeerId) -> Result<bool> {
        let was = self.pages().known.remove(peer).is_some();
        if was {
            self.tell();
        }
        Ok(was)
    }

    /// What is known of a peer.
    #[must_use]
    pub fn find(&self, peer: &PeerId) -> Option<Known> {
        self.pages().known.get(peer).cloned()
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages().known.is_empty()
    }

    /// All that are known.
    #[must_use]
    pub fn all(&self) -> Vec<Known> {
        self.pages().known.values().cloned().collect()
    }

    /// Whether `peer`, who is there itself, may use this grant of `issuer`; one for a bearer is its own from then on.
    ///
    /// # Errors
    /// As [`Bearers::admit`].
    pub fn admit(&self, granted: &Granted, issuer: PeerId, peer: PeerId, now: SystemTime) -> Result<()> {
        self.pages().bearers.admit(granted, issuer, peer, now).map(drop)
    }

    /// Tells when something was changed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
