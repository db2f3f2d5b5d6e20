//! The server from outside: real sockets on 127.0.0.1, raw HTTP where a library would be too polite, scripted providers and upstreams behind it.
#![allow(clippy::unwrap_used, missing_docs)]

mod broken;
mod dialects;
mod door;
mod ending;
mod explain;
mod exposure;
mod fetch;
mod hostile;
mod keys;
mod limits;
mod observe;
mod protocols;
mod remote;
mod replay;
mod rules;
mod sharing;
mod streaming;
mod strict;
mod support;
mod usage;
