//! Peers: any router answers through any other, over libp2p.
#![forbid(unsafe_code)]

mod envelope;
pub mod record;
