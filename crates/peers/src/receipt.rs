//! Receipts: a peer's signature under an answer that it gave, which anybody can check later without a network.
//!
//! A receipt is attribution: who answered which request with which response, and what it said that took. It proves nothing about how the response came to be.
//! The CIDs are those of the cache (`llm_router::cache::key` and `response`), so that who has the request and the answer finds them again. As text it is one word, `armour.rs`.

use std::fmt;
use std::time::SystemTime;

use cid::Cid;
use libp2p_identity::{Keypair, PeerId};
use llm_router::error::{Error, Result};
use llm_router::ids::ModelName;
use llm_router::usage::Usage;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::armour::Word;
use crate::envelope::{Broken, Kind, peer_bytes};
use crate::record::seconds;

/// The largest receipt, in bytes.
pub const MOST_BYTES: usize = 1024;

const KIND: Kind = Kind { domain: "llm-router-receipt-v1", most: MOST_BYTES };
const WORD: Word = Word { kind: "receipt", hint: "give all of the receipt, as it came with the answer" };
const VERSION: u32 = 1;

/// What a peer signs under its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    #[serde(rename = "v")]
    version: u32,
    /// Who answered: the signer.
    #[serde(with = "peer_bytes")]
    pub peer: PeerId,
    /// The request that it answered, by its number on the wire.
    #[serde(rename = "rid")]
    pub request_id: ByteArray<16>,
    /// The request's CID.
    #[serde(rename = "req")]
    pub request: Cid,
    /// The response's CID.
    #[serde(rename = "resp")]
    pub response: Cid,
    /// The model that is said to have answered.
    pub model: String,
    /// The first bytes of the SHA-256 of its file, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub digest: Option<Vec<u8>>,
    /// What it is said to have taken.
    pub usage: Tokens,
    /// When it was signed, in seconds since 1970.
    #[serde(rename = "iat")]
    pub issued: u64,
}

/// Tokens as a receipt counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tokens {
    /// Of the prompt.
    #[serde(rename = "in")]
    pub input: u64,
    /// Of the answer, thoughts included.
    #[serde(rename = "out")]
    pub output: u64,
}

impl From<&Usage> for Tokens {
    fn from(usage: &Usage) -> Self {
        Self { input: usage.input, output: usage.output }
    }
}

impl Receipt {
    /// A receipt of the peer with this key, for an answer that it gave now.
    #[must_use]
    pub fn new(key: &Keypair, request: Cid, response: Cid, model: &ModelName, usage: &Usage, now: SystemTime) -> Self {
        Self {
            version: VERSION,
            peer: key.public().to_peer_id(),
            request_id: ByteArray::default(),
            request,
            response,
            model: model.as_str().to_owned(),
            digest: None,
            usage: usage.into(),
            issued: seconds(now),
        }
    }

    /// Of the request with this number.
    #[must_use]
    pub fn of_request(mut self, id: [u8; 16]) -> Self {
        self.request_id = id.into();
        self
    }

    /// Signs it.
    ///
    /// # Errors
    /// `router_internal` where the key is another one's or it would be too large.
    pub fn seal(&self, key: &Keypair) -> Result<Vec<u8>> {
        if self.peer != key.public().to_peer_id() {
            return Err(Error::internal("a receipt is signed by the peer that it names"));
        }
        KIND.seal(key, self).map_err(|broken| Error::internal(format!("a receipt cannot be signed: {broken}")))
    }

    /// Checks a receipt. No network, no clock: one is as true later as it was.
    ///
    /// # Errors
    /// `caller_invalid_request` saying what is wrong with it.
    pub fn verify(bytes: &[u8]) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("the receipt proves nothing: {why}")).with_hint(WORD.hint);
        let (receipt, signer): (Self, PeerId) =
            KIND.open(bytes).map_err(|broken: Broken| wrong(&broken.to_string()))?;
        if receipt.version != VERSION {
            return Err(Error::invalid(format!("the receipt has version {}", receipt.version))
                .with_hint("use the version of llm-router that reads it"));
        }
        if receipt.peer != signer {
            return Err(wrong(&format!("it names {}, and was signed by {signer}", receipt.peer)));
        }
        if ModelName::new(&receipt.model).is_err() {
            return Err(wrong("its model has no name that a model can have"));
        }
        Ok(receipt)
    }

    /// The word for a signed receipt.
    #[must_use]
    pub fn word(bytes: &[u8]) -> String {
        WORD.write(bytes)
    }

    /// Checks a receipt that was given as a word.
    ///
    /// # Errors
    /// `caller_invalid_request` saying what is wrong with it.
    pub fn verify_word(text: &str) -> Result<Self> {
        Self::verify(&WORD.read(text)?)
    }
}

/// What a verified receipt proves, and what it does not, for people.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = i64::try_from(self.issued).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
        let when = when.map_or_else(|| format!("{} s after 1970", self.issued), |when| when.to_string());
        let Self { peer, request, response, model, usage, .. } = self;
        write!(
            f,
            "The peer {peer} signed at {when}, by its own clock, that it answered the request {request} with the response {response}, and says that the model {model} took {} tokens in and {} out for it. \
             This proves that the holder of that peer's key vouches for exactly these words; it does not prove that this model made them, that they are right, or that the counts are true.",
            usage.input, usage.output
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use llm_router::cache::Sha256Digest;
    use llm_router::cache::cid::{Base, Codec};
    use std::time::Duration;

    fn key(number: u8) -> Keypair {
        Keypair::ed25519_from_bytes([number; 32]).unwrap()
    }

    fn receipt() -> Receipt {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let cid = |bytes: &[u8]| Sha256Digest::of(bytes).cid(Codec::Raw, Base::Base32).parse().unwrap();
        let model = ModelName::new("qwen3-30b").unwrap();
        Receipt::new(&key(1), cid(b"question"), cid(b"answer"), &model, &Usage::new(12, 34), now).of_request([9; 16])
    }

    #[test]
    fn a_receipt_is_checked_without_anybody() {
        let bytes = receipt().seal(&key(1)).unwrap();
        assert_eq!(Receipt::verify(&bytes).unwrap(), receipt());
        let word = Receipt::word(&bytes);
        assert!(word.starts_with("llmr_receipt1_"));
        assert_eq!(Receipt::verify_word(&format!(" {word}\n")).unwrap(), receipt());
    }

    #[test]
    fn it_says_what_it_proves_and_what_not() {
        let says = receipt().to_string();
        for part in [
            &key(1).public().to_peer_id().to_string(),
            "2026-09-21",
            "qwen3-30b took 12 tokens in and 34 out",
            &receipt().request.to_string(),
            &receipt().response.to_string(),
            "does not prove that this model made them",
        ] {
            assert!(says.contains(part), "{part}: {says}");
        }
    }

    #[test]
    fn a_changed_a_cut_and_a_borrowed_one_prove_nothing() {
        let bytes = receipt().seal(&key(1)).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 4;
            assert!(Receipt::verify(&other).is_err(), "byte {at}");
            assert!(Receipt::verify(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(receipt().seal(&key(2)).is_err());
        let borrowed = KIND.seal(&key(2), &receipt()).unwrap();
        assert!(Receipt::verify(&borrowed).unwrap_err().message().contains("was signed by"));
        let elsewhere = Kind { domain: "llm-router-caps-v1", most: MOST_BYTES }.seal(&key(1), &receipt()).unwrap();
        assert!(Receipt::verify(&elsewhere).unwrap_err().message().contains("signed for something else"));
        let mut later = receipt();
        later.version = 2;
        assert!(Receipt::verify(&KIND.seal(&key(1), &later).unwrap()).unwrap_err().message().contains("version 2"));
    }

    #[test]
    fn the_cids_are_links_that_ipfs_can_follow() {
        let map: std::collections::BTreeMap<String, ipld_core::ipld::Ipld> =
            serde_ipld_dagcbor::from_slice(&serde_ipld_dagcbor::to_vec(&receipt()).unwrap()).unwrap();
        assert_eq!(map["resp"], ipld_core::ipld::Ipld::Link(receipt().response));
    }
}
