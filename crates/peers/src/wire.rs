//! The frames of the inference protocol: bytes in, frames out; no socket, no clock.
//!
//! A frame is its length as an unsigned varint and a DAG-CBOR array `[type, map]`. [`frame`] finds where one ends, [`check`] refuses what is malformed or
//! hostile before anything is made of it, [`client`] and [`server`] are what the two sides may say. `docs/peers/protocol.md` is the same for other languages. How
//! frames get onto a stream is `io.rs`, when which one may come is the business of `serve` and `call`.

pub mod breach;
pub mod caps;
pub mod check;
pub mod client;
pub mod code;
pub mod frame;
mod message;
pub mod server;
#[cfg(test)]
mod tests;

pub use breach::Breach;
pub use caps::{Caps, CapsFrame};
pub use client::{ClientFrame, Open};
pub use code::Code;
pub use server::{Accepted, Data, Done, Failure, Head, Reject, ServerFrame, Tick};

/// The protocol's name. Its version is its compatibility: what is added without changing it are keys of maps, which old versions ignore.
pub const PROTOCOL: &str = "/llm-router/infer/1.0.0";

/// The version that an `open` names.
pub const VERSION: u32 = 1;

/// The longest frame without its length, in bytes: room for a body's piece four times over, and little enough to be kept for each of a thousand streams.
pub const MAX_FRAME: usize = 256 << 10;

/// The longest piece of a body, in bytes.
pub const MAX_CHUNK: usize = 64 << 10;

/// The largest request, in bytes: some pictures and a long conversation.
pub const MAX_BODY: usize = 8 << 20;

/// The longest piece of a line of the answer, in bytes.
pub const MAX_PIECE: usize = 128 << 10;

/// The longest line of an answer, in bytes, which several frames may carry: a picture is one delta.
pub const MAX_LINE: usize = 8 << 20;

/// How deep values may be nested: the protocol itself needs three levels.
pub const MAX_DEPTH: usize = 16;

/// The most peers that a request may have come through.
pub const MAX_HOPS: usize = 8;

/// The longest text of an `open`, in bytes: a model's name, a label, a place in a trace.
pub const MAX_TEXT: usize = 256;

/// The longest grant, in bytes.
pub const MAX_GRANT: usize = 8 << 10;
