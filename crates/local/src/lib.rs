//! A model in this process: llama.cpp as an engine that continues prompts, and the files it runs, with no service beside it.
//!
//! Wire formats and routing live elsewhere. Read [`provider`] first, the way from a request to deltas; [`engine`] does the work; [`gguf`]
//! judges a file and [`cpu`] the processor before anything of llama.cpp runs. `ffi.rs` is the only file that calls C.
#![deny(unsafe_code)]

pub mod cpu;
#[cfg(feature = "engine")]
pub mod engine;
pub mod fetch;
#[cfg(feature = "engine")]
mod ffi;
pub mod gguf;
pub mod grammar;
pub mod manifest;
#[cfg(feature = "engine")]
pub mod provider;
pub mod source;
pub mod template;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tools;
mod zip;
