//! Greedy text is the same to the byte whether a prompt runs alone, in company, or after a prefix computed before.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Whole, chat_after, collect, engine};
use llm_router_local::engine::{Engine, Job};

const QUESTIONS: [&str; 20] = [
    "What is the capital of France?",
    "Who wrote Hamlet?",
    "Write a haiku about the sea.",
    "What is 2+2?",
    "Say hello in three languages.",
    "Name five fruits.",
    "Why is the sky blue?",
    "Write one sentence about winter, and then one about summer, and compare the two of them in a third sentence.",
    "How do bees make honey?",
    "List the planets of the solar system.",
    "Explain gravity to a child.",
    "What does a compiler do?",
    "Give me a recipe for bread.",
    "Tell me a joke about a cat.",
    "What is a prime number?",
    "Who painted the Mona Lisa?",
    "Translate 'good morning' to Spanish.",
    "What is photosynthesis?",
    "Write a limerick.",
    "How far away is the moon?",
];

/// A system text of about 200 tokens, so that prompts span several chunks and end anywhere in one.
fn system() -> String {
    "You answer in short and friendly words. You never make anything up, and you say so when you do not know. "
        .repeat(9)
}

fn jobs() -> Vec<Job> {
    let job = |(at, question): (usize, &&str)| {
        // One that goes past 256 tokens, where the library computes over more memory at a time.
        let long = if at == 7 { "It may be about birds, too. ".repeat(12) } else { String::new() };
        let mut job = chat_after(&system(), &format!("{long}{question}"));
        job.max_tokens = Some(24);
        job
    };
    QUESTIONS.iter().enumerate().map(job).collect()
}

/// One after the other, each in a slot that holds nothing.
fn alone() -> Vec<Whole> {
    jobs()
        .into_iter()
        .map(|job| {
            let whole = collect(engine(1).generate(job).unwrap());
            assert_eq!(whole.usage.cached_tokens, 0);
            whole
        })
        .collect()
}

fn together(engine: &Engine) -> Vec<Whole> {
    let answers: Vec<_> = jobs().into_iter().map(|job| engine.generate(job).unwrap()).collect();
    // Read side by side: a reader that waits its turn would pause its sequence.
    let readers: Vec<_> = answers.into_iter().map(|answer| std::thread::spawn(|| collect(answer))).collect();
    readers.into_iter().map(|reader| reader.join().unwrap()).collect()
}

fn assert_same(got: &[Whole], expected: &[Whole], how: &str) {
    for ((question, got), expected) in QUESTIONS.iter().zip(got).zip(expected) {
        assert_eq!(got.text, expected.text, "{how}: {question}");
        assert_eq!(got.finish, expected.finish, "{how}: {question}");
        assert_eq!(got.usage.completion_tokens, expected.usage.completion_tokens, "{how}: {question}");
    }
}

#[test]
fn greedy_text_does_not_depend_on_company_or_history() {
    let expected = alone();
    assert_same(&together(&engine(4)), &expected, "four at a time");

    let one = engine(1);
    let after: Vec<_> = jobs().into_iter().map(|job| collect(one.generate(job).unwrap())).collect();
    assert!(
        after.iter().skip(1).all(|whole| whole.usage.cached_tokens > 130),
        "the shared prefix is not computed twice"
    );
    assert_same(&after, &expected, "after a shared prefix");
}
