//! A model in this process: llama.cpp as an engine that continues prompts, with no service beside it.
//!
//! The wire formats and the routing live elsewhere. Read [`engine`] first; [`cpu`] is asked before anything of it
//! runs; `ffi.rs` is the only file that calls C.
#![deny(unsafe_code)]

pub mod cpu;
pub mod engine;
pub mod fetch;
mod ffi;
pub mod gguf;
pub mod grammar;
pub mod manifest;
pub mod source;
pub mod template;
pub mod tools;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod zip;
