//! The book of trust: which peers may ask this one and are asked by it, where they are, and with which grant; kept in a folder of the state.
//!
//! It is one small file that a person can read and edit, written whole under a lock and seen by other processes of the same user: `peers join` in one terminal lets a serving peer in another know.
//! Whoever keeps one open calls [`Book::look`] now and then, and who waits for changes is told by [`Book::changed`]. Peers of the configuration (`peers.trusted`) stand beside the file and are never written to it. What a grant
//! says is `grant.rs`; how the file looks is `book/file.rs`.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use llm_router::error::{Error, ErrorKind, Result};
use tokio::sync::watch;

use self::file::{Stamp, Store};
use crate::grant::{Bearers, Grant, Granted};

/// The most peers of a book.
pub const MOST_PEERS: usize = 4096;
/// The most addresses that are kept of a peer.
pub const MOST_ADDRESSES: usize = 16;

/// A peer that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Known {
    /// Who it is.
    pub peer: PeerId,
    /// What its owner, or ours, calls it.
    pub name: Option<String>,
    /// Where it can be dialled, the likeliest first.
    pub addresses: Vec<Multiaddr>,
    /// What it gave us: shown to it with each request.
    pub ours: Option<Grant>,
    /// What we gave it: as long as it holds, it may ask.
    pub theirs: Option<Grant>,
    /// Whether it may ask without a grant.
    pub may_ask: bool,
    /// Whether its answers may call tools.
    pub tools: bool,
    /// Whether the configuration names it, so that no command can forget it.
    pub configured: bool,
}

impl Known {
    /// A peer that may ask and be asked.
    #[must_use]
    pub fn new(peer: PeerId) -> Self {
        Self {
            peer,
            name: None,
            addresses: Vec::new(),
            ours: None,
            theirs: None,
            may_ask: true,
            tools: false,
            configured: false,
        }
    }

    /// Reached at these addresses.
    #[must_use]
    pub fn at(mut self, mut addresses: Vec<Multiaddr>) -> Self {
        addresses.truncate(MOST_ADDRESSES);
        self.addresses = addresses;
        self
    }

    /// With a grant of its own to show.
    #[must_use]
    pub fn showing(mut self, grant: Grant) -> Self {
        self.ours = Some(grant);
        self
    }

    /// Called so.
    #[must_use]
    pub fn named(mut self, name: Option<String>) -> Self {
        self.name = name.or(self.name);
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

/// Who is trusted. Every change is on disk before it is told.
#[derive(Debug)]
pub struct Book {
    folder: Option<PathBuf>,
    pages: Mutex<Pages>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Pages {
    known: BTreeMap<PeerId, Known>,
    /// Of the configuration: not in the file.
    trusted: BTreeMap<PeerId, Trusted>,
    bearers: Bearers,
    stamp: Stamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Trusted {
    asks: bool,
    tools: bool,
}

impl Book {
    /// The book of a folder, which is made with the first change. It blocks, as all that reads or writes the file does: for milliseconds.
    ///
    /// # Errors
    /// `router_unavailable` for a file that cannot be read or is damaged.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let (store, stamp) = file::read(&folder)?;
        let pages = Mutex::new(Pages { stamp, ..Pages::of(store) });
        Ok(Self { folder: Some(folder), pages, changed: watch::Sender::new(0) })
    }

    /// One that ends with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { folder: None, pages: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// With the peers that a configuration trusts, and those whose answers may call tools.
    #[must_use]
    pub fn with_trusted(
        self,
        trusted: impl IntoIterator<Item = PeerId>,
        tools: impl IntoIterator<Item = PeerId>,
    ) -> Self {
        {
            let mut pages = self.pages();
            trusted.into_iter().for_each(|peer| pages.trusted.entry(peer).or_default().asks = true);
            tools.into_iter().for_each(|peer| pages.trusted.entry(peer).or_default().tools = true);
        }
        self
    }

    /// The folder, where it is kept in one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// What is known of a peer; none for a stranger.
    #[must_use]
    pub fn find(&self, peer: &PeerId) -> Option<Known> {
        self.pages().find(peer)
    }

    /// All that are known, in the order of their ids.
    #[must_use]
    pub fn all(&self) -> Vec<Known> {
        let pages = self.pages();
        let configured = pages.trusted.iter().filter(|(_, trusted)| trusted.asks).map(|(peer, _)| peer);
        let mut ids: Vec<PeerId> = pages.known.keys().chain(configured).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().filter_map(|peer| pages.find(peer)).collect()
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let pages = self.pages();
        pages.known.is_empty() && !pages.trusted.values().any(|trusted| trusted.asks)
    }

    /// Writes a peer in, in place of what was known of it.
    ///
    /// # Errors
    /// `router_overloaded` where the book is full, `router_unavailable` where the file cannot be written: nothing has changed then.
    pub fn allow(&self, known: Known) -> Result<()> {
        if self.pages().known.get(&known.peer) == Some(&known) {
            return Ok(());
        }
        self.change(|pages| {
            if pages.known.len() >= MOST_PEERS && !pages.known.contains_key(&known.peer) {
                let message = format!("{MOST_PEERS} peers are known by name, which is the most");
                return Err(Error::new(ErrorKind::RouterOverloaded, message).with_hint("llm-router peers forget PEER"));
            }
            pages.known.insert(known.peer, known);
            Ok(())
        })
    }

    /// Takes a peer out, and the grants back that it came with: it is a stranger from now on. Whether it was there.
    ///
    /// # Errors
    /// `caller_invalid_request` where the configuration trusts it; and as [`Book::allow`].
    pub fn forget(&self, peer: &PeerId) -> Result<bool> {
        self.change(|pages| {
            if pages.trusted.get(peer).is_some_and(|trusted| trusted.asks) {
                return Err(Error::invalid(format!("the configuration trusts the peer {peer}"))
                    .with_hint("take it out of `trusted` under [peers]"));
            }
            let (now, known) = (SystemTime::now(), pages.known.remove(peer));
            let theirs = known.as_ref().and_then(|known| known.theirs.as_ref()?.open(now).ok());
            let theirs = theirs.map(|granted| (granted.id, granted.expires));
            let claims = pages.bearers.claims().filter(|claim| claim.by == Some(*peer));
            let back: Vec<_> = claims.map(|claim| (claim.id.into_array(), claim.expires)).chain(theirs).collect();
            for (id, expires) in &back {
                pages.bearers.take_back(*id, *expires, now)?;
            }
            Ok(known.is_some() || !back.is_empty())
        })
    }

    /// Takes a grant of ours back, whoever has it: a ticket that nobody used yet is worth nothing from now on. The peer that came with it, where there was one, is taken out and returned.
    ///
    /// # Errors
    /// As [`Book::allow`].
    pub fn take_back(&self, granted: &Granted) -> Result<Option<PeerId>> {
        self.change(|pages| {
            let now = SystemTime::now();
            let holds = |known: &&Known| {
                let theirs = known.theirs.as_ref().and_then(|grant| grant.open(now).ok());
                theirs.is_some_and(|theirs| theirs.id == granted.id)
            };
            let peer = pages.known.values().find(holds).map(|known| known.peer);
            peer.iter().for_each(|peer| drop(pages.known.remove(peer)));
            pages.bearers.take_back(granted.id, granted.expires, now)?;
            Ok(peer)
        })
    }

    /// Whether `peer`, who is there itself, may use this grant of `issuer`; one for a bearer is its own from then on.
    ///
    /// # Errors
    /// As [`Bearers::admit`], and as [`Book::allow`] where it is the first to come with it.
    pub fn admit(&self, granted: &Granted, issuer: PeerId, peer: PeerId, now: SystemTime) -> Result<()> {
        let is_news = self.pages().bearers.clone().admit(granted, issuer, peer, now)?;
        // Another process may have changed the file meanwhile: what holds is decided over what stands there.
        if is_news { self.change(|pages| pages.bearers.admit(granted, issuer, peer, now).map(drop)) } else { Ok(()) }
    }

    /// Tells when something was changed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Looks whether another process, or a person, has changed the file, and takes in what stands there. Cheap where nothing changed.
    ///
    /// # Errors
    /// `router_unavailable` for a file that cannot be read: what was known holds on.
    pub fn look(&self) -> Result<bool> {
        let Some(folder) = &self.folder else { return Ok(false) };
        if file::stamp(folder) == self.pages().stamp {
            return Ok(false);
        }
        let (store, stamp) = file::read(folder)?;
        {
            let mut pages = self.pages();
            let trusted = std::mem::take(&mut pages.trusted);
            *pages = Pages { trusted, stamp, ..Pages::of(store) };
        }
        self.tell();
        Ok(true)
    }

    /// Changes the file whole or not at all, under its lock, and then what is known of it here.
    fn change<T>(&self, change: impl FnOnce(&mut Pages) -> Result<T>) -> Result<T> {
        let out = match &self.folder {
            None => change(&mut self.pages())?,
            Some(folder) => {
                let _locked = file::lock(folder)?;
                let (store, _) = file::read(folder)?;
                let mut next = Pages { trusted: self.pages().trusted.clone(), ..Pages::of(store) };
                let out = change(&mut next)?;
                next.stamp = file::write(folder, &next.store())?;
                *self.pages() = next;
                out
            }
        };
        self.tell();
        Ok(out)
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn of(store: Store) -> Self {
        let known = store.peers.into_iter().take(MOST_PEERS).map(|known| (known.peer, known)).collect();
        Self { known, bearers: Bearers::of(store.claims), ..Self::default() }
    }

    fn store(&self) -> Store {
        Store { peers: self.known.values().cloned().collect(), claims: self.bearers.claims().cloned().collect() }
    }

    fn find(&self, peer: &PeerId) -> Option<Known> {
        let trusted = self.trusted.get(peer).copied().unwrap_or_default();
        let known = self.known.get(peer).cloned().or_else(|| trusted.asks.then(|| Known::new(*peer)))?;
        Some(Known {
            may_ask: known.may_ask || trusted.asks,
            tools: known.tools || trusted.tools,
            configured: trusted.asks,
            ..known
        })
    }
}

/// How often who keeps a book open should look whether its file was changed.
pub const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
