//! Tickets: what `peers invite` prints and `peers join` takes, one word with addresses and a grant.
//!
//! Who gives it out is the grant's issuer, so the peer id is not written twice. The addresses are not signed: who changes them sends the joiner to a door where the issuer's key is
//! missing, and no further. Its form as text is `armour.rs`, what it allows `grant.rs`.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;
use llm_router::error::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::armour::Word;
use crate::envelope::address_bytes;
use crate::grant::{Grant, Granted};

/// The most addresses of a ticket.
pub const MOST_ADDRESSES: usize = 8;

const WORD: Word = Word { kind: "ticket", hint: "copy all of it, or ask for: llm-router peers invite" };

/// Where a peer is, and that one may ask it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ticket {
    /// Where it can be dialled; none where it is to be found by its id.
    #[serde(rename = "addrs", with = "address_bytes")]
    pub addresses: Vec<Multiaddr>,
    /// What it allows.
    pub grant: Grant,
}

impl Ticket {
    /// A ticket to the peer at these addresses, the likeliest first; of more than [`MOST_ADDRESSES`] the rest is left out.
    #[must_use]
    pub fn new(mut addresses: Vec<Multiaddr>, grant: Grant) -> Self {
        addresses.truncate(MOST_ADDRESSES);
        Self { addresses, grant }
    }

    /// What it allows and whose it is, where it still holds.
    ///
    /// # Errors
    /// `policy_unauthenticated` where it has ended or its signature does not fit; `caller_invalid_request` where an address leads to another peer.
    pub fn open(&self, now: SystemTime) -> Result<Granted> {
        let granted = self.grant.open(now)?;
        if let Some(other) = self.addresses.iter().find_map(|address| leads_to(address, granted.issuer)) {
            return Err(Error::invalid(format!(
                "the ticket is of {}, and an address in it leads to {other}",
                granted.issuer
            ))
            .with_hint(WORD.hint));
        }
        Ok(granted)
    }
}

/// Another peer to which an address leads by its last part.
fn leads_to(address: &Multiaddr, own: PeerId) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) if peer != own => Some(peer),
        _ => None,
    }
}

/// The word to copy.
impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = serde_ipld_dagcbor::to_vec(self).map_err(|_| fmt::Error)?;
        f.write_str(&WORD.write(&bytes))
    }
}

impl FromStr for Ticket {
    type Err = Error;

    /// Reads the word. Nothing of it is believed before [`Ticket::open`].
    fn from_str(text: &str) -> Result<Self> {
        let bytes = WORD.read(text)?;
        let ticket: Self = serde_ipld_dagcbor::from_slice(&bytes)
            .map_err(|error| Error::invalid(format!("the ticket cannot be read: {error}")).with_hint(WORD.hint))?;
        if ticket.addresses.len() > MOST_ADDRESSES {
            return Err(
                Error::invalid(format!("the ticket has more than {MOST_ADDRESSES} addresses")).with_hint(WORD.hint)
            );
        }
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use libp2p_identity::Keypair;
    use llm_router::error::ErrorKind;
    use llm_router::limits::grant::Caveats;
    use std::time::Duration;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
    }

    fn key(number: u8) -> Keypair {
        Keypair::ed25519_from_bytes([number; 32]).unwrap()
    }

    fn ticket(addresses: &[&str]) -> Ticket {
        let mut caveats = Caveats::default();
        caveats.expires = Some(1_790_003_600);
        caveats.limits.models = vec!["qwen*".to_owned()];
        let grant = Grant::issue(&key(1), None, caveats, now()).unwrap();
        Ticket::new(addresses.iter().map(|address| address.parse().unwrap()).collect(), grant)
    }

    #[test]
    fn a_ticket_is_one_word_that_comes_back() {
        let given = ticket(&["/ip4/192.0.2.7/udp/4101/quic-v1", "/ip4/192.0.2.7/tcp/4101"]);
        let word = given.to_string();
        assert!(word.starts_with("llmr_ticket1_") && word.len() < 700, "{} characters: {word}", word.len());
        assert!(word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        let taken: Ticket = word.parse().unwrap();
        assert_eq!(taken, given);
        let granted = taken.open(now()).unwrap();
        assert_eq!(granted.issuer, key(1).public().to_peer_id());
        assert!(granted.allows("qwen3") && !granted.allows("other"));
    }

    #[test]
    fn each_way_to_be_wrong_has_its_words() {
        let given = ticket(&["/ip4/192.0.2.7/tcp/4101"]);
        let word = given.to_string();
        let refused = |text: &str| text.parse::<Ticket>().unwrap_err();
        assert!(refused(&word[..word.len() - 9]).message().contains("is cut"));
        assert!(refused(&word.replacen("1_a", "1_b", 1)).message().contains("is cut"), "its length was altered");
        let (middle, other) = (word.len() / 2, if word.as_bytes()[word.len() / 2] == b'a' { "b" } else { "a" });
        let altered = format!("{}{other}{}", &word[..middle], &word[middle + 1..]);
        assert!(refused(&altered).message().contains("was altered"));
        assert!(refused(&word.replace("ticket1", "ticket2")).message().contains("has version 2"));
        assert!(refused("12D3KooWabc").message().contains("is none"));
        for error in [refused("x"), refused(&altered)] {
            assert_eq!(error.hint(), Some("copy all of it, or ask for: llm-router peers invite"));
        }
        let ended = given.open(now() + Duration::from_secs(4000)).unwrap_err();
        assert!(ended.kind() == ErrorKind::PolicyUnauthenticated && ended.message().contains("ended 400 s ago"));
    }

    #[test]
    fn a_checksum_made_anew_does_not_help_whoever_alters_it() {
        let mut given = ticket(&[]);
        let mut bytes = given.grant.to_bytes().unwrap();
        let at = bytes.windows(5).position(|window| window == b"qwen*").unwrap();
        bytes[at] = b'*';
        given.grant = Grant::from_bytes(&bytes).unwrap();
        let taken: Ticket = given.to_string().parse().unwrap();
        assert!(taken.open(now()).unwrap_err().message().contains("signature does not fit"));
    }

    #[test]
    fn an_address_that_leads_to_another_peer_is_refused() {
        let other = key(2).public().to_peer_id();
        let error = ticket(&[&format!("/ip4/192.0.2.7/tcp/4101/p2p/{other}")]).open(now()).unwrap_err();
        assert!(error.message().contains(&other.to_string()), "{error}");
        // By way of a relay is another matter: the last peer is who is meant.
        let own = key(1).public().to_peer_id();
        let relayed = format!("/ip4/192.0.2.7/tcp/4101/p2p/{other}/p2p-circuit/p2p/{own}");
        assert!(ticket(&[&relayed]).open(now()).is_ok());
    }

    #[test]
    fn there_is_room_for_eight_addresses() {
        let many: Vec<String> = (0..20).map(|at| format!("/ip4/192.0.2.{at}/tcp/4101")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(ticket(&many).to_string().parse::<Ticket>().unwrap().addresses.len(), 8);
    }
}
