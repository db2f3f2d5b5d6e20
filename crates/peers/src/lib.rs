//! Peers: any router answers through any other, over libp2p.
//!
//! [`node`] is this process's place in the network; [`wire`] is the protocol's frames as bytes, without a network; `docs/peers/protocol.md` describes them for other languages.

pub mod node;
pub mod wire;
