//! The response cache: keys, tiers and what is stored under them.

pub mod canonical;
pub mod cid;
pub mod key;
