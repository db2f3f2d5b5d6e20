//! What the answering side says: `reject`, or `accepted` and the answer in `data`, with a `tick` where nothing else comes, up to `done` or `err`.

use bytes::{Bytes, BytesMut};
use llm_router::{Error, ErrorKind};
use serde::de::SeqAccess;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::code::{seen_from_here, sentence};
use super::message::{Message, blob, map, some_blob, understood, within, write};
use super::{Breach, Code, MAX_PIECE, MAX_TEXT, message};

/// The longest signed record that an answer may end with, in bytes.
const MAX_RECEIPT: usize = 4 << 10;

/// The longest sentence of an error, in bytes.
const MAX_SENTENCE: usize = 2 << 10;

/// A frame of the answering side.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ServerFrame {
    /// No, before any work was done. Last.
    Reject(Reject),
    /// The request was read and has its place.
    Accepted(Accepted),
    /// What is known of the answer before its first content.
    Head(Head),
    /// A piece of the answer.
    Data(Data),
    /// Nothing new, and still at work.
    Tick(Tick),
    /// The answer is whole. Last.
    Done(Done),
    /// The answer failed. Last.
    Err(Failure),
}

/// Why a request is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reject {
    /// Why, in a word.
    pub code: Code,
    /// Why, for a person.
    #[serde(default)]
    pub message: String,
    /// When to ask again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// How much of its places are taken, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<u8>,
    /// Keys of this map that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

/// What is known when a request has its place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// How many requests are before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_pos: Option<u32>,
    /// How long the first content will probably take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub est_ttft_ms: Option<u64>,
    /// Which file the model is, where the peer tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<String>,
    /// Keys of this map that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

/// What is known of an answer before its first content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The model that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether it is a stored answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// Fields of the request that could not be said to the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// Keys of this map that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

/// A piece of the answer: a line of the native dialect, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// Its place, from 0.
    pub seq: u64,
    /// `{"v":1,"deltas":[…]}`, or a part of it.
    #[serde(with = "blob")]
    pub bytes: Bytes,
    /// Whether the line goes on in the next `data`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Keys of this map that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

/// A sign of life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// How many requests are before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_pos: Option<u32>,
    /// Keys of this map that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

/// The end of a whole answer. What it used and why it ended are deltas of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// How many `data` there were.
    pub frames: u64,
    /// The content identifier of the response, where the peer made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resp_cid: Option<String>,
    /// The peer's signed record of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "some_blob")]
    pub receipt: Option<Bytes>,
    /// Keys of this map that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

/// Why an answer failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Why, in a word.
    pub code: Code,
    /// The kind in the router's table, `provider_timeout` for example.
    #[serde(default)]
    pub kind: String,
    /// Whose fault it is there: `caller`, `policy`, `provider`, `router`.
    #[serde(default)]
    pub fault: String,
    /// Why, for a person.
    #[serde(default)]
    pub message: String,
    /// Whether the same request may succeed at this peer.
    #[serde(default)]
    pub retryable: bool,
    /// Whether content was given out before.
    #[serde(default)]
    pub committed: bool,
    /// When to ask again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Keys of this map that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

impl Reject {
    /// A refusal with the table's sentence for this kind.
    #[must_use]
    pub fn of(kind: ErrorKind) -> Self {
        Self { code: Code::of(kind), message: sentence(kind).to_owned(), ..Self::default() }
    }

    /// Whether it keeps to its bounds.
    pub(super) fn sound(&self) -> Result<(), Breach> {
        understood(&self.crit, &["code", "message", "retry_after_ms", "load", "crit"])?;
        within("message", self.message.len(), MAX_SENTENCE)
    }

    /// With the time after which to ask again.
    #[must_use]
    pub fn after(self, wait: Option<Duration>) -> Self {
        Self { retry_after_ms: wait.map(millis), ..self }
    }

    /// What it is to the router that asked.
    #[must_use]
    pub fn error(&self) -> Error {
        said(Error::new(self.code.kind(), format!("the peer refused: {}", self.message)), self.retry_after_ms)
    }
}

impl Failure {
    /// What may be said of an error: its kind, and nothing of its text.
    #[must_use]
    pub fn of(error: &Error, committed: bool) -> Self {
        let kind = error.kind();
        Self {
            code: Code::of(kind),
            kind: kind.name().to_owned(),
            fault: fault(kind).to_owned(),
            message: sentence(kind).to_owned(),
            retryable: kind.row().same != llm_router::error::SameTarget::Never,
            committed,
            retry_after_ms: error.retry_after().map(millis),
            crit: Vec::new(),
        }
    }

    /// What it is to the router that asked.
    #[must_use]
    pub fn error(&self) -> Error {
        let named = ErrorKind::ALL.iter().find(|kind| kind.name() == self.kind);
        let kind = named.map_or_else(|| self.code.kind(), |kind| seen_from_here(*kind));
        said(Error::new(kind, format!("the peer failed: {}", self.message)), self.retry_after_ms)
    }
}

fn fault(kind: ErrorKind) -> &'static str {
    kind.name().split('_').next().unwrap_or_default()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The longest time that a peer's word is taken for: past it nobody waits anyhow.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

fn said(error: Error, retry_after_ms: Option<u64>) -> Error {
    match retry_after_ms {
        Some(wait) => error.with_retry_after(Duration::from_millis(wait).min(LONGEST_WAIT)),
        None => error,
    }
}

impl ServerFrame {
    /// Reads a frame without its length, as [`frame::take`](super::frame::take) gives it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Breach> {
        message::read(bytes)
    }

    /// Writes the frame behind `out`, with its length.
    ///
    /// # Errors
    /// A field that is larger than it may be; nothing is written then.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Breach> {
        Message::sound(self)?;
        match self {
            Self::Reject(map) => write("reject", map, out),
            Self::Accepted(map) => write("accepted", map, out),
            Self::Head(map) => write("head", map, out),
            Self::Data(map) => write("data", map, out),
            Self::Tick(map) => write("tick", map, out),
            Self::Done(map) => write("done", map, out),
            Self::Err(map) => write("err", map, out),
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Reject(_) | Self::Done(_) | Self::Err(_))
    }
}

impl Message for ServerFrame {
    fn read<'de, A: SeqAccess<'de>>(kind: &str, rest: &mut A) -> Result<Option<Self>, A::Error> {
        Ok(Some(match kind {
            "reject" => Self::Reject(map(rest)?),
            "accepted" => Self::Accepted(map(rest)?),
            "head" => Self::Head(map(rest)?),
            "data" => Self::Data(map(rest)?),
            "tick" => Self::Tick(map(rest)?),
            "done" => Self::Done(map(rest)?),
            "err" => Self::Err(map(rest)?),
            _ => return Ok(None),
        }))
    }

    fn sound(&self) -> Result<(), Breach> {
        match self {
            Self::Reject(reject) => reject.sound(),
            Self::Accepted(Accepted { model_digest, crit, .. }) => {
                understood(crit, &["queue_pos", "est_ttft_ms", "model_digest", "crit"])?;
                within("model_digest", model_digest.as_ref().map_or(0, String::len), MAX_TEXT)
            }
            Self::Head(Head { model, dropped, crit, .. }) => {
                understood(crit, &["model", "cached", "dropped", "crit"])?;
                within("model", model.as_ref().map_or(0, String::len), MAX_TEXT)?;
                within("dropped", dropped.iter().map(String::len).sum(), MAX_SENTENCE)
            }
            Self::Data(Data { bytes, crit, .. }) => {
                understood(crit, &["seq", "bytes", "more", "crit"])?;
                within("bytes", bytes.len(), MAX_PIECE)
            }
            Self::Tick(Tick { crit, .. }) => understood(crit, &["queue_pos", "crit"]),
            Self::Done(Done { receipt, resp_cid, crit, .. }) => {
                understood(crit, &["frames", "resp_cid", "receipt", "crit"])?;
                within("receipt", receipt.as_ref().map_or(0, Bytes::len), MAX_RECEIPT)?;
                within("resp_cid", resp_cid.as_ref().map_or(0, String::len), MAX_TEXT)
            }
            Self::Err(Failure { kind, fault, message, crit, .. }) => {
                const KNOWN: &[&str] =
                    &["code", "kind", "fault", "message", "retryable", "committed", "retry_after_ms", "crit"];
                understood(crit, KNOWN)?;
                within("kind", kind.len(), MAX_TEXT)?;
                within("fault", fault.len(), MAX_TEXT)?;
                within("message", message.len(), MAX_SENTENCE)
            }
        }
    }
}
