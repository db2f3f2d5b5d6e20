//! Who may ask, and how much: by the book, by a grant, or by where it comes from.

use std::net::IpAddr;
use std::time::SystemTime;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use llm_router::limits::Limits;
use llm_router::{Error, ErrorKind, Result};

use crate::book::Known;
use crate::caps::ASK;
use crate::grant::{Grant, Granted};
use crate::service::Profile;
use crate::service::shared::Shared;
use crate::share::Share;

/// Requests of a stranger at once.
const OF_STRANGER: u32 = 1;

/// One who may ask.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    peer: PeerId,
    granted: Option<Granted>,
    stranger: bool,
    limits: Limits,
    concurrency: u32,
}

impl Asker {
    fn new(peer: PeerId, share: &Share, granted: Option<Granted>, stranger: bool) -> Self {
        let mut limits = share.limits.clone();
        limits.models = Vec::new();
        for narrower in granted.iter().flat_map(Granted::limits) {
            limits = narrowed(limits, narrower);
        }
        if stranger {
            limits.concurrency = Some(OF_STRANGER);
        }
        let concurrency = limits.concurrency.unwrap_or(share.places).min(share.places);
        Self { peer, granted, stranger, limits, concurrency }
    }

    /// Who it is.
    pub(crate) fn peer(&self) -> PeerId {
        self.peer
    }

    /// Whether nobody knows it: it may ask the embedded model alone.
    pub(crate) fn is_stranger(&self) -> bool {
        self.stranger
    }

    /// Whether its grant names a model, or none.
    pub(crate) fn allows(&self, model: &str) -> bool {
        self.granted.as_ref().is_none_or(|granted| granted.allows(model))
    }

    /// What it may use, all that holds together; which models is asked of [`Asker::allows`].
    pub(crate) fn limits(&self) -> Limits {
        self.limits.clone()
    }

    /// How many requests of it run at once.
    pub(crate) fn concurrency(&self) -> u32 {
        self.concurrency
    }

    /// As whom it is counted, and where its stored answers are: strangers are all one.
    pub(crate) fn name(&self) -> String {
        if self.stranger { "peer:stranger".to_owned() } else { format!("peer:{}", self.peer) }
    }
}

/// What both allow. The models of a grant are looked at for themselves: patterns of two lists are no one list.
fn narrowed(of: Limits, by: &Limits) -> Limits {
    fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
        match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
    // Whoever says nothing of money does not mind what is unpriced.
    let minds = |limits: &Limits| limits.budget_per_day.or(limits.budget_per_month).or(limits.budget).is_some();
    let unpriced = [&of, by].into_iter().all(|limits| limits.unpriced || !minds(limits));
    let mut both = of;
    both.requests_per_minute = least(both.requests_per_minute, by.requests_per_minute);
    both.tokens_per_minute = least(both.tokens_per_minute, by.tokens_per_minute);
    both.max_tokens = least(both.max_tokens, by.max_tokens);
    both.concurrency = least(both.concurrency, by.concurrency);
    both.budget_per_day = least(both.budget_per_day, by.budget_per_day);
    both.budget_per_month = least(both.budget_per_month, by.budget_per_month);
    both.budget = least(both.budget, by.budget);
    both.unpriced = unpriced;
    both
}

/// Whether a connected peer may ask, with the grant that it shows.
///
/// # Errors
/// `policy_forbidden` or `policy_unauthenticated`, with the next step.
pub(crate) async fn asker(shared: &Shared, peer: PeerId, shown: Option<&[u8]>) -> Result<Asker> {
    let known = shared.book.find(&peer);
    if known.as_ref().is_some_and(|known| known.may_ask) {
        return Ok(Asker::new(peer, &shared.share, None, false));
    }
    // What it shows now comes before what it showed when it came first.
    let refused = match shown.map(|grant| by_grant(shared, peer, grant)) {
        Some(Ok(asker)) => return Ok(asker),
        Some(Err(error)) => error,
        None => Error::new(ErrorKind::PolicyForbidden, format!("the peer {peer} is not known here")).with_hint(ASK),
    };
    if let Some(granted) = known.and_then(|known| of_book(shared, &known)) {
        return Ok(Asker::new(peer, &shared.share, Some(granted), false));
    }
    let stranger = || Asker::new(peer, &shared.share, None, true);
    match shared.profile {
        Profile::Private => Err(refused),
        Profile::Public => Ok(stranger()),
        Profile::Lan => {
            let linked = shared.node.linked().await?;
            let addresses = linked.iter().filter(|linked| linked.peer == peer).flat_map(|linked| &linked.addresses);
            let mut addresses = addresses.peekable();
            let near = addresses.peek().is_some() && addresses.all(is_near);
            if near { Ok(stranger()) } else { Err(refused) }
        }
    }
}

/// What a peer was given, where that still holds.
fn of_book(shared: &Shared, known: &Known) -> Option<Granted> {
    let (granted, now) = (known.theirs.as_ref()?.open(SystemTime::now()).ok()?, SystemTime::now());
    shared.book.admit(&granted, shared.node.id(), known.peer, now).ok()?;
    Some(granted)
}

/// Whether a peer may ask by the grant that it shows; it is known from then on.
fn by_grant(shared: &Shared, peer: PeerId, shown: &[u8]) -> Result<Asker> {
    let (grant, now) = (Grant::from_bytes(shown)?, SystemTime::now());
    let granted = grant.open(now)?;
    shared.book.admit(&granted, shared.node.id(), peer, now)?;
    let known = shared.book.find(&peer).unwrap_or_else(|| Known::new(peer));
    shared.book.allow(known.by_grant(grant))?;
    Ok(Asker::new(peer, &shared.share, Some(granted), false))
}

/// Whether an address is of this machine or of a private network, with nobody in between.
fn is_near(address: &Multiaddr) -> bool {
    let mut near = false;
    for part in address {
        near = match part {
            Protocol::Ip4(ip) => is_private(ip.into()),
            Protocol::Ip6(ip) => is_private(ip.into()),
            Protocol::Memory(_) => true,
            Protocol::P2pCircuit => return false,
            _ => near,
        };
    }
    near
}

fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn near_is_who_needs_no_other_network() {
        let near = |address: &str| is_near(&address.parse().unwrap());
        for address in
            ["/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip4/169.254.0.1/tcp/1", "/ip6/fe80::1/tcp/1"]
        {
            assert!(near(address), "{address}");
        }
        let relay = PeerId::random();
        let relayed = format!("/ip4/127.0.0.1/tcp/1/p2p/{relay}/p2p-circuit");
        for address in ["/ip4/192.0.2.1/tcp/1", "/ip6/2001:db8::1/tcp/1", "/dns4/example.org/tcp/1", &relayed] {
            assert!(!near(address), "{address}");
        }
    }

    #[test]
    fn of_two_limits_the_tighter_one_holds() {
        let (mut one, mut other) = (Limits::default(), Limits::default());
        (one.concurrency, one.max_tokens, one.unpriced) = (Some(4), Some(100), true);
        (other.concurrency, other.budget) = (Some(2), Some(7));
        let both = narrowed(one, &other);
        assert_eq!(
            (both.concurrency, both.max_tokens, both.budget, both.unpriced),
            (Some(2), Some(100), Some(7), false)
        );
    }
}
