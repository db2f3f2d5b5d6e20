//! The whole program from the outside: what it prints where, with which exit status, and what it leaves behind.
//!
//! Each test has a home folder of its own and none of this machine's environment; `support.rs` builds the command line. Nothing here reaches a network.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod bad_input;
mod chat;
mod embedded;
mod generate;
mod help;
mod interrupt;
mod keys;
mod log;
mod peers;
mod programs;
mod providers;
mod pulls;
mod run;
mod stores;
mod support;
mod terminal;
mod tls;
mod upstream;
mod usage;
