//! What a server keeps between requests, and what it lets pass: seen from outside, over a socket.
#![allow(clippy::unwrap_used, missing_docs)]

mod passthrough;
mod responses;
mod support;
