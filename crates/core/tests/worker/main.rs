//! Workers, with a real child process: this test program itself, started again to serve (see `child.rs`).
#![allow(clippy::unwrap_used)]

mod calls;
mod child;
mod lives;
mod protocol;
mod support;
