//! Peers: any router answers through any other, over libp2p.
//!
//! [`Peers`] is all of it together: the node, who is trusted, what is shared, whom to ask. [`node`] is this process's place in the network. [`wire`] is the inference protocol's frames as bytes, without a network; `docs/peers/protocol.md` describes
//! them for other languages. What peers sign is in [`record`], [`grant`] and [`receipt`]; who is asked is decided by [`picker`] over a [`table`].
#![forbid(unsafe_code)]

mod armour;
pub mod book;
mod call;
mod caps;
mod envelope;
pub mod grant;
mod io;
pub mod node;
pub mod picker;
pub mod receipt;
pub mod record;
mod serve;
pub mod service;
pub mod share;
pub mod table;
pub mod ticket;
pub mod wire;

pub use book::{Book, Known};
pub use service::{Joined, Options, Peers, Profile, Seen};
pub use share::Share;
