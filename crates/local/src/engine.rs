//! The embedded engine: a model in this process that continues prompts, several at a time.
//!
//! It knows tokens, text and probabilities, and nothing of chats, dialects or routing; those are
//! [`crate::template`]'s and [`crate::provider`]'s. Start with [`Engine`]; [`job`] has the words, `engine/scheduler.rs`
//! the work. Models that make vectors of texts instead are [`embedder`]'s.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::cpu;
use crate::ffi::{Context, ContextOptions, Grammar, Model, Token, Yields};
use crate::gguf;

pub mod answer;
pub mod embedder;
mod gbnf;
pub mod job;
mod prefix;
mod sampler;
mod scheduler;
mod text;

pub use answer::Answer;
pub use embedder::Embedder;
pub use job::{EngineError, Finish, Job, Output, Prompt, Sampling, TokenLogprob, Usage};

use sampler::Sampler;
use scheduler::{CHUNK, Reuse, Scheduler, Shared, Ticket};
use text::Gate;

/// Limits on what one job may bring.
const MAX_STOPS: usize = 64;
const MAX_STOP_BYTES: usize = 4096;
const MAX_LOGPROBS: usize = 64;
const MAX_BIASES: usize = 4096;

/// A text with more bytes than this for every token of the window is refused without being tokenized. Ordinary text
/// has about four; no vocabulary in use comes near.
const BYTES_PER_TOKEN: usize = 64;

/// How an engine is set up. The default serves several callers; [`EngineOptions::single`] is for one answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Tokens of prompt and answer together, for each answer; the model's own window if that is smaller.
    pub window: usize,
    /// Answers made at the same time.
    pub parallel: usize,
    /// Jobs that may wait beyond those.
    pub waiting: usize,
    /// Threads that compute; `None` leaves one core free.
    pub threads: Option<NonZeroUsize>,
    /// Bytes all windows together may take; `parallel` is lowered to fit, to no less than one.
    pub memory: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { window: 8192, parallel: 4, waiting: 64, threads: None, memory: 2 << 30 }
    }
}

impl EngineOptions {
    /// For one answer at a time: a quarter of the memory, and a shorter start.
    #[must_use]
    pub fn single() -> Self {
        Self { parallel: 1, ..Self::default() }
    }

    fn threads(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(|| cores().saturating_sub(1).max(1), NonZeroUsize::get)
    }
}

/// What a model file says of itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Its name, or else the file's.
    pub name: String,
    /// The family of its layers, as `llama` or `qwen2`.
    pub architecture: String,
    /// The chat template, in Jinja.
    pub template: Option<String>,
    /// The chat template for conversations with tools, where the file has another one for them.
    pub tool_template: Option<String>,
    /// The text of the beginning-of-text token.
    pub bos: Option<String>,
    /// The text of the end-of-text token.
    pub eos: Option<String>,
    /// Tokens of prompt and answer together, as set up here.
    pub window: usize,
    /// Answers made at the same time, as set up here.
    pub parallel: usize,
}

/// A loaded model and the thread that runs it. Dropping it ends running answers with [`EngineError::Closed`].
pub struct Engine {
    model: Arc<Model>,
    info: ModelInfo,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("model", &self.info.name).finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads the GGUF file at `path` and starts its thread. Takes a tenth of a second and more: not for a runtime's
    /// own threads.
    ///
    /// # Errors
    /// [`EngineError::Processor`] and [`EngineError::Model`].
    pub fn load(path: &Path, options: &EngineOptions) -> Result<Self, EngineError> {
        let refuse = |reason: &str| refused(path, reason);
        let header = header(path)?;
        let model = model(path)?;
        // Where each token sees all others there is no next one to ask for, and llama.cpp would find out in the middle of an answer.
        if !model.can_generate() || !header.causal {
            return Err(refuse(
                "it is no text generation model; one for embeddings belongs in [local] embedding_model",
            ));
        }
        let model = Arc::new(model);
        let window = options.window.min(model.trained_window()).max(1);
        let padded = window.next_multiple_of(256);
        let a_window = model.memory_per_token().saturating_mul(u64::try_from(padded).unwrap_or(u64::MAX)).max(1);
        let affordable = usize::try_from(options.memory / a_window).unwrap_or(usize::MAX);
        let parallel = options.parallel.min(affordable).clamp(1, 64);
        let shared = Arc::new(Shared::new(options.waiting.max(1)));
        let watched = Arc::clone(&shared);
        let context = Context::new(
            Arc::clone(&model),
            ContextOptions {
                window: padded,
                sequences: parallel,
                batch: CHUNK,
                threads: options.threads(),
                yields: Yields::Logits,
            },
            Box::new(move || watched.should_stop()),
        )
        .ok_or_else(|| refuse("there is not enough memory for its window; set a smaller one"))?;
        let reuse = Reuse {
            rewind: model.can_rewind(),
            any_length: header.file_type.is_some_and(rows_are_independent),
            copy_worth: (padded / 128).max(CHUNK),
        };
        let info = describe(&model, header, path, window, parallel);
        let scheduler = Scheduler::new(Arc::clone(&model), context, Arc::clone(&shared), parallel, reuse);
        let thread = thread::Builder::new()
            .name("llm-engine".into())
            .spawn(move || scheduler.run())
            .map_err(|error| refuse(&format!("its thread cannot be started: {error}")))?;
        Ok(Self { model, info, shared, thread: Some(thread) })
    }

    /// What the model file says of itself.
    #[must_use]
    pub fn model_info(&self) -> &ModelInfo {
        &self.info
    }

    /// The tokens of `prompt`, as [`Self::generate`] would see them.
    ///
    /// # Errors
    /// [`EngineError::ContextLength`] for a text far over the window, [`EngineError::Invalid`] for tokens the model
    /// does not know.
    pub fn tokenize(&self, prompt: &Prompt) -> Result<Vec<Token>, EngineError> {
        let (text, special) = match prompt {
            Prompt::Template(text) => (text, true),
            Prompt::Plain(text) => (text, false),
            Prompt::Tokens(tokens) => {
                return match tokens.iter().find(|&&token| self.model.known(token).is_none()) {
                    None => Ok(tokens.clone()),
                    Some(token) => Err(invalid("prompt", format!("the model has no token {token}"))),
                };
            }
        };
        let too_long =
            || EngineError::ContextLength { prompt_tokens: text.len() / BYTES_PER_TOKEN, window: self.info.window };
        if text.len() / BYTES_PER_TOKEN > self.info.window {
            return Err(too_long());
        }
        // Templates of some families write the marker themselves; twice would change the meaning.
        let written = special && self.info.bos.as_ref().is_some_and(|bos| !bos.is_empty() && text.starts_with(bos));
        let with_bos = self.model.wants_bos() && !written;
        self.model.tokenize(text, with_bos, special).ok_or_else(too_long)
    }

    /// Starts `job`. The answer comes item by item; dropping it cancels the job.
    ///
    /// # Errors
    /// At once and without any computing: [`EngineError::Invalid`], [`EngineError::ContextLength`],
    /// [`EngineError::Overloaded`], [`EngineError::Closed`].
    pub fn generate(&self, job: Job) -> Result<Answer, EngineError> {
        check(&job)?;
        let mut prompt = self.tokenize(&job.prompt)?;
        let window = self.info.window;
        if prompt.is_empty() {
            // Nothing to continue: begin where a text begins.
            prompt.extend(self.model.bos().or(self.model.eos()));
        }
        if prompt.is_empty() {
            return Err(invalid("prompt", "it is empty".to_owned()));
        }
        if prompt.len() >= window {
            return Err(EngineError::ContextLength { prompt_tokens: prompt.len(), window });
        }
        let limit = job.max_tokens.unwrap_or(usize::MAX).min(window - prompt.len());
        let grammar = job.grammar.as_deref().map(|text| self.grammar(text)).transpose()?;
        let seed = job.sampling.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        let sampler = Sampler::new(job.sampling, grammar, seed, &prompt);
        let Some(thread) = &self.thread else { return Err(EngineError::Closed) };
        let (sink, answer) = answer::channel(thread.thread().clone());
        if limit == 0 {
            let usage = Usage { prompt_tokens: prompt.len(), ..Usage::default() };
            sink.send(Ok(Output::Done { finish: Finish::Length, usage }));
            return Ok(answer);
        }
        self.shared.submit(Ticket { prompt, limit, sampler, gate: Gate::new(job.stop), marks: job.marks, sink })?;
        thread.thread().unpark();
        Ok(answer)
    }
}

impl Engine {
    fn grammar(&self, text: &str) -> Result<Grammar, EngineError> {
        gbnf::check(text).map_err(|what| invalid("grammar", what))?;
        crate::grammar::check(text, &crate::grammar::Limits::default())
            .map_err(|error| invalid("grammar", error.to_string()))?;
        Grammar::new(Arc::clone(&self.model), text)
            .ok_or_else(|| invalid("grammar", "a rule leads back to itself before any character".to_owned()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the engine's thread had panicked");
            }
        }
    }
}

/// The header of the file at `path`, judged before llama.cpp sees the file.
fn header(path: &Path) -> Result<gguf::Header, EngineError> {
    cpu::check(cpu::Features::detect()).map_err(EngineError::Processor)?;
    if !path.is_file() {
        return Err(refused(path, "there is no such file; fetch it with `llm-router pull`"));
    }
    gguf::check(path).map_err(|error| {
        let text = error.to_string();
        let named = format!("{}: ", path.display());
        refused(path, text.strip_prefix(&named).unwrap_or(&text))
    })
}

fn model(path: &Path) -> Result<Model, EngineError> {
    Model::load(path).ok_or_else(|| {
        refused(path, "it is damaged or of a kind this version cannot run; fetch it again or choose another")
    })
}

fn refused(path: &Path, reason: &str) -> EngineError {
    EngineError::Model { path: path.to_owned(), reason: reason.to_owned() }
}

fn invalid(field: &'static str, reason: String) -> EngineError {
    EngineError::Invalid { field, reason }
}

/// Refuses settings outside their range, by name.
fn check(job: &Job) -> Result<(), EngineError> {
    let s = &job.sampling;
    let numbers = [
        ("temperature", s.temperature, 0.0, 100.0),
        ("top_p", s.top_p, 0.0, 1.0),
        ("min_p", s.min_p, 0.0, 1.0),
        ("typical_p", s.typical_p, 0.0, 1.0),
        ("repeat_penalty", s.repeat_penalty, 0.01, 100.0),
        ("frequency_penalty", s.frequency_penalty, -100.0, 100.0),
        ("presence_penalty", s.presence_penalty, -100.0, 100.0),
    ];
    for (field, value, least, most) in numbers {
        if !(least..=most).contains(&value) {
            return Err(invalid(field, format!("{value} is not between {least} and {most}")));
        }
    }
    let sizes = [
        ("logprobs", s.logprobs.unwrap_or(0), MAX_LOGPROBS),
        ("logit_bias", s.logit_bias.len(), MAX_BIASES),
        ("repeat_window", s.repeat_window, 1 << 20),
        ("stop", job.stop.len(), MAX_STOPS),
        ("stop", job.stop.iter().map(String::len).max().unwrap_or(0), MAX_STOP_BYTES),
    ];
    for (field, size, most) in sizes {
        if size > most {
            return Err(invalid(field, format!("{size} is more than {most}")));
        }
    }
    if let Some((token, bias)) = s.logit_bias.iter().find(|(_, bias)| !bias.is_finite()) {
        return Err(invalid("logit_bias", format!("{bias} for token {token} is no number")));
    }
    Ok(())
}

fn describe(model: &Model, header: gguf::Header, path: &Path, window: usize, parallel: usize) -> ModelInfo {
    let text = |token: Option<Token>| {
        let mut bytes = Vec::new();
        model.piece(token?, true, &mut bytes);
        String::from_utf8(bytes).ok()
    };
    let file = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    ModelInfo {
        name: header.name.filter(|name| !name.trim().is_empty()).unwrap_or_else(file),
        architecture: header.architecture,
        tool_template: header
            .templates
            .choose(true)
            .filter(|_| header.templates.named.iter().any(|(name, _)| name == "tool_use"))
            .map(str::to_owned),
        template: header.templates.choose(false).map(str::to_owned),
        bos: text(model.bos()),
        eos: text(model.eos()),
        window,
        parallel,
    }
}

/// Whether the file's number formats are computed by the same kernel for one row as for many.
///
/// So it is for the plain and the simple quantized formats; the K and I formats have a second kernel for eight rows
/// and more, so there only state made in whole chunks is kept for later prompts. Numbers are `general.file_type` of
/// the GGUF specification: F32, F16, and the Q4_0 to Q8_0 family.
fn rows_are_independent(file_type: u32) -> bool {
    matches!(file_type, 0..=3 | 7..=9)
}

#[cfg(test)]
mod tests;
