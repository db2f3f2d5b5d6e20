//! Grants: that a peer may ask another one, for how long and how much, signed by the one that will be asked.
//!
//! What a grant takes away is said in the words of narrower keys, the core's [`Caveats`], and the same rules hold: limits of all blocks hold together, a block that says something
//! unknown makes the whole grant invalid, whoever holds one can add a block without asking anybody, eight times at most. What differs is how blocks are chained: a key is a chain of
//! HMACs, which its issuer alone can check and which whoever reads it can use. A grant is read by the peer that joins, before it dials anybody; it may be checked by
//! another router of the same owner; and it crosses the network to those whom it is for. So each block is signed: the first by the issuer, each further one by the peer that the block before it is for.
//!
//! A grant is for one peer, or for *whoever bears it first*: a ticket is printed before anybody knows who will join. The issuer remembers who that was ([`Bearers`]), and for anybody else it is
//! then as good as none. One for a bearer cannot be narrowed, since nobody but the issuer knows whose signature would count. What may be printed is `ticket.rs`.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use libp2p_identity::{Keypair, PeerId};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::matches_pattern;
use llm_router::limits::Limits;
use llm_router::limits::grant::{Caveats, MOST_BLOCKS};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use sha2::{Digest, Sha256};

use crate::envelope::{Broken, Kind, maybe_peer_bytes, peer_bytes};
use crate::record::{SKEW, seconds};

/// The longest that a grant holds: it cannot be taken back where its issuer does not listen.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// The largest grant, all its blocks together, in bytes.
pub const MOST_BYTES: usize = 4096;
/// The most bearers that are remembered.
pub const MOST_BEARERS: usize = 4096;

const FIRST: Kind = Kind { domain: "llm-router-grant-v1", most: MOST_BYTES };
const NARROWER: Kind = Kind { domain: "llm-router-grant-narrower-v1", most: MOST_BYTES };
const VERSION: u32 = 1;
/// The most models that a block names, as for keys.
const MOST_MODELS: usize = 64;

/// By what a grant is known: 16 random bytes.
pub type GrantId = [u8; 16];

/// What the issuer signs. A key that is not known here makes it invalid: what cannot be obeyed must not be overlooked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    v: u32,
    id: ByteArray<16>,
    #[serde(with = "peer_bytes")]
    iss: PeerId,
    /// For whom it is; absent for whoever bears it first.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "maybe_peer_bytes")]
    sub: Option<PeerId>,
    iat: u64,
    may: Caveats,
}

/// What a holder signs for another peer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Narrower {
    v: u32,
    /// The SHA-256 of the block before it, its envelope.
    prev: ByteArray<32>,
    #[serde(with = "peer_bytes")]
    sub: PeerId,
    may: Caveats,
}

/// A grant as it is sent: its envelopes, the issuer's first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grant(Vec<ByteBuf>);

/// What a grant says, its signatures found right.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Granted {
    /// By what it is known.
    pub id: GrantId,
    /// Who will be asked.
    pub issuer: PeerId,
    /// For whom it is; none for whoever bears it first.
    pub subject: Option<PeerId>,
    /// When it ends, in seconds since 1970: the soonest end of its blocks.
    pub expires: u64,
    /// Peers through whose hands it went, from the one that the issuer gave it to.
    pub through: Vec<PeerId>,
    /// What each block takes away, the issuer's first. All of them hold.
    pub caveats: Vec<Caveats>,
}

impl Grant {
    /// A grant of the peer with this key, for another one or for whoever bears it first.
    ///
    /// # Errors
    /// `caller_invalid_request` without an end, with one that is over or too far, and for too many models.
    pub fn issue(key: &Keypair, subject: Option<PeerId>, caveats: Caveats, now: SystemTime) -> Result<Self> {
        let (now, most) = (seconds(now), seconds(now) + LONGEST.as_secs());
        match caveats.expires {
            None => return Err(Error::invalid("a grant has an end").with_hint("say for how long it holds")),
            Some(expires) if expires <= now => {
                return Err(Error::invalid("the grant would have ended before it was made"));
            }
            Some(expires) if expires > most => {
                return Err(Error::invalid(format!("a grant holds for {} days at most", LONGEST.as_secs() / 86_400))
                    .with_hint("make a new one in time"));
            }
            Some(_) => {}
        }
        check_models(&caveats.limits)?;
        let mut id = [0; 16];
        id.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
        let iss = key.public().to_peer_id();
        let first = First { v: VERSION, id: id.into(), iss, sub: subject, iat: now, may: caveats };
        let envelope = FIRST.seal(key, &first).map_err(|broken| invalid(&broken))?;
        Ok(Self(vec![ByteBuf::from(envelope)]))
    }

    /// A narrower grant for another peer, by the peer that this one is for. Nobody is asked.
    ///
    /// # Errors
    /// `policy_forbidden` where the key is another one's; `caller_invalid_request` where nothing is taken away, or it was narrowed as often as can be.
    pub fn narrow(&self, key: &Keypair, to: PeerId, caveats: Caveats, now: SystemTime) -> Result<Self> {
        let granted = self.open(now)?;
        if granted.subject != Some(key.public().to_peer_id()) {
            let why = match granted.subject {
                Some(subject) => format!("the grant is for {subject}, who alone can narrow it"),
                None => "the grant is for whoever bears it first, and cannot be narrowed".to_owned(),
            };
            return Err(Error::new(ErrorKind::PolicyForbidden, why).with_hint("ask its issuer for another one"));
        }
        if self.0.len() > MOST_BLOCKS {
            return Err(Error::invalid(format!("this grant was narrowed {MOST_BLOCKS} times, which is the most")));
        }
        check_models(&caveats.limits)?;
        let prev = self.0.last().map(|last| digest(last)).unwrap_or_default();
        let block = Narrower { v: VERSION, prev: prev.into(), sub: to, may: caveats };
        let mut narrower = self.clone();
        narrower.0.push(ByteBuf::from(NARROWER.seal(key, &block).map_err(|broken| invalid(&broken))?));
        narrower.to_bytes().map(|_| narrower)
    }

    /// What it says, where its signatures fit and its time is not over.
    ///
    /// # Errors
    /// `policy_unauthenticated` saying why it is worth nothing.
    pub fn open(&self, now: SystemTime) -> Result<Granted> {
        let (Some((first, further)), true) = (self.0.split_first(), self.0.len() <= MOST_BLOCKS + 1) else {
            return Err(forged("it has no block, or too many"));
        };
        let (body, signer): (First, PeerId) = FIRST.open(first).map_err(|broken| forged(&broken.to_string()))?;
        if body.v != VERSION {
            return Err(Error::new(ErrorKind::PolicyUnauthenticated, format!("the grant has version {}", body.v))
                .with_hint("use the version of llm-router that made it"));
        }
        if body.iss != signer {
            return Err(forged("it was not signed by the peer that it names"));
        }
        let now = seconds(now);
        if body.iat > now + SKEW.as_secs() {
            return Err(forged("it was signed in the future; set the clocks"));
        }
        let mut granted = Granted {
            id: body.id.into_array(),
            issuer: body.iss,
            subject: body.sub,
            expires: body.may.expires.unwrap_or(0).min(body.iat.saturating_add(LONGEST.as_secs())),
            through: Vec::new(),
            caveats: vec![body.may],
        };
        let mut before = first;
        for envelope in further {
            granted.add(before, envelope)?;
            before = envelope;
        }
        if granted.expires <= now {
            let message = format!("the grant ended {} s ago", now - granted.expires);
            return Err(Error::new(ErrorKind::PolicyUnauthenticated, message).with_hint(ANEW));
        }
        Ok(granted)
    }

    /// As bytes: a DAG-CBOR list of its envelopes.
    ///
    /// # Errors
    /// `caller_invalid_request` where it would be larger than [`MOST_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes = serde_ipld_dagcbor::to_vec(self).map_err(|error| Error::internal(error.to_string()))?;
        if bytes.len() > MOST_BYTES {
            return Err(Error::invalid(format!("the grant would be larger than {MOST_BYTES} bytes"))
                .with_hint("name fewer models, or with a `*`"));
        }
        Ok(bytes)
    }

    /// From bytes. Nothing of it is believed yet.
    ///
    /// # Errors
    /// `policy_unauthenticated` for what has another form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MOST_BYTES {
            return Err(forged("it is too large"));
        }
        serde_ipld_dagcbor::from_slice(bytes).map_err(|_| forged("it cannot be read"))
    }
}

impl Granted {
    /// Takes in a further block.
    fn add(&mut self, before: &[u8], envelope: &[u8]) -> Result<()> {
        let (block, signer): (Narrower, PeerId) =
            NARROWER.open(envelope).map_err(|broken| forged(&broken.to_string()))?;
        if block.v != VERSION || block.prev.into_array() != digest(before) {
            return Err(forged("its blocks do not belong together"));
        }
        if self.subject != Some(signer) {
            return Err(forged("a block was not signed by the peer that the one before it is for"));
        }
        self.through.push(signer);
        self.subject = Some(block.sub);
        self.expires = self.expires.min(block.may.expires.unwrap_or(u64::MAX));
        self.caveats.push(block.may);
        Ok(())
    }

    /// The limits that hold, all of them together.
    pub fn limits(&self) -> impl Iterator<Item = &Limits> {
        self.caveats.iter().map(|caveats| &caveats.limits)
    }

    /// Whether a model may be asked.
    #[must_use]
    pub fn allows(&self, model: &str) -> bool {
        self.limits().all(|limits| {
            limits.models.is_empty() || limits.models.iter().any(|pattern| matches_pattern(pattern, model))
        })
    }
}

/// Whom the grants for a bearer belong to, as their issuer remembers it. Whoever keeps it stores [`Bearers::claims`] and gives them back after a start.
#[derive(Clone, Debug, Default)]
pub struct Bearers(HashMap<GrantId, Claim>);

/// Whose a grant is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The grant.
    pub id: ByteArray<16>,
    /// Who came with it first; none where it was taken back.
    #[serde(default, with = "maybe_peer_bytes")]
    pub by: Option<PeerId>,
    /// When the grant ends, in seconds since 1970: until then this is remembered.
    pub expires: u64,
}

impl Bearers {
    /// As they were remembered.
    #[must_use]
    pub fn of(claims: impl IntoIterator<Item = Claim>) -> Self {
        let claims = claims.into_iter().take(MOST_BEARERS);
        Self(claims.map(|claim| (claim.id.into_array(), claim)).collect())
    }

    /// What to remember.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.0.values()
    }

    /// Whether `peer`, who is known to be there itself, may use a grant of `issuer`, and whether something new is to be remembered.
    ///
    /// # Errors
    /// `policy_forbidden` where it is another one's or was taken back; `policy_unauthenticated` where it is another issuer's.
    pub fn admit(&mut self, granted: &Granted, issuer: PeerId, peer: PeerId, now: SystemTime) -> Result<bool> {
        if granted.issuer != issuer {
            return Err(forged("it is of another peer than the one that is asked"));
        }
        let forbidden = |why: &str| Err(Error::new(ErrorKind::PolicyForbidden, why).with_hint(ANEW));
        let claim = self.0.get(&granted.id);
        if claim.is_some_and(|claim| claim.by.is_none()) {
            return forbidden("the grant was taken back");
        }
        match (granted.subject, claim.and_then(|claim| claim.by)) {
            (Some(subject), _) if subject != peer => forbidden("the grant is for another peer"),
            (Some(_), _) => Ok(false),
            (None, Some(bearer)) if bearer != peer => forbidden("another peer came with this grant before"),
            (None, Some(_)) => Ok(false),
            (None, None) => self.remember(granted.id, Some(peer), granted.expires, now).map(|()| true),
        }
    }

    /// Takes a grant back, whoever has it.
    ///
    /// # Errors
    /// `router_overloaded` where no more can be remembered.
    pub fn take_back(&mut self, id: GrantId, expires: u64, now: SystemTime) -> Result<()> {
        self.remember(id, None, expires, now)
    }

    fn remember(&mut self, id: GrantId, by: Option<PeerId>, expires: u64, now: SystemTime) -> Result<()> {
        if self.0.len() >= MOST_BEARERS {
            let now = seconds(now);
            self.0.retain(|_, claim| claim.expires > now);
        }
        if self.0.len() >= MOST_BEARERS && !self.0.contains_key(&id) {
            let message = format!("{MOST_BEARERS} grants are in use, which is the most");
            return Err(Error::new(ErrorKind::RouterOverloaded, message).with_hint("make grants for a peer by name"));
        }
        self.0.insert(id, Claim { id: id.into(), by, expires });
        Ok(())
    }
}

const ANEW: &str = "ask for: llm-router peers invite";

fn forged(why: &str) -> Error {
    Error::new(ErrorKind::PolicyUnauthenticated, format!("the grant is worth nothing: {why}")).with_hint(ANEW)
}

fn invalid(broken: &Broken) -> Error {
    Error::invalid(format!("no grant can be made of this: {broken}")).with_hint("name fewer models, or with a `*`")
}

fn check_models(limits: &Limits) -> Result<()> {
    if limits.models.len() > MOST_MODELS {
        return Err(Error::invalid(format!("a grant names at most {MOST_MODELS} models")));
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests;
