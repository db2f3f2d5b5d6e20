//! The embedded engine and its model files: what turns a GGUF file into generated text in this process.

pub mod gguf;
pub mod grammar;
pub mod template;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
