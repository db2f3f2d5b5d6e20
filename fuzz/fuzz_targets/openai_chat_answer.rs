//! Any stream and any body is refused or keeps the laws, and can be written in both framings.
#![no_main]

#[path = "../support.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use llm_router::dialect::openai_chat::{OpenaiChat, Quirks};

fuzz_target!(|bytes: &[u8]| {
    // The server that may leave its end out is the one whose ends are hardest to tell.
    let codec = OpenaiChat::new(Quirks { no_done: true, ..Quirks::default() });
    support::refused_or_lawful(&codec, bytes, || None);
});
