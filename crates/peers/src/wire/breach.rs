//! What can be wrong with bytes that claim to be a frame.

use std::fmt;

use llm_router::Error;

/// Why bytes are no frame of the protocol. Whoever sent them is broken or hostile: the stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Breach {
    /// The length is not written in the fewest bytes, or is none.
    Length,
    /// The frame is longer than a frame may be.
    TooLong,
    /// It ends before its last value does.
    Truncated,
    /// Something stands behind its last value.
    Trailing,
    /// Values are nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    TooDeep,
    /// A value that DAG-CBOR does not have: an indefinite length, a tag that is no link, a short float.
    Value,
    /// A map's key is no text, comes twice, or out of order.
    Key,
    /// The frame is of no known type, or misses a field, or a field is of another type.
    Shape,
    /// A key that must be understood is not known here.
    Critical,
    /// A field is longer or larger than it may be.
    Field(&'static str),
    /// The frame may not come at this place.
    Order,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "the frame's length is no shortest varint",
            Self::TooLong => "the frame is longer than 256 KiB",
            Self::Truncated => "the frame ends within a value",
            Self::Trailing => "the frame holds more than one value",
            Self::TooDeep => "the frame is nested deeper than 16 levels",
            Self::Value => "the frame holds what DAG-CBOR does not have",
            Self::Key => "a map's keys are no texts, come twice, or stand out of order",
            Self::Shape => "the frame has an unknown type, or a field of it is missing or of another type",
            Self::Critical => "the frame needs a field to be understood that this version does not know",
            Self::Field(name) => return write!(f, "the field {name} is longer or larger than it may be"),
            Self::Order => "the frame may not come here",
        })
    }
}

impl std::error::Error for Breach {}

impl From<Breach> for Error {
    fn from(breach: Breach) -> Self {
        Error::protocol(format!("the peer broke the protocol: {breach}")).with_source(breach)
    }
}
