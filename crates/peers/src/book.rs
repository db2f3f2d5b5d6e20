//! The book of trust: which peers may ask this one and are asked by it, where they are, and with which grant; kept in a folder of the state.
//!
//! It is one small file that a person can read and edit, written whole under a lock and seen by other processes of the same user: `peers join` in one terminal lets a serving peer in another know.
//! Whoever keeps one open calls [`Book::changed`] now and then. Peers of the configuration (`peers.trusted`) stand beside the file and are never written to it. What a grant
//! says is `grant.rs`; how the file looks is `book/file.rs`.

mod file;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::limits::Limits;

use self::file::{Stamp, Store};
use crate::grant::{Bearers, Grant, GrantId, Granted};

/// The most peers of a book.
pub const MOST_PEERS: usize = 4096;
/// The most addresses that are kept of a peer.
pub const MOST_ADDRESSES: usize = 16;

/// A peer that is trusted.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Known {
    /// Who it is.
    pub id: PeerId,
    /// How its owner, or the user, calls it.
    pub name: Option<String>,
    /// Where it can be dialled, the likeliest first.
    pub addresses: Vec<Multiaddr>,
    /// What we show it with every request: the grant that it gave us.
    pub grant: Option<Grant>,
    /// What we gave it. None for a peer that is trusted without a grant.
    pub given: Option<Given>,
    /// Whether its answers may call tools.
    pub tools: bool,
    /// Whether the configuration names it, so that no command can forget it.
    pub configured: bool,
}

/// What a peer may do that came with a grant of ours.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Given {
    /// The grant.
    pub id: GrantId,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// The limits of all its blocks, which hold together.
    pub limits: Vec<Limits>,
}

impl Known {
    fn new(id: PeerId) -> Self {
        Self { id, name: None, addresses: Vec::new(), grant: None, given: None, tools: false, configured: false }
    }

    /// Whether it may ask us at this time: a peer whose grant ended may not.
    #[must_use]
    pub fn may_ask(&self, now: SystemTime) -> bool {
        self.configured || self.given.as_ref().is_none_or(|given| given.expires > crate::record::seconds(now))
    }

    /// Adds addresses that were not known, the new ones first.
    fn reached_at(&mut self, addresses: Vec<Multiaddr>) {
        let old = std::mem::replace(&mut self.addresses, addresses);
        let news: Vec<_> = old.into_iter().filter(|address| !self.addresses.contains(address)).collect();
        self.addresses.extend(news);
        self.addresses.truncate(MOST_ADDRESSES);
    }
}

/// Who is trusted. Every change is on disk before it is told.
pub struct Book {
    folder: Option<PathBuf>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    peers: BTreeMap<PeerId, Known>,
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

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Book {
    /// The book of a folder, which is made with the first change. It blocks, as all that reads or writes the file does: for milliseconds.
    ///
    /// # Errors
    /// `router_unavailable` for a file that cannot be read or is damaged.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let (store, stamp) = file::read(&folder)?;
        let inner = Inner { stamp, ..Inner::of(store) };
        Ok(Self { folder: Some(folder), inner: Mutex::new(inner) })
    }

    /// A book that is forgotten with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { folder: None, inner: Mutex::default() }
    }

    /// With the peers that a configuration trusts, and those whose answers may call tools.
    #[must_use]
    pub fn with_trusted(
        self,
        trusted: impl IntoIterator<Item = PeerId>,
        tools: impl IntoIterator<Item = PeerId>,
    ) -> Self {
        {
            let mut inner = self.lock();
            trusted.into_iter().for_each(|peer| inner.trusted.entry(peer).or_default().asks = true);
            tools.into_iter().for_each(|peer| inner.trusted.entry(peer).or_default().tools = true);
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
        self.lock().find(peer)
    }

    /// All who are trusted, in the order of their ids.
    #[must_use]
    pub fn all(&self) -> Vec<Known> {
        let inner = self.lock();
        let configured = inner.trusted.iter().filter(|(_, trusted)| trusted.asks).map(|(peer, _)| peer);
        let mut ids: Vec<PeerId> = inner.peers.keys().chain(configured).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().filter_map(|peer| inner.find(peer)).collect()
    }

    /// Trusts a peer: it may ask, and may be asked at these addresses, with this grant of its own where it gave one. What was known of it and is not said now stays.
    ///
    /// # Errors
    /// `router_overloaded` where the book is full, `router_unavailable` where the file cannot be written: nothing has changed then.
    pub fn allow(&self, peer: PeerId, addresses: Vec<Multiaddr>, grant: Option<Grant>) -> Result<()> {
        self.change(|inner| {
            let known = inner.entry(peer)?;
            known.reached_at(addresses);
            if grant.is_some() {
                known.grant = grant;
            }
            Ok(())
        })
    }

    /// Gives a trusted peer a name, and says whether its answers may call tools.
    ///
    /// # Errors
    /// As [`Book::allow`]; `caller_invalid_request` for a stranger.
    pub fn describe(&self, peer: PeerId, name: Option<String>, tools: bool) -> Result<()> {
        self.change(|inner| {
            let stranger = || Error::invalid(format!("the peer {peer} is not known")).with_hint(JOIN);
            let known = inner.peers.get_mut(&peer).ok_or_else(stranger)?;
            known.name = name.or(known.name.take());
            known.tools |= tools;
            Ok(())
        })
    }

    /// Binds a grant of ours, `issuer`, to the peer that shows it, known by its connection, and trusts it within the grant. A bearer's grant belongs to whoever showed it first.
    ///
    /// # Errors
    /// `policy_forbidden` where it is another one's or was taken back, `policy_unauthenticated` where it is another issuer's; and as [`Book::allow`].
    pub fn remember(&self, granted: &Granted, issuer: PeerId, peer: PeerId, now: SystemTime) -> Result<()> {
        let given = Given { id: granted.id, expires: granted.expires, limits: granted.limits().cloned().collect() };
        let is_there = |inner: &Inner| inner.peers.get(&peer).is_some_and(|known| known.given.as_ref() == Some(&given));
        {
            let inner = self.lock();
            if !inner.bearers.clone().admit(granted, issuer, peer, now)? && is_there(&inner) {
                return Ok(());
            }
        }
        // Somebody else may have changed the file meanwhile: what holds is decided over what stands there.
        self.change(|inner| {
            inner.bearers.admit(granted, issuer, peer, now)?;
            let longer = |old: &Given| old.expires > given.expires && old.id != given.id;
            let known = inner.entry(peer)?;
            if !known.given.as_ref().is_some_and(longer) {
                known.given = Some(given.clone());
            }
            Ok(())
        })
    }

    /// Forgets a peer, and takes back the grants that it came with: it is a stranger from now on. Whether it was known.
    ///
    /// # Errors
    /// `caller_invalid_request` where the configuration trusts it; and as [`Book::allow`].
    pub fn forget(&self, peer: &PeerId) -> Result<bool> {
        self.change(|inner| {
            if inner.trusted.get(peer).is_some_and(|trusted| trusted.asks) {
                return Err(Error::invalid(format!("the configuration trusts the peer {peer}"))
                    .with_hint("take it out of `trusted` under [peers]"));
            }
            let known = inner.peers.remove(peer);
            let given = known.as_ref().and_then(|known| known.given.as_ref()).map(|given| (given.id, given.expires));
            let claims = inner.bearers.claims().filter(|claim| claim.by == Some(*peer));
            let back: Vec<_> = claims.map(|claim| (claim.id.into_array(), claim.expires)).chain(given).collect();
            for (id, expires) in &back {
                inner.bearers.take_back(*id, *expires, SystemTime::now())?;
            }
            Ok(known.is_some() || !back.is_empty())
        })
    }

    /// Takes a grant of ours back, whoever has it: a ticket that nobody used yet is worth nothing from now on. The peer that came with it, where there was one, is forgotten and returned.
    ///
    /// # Errors
    /// As [`Book::allow`].
    pub fn take_back(&self, granted: &Granted) -> Result<Option<PeerId>> {
        self.change(|inner| {
            let holds = |known: &&Known| known.given.as_ref().is_some_and(|given| given.id == granted.id);
            let peer = inner.peers.values().find(holds).map(|known| known.id);
            if let Some(peer) = &peer {
                inner.peers.remove(peer);
            }
            inner.bearers.take_back(granted.id, granted.expires, SystemTime::now())?;
            Ok(peer)
        })
    }

    /// Looks whether another process, or a person, has changed the file, and takes in what stands there. Cheap where nothing changed.
    ///
    /// # Errors
    /// `router_unavailable` for a file that cannot be read: what was known holds on.
    pub fn changed(&self) -> Result<bool> {
        let Some(folder) = &self.folder else { return Ok(false) };
        if file::stamp(folder) == self.lock().stamp {
            return Ok(false);
        }
        let (store, stamp) = file::read(folder)?;
        let mut inner = self.lock();
        let trusted = std::mem::take(&mut inner.trusted);
        *inner = Inner { trusted, stamp, ..Inner::of(store) };
        Ok(true)
    }

    /// Changes the file whole or not at all, under its lock, and then what is known of it here.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        let Some(folder) = &self.folder else { return change(&mut self.lock()) };
        let _locked = file::lock(folder)?;
        let (store, _) = file::read(folder)?;
        let trusted = self.lock().trusted.clone();
        let mut next = Inner { trusted, ..Inner::of(store) };
        let out = change(&mut next)?;
        next.stamp = file::write(folder, &next.store())?;
        *self.lock() = next;
        Ok(out)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn of(store: Store) -> Self {
        let peers = store.peers.into_iter().take(MOST_PEERS).map(|known| (known.id, known)).collect();
        Self { peers, bearers: Bearers::of(store.claims), ..Self::default() }
    }

    fn store(&self) -> Store {
        Store { peers: self.peers.values().cloned().collect(), claims: self.bearers.claims().cloned().collect() }
    }

    fn find(&self, peer: &PeerId) -> Option<Known> {
        let trusted = self.trusted.get(peer).copied().unwrap_or_default();
        let known = self.peers.get(peer).cloned().or_else(|| trusted.asks.then(|| Known::new(*peer)))?;
        Some(Known { tools: known.tools || trusted.tools, configured: trusted.asks, ..known })
    }

    fn entry(&mut self, peer: PeerId) -> Result<&mut Known> {
        if self.peers.len() >= MOST_PEERS && !self.peers.contains_key(&peer) {
            let message = format!("{MOST_PEERS} peers are trusted, which is the most");
            return Err(Error::new(ErrorKind::RouterOverloaded, message).with_hint("llm-router peers forget PEER"));
        }
        Ok(self.peers.entry(peer).or_insert_with(|| Known::new(peer)))
    }
}

const JOIN: &str = "ask for: llm-router peers invite";

/// How often a serving peer should look whether its book has changed.
pub const LOOK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
