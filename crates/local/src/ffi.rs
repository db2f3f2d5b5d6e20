//! The one place that calls C: owned handles over llama.cpp whose methods are safe to call.
//!
//! Each handle frees what it holds, checks every index it passes on, and turns null and negative returns into
//! values. No policy lives here: what to decode and when is `engine/scheduler.rs`. Read that next.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, Once, PoisonError};

use llama_cpp_sys_2 as sys;

/// A token's number in the model's vocabulary.
pub(crate) type Token = sys::llama_token;

/// One candidate for the next token: `id`, `logit`, `p`. Shared with C so that a grammar can strike candidates out.
pub(crate) type Candidate = sys::llama_token_data;

/// Starts the library once per process and takes its log output away from standard error.
fn start() {
    static START: Once = Once::new();
    // SAFETY: both calls only touch the library's own state, and `Once` makes them happen one time, before any other.
    START.call_once(|| unsafe {
        sys::llama_log_set(Some(log), ptr::null_mut());
        sys::llama_backend_init();
    });
}

/// Hands one piece of the library's log to `tracing`; its own levels are chattier than ours by one step.
unsafe extern "C" fn log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: not null, and the library passes a terminated string that lives for this call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let text = text.trim();
    if text.is_empty() || text == "." {
        return;
    }
    match level {
        sys::GGML_LOG_LEVEL_ERROR if STOPPED.get() => tracing::debug!(target: "llama_cpp", "{text}"),
        sys::GGML_LOG_LEVEL_ERROR => tracing::warn!(target: "llama_cpp", "{text}"),
        sys::GGML_LOG_LEVEL_WARN => tracing::debug!(target: "llama_cpp", "{text}"),
        _ => tracing::trace!(target: "llama_cpp", "{text}"),
    }
}

/// Model weights and vocabulary, read-only after loading.
pub(crate) struct Model {
    model: NonNull<sys::llama_model>,
    vocab: NonNull<sys::llama_vocab>,
}

// SAFETY: after loading, weights and vocabulary are only read. The one call that may write to the model, making a
// context, is done through `Context::new`, which takes a lock.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Model {
    /// Maps the file at `path`; `None` where the library refuses it (the reason is in the log).
    pub(crate) fn load(path: &Path) -> Option<Self> {
        start();
        let path = CString::new(path.to_str()?).ok()?;
        // SAFETY: `path` outlives the call; the parameters hold no pointers of ours; the result is checked for null.
        unsafe {
            let mut params = sys::llama_model_default_params();
            params.n_gpu_layers = 0;
            // Repacked weights use other kernels for one row than for many, so an answer would depend on its company.
            params.use_extra_bufts = false;
            let model = NonNull::new(sys::llama_model_load_from_file(path.as_ptr(), params))?;
            let Some(vocab) = NonNull::new(sys::llama_model_get_vocab(model.as_ptr()).cast_mut()) else {
                sys::llama_model_free(model.as_ptr());
                return None;
            };
            Some(Self { model, vocab })
        }
    }

    /// The window the model was trained on, in tokens.
    pub(crate) fn trained_window(&self) -> usize {
        // SAFETY: the handle is valid for as long as `self`.
        usize::try_from(unsafe { sys::llama_model_n_ctx_train(self.model.as_ptr()) }).unwrap_or(0)
    }

    /// Bytes of key-value memory that one token of one sequence takes, at two bytes a number.
    pub(crate) fn memory_per_token(&self) -> u64 {
        let model = self.model.as_ptr();
        // SAFETY: as above; these only read.
        let (layers, embedding, heads, kv_heads) = unsafe {
            (
                sys::llama_model_n_layer(model),
                sys::llama_model_n_embd(model),
                sys::llama_model_n_head(model),
                sys::llama_model_n_head_kv(model),
            )
        };
        let [layers, embedding, heads, kv_heads] =
            [layers, embedding, heads, kv_heads].map(|n| u64::try_from(n).unwrap_or(0));
        layers * (embedding / heads.max(1)) * kv_heads * 2 * 2
    }

    /// Whether generation makes sense: encoders and embedding models have no decoder to drive.
    pub(crate) fn can_generate(&self) -> bool {
        // SAFETY: as above.
        unsafe {
            sys::llama_model_has_decoder(self.model.as_ptr()) && !sys::llama_model_has_encoder(self.model.as_ptr())
        }
    }

    /// Whether a text becomes a vector here in one pass: not so for models that read with one half and write with the other.
    pub(crate) fn can_embed(&self) -> bool {
        // SAFETY: as above.
        unsafe {
            !(sys::llama_model_has_encoder(self.model.as_ptr()) && sys::llama_model_has_decoder(self.model.as_ptr()))
        }
    }

    /// The numbers of a vector.
    pub(crate) fn embedding_width(&self) -> usize {
        // SAFETY: as above.
        usize::try_from(unsafe { sys::llama_model_n_embd_out(self.model.as_ptr()) }).unwrap_or(0)
    }

    /// Whether a sequence's memory can be cut back to a prefix (not so for recurrent and hybrid models).
    pub(crate) fn can_rewind(&self) -> bool {
        // SAFETY: as above.
        unsafe {
            !sys::llama_model_is_recurrent(self.model.as_ptr()) && !sys::llama_model_is_hybrid(self.model.as_ptr())
        }
    }

    /// The number of tokens in the vocabulary.
    pub(crate) fn vocabulary(&self) -> usize {
        // SAFETY: as above.
        usize::try_from(unsafe { sys::llama_vocab_n_tokens(self.vocab.as_ptr()) }).unwrap_or(0)
    }

    /// The beginning-of-text token, if the vocabulary has one.
    pub(crate) fn bos(&self) -> Option<Token> {
        // SAFETY: as above.
        self.known(unsafe { sys::llama_vocab_bos(self.vocab.as_ptr()) })
    }

    /// The end-of-text token, if the vocabulary has one.
    pub(crate) fn eos(&self) -> Option<Token> {
        // SAFETY: as above.
        self.known(unsafe { sys::llama_vocab_eos(self.vocab.as_ptr()) })
    }

    /// Whether the model wants its beginning-of-text token before every text.
    pub(crate) fn wants_bos(&self) -> bool {
        // SAFETY: as above.
        unsafe { sys::llama_vocab_get_add_bos(self.vocab.as_ptr()) }
    }

    /// Whether `token` ends the answer.
    pub(crate) fn ends(&self, token: Token) -> bool {
        // SAFETY: as above; the token is in range.
        self.known(token).is_some_and(|token| unsafe { sys::llama_vocab_is_eog(self.vocab.as_ptr(), token) })
    }

    /// `token`, if the vocabulary has it.
    pub(crate) fn known(&self, token: Token) -> Option<Token> {
        usize::try_from(token).is_ok_and(|at| at < self.vocabulary()).then_some(token)
    }

    /// The tokens of `text`. With `special`, markers such as `<|im_end|>` become their own tokens, else plain text.
    /// `None` for a text of 2 GiB and more.
    pub(crate) fn tokenize(&self, text: &str, with_bos: bool, special: bool) -> Option<Vec<Token>> {
        let length = i32::try_from(text.len()).ok()?;
        let mut tokens: Vec<Token> = vec![0; text.len() / 3 + 8];
        loop {
            let room = i32::try_from(tokens.len()).unwrap_or(i32::MAX);
            // SAFETY: pointers and lengths describe `text` and `tokens`.
            let count = unsafe {
                sys::llama_tokenize(
                    self.vocab.as_ptr(),
                    text.as_ptr().cast(),
                    length,
                    tokens.as_mut_ptr(),
                    room,
                    with_bos,
                    special,
                )
            };
            match usize::try_from(count) {
                Ok(count) => {
                    tokens.truncate(count);
                    return Some(tokens);
                }
                Err(_) => {
                    let needed = usize::try_from(count.checked_neg()?).ok()?;
                    if needed <= tokens.len() {
                        return None;
                    }
                    tokens.resize(needed, 0);
                }
            }
        }
    }

    /// Appends the bytes of `token`; they may end inside a character. Control tokens have none unless `special`.
    pub(crate) fn piece(&self, token: Token, special: bool, bytes: &mut Vec<u8>) {
        if self.known(token).is_none() {
            return;
        }
        let mut buffer = vec![0_u8; 64];
        loop {
            let room = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
            // SAFETY: pointer and length describe `buffer`; the token is in range.
            let count = unsafe {
                sys::llama_token_to_piece(self.vocab.as_ptr(), token, buffer.as_mut_ptr().cast(), room, 0, special)
            };
            if let Ok(count) = usize::try_from(count) {
                bytes.extend(buffer.iter().take(count));
                return;
            }
            let needed = usize::try_from(count.unsigned_abs()).unwrap_or(0);
            if needed <= buffer.len() {
                return;
            }
            buffer.resize(needed, 0);
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: made by `load`, freed once; contexts hold an `Arc<Model>`, so none is left.
        unsafe { sys::llama_model_free(self.model.as_ptr()) }
    }
}

/// What a context is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContextOptions {
    /// Tokens each sequence can hold; a multiple of 256.
    pub(crate) window: usize,
    /// Sequences held side by side.
    pub(crate) sequences: usize,
    /// Most tokens in one call of [`Context::decode`].
    pub(crate) batch: usize,
    /// Threads that compute.
    pub(crate) threads: usize,
    /// What is read from it.
    pub(crate) yields: Yields,
}

/// What a context is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yields {
    /// Logits, by [`Context::decode`].
    Logits,
    /// Vectors of whole texts, by [`Context::embed`], in the way of pooling that the file names.
    Vectors,
}

/// Why a decode did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeFailure {
    /// The stop check said so.
    Stopped,
    /// The library's own code.
    Code(i32),
}

/// The question asked between two operations of a running computation: may it end early?
pub(crate) type StopCheck = Box<dyn Fn() -> bool + Send + Sync>;

/// Key-value memory and compute buffers for some sequences over one model.
pub(crate) struct Context {
    context: NonNull<sys::llama_context>,
    threads: Option<NonNull<sys::ggml_threadpool>>,
    /// Read by the library through a raw pointer; boxed twice so that the address stays.
    _stop: Box<StopCheck>,
    model: Arc<Model>,
}

// SAFETY: the context is bound to no thread, and every method that changes it takes `&mut self`.
unsafe impl Send for Context {}

unsafe extern "C" fn stop(check: *mut c_void) -> bool {
    // SAFETY: `Context::new` passed the address of a `StopCheck` that it keeps for as long as the context.
    let check = unsafe { &*check.cast::<StopCheck>() };
    let stops = check();
    STOPPED.set(STOPPED.get() || stops);
    stops
}

thread_local! {
    /// Whether the computation that this thread runs was told to stop: the library calls that a failure, on the thread that began the computation.
    static STOPPED: Cell<bool> = const { Cell::new(false) };
}

impl Context {
    /// Allocates memory for `options.sequences` sequences; `None` where the library cannot.
    pub(crate) fn new(model: Arc<Model>, options: ContextOptions, check: StopCheck) -> Option<Self> {
        // The library may write to the model while it makes a context.
        static MAKING: Mutex<()> = Mutex::new(());
        let threads = i32::try_from(options.threads.max(1)).ok()?;
        let stop_check = Box::new(check);
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the model outlives the context (it is held below), the stop check too, and every result is
        // checked for null before use.
        unsafe {
            let mut params = sys::llama_context_default_params();
            params.n_ctx = u32::try_from(options.window.checked_mul(options.sequences)?).ok()?;
            params.n_batch = u32::try_from(options.batch).ok()?;
            params.n_ubatch = params.n_batch;
            params.n_seq_max = u32::try_from(options.sequences).ok()?;
            params.n_threads = threads;
            params.n_threads_batch = threads;
            // One stream a sequence, and plain attention: then a row's result does not depend on the other rows.
            params.kv_unified = false;
            params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_DISABLED;
            params.swa_full = true;
            params.offload_kqv = false;
            params.op_offload = false;
            params.no_perf = true;
            if options.yields == Yields::Vectors {
                params.embeddings = true;
                // A text stands alone in its call, so nothing here depends on company; and its square of attention would not fit in memory.
                params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_AUTO;
            }
            params.abort_callback = Some(stop);
            params.abort_callback_data = ptr::from_ref::<StopCheck>(&stop_check).cast_mut().cast();
            let context = NonNull::new(sys::llama_init_from_model(model.model.as_ptr(), params))?;
            let pool = (threads > 1).then(|| {
                let params = sys::ggml_threadpool_params_default(threads);
                NonNull::new(sys::ggml_threadpool_new(ptr::from_ref(&params).cast_mut()))
            });
            let pool = pool.flatten();
            if let Some(pool) = pool {
                sys::llama_attach_threadpool(context.as_ptr(), pool.as_ptr(), pool.as_ptr());
            }
            Some(Self { context, threads: pool, _stop: stop_check, model })
        }
    }

    /// Runs `batch` through the model; the logits asked for can then be read with [`Self::logits`].
    pub(crate) fn decode(&mut self, batch: &Batch) -> Result<(), DecodeFailure> {
        STOPPED.set(false);
        // SAFETY: the batch's arrays hold `n_tokens` entries each (see `Batch::add`).
        match unsafe { sys::llama_decode(self.context.as_ptr(), batch.0) } {
            0 => Ok(()),
            2 => Err(DecodeFailure::Stopped),
            code => Err(DecodeFailure::Code(code)),
        }
    }

    /// The logits of the batch's `row`th token, one a vocabulary entry; `None` where none were asked for.
    pub(crate) fn logits(&mut self, row: usize) -> Option<&[f32]> {
        let row = i32::try_from(row).ok()?;
        // SAFETY: a non-null result points to one row of vocabulary size, valid until the next decode; `&mut self`
        // keeps that from happening while the slice lives.
        unsafe {
            let logits = NonNull::new(sys::llama_get_logits_ith(self.context.as_ptr(), row))?;
            Some(std::slice::from_raw_parts(logits.as_ptr(), self.model.vocabulary()))
        }
    }

    /// Forgets what `sequence` holds from position `from` on; `false` where the model cannot forget a part.
    pub(crate) fn forget(&mut self, sequence: usize, from: usize) -> bool {
        let (Ok(sequence), Ok(from)) = (i32::try_from(sequence), i32::try_from(from)) else { return false };
        // SAFETY: the handle is valid; the library checks the range of both numbers.
        unsafe { sys::llama_memory_seq_rm(self.memory(), sequence, from, -1) }
    }

    /// Makes `to` hold what `from` holds. Both must be below the context's number of sequences.
    pub(crate) fn copy(&mut self, from: usize, to: usize) {
        if let (Ok(from), Ok(to)) = (i32::try_from(from), i32::try_from(to)) {
            // SAFETY: as above. Sequences have a stream each, so only whole copies are allowed: -1 to -1.
            unsafe { sys::llama_memory_seq_cp(self.memory(), from, to, -1, -1) }
        }
    }

    /// The vector of a text, as the model makes it: not normalised. The text must not have more tokens than the context's batch.
    pub(crate) fn embed(&mut self, batch: &Batch) -> Result<Vec<f32>, DecodeFailure> {
        let memory = self.memory();
        if !memory.is_null() {
            // SAFETY: the handle is valid. What an earlier text left behind is no part of this one.
            unsafe { sys::llama_memory_clear(memory, false) };
        }
        self.decode(batch)?;
        let width = self.model.embedding_width();
        // SAFETY: a non-null result points to one vector of the model's width, valid until the next call; it is copied here.
        let vector = unsafe {
            let vector = NonNull::new(sys::llama_get_embeddings_seq(self.context.as_ptr(), 0));
            vector.map(|vector| std::slice::from_raw_parts(vector.as_ptr(), width).to_vec())
        };
        vector.ok_or(DecodeFailure::Code(0))
    }

    fn memory(&self) -> sys::llama_memory_t {
        // SAFETY: the handle is valid for as long as `self`.
        unsafe { sys::llama_get_memory(self.context.as_ptr()) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: both made by `new` and freed once, the context first, for it uses the threads.
        unsafe {
            sys::llama_free(self.context.as_ptr());
            if let Some(threads) = self.threads {
                sys::ggml_threadpool_free(threads.as_ptr());
            }
        }
    }
}

/// Tokens to decode in one call: each with its position and its sequence.
pub(crate) struct Batch(sys::llama_batch, usize);

// SAFETY: the arrays belong to this value alone and are bound to no thread.
unsafe impl Send for Batch {}

impl Batch {
    /// Room for `capacity` tokens of one sequence each.
    pub(crate) fn new(capacity: usize) -> Self {
        let tokens = i32::try_from(capacity).unwrap_or(0);
        // SAFETY: allocates arrays of `tokens` entries, freed in `drop`.
        Self(unsafe { sys::llama_batch_init(tokens, 0, 1) }, usize::try_from(tokens).unwrap_or(0))
    }

    /// Empties the batch.
    pub(crate) fn clear(&mut self) {
        self.0.n_tokens = 0;
    }

    /// The number of tokens added.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.0.n_tokens).unwrap_or(0)
    }

    /// Adds a token and returns its row; `None` where the batch is full.
    pub(crate) fn add(&mut self, token: Token, position: usize, sequence: usize, logits: bool) -> Option<usize> {
        let row = self.len();
        let position = i32::try_from(position).ok()?;
        let sequence = i32::try_from(sequence).ok()?;
        if row >= self.1 {
            return None;
        }
        // SAFETY: `row` is below the capacity the arrays were allocated with; each `seq_id` entry has room for one.
        unsafe {
            self.0.token.add(row).write(token);
            self.0.pos.add(row).write(position);
            self.0.n_seq_id.add(row).write(1);
            (*self.0.seq_id.add(row)).write(sequence);
            self.0.logits.add(row).write(i8::from(logits));
        }
        self.0.n_tokens += 1;
        Some(row)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: made by `llama_batch_init`, freed once.
        unsafe { sys::llama_batch_free(self.0) }
    }
}

/// A grammar part-way through an answer: which tokens may come next.
pub(crate) struct Grammar {
    sampler: NonNull<sys::llama_sampler>,
    /// The sampler points into the model's vocabulary.
    _model: Arc<Model>,
}

// SAFETY: bound to no thread; every method takes `&mut self`.
unsafe impl Send for Grammar {}

impl Grammar {
    /// Compiles GBNF `text` with start rule `root`; `None` where the library refuses it.
    pub(crate) fn new(model: Arc<Model>, text: &str) -> Option<Self> {
        let text = CString::new(text).ok()?;
        // SAFETY: both strings are terminated and copied by the callee; the result is checked for null.
        let sampler = unsafe { sys::llama_sampler_init_grammar(model.vocab.as_ptr(), text.as_ptr(), c"root".as_ptr()) };
        Some(Self { sampler: NonNull::new(sampler)?, _model: model })
    }

    /// Sets the logit of every candidate that may not come next to minus infinity.
    pub(crate) fn strike(&mut self, candidates: &mut [Candidate]) {
        let mut array = sys::llama_token_data_array {
            data: candidates.as_mut_ptr(),
            size: candidates.len(),
            selected: -1,
            sorted: false,
        };
        // SAFETY: the array describes `candidates`; this sampler changes logits only, never size or place.
        unsafe { sys::llama_sampler_apply(self.sampler.as_ptr(), &raw mut array) }
    }

    /// Moves on past `token`, which must have survived [`Self::strike`] and must not end the answer.
    pub(crate) fn accept(&mut self, token: Token) {
        // SAFETY: the library throws only for a token the grammar forbids, which the caller excludes.
        unsafe { sys::llama_sampler_accept(self.sampler.as_ptr(), token) }
    }
}

impl Drop for Grammar {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once.
        unsafe { sys::llama_sampler_free(self.sampler.as_ptr()) }
    }
}
