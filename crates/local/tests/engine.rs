//! The engine from the outside, with the default model (`common/mod.rs` says where the file comes from).
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{Whole, chat, collect, engine, model, options, try_collect};
use llm_router_local::engine::{Engine, EngineError, Finish, Job, Output, Prompt, Sampling};

/// A job that goes on until its limit: the end markers are biased away.
fn endless(user: &str, tokens: usize) -> Job {
    let mut job = chat(user);
    job.sampling.logit_bias = vec![(0, -1000.0), (2, -1000.0)];
    job.max_tokens = Some(tokens);
    job
}

fn ask(engine: &Engine, job: Job) -> Whole {
    collect(engine.generate(job).unwrap())
}

#[test]
fn a_question_is_answered_in_pieces_with_counts() {
    let engine = engine(1);
    let whole = ask(&engine, chat("What is 2+2?"));
    assert_eq!(whole.text, "The answer to this classic math problem is 4.");
    assert_eq!(whole.finish, Finish::Stop);
    assert!(whole.items > 5, "text comes as it is made");
    assert_eq!((whole.usage.cached_tokens, whole.usage.completion_tokens), (0, 11));
    let info = engine.model_info();
    assert_eq!((info.architecture.as_str(), info.window, info.parallel), ("llama", 1024, 1));
    assert_eq!((info.bos.as_deref(), info.eos.as_deref()), (Some("<|im_start|>"), Some("<|im_end|>")));
    assert!(info.template.as_ref().unwrap().contains("<|im_start|>"));
}

#[test]
fn markers_count_in_templates_and_not_in_plain_text() {
    let engine = engine(1);
    assert_eq!(engine.tokenize(&Prompt::Template("<|im_end|>".into())).unwrap(), [2]);
    assert!(engine.tokenize(&Prompt::Plain("<|im_end|>".into())).unwrap().len() > 1);
    let unknown = engine.tokenize(&Prompt::Tokens(vec![1, 49152])).unwrap_err();
    assert!(matches!(unknown, EngineError::Invalid { field: "prompt", .. }));
}

#[test]
fn limits_and_stop_strings_end_an_answer() {
    let engine = engine(1);
    let whole = ask(&engine, endless("Tell a story.", 9));
    assert_eq!((whole.finish, whole.usage.completion_tokens), (Finish::Length, 9));
    let nothing = ask(&engine, endless("Tell a story.", 0));
    assert_eq!((nothing.finish, nothing.text.as_str(), nothing.usage.completion_tokens), (Finish::Length, "", 0));

    let mut job = chat("What is 2+2?");
    // Begins in one token and ends in another.
    job.stop = vec!["ssic ma".into()];
    job.sampling.logprobs = Some(0);
    let whole = ask(&engine, job);
    assert_eq!(whole.text, "The answer to this cla");
    assert_eq!(whole.finish, Finish::StopString("ssic ma".into()));
    let bytes: Vec<u8> = whole.logprobs.iter().flat_map(|token| token.bytes.clone()).collect();
    assert!(whole.text.as_bytes().starts_with(&bytes), "no part of the stop string shows in the tokens");
}

#[test]
fn the_windows_end_is_an_end_and_a_prompt_beyond_it_an_error_with_numbers() {
    let engine = engine(1);
    let tokens = |count| Prompt::Tokens(vec![28; count]);
    let mut job = Job::new(tokens(1020));
    job.sampling = Sampling::greedy();
    job.sampling.logit_bias = vec![(0, -1000.0), (2, -1000.0)];
    let whole = ask(&engine, job);
    assert_eq!((whole.finish, whole.usage.completion_tokens), (Finish::Length, 4));
    let over = engine.generate(Job::new(tokens(1024))).unwrap_err();
    assert_eq!(over, EngineError::ContextLength { prompt_tokens: 1024, window: 1024 });
    assert!(over.to_string().contains("1024"));
    let far_over = engine.generate(Job::new(Prompt::Plain("a".repeat(1 << 20)))).unwrap_err();
    assert!(matches!(far_over, EngineError::ContextLength { window: 1024, .. }));
}

#[test]
fn a_seed_repeats_an_answer_and_settings_are_checked() {
    let engine = engine(2);
    let warm = |seed| {
        let mut job = endless("Tell a story.", 24);
        job.sampling.temperature = 1.2;
        job.sampling.seed = Some(seed);
        job
    };
    let first = ask(&engine, warm(7)).text;
    assert_eq!(ask(&engine, warm(7)).text, first);
    assert_ne!(ask(&engine, warm(8)).text, first);
    for (field, change) in [
        ("temperature", (|s| s.temperature = f32::NAN) as fn(&mut Sampling)),
        ("top_p", |s| s.top_p = 1.5),
        ("min_p", |s| s.min_p = -0.1),
        ("repeat_penalty", |s| s.repeat_penalty = 0.0),
        ("logprobs", |s| s.logprobs = Some(1000)),
        ("logit_bias", |s| s.logit_bias = vec![(1, f32::INFINITY)]),
    ] {
        let mut job = chat("Hello.");
        change(&mut job.sampling);
        let error = engine.generate(job).unwrap_err();
        assert!(matches!(&error, EngineError::Invalid { field: named, .. } if *named == field), "{field}: {error}");
    }
}

#[test]
fn a_grammar_is_followed_and_a_broken_one_refused() {
    let engine = engine(1);
    for temperature in [0.0, 1.5] {
        let mut job = chat("What is the capital of France?");
        job.grammar = Some(r#"root ::= "{\"city\":\"" [A-Z] [a-z]{3,8} "\"}""#.into());
        job.sampling.temperature = temperature;
        job.sampling.seed = Some(1);
        let whole = ask(&engine, job);
        let city = whole.text.strip_prefix("{\"city\":\"").and_then(|rest| rest.strip_suffix("\"}")).unwrap();
        assert!((4..=9).contains(&city.len()) && city.chars().all(char::is_alphabetic), "{}", whole.text);
        assert_eq!(whole.finish, Finish::Stop, "a fulfilled grammar ends the answer");
    }
    // Repeats of what may be empty: many ways to read one text, and still an answer.
    let mut job = chat("Say a.");
    job.grammar = Some(r#"root ::= ("a"* "a"*)* ("a"?)*"#.into());
    job.max_tokens = Some(12);
    assert!(ask(&engine, job).text.chars().all(|letter| letter == 'a'));
    for (text, what) in [
        ("root ::= missing", "the rule missing is not defined"),
        ("root ::= root \"a\" | \"b\"", "leads back to itself"),
    ] {
        let mut job = chat("Hello.");
        job.grammar = Some(text.into());
        let error = engine.generate(job).unwrap_err().to_string();
        assert!(error.starts_with("grammar: ") && error.contains(what), "{text}: {error}");
    }
}

#[test]
fn log_probabilities_come_with_every_token() {
    let engine = engine(1);
    let mut job = chat("What is 2+2?");
    job.sampling.logprobs = Some(3);
    let whole = ask(&engine, job);
    assert_eq!(whole.logprobs.len(), whole.usage.completion_tokens);
    let bytes: Vec<u8> = whole.logprobs.iter().flat_map(|token| token.bytes.clone()).collect();
    assert_eq!(bytes, whole.text.as_bytes());
    for token in &whole.logprobs {
        assert_eq!(token.top.len(), 3);
        assert_eq!(token.top[0], (token.bytes.clone(), token.logprob), "greedy takes the likeliest");
        assert!(token.top.windows(2).all(|pair| pair[0].1 >= pair[1].1) && token.logprob <= 0.0);
    }
}

#[test]
fn characters_of_several_tokens_come_out_whole() {
    let engine = engine(1);
    let mut job = Job::new(Prompt::Plain("emoji: 🦀🦀🦀🦀🦀🦀🦀🦀".into()));
    job.sampling = Sampling::greedy();
    job.max_tokens = Some(12);
    let whole = ask(&engine, job);
    assert!(whole.text.contains("🦀") && !whole.text.contains(char::REPLACEMENT_CHARACTER), "{}", whole.text);
}

#[test]
fn a_live_answers_prefix_is_copied_for_another() {
    let engine = engine(2);
    let shared = "The sea was calm, and the keeper lit the lamp as on every evening. ".repeat(20);
    let job = |question: &str| {
        let mut job = endless(&format!("{shared}{question}"), 40);
        job.max_tokens = Some(40);
        job
    };
    let mut first = engine.generate(job("Who lit the lamp?")).unwrap();
    // A machine with much else to do reads for more than a second, and says so.
    let text = std::iter::from_fn(|| first.wait()).find(|item| !matches!(item, Ok(Output::Reading { .. })));
    assert!(matches!(text, Some(Ok(Output::Text { .. }))), "the first is live while the second begins");
    let second = ask(&engine, job("How was the sea?"));
    assert!(second.usage.cached_tokens > 250, "{:?}", second.usage);
    drop(first);
    let fresh = common::engine(1);
    assert_eq!(second.text, ask(&fresh, job("How was the sea?")).text);
}

#[test]
fn leaving_an_answer_frees_its_place() {
    let engine = engine(1);
    for _ in 0..3 {
        let mut answer = engine.generate(endless("Tell a very long story.", 900)).unwrap();
        answer.wait().unwrap().unwrap();
    }
    // A prompt of many chunks, left before its first token.
    drop(engine.generate(Job::new(Prompt::Tokens(vec![28; 1000]))).unwrap());
    assert_eq!(ask(&engine, chat("What is 2+2?")).finish, Finish::Stop);
}

#[test]
fn a_reader_that_stops_reading_pauses_only_itself() {
    let engine = engine(2);
    let mut slow = engine.generate(endless("Tell a story.", 200)).unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&engine, endless("Tell another story.", 60)).usage.completion_tokens, 60);
    }
    let mut tokens = 0;
    while let Some(item) = slow.wait() {
        if let Output::Done { usage, .. } = item.unwrap() {
            tokens = usage.completion_tokens;
        }
    }
    assert_eq!(tokens, 200, "it goes on where it paused");
}

#[test]
fn a_full_queue_refuses_with_a_hint_and_forgets_those_who_left() {
    let mut options = options(1);
    options.waiting = 2;
    let engine = Engine::load(&model(), &options).unwrap();
    let mut running = engine.generate(endless("Tell a story.", 900)).unwrap();
    running.wait().unwrap().unwrap();
    let waiting = [0, 1].map(|_| engine.generate(chat("What is 2+2?")).unwrap());
    let refused = engine.generate(chat("What is 2+2?")).unwrap_err();
    let EngineError::Overloaded { waiting: 2, retry_after } = refused else { panic!("{refused:?}") };
    assert!(retry_after >= Duration::from_secs(1));
    drop(waiting);
    let next = engine.generate(chat("What is 2+2?")).unwrap();
    drop(running);
    assert_eq!(collect(next).finish, Finish::Stop);
}

#[test]
fn dropping_the_engine_ends_answers_with_an_error() {
    let engine = engine(1);
    let (sender, receiver) = mpsc::channel();
    let answers = [0, 1].map(|_| engine.generate(endless("Tell a story.", 900)).unwrap());
    for answer in answers {
        let sender = sender.clone();
        std::thread::spawn(move || sender.send(try_collect(answer)).unwrap());
    }
    drop(engine);
    for _ in 0..2 {
        assert_eq!(receiver.recv().unwrap(), Err(EngineError::Closed));
    }
}

#[test]
fn a_file_that_is_no_model_is_named() {
    let error = Engine::load("/nowhere/model.gguf".as_ref(), &options(1)).unwrap_err();
    assert!(error.to_string().contains("/nowhere/model.gguf"), "{error}");
}
