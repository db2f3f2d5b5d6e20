//! Peers: any router answers through any other, over libp2p.
//!
//! [`node`] is this process's place in the network. [`wire`] is the inference protocol's frames as bytes, without a network; `docs/peers/protocol.md` describes
//! them for other languages. What peers sign is in [`record`], [`grant`] and [`receipt`]; who is asked is decided by [`picker`] over a [`table`].
#![forbid(unsafe_code)]

mod armour;
pub mod book;
mod envelope;
pub mod grant;
pub mod node;
pub mod picker;
pub mod receipt;
pub mod record;
pub mod share;
pub mod table;
pub mod ticket;
pub mod wire;
