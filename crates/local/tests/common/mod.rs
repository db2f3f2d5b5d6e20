//! The default model, and answers put together.
//!
//! The file is the one named by `LLM_ROUTER_TEST_MODEL`, else the default model where the router keeps it. A missing
//! file fails the test: an engine that was never run is not tested.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::PathBuf;

use llm_router_local::engine::{
    Answer, Engine, EngineError, EngineOptions, Finish, Job, Output, Prompt, Sampling, TokenLogprob, Usage,
};
use llm_router_local::source::{Source, present};

/// Where the model is.
pub fn model() -> PathBuf {
    if let Some(path) = std::env::var_os("LLM_ROUTER_TEST_MODEL") {
        return PathBuf::from(path);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).unwrap();
    let models = cache.join("ipfs-llm-router/models");
    let found = present(&Source::Default, &models);
    found.unwrap_or_else(|| panic!("no default model in {}: run `llm-router pull`", models.display())).path
}

/// An engine with a small window that makes `parallel` answers at a time.
pub fn engine(parallel: usize) -> Engine {
    Engine::load(&model(), &options(parallel)).unwrap()
}

/// What [`engine`] is set up with.
pub fn options(parallel: usize) -> EngineOptions {
    let mut options = EngineOptions::default();
    options.window = 1024;
    options.parallel = parallel;
    options
}

/// One user turn in the default model's template, greedily answered.
pub fn chat(user: &str) -> Job {
    chat_after("You are a helpful AI assistant named SmolLM, trained by Hugging Face", user)
}

/// The same with a system text.
pub fn chat_after(system: &str, user: &str) -> Job {
    let text =
        format!("<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n");
    let mut job = Job::new(Prompt::Template(text));
    job.sampling = Sampling::greedy();
    job.max_tokens = Some(48);
    job
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    pub text: String,
    pub logprobs: Vec<TokenLogprob>,
    pub finish: Finish,
    pub usage: Usage,
    /// How many items it came in.
    pub items: usize,
}

/// Reads an answer to its end.
pub fn try_collect(mut answer: Answer) -> Result<Whole, EngineError> {
    let mut whole =
        Whole { text: String::new(), logprobs: Vec::new(), finish: Finish::Stop, usage: Usage::default(), items: 0 };
    let mut done = false;
    while let Some(item) = answer.wait() {
        assert!(!done, "nothing comes after the end");
        whole.items += 1;
        match item? {
            Output::Reading { .. } => {}
            Output::Text { text, logprobs } => {
                whole.text.push_str(&text);
                whole.logprobs.extend(logprobs);
            }
            Output::Done { finish, usage } => {
                whole.finish = finish;
                whole.usage = usage;
                done = true;
            }
            _ => unreachable!("no other item exists"),
        }
    }
    assert!(done, "an answer has an end");
    Ok(whole)
}

/// Reads an answer that succeeds.
pub fn collect(answer: Answer) -> Whole {
    try_collect(answer).unwrap()
}
