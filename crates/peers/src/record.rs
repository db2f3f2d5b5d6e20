//! Capability records: what a peer says of itself, signed, for a few minutes.
//!
//! A record is a hint to everybody but those who heard it from its peer directly, and a prior to all: what a router measures itself takes its place (`table.rs`). The wire names are
//! short, since a record has at most [`MOST_BYTES`]; unknown keys are ignored, unless the record itself lists them as critical. What a record may say is `record/check.rs`, how
//! its fields are written `record/wire.rs`, how it is signed `envelope.rs`.

mod check;
mod wire;

use std::fmt;
use std::time::{Duration, SystemTime};

use libp2p_core::Multiaddr;
use libp2p_identity::{Keypair, PeerId};
use serde::{Deserialize, Serialize};

pub use self::wire::{Access, Logs, Modalities};
use crate::envelope::{Broken, Kind, address_bytes, peer_bytes};

/// The largest record, in bytes, its signature included.
pub const MOST_BYTES: usize = 2048;
/// The longest that a record holds.
pub const LONGEST_TTL: Duration = Duration::from_secs(300);
/// How far the clocks of two peers may be apart.
pub const SKEW: Duration = Duration::from_secs(120);
/// The most models of a record, and the most addresses.
pub const MOST_MODELS: usize = 32;
/// The most addresses of a record.
pub const MOST_ADDRESSES: usize = 16;

const KIND: Kind = Kind { domain: "llm-router-caps-v1", most: MOST_BYTES };
/// The version of the format that is written.
const VERSION: u32 = 1;

/// What a peer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The version of the format.
    #[serde(rename = "v")]
    version: u32,
    /// Who it is: the signer.
    #[serde(with = "peer_bytes")]
    pub peer: PeerId,
    /// Which run of the peer's program this is, a larger number each time it starts. What an earlier run said is over.
    #[serde(rename = "inc")]
    pub incarnation: u64,
    /// The number of the record within the incarnation.
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// When it was signed, in seconds since 1970.
    #[serde(rename = "iat")]
    pub issued: u64,
    /// For how many seconds it holds.
    pub ttl: u32,
    /// Where the peer can be dialled.
    #[serde(rename = "addrs", with = "address_bytes")]
    pub addresses: Vec<Multiaddr>,
    /// What it serves.
    pub models: Vec<Model>,
    /// How busy it is.
    #[serde(default)]
    pub load: Load,
    /// Where it stands, as its owner likes to say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether it relays for others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relay: bool,
    /// Whom it serves, and what it keeps of what it reads.
    #[serde(default)]
    pub policy: Policy,
    /// Its program and version.
    #[serde(rename = "sw", default, skip_serializing_if = "String::is_empty")]
    pub software: String,
    /// Keys of this map that a reader must know.
    #[serde(rename = "crit", default, skip_serializing_if = "Vec::is_empty")]
    pub critical: Vec<String>,
}

/// A model that a peer serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Model {
    /// Its name, as requests have it.
    pub id: String,
    /// The first bytes of the SHA-256 of its file.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub digest: Option<Vec<u8>>,
    /// How it is quantised, such as `q4_k_m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant: Option<String>,
    /// Its context window in tokens, prompt and answer together.
    #[serde(rename = "ctx")]
    pub context: u32,
    /// What it reads besides text.
    #[serde(default, skip_serializing_if = "Modalities::is_empty")]
    pub modalities: Modalities,
    /// Whether it calls tools.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tools: bool,
    /// How many requests it answers at once.
    #[serde(rename = "max_conc")]
    pub slots: u16,
    /// What a million tokens of prompts cost, in micro-dollars; absent where nobody said, which is not nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_in: Option<u64>,
    /// What a million tokens of answers cost, in micro-dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_out: Option<u64>,
    /// Tokens a second of one answer, the median.
    #[serde(rename = "tps_p50", default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<u32>,
    /// Milliseconds to the first token, the median.
    #[serde(rename = "ttft_p50", default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u32>,
}

/// How busy a peer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Load {
    /// Requests that it answers now.
    #[serde(rename = "inflight", default)]
    pub in_flight: u32,
    /// Requests that wait.
    #[serde(default)]
    pub queue: u32,
    /// How much of the memory for contexts is free, of a hundred.
    #[serde(rename = "kv_free_pct", default, skip_serializing_if = "Option::is_none")]
    pub free: Option<u8>,
}

/// Whom a peer serves, and what it keeps of what it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Policy {
    /// Whom it serves.
    pub access: Access,
    /// What it writes down of requests.
    pub log: Logs,
}

impl Model {
    /// A model of this name, window and number of requests at once; nothing else is said of it.
    #[must_use]
    pub fn new(id: impl Into<String>, context: u32, slots: u16) -> Self {
        Self {
            id: id.into(),
            digest: None,
            quant: None,
            context,
            modalities: Modalities::default(),
            tools: false,
            slots,
            price_in: None,
            price_out: None,
            tokens_per_second: None,
            first_token_ms: None,
        }
    }
}

impl Load {
    /// So many requests under way, and so many that wait.
    #[must_use]
    pub fn new(in_flight: u32, queue: u32) -> Self {
        Self { in_flight, queue, free: None }
    }
}

impl Record {
    /// A record of this peer that says nothing yet, signed now, for the longest time.
    #[must_use]
    pub fn new(peer: PeerId, incarnation: u64, sequence: u64, now: SystemTime) -> Self {
        Self {
            version: VERSION,
            peer,
            incarnation,
            sequence,
            issued: seconds(now),
            ttl: LONGEST_TTL.as_secs() as u32,
            addresses: Vec::new(),
            models: Vec::new(),
            load: Load::default(),
            region: None,
            relay: false,
            policy: Policy::default(),
            software: String::new(),
            critical: Vec::new(),
        }
    }

    /// Signs it.
    ///
    /// # Errors
    /// What a reader would refuse it for.
    pub fn seal(&self, key: &Keypair) -> Result<Vec<u8>, Refused> {
        let signer = key.public().to_peer_id();
        self.check(signer, self.issued)?;
        Ok(KIND.seal(key, self)?)
    }

    /// Signs it with as many of its models as there is room for, the first ones, and says how many were left out.
    ///
    /// # Errors
    /// What a reader would refuse it for.
    pub fn seal_fitting(mut self, key: &Keypair) -> Result<(Vec<u8>, usize), Refused> {
        let all = self.models.len();
        self.models.truncate(MOST_MODELS);
        loop {
            match self.seal(key) {
                Err(Refused::Broken(Broken::TooLarge { .. })) if self.models.pop().is_some() => {}
                sealed => return sealed.map(|bytes| (bytes, all - self.models.len())),
            }
        }
    }

    /// Reads a record that came from somewhere. Whether there is a newer one is known to who keeps them (`table.rs`).
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn open(bytes: &[u8], now: SystemTime) -> Result<Heard, Refused> {
        let (record, signer): (Self, PeerId) = KIND.open(bytes)?;
        let now = seconds(now);
        record.check(signer, now)?;
        // Of one from a clock that is ahead no more is left than it says.
        let left = (record.issued + u64::from(record.ttl)).saturating_sub(now).min(u64::from(record.ttl));
        Ok(Heard { record, left: Duration::from_secs(left) })
    }

    /// Its place among the records of its peer: a later one has a larger place.
    #[must_use]
    pub fn place(&self) -> (u64, u64) {
        (self.incarnation, self.sequence)
    }
}

/// A record whose signature and times were found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    record: Record,
    left: Duration,
}

impl Heard {
    /// One that nobody signed: for simulations of many peers, where signing is not what is looked at.
    #[must_use]
    pub fn unsigned(record: Record) -> Self {
        let left = Duration::from_secs(record.ttl.into());
        Self { record, left }
    }

    /// What it says.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// For how long it holds from when it was opened.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.left
    }
}

/// Why a record is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// It is no record, or was changed.
    Broken(Broken),
    /// It speaks of another peer than the one that signed it.
    Stolen {
        /// Who signed it.
        signer: PeerId,
    },
    /// It comes from the future: by so much more than clocks may differ.
    Early(Duration),
    /// Its time is over: since so long.
    Expired(Duration),
    /// A format that this version does not read.
    Version(u32),
    /// It says that this key must be understood, which is unknown here.
    Critical(String),
    /// What this field says cannot be, or is too much.
    Field(&'static str),
}

impl Refused {
    /// The reason in one word, for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Broken(Broken::TooLarge { .. }) => "too_large",
            Self::Broken(Broken::Malformed(_)) => "malformed",
            Self::Broken(Broken::Signature) => "signature",
            Self::Stolen { .. } => "stolen",
            Self::Early(_) => "early",
            Self::Expired(_) => "expired",
            Self::Version(_) => "version",
            Self::Critical(_) => "critical",
            Self::Field(_) => "field",
        }
    }

    /// Whether an honest peer of any version may have sent it on: such a one is not blamed.
    #[must_use]
    pub fn is_innocent(&self) -> bool {
        matches!(self, Self::Early(_) | Self::Expired(_) | Self::Version(_) | Self::Critical(_))
    }
}

impl From<Broken> for Refused {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a capability record is refused: ")?;
        match self {
            Self::Broken(broken) => write!(f, "{broken}"),
            Self::Stolen { signer } => write!(f, "it speaks of another peer than its signer {signer}"),
            Self::Early(by) => write!(f, "it is {} s ahead of this clock; set the clocks", by.as_secs()),
            Self::Expired(by) => write!(f, "it ended {} s ago", by.as_secs()),
            Self::Version(version) => write!(f, "it has version {version}, and this program reads version {VERSION}"),
            Self::Critical(key) => {
                write!(f, "it wants {key:?} to be understood, which a newer version of llm-router does")
            }
            Self::Field(field) => write!(f, "`{field}` says what cannot be"),
        }
    }
}

impl std::error::Error for Refused {}

/// A time in seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
