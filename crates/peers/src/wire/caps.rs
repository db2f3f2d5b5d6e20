//! What peers say to each other when they meet: one frame each way, of the same form as those of a request.
//!
//! Whoever opened the stream says `caps` and the other one answers with `caps`, or with `reject`. What a record says is `record`, what a grant allows `grant`.

use bytes::{Bytes, BytesMut};
use serde::de::SeqAccess;
use serde::{Deserialize, Serialize};

use super::message::{Message, map, some_blob, understood, within, write};
use super::{Breach, MAX_GRANT, Reject, message};
use crate::record;

/// The protocol's name.
pub const PROTOCOL: &str = "/llm-router/caps/1.0.0";

/// What one side says of itself, or that it does not.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CapsFrame {
    /// What it serves, and by which right it asks.
    Caps(Caps),
    /// That it has nothing to say to the other one.
    Reject(Reject),
}

/// What one side says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Caps {
    /// The version, [`VERSION`](super::VERSION).
    pub v: u32,
    /// Its signed record, where it serves anything.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "some_blob")]
    pub record: Option<Bytes>,
    /// The grant by which it wants to ask.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "some_blob")]
    pub grant: Option<Bytes>,
    /// Keys of this map that must be understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

impl CapsFrame {
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
            Self::Caps(map) => write("caps", map, out),
            Self::Reject(map) => write("reject", map, out),
        }
    }
}

impl Message for CapsFrame {
    fn read<'de, A: SeqAccess<'de>>(kind: &str, rest: &mut A) -> Result<Option<Self>, A::Error> {
        Ok(Some(match kind {
            "caps" => Self::Caps(map(rest)?),
            "reject" => Self::Reject(map(rest)?),
            _ => return Ok(None),
        }))
    }

    fn sound(&self) -> Result<(), Breach> {
        match self {
            Self::Caps(Caps { record, grant, crit, .. }) => {
                understood(crit, &["v", "record", "grant", "crit"])?;
                within("record", record.as_ref().map_or(0, Bytes::len), record::MOST_BYTES)?;
                within("grant", grant.as_ref().map_or(0, Bytes::len), MAX_GRANT)
            }
            Self::Reject(reject) => reject.sound(),
        }
    }
}
