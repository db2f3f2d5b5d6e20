//! What peers sign: a libp2p signed envelope around a DAG-CBOR map.
//!
//! Each kind has a domain of its own, which is signed with it, so that nothing signed for one use passes for another. Here are sealing and opening alone: size, signature, CBOR.
//! What a body means and when it is believed is `record.rs`, `grant.rs`, `receipt.rs`.

use std::fmt;

use libp2p_core::SignedEnvelope;
use libp2p_identity::{Keypair, PeerId};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A kind of signed body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// What is signed with every body; the version of the format is in it.
    pub(crate) domain: &'static str,
    /// The largest envelope, in bytes.
    pub(crate) most: usize,
}

/// Why an envelope is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// It is larger than its kind may be.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// What it may have.
        most: usize,
    },
    /// It is no envelope, or its body is no such map.
    Malformed(String),
    /// It was signed for something else, or changed after it was signed.
    Signature,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, most } => write!(f, "it has {bytes} bytes, where {most} are the most"),
            Self::Malformed(why) => write!(f, "it cannot be read: {why}"),
            Self::Signature => f.write_str("its signature does not fit: it was changed, or signed for something else"),
        }
    }
}

impl std::error::Error for Broken {}

impl Kind {
    /// Signs a body.
    pub(crate) fn seal(self, key: &Keypair, body: &impl Serialize) -> Result<Vec<u8>, Broken> {
        let malformed = |error: &dyn fmt::Display| Broken::Malformed(error.to_string());
        let payload = serde_ipld_dagcbor::to_vec(body).map_err(|error| malformed(&error))?;
        let domain = self.domain.to_owned();
        let envelope = SignedEnvelope::new(key, domain, self.domain.as_bytes().to_vec(), payload)
            .map_err(|error| malformed(&error))?
            .into_protobuf_encoding();
        self.fits(&envelope).map(|()| envelope)
    }

    /// The body of an envelope and who signed it. Whether the signer may say such a thing is for the caller to judge.
    pub(crate) fn open<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<(T, PeerId), Broken> {
        self.fits(bytes)?;
        let envelope = SignedEnvelope::from_protobuf_encoding(bytes)
            .map_err(|_| Broken::Malformed("it is no signed envelope".to_owned()))?;
        let (payload, key) = envelope
            .payload_and_signing_key(self.domain.to_owned(), self.domain.as_bytes())
            .map_err(|_| Broken::Signature)?;
        // Only now: what a stranger wrote is not even read.
        let body = serde_ipld_dagcbor::from_slice(payload).map_err(|error| Broken::Malformed(error.to_string()))?;
        Ok((body, key.to_peer_id()))
    }

    fn fits(self, bytes: &[u8]) -> Result<(), Broken> {
        if bytes.len() > self.most {
            return Err(Broken::TooLarge { bytes: bytes.len(), most: self.most });
        }
        Ok(())
    }
}

/// Peer ids as byte strings.
pub(crate) mod peer_bytes {
    use libp2p_identity::PeerId;
    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(peer: &PeerId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&peer.to_bytes())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PeerId, D::Error> {
        let bytes: serde_bytes::ByteBuf = serde::Deserialize::deserialize(from)?;
        PeerId::from_bytes(&bytes).map_err(|_| de::Error::custom("not a peer id"))
    }
}

/// A peer id, or none.
pub(crate) mod maybe_peer_bytes {
    use libp2p_identity::PeerId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(peer: &Option<PeerId>, to: S) -> Result<S::Ok, S::Error> {
        match peer {
            Some(peer) => super::peer_bytes::serialize(peer, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PeerId>, D::Error> {
        #[derive(Deserialize)]
        struct Peer(#[serde(with = "super::peer_bytes")] PeerId);
        Ok(Option::<Peer>::deserialize(from)?.map(|peer| peer.0))
    }
}

/// Addresses as byte strings. One that this version does not know is left out: a newer peer may have more kinds of them.
pub(crate) mod address_bytes {
    use libp2p_core::Multiaddr;
    use serde::{Deserialize, Deserializer, Serializer, ser::SerializeSeq};

    pub(crate) fn serialize<S: Serializer>(addresses: &[Multiaddr], to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(addresses.len()))?;
        for address in addresses {
            list.serialize_element(serde_bytes::Bytes::new(address.as_ref()))?;
        }
        list.end()
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Multiaddr>, D::Error> {
        let list: Vec<serde_bytes::ByteBuf> = Vec::deserialize(from)?;
        Ok(list.into_iter().filter_map(|bytes| Multiaddr::try_from(bytes.into_vec()).ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Body {
        word: String,
    }

    const ONE: Kind = Kind { domain: "test-one-v1", most: 256 };
    const OTHER: Kind = Kind { domain: "test-other-v1", most: 256 };

    #[test]
    fn what_is_signed_for_one_use_does_not_pass_for_another() {
        let key = Keypair::generate_ed25519();
        let body = Body { word: "yes".into() };
        let sealed = ONE.seal(&key, &body).unwrap();
        assert_eq!(ONE.open::<Body>(&sealed).unwrap(), (body, key.public().to_peer_id()));
        assert_eq!(OTHER.open::<Body>(&sealed).unwrap_err(), Broken::Signature);
    }

    #[test]
    fn whatever_is_changed_is_found() {
        let sealed = ONE.seal(&Keypair::generate_ed25519(), &Body { word: "yes".into() }).unwrap();
        for at in 0..sealed.len() {
            let mut other = sealed.clone();
            other[at] ^= 1;
            assert!(ONE.open::<Body>(&other).is_err(), "byte {at}");
            assert!(ONE.open::<Body>(&sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn size_is_bounded_both_ways() {
        let key = Keypair::generate_ed25519();
        let large = Body { word: "x".repeat(300) };
        assert!(matches!(ONE.seal(&key, &large), Err(Broken::TooLarge { most: 256, .. })));
        assert!(matches!(ONE.open::<Body>(&[0; 257]), Err(Broken::TooLarge { bytes: 257, .. })));
    }
}
