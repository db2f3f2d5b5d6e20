//! One router for text generation: HTTP APIs, coding-agent programs and providers of one's own behind one request and one stream of deltas.
//!
//! The domain types come first ([`request`], [`delta`], [`response`], [`usage`], [`error`]), then the wire formats ([`dialect`]), what answers
//! ([`provider`]), and what decides ([`router`]). Dependencies point that way only; `ARCHITECTURE.md` is the map.
#![forbid(unsafe_code)]

pub mod books;
pub mod cache;
pub mod config;
pub mod delta;
pub mod deps;
pub mod dialect;
pub mod embedding;
pub mod error;
pub mod ids;
pub mod image;
pub mod limits;
pub mod pricing;
pub mod provider;
pub mod request;
pub mod response;
pub mod router;
pub mod secret;
pub mod store;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trace;
pub mod usage;

pub use error::{Error, ErrorKind, Result};
