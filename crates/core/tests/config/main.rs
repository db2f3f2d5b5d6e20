//! The configuration from the outside: files, variables and flags go in, settings or every problem come out.
//!
//! A case is put together in `support.rs`. Where settings come from is in `sources.rs`, what is refused in `problems.rs`.
#![allow(clippy::unwrap_used)]

mod documents;
mod problems;
mod providers;
mod secrets;
mod sources;
mod support;
mod warnings;
