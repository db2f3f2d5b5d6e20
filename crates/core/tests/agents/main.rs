//! The coding agents' providers from outside: stand-ins replay what the real programs printed (see `support.rs`), and write down how they were started.
#![allow(clippy::unwrap_used)]

mod claude;
mod codex;
mod copilot;
mod copilot_server;
mod gemini;
mod hostile;
mod named;
mod stand_in;
mod support;
mod warm;
