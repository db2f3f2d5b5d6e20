//! Peers: any router answers through any other, over libp2p.
#![forbid(unsafe_code)]

mod armour;
mod envelope;
pub mod grant;
pub mod picker;
pub mod receipt;
pub mod record;
pub mod table;
pub mod ticket;
