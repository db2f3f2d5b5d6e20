//! Content identifiers of a digest: CIDv1 over sha2-256, in the three bases people paste.
//!
//! It prints identifiers; nothing here reads them or fetches what they name. What is hashed for a request is in
//! `key.rs`.

use std::{fmt, str::FromStr};

use cid::Cid;
use multihash::Multihash;
use sha2::{Digest, Sha256};

/// The multihash code of sha2-256.
const SHA2_256: u64 = 0x12;

/// What the hashed bytes are, by their multicodec code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
#[non_exhaustive]
pub enum Codec {
    /// Bytes with no said structure; what keys and stored answers use.
    Raw = 0x55,
    /// DAG-CBOR.
    DagCbor = 0x71,
    /// DAG-JSON.
    DagJson = 0x0129,
}

/// The alphabet an identifier is printed in; the identity stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Base {
    /// Lower-case base32 (`b…`), the usual one.
    #[default]
    Base32,
    /// Bitcoin's base58 (`z…`).
    Base58Btc,
    /// Lower-case base36 (`k…`), short enough for a host name.
    Base36,
}

impl Base {
    /// Every base, in the order help texts list them.
    pub const ALL: [Self; 3] = [Self::Base32, Self::Base58Btc, Self::Base36];

    /// The name configurations use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base32 => "base32",
            Self::Base58Btc => "base58btc",
            Self::Base36 => "base36",
        }
    }
}

impl FromStr for Base {
    type Err = UnknownBase;

    fn from_str(name: &str) -> Result<Self, UnknownBase> {
        Self::ALL.into_iter().find(|base| base.name() == name).ok_or_else(|| UnknownBase(name.to_owned()))
    }
}

/// A base no identifier is printed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownBase(pub String);

impl fmt::Display for UnknownBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown CID base `{}`; use base32, base58btc or base36", self.0)
    }
}

impl std::error::Error for UnknownBase {}

/// A sha2-256 digest: what a key and a stored value are known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// Hashes the bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest known from elsewhere.
    #[must_use]
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest in a key as it is printed, in a CID of sha2-256, or in 64 hexadecimal digits; `None` where there is none.
    #[must_use]
    pub fn of_key(text: &str) -> Option<Self> {
        let last = text.trim().rsplit("::").next()?;
        if last.len() == 64 && last.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let mut digest = [0; 32];
            for (byte, pair) in digest.iter_mut().zip(last.as_bytes().chunks_exact(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
            }
            return Some(Self::from_bytes(digest));
        }
        let hash = *Cid::try_from(last).ok()?.hash();
        if hash.code() != SHA2_256 {
            return None;
        }
        hash.digest().try_into().ok().map(Self::from_bytes)
    }

    /// The self-describing form: code 0x12, length 32, digest.
    #[must_use]
    pub fn multihash(&self) -> [u8; 34] {
        let mut bytes = [0; 34];
        bytes[0] = SHA2_256 as u8;
        bytes[1] = 32;
        bytes[2..].copy_from_slice(&self.0);
        bytes
    }

    /// The CIDv1 of bytes with this digest.
    #[must_use]
    pub fn cid(&self, codec: Codec, base: Base) -> String {
        let hash: Multihash<64> = Multihash::wrap(SHA2_256, &self.0).unwrap_or_default();
        let bytes = Cid::new_v1(codec as u64, hash).to_bytes();
        let alphabet = match base {
            Base::Base32 => multibase::Base::Base32Lower,
            Base::Base58Btc => multibase::Base::Base58Btc,
            Base::Base36 => multibase::Base::Base36Lower,
        };
        multibase::encode(alphabet, bytes)
    }
}

/// 64 lower-case hexadecimal digits.
impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256Digest({self})")
    }
}
