//! What the asking side says: one `open`, the body in pieces, `end`. Then it only reads.

use bytes::{Bytes, BytesMut};
use serde::de::SeqAccess;
use serde::{Deserialize, Serialize};

use super::message::{Message, blob, map, some_blob, understood, within, write};
use super::{Breach, MAX_BODY, MAX_CHUNK, MAX_GRANT, MAX_HOPS, MAX_TEXT, message};

/// A frame of the asking side.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientFrame {
    /// What is wanted, before the request itself. First, and once.
    Open(Box<Open>),
    /// A piece of the body.
    Body(Bytes),
    /// The body is whole. Once; nothing comes after it.
    End,
}

/// What is wanted: enough to refuse it before its body is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// The version, [`VERSION`](super::VERSION).
    pub v: u32,
    /// What names the request over all its attempts: 16 bytes of chance.
    #[serde(with = "blob")]
    pub rid: Bytes,
    /// Which attempt this is, from 1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// The model, as the body says it; absent for whichever the peer serves first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What kind of work it is: `generate`.
    pub endpoint: String,
    /// Whether the answer is wanted as it comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// How long the body is, in bytes.
    pub body_len: u64,
    /// How long the asking side waits for the whole answer, in milliseconds from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Tokens of the answer at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_out: Option<u32>,
    /// What the answer may cost, in micro-dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// What the asking side calls its own client, for the peer's books: no name of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_tag: Option<String>,
    /// A signed grant, as its issuer made it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "some_blob")]
    pub grant: Option<Bytes>,
    /// The peers that it came through, the first one first: a peer that finds itself among them refuses it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<String>,
    /// Where it stands in somebody's trace, as W3C's `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What else the asking side can do. None is known yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Keys of this map that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

impl Open {
    /// The keys that this version knows.
    pub const KNOWN: &[&str] = &[
        "v",
        "rid",
        "attempt",
        "model",
        "endpoint",
        "stream",
        "body_len",
        "deadline_ms",
        "max_out",
        "budget",
        "tenant_tag",
        "grant",
        "hops",
        "trace",
        "features",
        "crit",
    ];

    fn sound(&self) -> Result<(), Breach> {
        understood(&self.crit, Self::KNOWN)?;
        if self.rid.len() != 16 {
            return Err(Breach::Field("rid"));
        }
        within("body_len", usize::try_from(self.body_len).unwrap_or(usize::MAX), MAX_BODY)?;
        within("grant", self.grant.as_ref().map_or(0, Bytes::len), MAX_GRANT)?;
        within("hops", self.hops.len(), MAX_HOPS)?;
        within("features", self.features.len(), MAX_HOPS)?;
        let texts = [("model", &self.model), ("tenant_tag", &self.tenant_tag), ("trace", &self.trace)];
        for (name, text) in texts {
            within(name, text.as_ref().map_or(0, String::len), MAX_TEXT)?;
        }
        within("endpoint", self.endpoint.len(), MAX_TEXT)?;
        let longest = |texts: &[String]| texts.iter().map(String::len).max().unwrap_or(0);
        within("hops", longest(&self.hops), MAX_TEXT)?;
        within("features", longest(&self.features), MAX_TEXT)
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(with = "blob")]
    bytes: Bytes,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    crit: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Empty {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    crit: Vec<String>,
}

impl ClientFrame {
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
            Self::Open(open) => write("open", open, out),
            Self::Body(bytes) => write("body", &Body { bytes: bytes.clone(), crit: Vec::new() }, out),
            Self::End => write("end", &Empty { crit: Vec::new() }, out),
        }
    }
}

impl Message for ClientFrame {
    fn read<'de, A: SeqAccess<'de>>(kind: &str, rest: &mut A) -> Result<Option<Self>, A::Error> {
        let refused = |_| serde::de::Error::custom("a field must be understood that is not known");
        Ok(Some(match kind {
            "open" => Self::Open(Box::new(map(rest)?)),
            "body" => {
                let Body { bytes, crit } = map(rest)?;
                understood(&crit, &["bytes", "crit"]).map_err(refused)?;
                Self::Body(bytes)
            }
            "end" => {
                let Empty { crit } = map(rest)?;
                understood(&crit, &["crit"]).map_err(refused)?;
                Self::End
            }
            _ => return Ok(None),
        }))
    }

    fn sound(&self) -> Result<(), Breach> {
        match self {
            Self::Open(open) => open.sound(),
            Self::Body(bytes) => within("bytes", bytes.len(), MAX_CHUNK),
            Self::End => Ok(()),
        }
    }
}
