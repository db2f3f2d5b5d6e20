//! The cache key: what makes two requests the same.
//!
//! A key is the digest of one canonical object, `{"type":"llm_response","provider","model","prompt","kwargs"}`, the very
//! object that ipfs_datasets_py hashes for the same provider, model, prompt and keyword arguments, so both compute the
//! same CID. Where an answer is stored is decided by digest and namespace (`cache.rs`), never by the printed form.
//! Spelling of the bytes: `canonical.rs`. Which fields become which keyword arguments: `key/kwargs.rs`.

mod kwargs;

use std::{fmt, str::FromStr};

use super::canonical::{CanonicalError, Object};
use super::cid::{Base, Codec, Sha256Digest};
use crate::error::Error;
use crate::ids::ProviderId;
use crate::request::Request;

/// How a key is printed. The identity below is the same for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyStrategy {
    /// `llm_response::<provider>::<model>::<64 hexadecimal digits>`
    Sha256,
    /// `llm_response_cid::<CIDv1 of the canonical bytes, raw, sha2-256>`, in a base.
    Cid(Base),
}

impl Default for KeyStrategy {
    fn default() -> Self {
        Self::Cid(Base::default())
    }
}

impl KeyStrategy {
    /// Reads the two settings `ROUTER_CACHE_KEY` and `ROUTER_CACHE_CID_BASE`.
    ///
    /// # Errors
    /// `caller_invalid_request`, naming the word and the known ones.
    pub fn parse(strategy: &str, base: &str) -> Result<Self, Error> {
        let base = Base::from_str(base).map_err(|error| Error::invalid(error.to_string()))?;
        match strategy {
            "sha256" => Ok(Self::Sha256),
            "cid" => Ok(Self::Cid(base)),
            other => {
                Err(Error::invalid(format!("unknown cache key strategy {other:?}")).with_hint("use sha256 or cid"))
            }
        }
    }
}

/// The identity of a request at one target.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    digest: Sha256Digest,
    provider: ProviderId,
    model: Box<str>,
}

impl Key {
    /// The key of a request at a provider and model. For a local model file, `model` is `name@` and the first 16
    /// hexadecimal digits of the file's sha256.
    ///
    /// # Errors
    /// `caller_invalid_request` when JSON in the request has no canonical form (nested too deep, half a surrogate pair).
    pub fn of(request: &Request, provider: &ProviderId, model: &str) -> Result<Self, Error> {
        let model = model.trim();
        let bytes = hashed_bytes(request, provider, model)
            .map_err(|error| Error::invalid(format!("the request has no cache key: {error}")))?;
        Ok(Self { digest: Sha256Digest::of(&bytes), provider: provider.clone(), model: model.into() })
    }

    /// What answers are stored under, together with a namespace.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// The key as people and headers see it.
    #[must_use]
    pub fn print(&self, strategy: KeyStrategy) -> String {
        match strategy {
            KeyStrategy::Sha256 => format!("llm_response::{}::{}::{}", self.provider, self.model, self.digest),
            KeyStrategy::Cid(base) => format!("llm_response_cid::{}", self.digest.cid(Codec::Raw, base)),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print(KeyStrategy::default()))
    }
}

fn hashed_bytes(request: &Request, provider: &ProviderId, model: &str) -> Result<Vec<u8>, CanonicalError> {
    let prompt = request.plain_prompt();
    let text = prompt.unwrap_or_default();
    let mut object = Object::with_capacity(text.len() + 512);
    object.string("type", "llm_response");
    object.string("provider", provider.as_str());
    object.string("model", model);
    object.string("prompt", text);
    object.object("kwargs", kwargs::of(request, prompt.is_none())?);
    Ok(object.finish())
}

#[cfg(test)]
mod tests;
