//! What tests need and programs do not: a GGUF writer, and tiny random models that make text or vectors. Built only for this crate's own tests and with the
//! feature `testing`. Nothing here judges a file; `gguf.rs` does.

pub mod encoder;
pub mod tiny;
pub mod writer;
