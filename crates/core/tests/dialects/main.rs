//! The codecs from outside, each dialect by the same laws: recorded traffic, errors, hostile bytes, and every pair of dialects.
//!
//! A new folder under `tests/fixtures/<dialect>/` needs no code here. Start at `fixtures.rs`; the laws are in `requests.rs`, `answers.rs` and `cuts.rs`, in what
//! the dialects differ in `customs.rs` and the file of each. `sources.rs` says what was recorded from whom.
#![allow(clippy::unwrap_used, missing_docs)]

mod answers;
mod anthropic;
mod anthropic_errors;
mod anthropic_foreign;
mod changes;
mod customs;
mod cuts;
mod errors;
mod fixtures;
mod gemini;
mod gemini_errors;
mod gemini_foreign;
mod hostile;
mod native;
mod openai_chat;
mod openai_chat_errors;
mod openai_chat_foreign;
mod openai_responses;
mod openai_responses_errors;
mod openai_responses_foreign;
mod pairs;
mod requests;
mod sources;
mod support;
mod unnamed;
