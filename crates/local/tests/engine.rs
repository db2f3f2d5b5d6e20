//! The engine from the outside, with the default model. `common/mod.rs` says where the file comes from.
#![allow(clippy::unwrap_used)]

mod common;

use common::{chat, collect, engine};
use llm_router_local::engine::{Finish, Job, Output, Prompt, Sampling};

#[test]
fn a_question_is_answered() {
    let engine = engine(1);
    let mut job = chat("What is the capital of France?");
    job.max_tokens = Some(32);
    let answer = collect(engine.generate(job).unwrap());
    eprintln!("{answer:?}");
    assert!(answer.text.contains("Paris"), "{}", answer.text);
}
