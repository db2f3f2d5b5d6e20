//! What the engine is asked and what it answers, in its own plain words: no dialect, no chat, only text and tokens.
//!
//! Next: [`crate::engine::Engine`], which takes a [`Job`], and [`super::answer::Answer`], which carries [`Output`].

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::cpu;

/// One piece of work: continue this prompt.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Job {
    /// What to continue.
    pub prompt: Prompt,
    /// How to pick tokens.
    pub sampling: Sampling,
    /// Strings that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// A GBNF grammar with start rule `root` that the answer must follow.
    pub grammar: Option<String>,
    /// Whether the model's own marks (`[TOOL_CALLS]` and the like) come out as text; else they are passed over.
    pub marks: bool,
    /// The most tokens to generate; `None` goes on to the end of the window.
    pub max_tokens: Option<usize>,
}

impl Job {
    /// A job with default settings.
    #[must_use]
    pub fn new(prompt: Prompt) -> Self {
        Self { prompt, ..Self::default() }
    }
}

/// The text to continue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Prompt {
    /// Text with the model's markers (`<|im_start|>` and the like) meaning what they mean: a rendered template.
    Template(String),
    /// Text in which nothing is a marker.
    Plain(String),
    /// Tokens, as [`crate::engine::Engine::tokenize`] gives them.
    Tokens(Vec<i32>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

/// How the next token is picked. The default is plain sampling at temperature 0.7.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sampling {
    /// 0 takes the likeliest token; above, higher is more varied.
    pub temperature: f32,
    /// Only the likeliest tokens that together reach this probability; 1 is off.
    pub top_p: f32,
    /// Only the likeliest this many; 0 is off.
    pub top_k: usize,
    /// Only tokens at least this likely relative to the likeliest; 0 is off.
    pub min_p: f32,
    /// Locally typical sampling (arXiv 2202.00666); 1 is off.
    pub typical_p: f32,
    /// Divides the logit of tokens in the repeat window; 1 is off.
    pub repeat_penalty: f32,
    /// How many of the newest tokens, prompt included, the repeat penalty looks at.
    pub repeat_window: usize,
    /// Taken from a token's logit for each time the answer used it.
    pub frequency_penalty: f32,
    /// Taken from a token's logit once if the answer used it.
    pub presence_penalty: f32,
    /// Added to the logits of single tokens; tokens the vocabulary lacks are passed over.
    pub logit_bias: Vec<(i32, f32)>,
    /// The same seed gives the same answer; `None` draws one.
    pub seed: Option<u64>,
    /// Log-probabilities with every token, and those of this many likeliest ones.
    pub logprobs: Option<usize>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.7,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            typical_p: 1.0,
            repeat_penalty: 1.0,
            repeat_window: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
            logprobs: None,
        }
    }
}

impl Sampling {
    /// The likeliest token each time.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }
}

/// One item of an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// The prompt is being read: so many of its tokens are. Comes before everything else, first when the job has found a slot, and of a long prompt at most once a second after that.
    Reading {
        /// Tokens of the prompt that were read; at first those that were kept from an earlier one.
        tokens: usize,
    },
    /// More of the answer.
    Text {
        /// Whole characters, of which no part belongs to a stop string; empty only where `logprobs` is not.
        text: String,
        /// The tokens made since the last item, if log-probabilities were asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// The end, once and last.
    Done {
        /// Why it ended.
        finish: Finish,
        /// What it took.
        usage: Usage,
    },
}

/// A generated token and how likely the model thought it and its rivals.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token's bytes, which may end inside a character.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest tokens at this place, likeliest first.
    pub top: Vec<(Vec<u8>, f32)>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The model ended it, or the grammar was fulfilled.
    Stop,
    /// This stop string came up.
    StopString(String),
    /// `max_tokens` or the window's end was reached.
    Length,
}

/// Tokens counted for one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of those, the ones whose state was still there from an earlier prompt.
    pub cached_tokens: usize,
    /// Tokens generated, an end marker not counted.
    pub completion_tokens: usize,
}

/// Why the engine refused or broke off.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// The processor lacks instructions the kernels are made of.
    Processor(cpu::Missing),
    /// The model file cannot be used.
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The prompt leaves no room for an answer.
    ContextLength {
        /// Tokens of the prompt (for a text far over the window: at least so many).
        prompt_tokens: usize,
        /// Tokens the window holds, prompt and answer together.
        window: usize,
    },
    /// A text to make a vector of is longer than the model can see.
    InputLength {
        /// Which one, from 0.
        at: usize,
        /// Its tokens (for a text far over the window: at least so many).
        tokens: usize,
        /// Tokens the window holds.
        window: usize,
    },
    /// A setting of the job makes no sense.
    Invalid {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Too many jobs are waiting.
    Overloaded {
        /// How many are waiting.
        waiting: usize,
        /// When to try again: about the time one running job still takes.
        retry_after: Duration,
    },
    /// The engine was shut down.
    Closed,
    /// The computation failed.
    Compute {
        /// The library's code.
        code: i32,
    },
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processor(missing) => missing.fmt(f),
            Self::Model { path, reason } => write!(f, "the model file {} cannot be used: {reason}", path.display()),
            Self::ContextLength { prompt_tokens, window } => write!(
                f,
                "the prompt has {prompt_tokens} tokens, and the model's window of {window} has to hold the answer too; \
                 shorten the prompt or choose a model with a larger window"
            ),
            Self::InputLength { at, tokens, window } => write!(
                f,
                "input[{at}] has {tokens} tokens, and the model's window holds {window}; shorten it or cut it in parts"
            ),
            Self::Invalid { field, reason } => write!(f, "{field}: {reason}"),
            Self::Overloaded { waiting, retry_after } => write!(
                f,
                "the embedded model has {waiting} requests waiting; try again in {} s",
                retry_after.as_secs().max(1)
            ),
            Self::Closed => f.write_str("the embedded model was shut down; start it again"),
            Self::Compute { code } => {
                write!(
                    f,
                    "the embedded model's computation failed with code {code}; try again, with a shorter prompt if it repeats"
                )
            }
        }
    }
}

impl std::error::Error for EngineError {}
