//! A loaded model that makes vectors of texts, one text at a time.
//!
//! One at a time because the result must not depend on who else is asking, and because a processor gains little by more: a text of some dozen tokens keeps
//! it busy. Callers take turns between texts, so a long list delays nobody by more than a text. What is done with vectors is
//! [`crate::provider::embedding`]'s business; read that next.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};

use super::{BYTES_PER_TOKEN, EngineError, EngineOptions, header, invalid, model, refused};
use crate::ffi::{Batch, Context, ContextOptions, DecodeFailure, Model, Token, Yields};
use crate::gguf::{Header, Pooling};

/// What a caller is told to wait where too many ask: about the time of some texts.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A loaded embedding model. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Embedder(Arc<Inner>);

struct Inner {
    model: Arc<Model>,
    name: String,
    window: usize,
    /// Whoever holds it computes.
    context: Arc<Mutex<Context>>,
    /// Whether the caller of the running computation left.
    left: Arc<Lock<Arc<AtomicBool>>>,
    /// Requests that may be under way or wait.
    places: Semaphore,
    most: usize,
}

impl fmt::Debug for Embedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedder").field("model", &self.0.name).finish_non_exhaustive()
    }
}

/// Tells the running computation when its caller is gone.
struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Embedder {
    /// Loads the GGUF file at `path`. Of the options `window`, `threads`, `memory`, `parallel` and `waiting` count; the window is lowered to fit memory. Takes a
    /// tenth of a second and more: not for a runtime's own threads.
    ///
    /// # Errors
    /// [`EngineError::Processor`]; [`EngineError::Model`], also for a file that does not say how to pool, or says a way that gives no vector.
    pub fn load(path: &Path, options: &EngineOptions) -> Result<Self, EngineError> {
        let header = header(path)?;
        pools(&header).map_err(|reason| refused(path, &reason))?;
        let model = Arc::new(model(path)?);
        if !model.can_embed() {
            return Err(refused(path, "it translates texts; choose an embedding model"));
        }
        let asked = options.window.min(model.trained_window()).max(1);
        let affordable = usize::try_from(options.memory / bytes_per_token(&model, &header)).unwrap_or(usize::MAX);
        let window = asked.min(affordable.max(64));
        let left = Arc::new(Lock::new(Arc::new(AtomicBool::new(false))));
        let watched = Arc::clone(&left);
        let stop = move || watched.lock().unwrap_or_else(PoisonError::into_inner).load(Ordering::Relaxed);
        let settings = ContextOptions {
            window: window.next_multiple_of(256),
            sequences: 1,
            // The mean is of a call's tokens, and without causality each token sees all: a text goes in whole.
            batch: window,
            threads: options.threads(),
            yields: Yields::Vectors,
        };
        let context = Context::new(Arc::clone(&model), settings, Box::new(stop))
            .ok_or_else(|| refused(path, "there is not enough memory for its window; set a smaller one"))?;
        let most = options.parallel.saturating_add(options.waiting).max(1);
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self(Arc::new(Inner {
            model,
            name: header.name.filter(|name| !name.trim().is_empty()).unwrap_or(name),
            window,
            context: Arc::new(Mutex::new(context)),
            left,
            places: Semaphore::new(most.min(Semaphore::MAX_PERMITS)),
            most,
        })))
    }

    /// The numbers of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.model.embedding_width()
    }

    /// The most tokens of a text.
    #[must_use]
    pub fn window(&self) -> usize {
        self.0.window
    }

    /// The tokens of a text, with the marks the model wants around it. `at` names it in errors.
    ///
    /// # Errors
    /// [`EngineError::InputLength`]; [`EngineError::Invalid`] for a text that has none.
    pub fn tokenize(&self, at: usize, text: &str) -> Result<Vec<Token>, EngineError> {
        let window = self.window();
        let too_long = |tokens| EngineError::InputLength { at, tokens, window };
        if text.len() / BYTES_PER_TOKEN > window {
            return Err(too_long(text.len() / BYTES_PER_TOKEN));
        }
        let tokens = self.0.model.tokenize(text, true, false).ok_or_else(|| too_long(text.len()))?;
        self.fits(at, tokens)
    }

    /// The same for tokens that the caller brings, which are taken as they are.
    ///
    /// # Errors
    /// As [`Self::tokenize`], and [`EngineError::Invalid`] for one that the model does not have.
    pub fn accept(&self, at: usize, tokens: &[u32]) -> Result<Vec<Token>, EngineError> {
        let known = |&number: &u32| {
            let token = Token::try_from(number).ok().and_then(|token| self.0.model.known(token));
            token.ok_or_else(|| invalid("input", format!("input[{at}]: the model has no token {number}")))
        };
        let tokens = tokens.iter().take(self.window() + 1).map(known).collect::<Result<_, _>>()?;
        self.fits(at, tokens)
    }

    fn fits(&self, at: usize, tokens: Vec<Token>) -> Result<Vec<Token>, EngineError> {
        match tokens.len() {
            0 => Err(invalid("input", format!("input[{at}] has no tokens"))),
            count if count > self.window() => {
                Err(EngineError::InputLength { at, tokens: count, window: self.window() })
            }
            _ => Ok(tokens),
        }
    }

    /// The vectors of texts, in their order, as the model makes them: not normalised. Dropping the future stops the computation.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`] at once where too many wait; [`EngineError::Compute`].
    pub async fn embed(&self, texts: Vec<Vec<Token>>) -> Result<Vec<Vec<f32>>, EngineError> {
        let Ok(_place) = self.0.places.try_acquire() else {
            return Err(EngineError::Overloaded { waiting: self.0.most, retry_after: RETRY_AFTER });
        };
        let leaving = Leaving(Arc::default());
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            let context = Arc::clone(&self.0.context).lock_owned().await;
            vectors.push(computed(context, text, (Arc::clone(&self.0.left), Arc::clone(&leaving.0))).await?);
        }
        Ok(vectors)
    }
}

/// One text's vector, computed off the runtime's own threads.
#[allow(clippy::disallowed_methods)] // awaited on the spot, and told to stop when nobody waits any more
async fn computed(
    mut context: tokio::sync::OwnedMutexGuard<Context>,
    text: Vec<Token>,
    (watched, left): (Arc<Lock<Arc<AtomicBool>>>, Arc<AtomicBool>),
) -> Result<Vec<f32>, EngineError> {
    let work = move || {
        *watched.lock().unwrap_or_else(PoisonError::into_inner) = left;
        let mut batch = Batch::new(text.len());
        for (position, token) in text.into_iter().enumerate() {
            batch.add(token, position, 0, true);
        }
        context.embed(&batch).map_err(|failure| match failure {
            DecodeFailure::Stopped => EngineError::Closed,
            DecodeFailure::Code(code) => EngineError::Compute { code },
        })
    };
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(EngineError::Closed))
}

/// Whether the file says how a text's tokens become one vector.
fn pools(header: &Header) -> Result<(), String> {
    let what = match header.pooling {
        Some(Pooling::Mean | Pooling::Cls | Pooling::Last) => return Ok(()),
        Some(Pooling::Rank) => "it ranks texts by a query and makes no vectors (its pooling_type is rank)",
        Some(Pooling::None) => "it makes a vector for each token and none for a text (its pooling_type is none)",
        None => {
            "it does not say how it makes one vector of a text (it has no pooling_type), so it is no embedding model"
        }
    };
    Err(format!("{what}; choose one made for embeddings"))
}

/// Bytes that each token of the window may take. llama.cpp keeps room for its logits, read or not, and computes them where each token sees only those
/// before it.
fn bytes_per_token(model: &Model, header: &Header) -> u64 {
    let logits = u64::from(header.vocabulary) * 4;
    let activations = u64::from(header.embedding_length) * 64;
    logits * if header.causal { 2 } else { 1 } + activations + model.memory_per_token()
}
