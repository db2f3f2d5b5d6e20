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

#[test]
fn probe() {
    let engine = engine(1);
    for q in [
        "Say hello.",
        "What is 2+2?",
        "Write a haiku about the sea.",
        "Who wrote Hamlet?",
        "What is the capital of France?",
    ] {
        let mut j = chat(q);
        j.max_tokens = Some(40);
        println!("{q} => {}", collect(engine.generate(j).unwrap()).text);
    }
    println!(
        "{:?}",
        engine.tokenize(&Prompt::Template("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n".into()))
    );
    let mut j = Job::new(Prompt::Plain("The capital of France is".into()));
    j.sampling = Sampling::greedy();
    j.max_tokens = Some(20);
    println!("{:?}", collect(engine.generate(j).unwrap()).text);
}
