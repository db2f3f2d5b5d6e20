//! The engine's thread: one model, some slots, and steps that move every running answer on by a token.
//!
//! A step decodes one token of each running answer together and then at most one chunk of one new prompt, so that a
//! long prompt delays the others by no more than a chunk. Prompts are cut at multiples of [`CHUNK`] and never share a
//! call with others: what a row is computed with is then the same alone and in company, and so is its result, to the
//! bit (`tests/same_text.rs`). Next: [`super::prefix`] for slots, [`super::sampler`] for tokens.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::answer::Sink;
use super::job::{EngineError, Finish, Output, TokenLogprob, Usage};
use super::prefix::{self, SlotView};
use super::sampler::{Pick, Sampler};
use super::text::{Gate, Passed};
use crate::ffi::{Batch, Context, DecodeFailure, Model, Token};

/// Tokens of a prompt computed in one call.
pub(super) const CHUNK: usize = 64;

/// Most answers decoded in one call. From eight rows on, ggml computes some formats with other kernels.
const ROWS: usize = 7;

/// How often the reader of an answer hears how much of its prompt was read.
const TOLD_EACH: Duration = Duration::from_secs(1);

/// A job made ready: everything that could be refused was.
pub(super) struct Ticket {
    pub(super) prompt: Vec<Token>,
    /// Tokens the answer may have; at least one.
    pub(super) limit: usize,
    pub(super) sampler: Sampler,
    pub(super) gate: Gate,
    /// Whether marks come out as text.
    pub(super) marks: bool,
    pub(super) sink: Sink,
}

/// What the engine's handle and its thread share.
pub(super) struct Shared {
    waiting: Mutex<VecDeque<Ticket>>,
    /// Set once, when the handle is dropped or the thread ends.
    closed: AtomicBool,
    /// The readers of the answers in the running call.
    readers: Mutex<Vec<Arc<AtomicBool>>>,
    /// About how long one job takes, in milliseconds.
    job_ms: AtomicU64,
    most_waiting: usize,
}

impl Shared {
    pub(super) fn new(most_waiting: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            closed: AtomicBool::new(false),
            readers: Mutex::default(),
            job_ms: AtomicU64::new(1000),
            most_waiting,
        }
    }

    /// Puts `ticket` in the queue, or says why not.
    pub(super) fn submit(&self, ticket: Ticket) -> Result<(), EngineError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Acquire) {
            return Err(EngineError::Closed);
        }
        if waiting.len() >= self.most_waiting {
            waiting.retain(|ticket| !ticket.sink.is_left());
        }
        if waiting.len() >= self.most_waiting {
            let retry_after = Duration::from_millis(self.job_ms.load(Ordering::Relaxed).clamp(1_000, 60_000));
            return Err(EngineError::Overloaded { waiting: waiting.len(), retry_after });
        }
        waiting.push_back(ticket);
        Ok(())
    }

    /// Ends the thread at its next look; the caller wakes it.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the running computation is for nobody.
    pub(super) fn should_stop(&self) -> bool {
        self.closed.load(Ordering::Relaxed) || {
            let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            !readers.is_empty() && readers.iter().all(|left| left.load(Ordering::Relaxed))
        }
    }

    fn next(&self) -> Option<Ticket> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn watch(&self, readers: Vec<Arc<AtomicBool>>) {
        *self.readers.lock().unwrap_or_else(PoisonError::into_inner) = readers;
    }
}

/// A sequence's memory and the answer made in it, if one is.
#[derive(Default)]
struct Slot {
    /// The tokens whose state is in memory, in order. They stay after an answer, for prompts that begin alike.
    held: Vec<Token>,
    /// How many of them, from the start, were computed in whole aligned chunks.
    aligned: usize,
    work: Option<Work>,
    used: u64,
}

struct Work {
    ticket: Ticket,
    started: Instant,
    /// When its reader was told last that the prompt is being read.
    told: Instant,
    /// The newest token, picked and not yet computed.
    next: Option<Token>,
    usage: Usage,
    /// Of tokens whose text is not all shown yet.
    logprobs: Vec<TokenLogprob>,
    /// Bytes shown that belong to those tokens.
    ahead: usize,
}

/// What decides how much an earlier prompt's state helps a later one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reuse {
    /// Whether memory can be cut back at all.
    pub(super) rewind: bool,
    /// Whether a token's state is the same however many were computed with it.
    pub(super) any_length: bool,
    /// Tokens that copying a whole slot costs the time of.
    pub(super) copy_worth: usize,
}

/// The thread's state.
pub(super) struct Scheduler {
    model: Arc<Model>,
    context: Context,
    shared: Arc<Shared>,
    reuse: Reuse,
    slots: Vec<Slot>,
    batch: Batch,
    /// Counts uses of slots, to find the one unused for longest.
    clock: u64,
}

impl Scheduler {
    pub(super) fn new(model: Arc<Model>, context: Context, shared: Arc<Shared>, slots: usize, reuse: Reuse) -> Self {
        let slots = (0..slots).map(|_| Slot::default()).collect();
        Self { model, context, shared, reuse, slots, batch: Batch::new(CHUNK.max(ROWS)), clock: 0 }
    }

    /// Works until the engine is closed; sleeps while there is nothing to do or every reader is behind.
    pub(super) fn run(mut self) {
        while !self.shared.closed.load(Ordering::Acquire) {
            self.release_left();
            self.admit();
            let decoded = self.decode();
            let filled = self.prefill();
            if !decoded && !filled {
                // Woken by new jobs, by readers that read or leave, and by `close`.
                thread::park();
            }
        }
    }

    /// Frees the slots of answers nobody reads any more.
    fn release_left(&mut self) {
        for slot in &mut self.slots {
            if slot.work.as_ref().is_some_and(|work| work.ticket.sink.is_left()) {
                slot.work = None;
            }
        }
    }

    /// Gives waiting jobs the free slots.
    fn admit(&mut self) {
        while self.slots.iter().any(|slot| slot.work.is_none()) {
            let Some(ticket) = self.shared.next() else { return };
            if !ticket.sink.is_left() {
                self.place(ticket);
            }
        }
    }

    fn place(&mut self, ticket: Ticket) {
        let grain = if self.reuse.any_length { 1 } else { CHUNK };
        let keepable = |slot: &Slot| match self.reuse {
            Reuse { rewind: false, .. } => 0,
            Reuse { any_length: true, .. } => slot.held.len(),
            Reuse { .. } => slot.aligned,
        };
        let views: Vec<_> = self
            .slots
            .iter()
            .map(|slot| SlotView {
                held: &slot.held,
                keepable: keepable(slot),
                busy: slot.work.is_some(),
                used: slot.used,
            })
            .collect();
        let Some(plan) = prefix::plan(&views, &ticket.prompt, self.reuse.copy_worth, grain) else { return };
        let mut keep = plan.keep;
        if let Some(from) = plan.copy_from {
            self.context.copy(from, plan.slot);
            let source = self.slots.get(from).map(|slot| (slot.held.clone(), slot.aligned));
            if let (Some((held, aligned)), Some(slot)) = (source, self.slots.get_mut(plan.slot)) {
                slot.held = held;
                slot.aligned = aligned;
            }
        }
        if !self.context.forget(plan.slot, keep) {
            self.context.forget(plan.slot, 0);
            keep = 0;
        }
        self.clock += 1;
        let Some(slot) = self.slots.get_mut(plan.slot) else { return };
        slot.held.truncate(keep);
        slot.aligned = slot.aligned.min(keep);
        slot.used = self.clock;
        let usage = Usage { prompt_tokens: ticket.prompt.len(), cached_tokens: keep, completion_tokens: 0 };
        let now = Instant::now();
        // It waits no more: its reader may have been told for how long it does at most.
        ticket.sink.send(Ok(Output::Reading { tokens: keep }));
        slot.work = Some(Work { ticket, started: now, told: now, next: None, usage, logprobs: Vec::new(), ahead: 0 });
    }

    /// Moves running answers on by a token, as far as their readers keep up. Says whether there was any.
    fn decode(&mut self) -> bool {
        let ready: Vec<usize> =
            (0..self.slots.len()).filter(|&at| self.slots.get(at).is_some_and(Slot::is_ready)).collect();
        for group in ready.chunks(ROWS) {
            self.batch.clear();
            let mut readers = Vec::with_capacity(group.len());
            for &at in group {
                let Some(slot) = self.slots.get(at) else { continue };
                let Some((work, token)) = slot.work.as_ref().and_then(|work| Some((work, work.next?))) else {
                    continue;
                };
                readers.push(work.ticket.sink.left());
                self.batch.add(token, slot.held.len(), at, true);
            }
            self.shared.watch(readers);
            let result = self.context.decode(&self.batch);
            for (row, &at) in group.iter().enumerate() {
                match result {
                    Ok(()) => {
                        let slot = self.slots.get_mut(at);
                        if let Some((slot, token)) =
                            slot.and_then(|slot| Some((slot.work.as_mut()?.next.take()?, slot)).map(|(t, s)| (s, t)))
                        {
                            slot.held.push(token);
                        }
                        self.pick(at, row);
                    }
                    Err(failure) => self.undo(at, failure),
                }
            }
        }
        !ready.is_empty()
    }

    /// Computes the next chunk of the prompt that waited longest for one. Says whether there was any.
    fn prefill(&mut self) -> bool {
        let waiting = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_filling());
        let Some((at, _)) = waiting.min_by_key(|(_, slot)| slot.used) else { return false };
        self.clock += 1;
        let clock = self.clock;
        let Some(slot) = self.slots.get_mut(at) else { return false };
        slot.used = clock;
        let Some(work) = &slot.work else { return false };
        let prompt = &work.ticket.prompt;
        let start = slot.held.len();
        let end = prompt.len().min((start / CHUNK + 1) * CHUNK);
        self.batch.clear();
        for (position, &token) in prompt.iter().enumerate().take(end).skip(start) {
            self.batch.add(token, position, at, position + 1 == prompt.len());
        }
        self.shared.watch(vec![work.ticket.sink.left()]);
        if let Err(failure) = self.context.decode(&self.batch) {
            self.undo(at, failure);
            return true;
        }
        let chunk = prompt.get(start..end).unwrap_or_default().to_vec();
        let whole = end == prompt.len();
        slot.held.extend(chunk);
        if slot.aligned == start && end % CHUNK == 0 {
            slot.aligned = end;
        }
        if let Some(work) = slot.work.as_mut().filter(|_| !whole) {
            work.tell(end);
        }
        if whole {
            self.pick(at, end - start - 1);
        }
        true
    }

    /// After a call that failed: the slot's memory is as before it, or the answer ends with the error.
    fn undo(&mut self, at: usize, failure: DecodeFailure) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        if failure == DecodeFailure::Stopped && self.context.forget(at, slot.held.len()) {
            return;
        }
        self.context.forget(at, 0);
        slot.held.clear();
        slot.aligned = 0;
        if let (Some(work), DecodeFailure::Code(code)) = (slot.work.take(), failure) {
            work.ticket.sink.send(Err(EngineError::Compute { code }));
        }
    }

    /// Picks the next token of the answer in slot `at` from the last call's `row`, and sends what it shows.
    fn pick(&mut self, at: usize, row: usize) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let Some(mut work) = slot.work.take() else { return };
        let Some(logits) = self.context.logits(row) else {
            work.ticket.sink.send(Err(EngineError::Compute { code: 0 }));
            return;
        };
        let model = &self.model;
        let Some(pick) = work.ticket.sampler.pick(logits, |token| model.ends(token)) else {
            let reason = "no token of this model can follow here; loosen the grammar".to_owned();
            work.ticket.sink.send(Err(EngineError::Invalid { field: "grammar", reason }));
            return;
        };
        match work.show(model, pick) {
            None => slot.work = Some(work),
            Some(finish) => {
                let took = u64::try_from(work.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let before = self.shared.job_ms.load(Ordering::Relaxed);
                self.shared.job_ms.store(before.saturating_mul(3).saturating_add(took) / 4, Ordering::Relaxed);
                work.ticket.sink.send(Ok(Output::Done { finish, usage: work.usage }));
            }
        }
    }
}

impl Drop for Scheduler {
    /// Tells everyone still waiting, also when the thread panics.
    fn drop(&mut self) {
        self.shared.close();
        let running = self.slots.iter_mut().filter_map(|slot| slot.work.take()).map(|work| work.ticket);
        let waiting = std::mem::take(&mut *self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for ticket in running.chain(waiting) {
            if ticket.sink.has_room() {
                ticket.sink.send(Err(EngineError::Closed));
            }
        }
    }
}

impl Slot {
    /// Whether a token waits to be computed and its reader has room for what comes of it.
    fn is_ready(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.next.is_some() && work.ticket.sink.has_room())
    }

    /// Whether a part of the prompt is still to be computed.
    fn is_filling(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.next.is_none())
    }
}

impl Work {
    /// Says now and then how much of the prompt was read, to readers that keep up.
    fn tell(&mut self, tokens: usize) {
        if self.told.elapsed() >= TOLD_EACH && self.ticket.sink.has_room() {
            self.told = Instant::now();
            self.ticket.sink.send(Ok(Output::Reading { tokens }));
        }
    }

    /// Sends what `pick` makes visible; the reason if the answer ends with it.
    fn show(&mut self, model: &Model, pick: Pick) -> Option<Finish> {
        if model.ends(pick.token) {
            return Some(self.flush(Finish::Stop));
        }
        self.usage.completion_tokens += 1;
        let mut bytes = Vec::new();
        model.piece(pick.token, self.ticket.marks, &mut bytes);
        if let Some(logprob) = pick.logprob {
            let name = |(token, logprob)| {
                let mut bytes = Vec::new();
                model.piece(token, true, &mut bytes);
                (bytes, logprob)
            };
            let top = pick.top.into_iter().map(name).collect();
            self.logprobs.push(TokenLogprob { bytes: bytes.clone(), logprob, top });
        }
        match self.ticket.gate.push(&bytes) {
            Passed::Text(text) => self.send(text),
            Passed::Stopped { text, stop } => {
                self.send(text);
                return Some(Finish::StopString(stop));
            }
        }
        if self.usage.completion_tokens >= self.ticket.limit {
            return Some(self.flush(Finish::Length));
        }
        self.next = Some(pick.token);
        None
    }

    /// Sends text, and the tokens that lie wholly in what was shown: one that reaches into a stop string never does.
    fn send(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        self.ahead += text.len();
        let mut whole = 0;
        for token in &self.logprobs {
            let Some(left) = self.ahead.checked_sub(token.bytes.len()) else { break };
            self.ahead = left;
            whole += 1;
        }
        let logprobs = self.logprobs.drain(..whole).collect();
        self.ticket.sink.send(Ok(Output::Text { text, logprobs }));
    }

    /// Sends what was held back.
    fn flush(&mut self, finish: Finish) -> Finish {
        match self.ticket.gate.finish() {
            Passed::Text(text) => {
                let logprobs = std::mem::take(&mut self.logprobs);
                if !text.is_empty() || !logprobs.is_empty() {
                    self.ticket.sink.send(Ok(Output::Text { text, logprobs }));
                }
                finish
            }
            Passed::Stopped { text, stop } => {
                self.send(text);
                Finish::StopString(stop)
            }
        }
    }
}
