//! What tests need and programs do not: a GGUF writer and tiny random chat models. Built only for this crate's own tests and with the
//! feature `testing`. Nothing here judges a file; `gguf.rs` does.

pub mod tiny;
pub mod writer;
