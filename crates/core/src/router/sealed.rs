//! Whose seals are whose: opaque state of a provider goes back to the provider and model that made it, and to nobody else.
//!
//! Who made a seal is remembered, by a one-way mark, when an answer brings it. Of one that is not remembered (made before this process, or too long ago) only
//! the request can tell (unless it is in an envelope, `envelope.rs`): it is taken to be of the target that the request means, if the caller speaks that target's own dialect. What a seal looks like is
//! `dialect/seal.rs`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::envelope;
use super::resolve::Planned;
use crate::delta::{Delta, Part};
use crate::dialect::{FieldPath, seal};
use crate::provider::Target;
use crate::request::{Block, Message, Request};

/// How many seals are remembered: the conversations of a busy day, in about a megabyte.
const MOST: usize = 8192;

/// The most blocks of one answer whose seals are put together at once.
const MOST_OPEN: usize = 256;

/// A one-way mark of a seal.
type Mark = [u8; 16];

/// Who made which seal, as far as answers of this process told.
#[derive(Debug, Default)]
pub(crate) struct Makers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    makers: HashMap<Mark, Arc<Target>>,
    /// The oldest first.
    order: VecDeque<Mark>,
}

impl Makers {
    fn learn(&self, mark: Mark, maker: &Arc<Target>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.makers.insert(mark, Arc::clone(maker)).is_none() {
            known.order.push_back(mark);
        }
        while known.order.len() > MOST {
            if let Some(oldest) = known.order.pop_front() {
                known.makers.remove(&oldest);
            }
        }
    }

    /// The request as `planned` may see it, and the names of the seals that are not for it. `meant` says that it is the target the request names.
    pub(super) fn for_target(
        &self,
        request: &Arc<Request>,
        planned: &Planned,
        meant: bool,
    ) -> (Arc<Request>, Vec<FieldPath>) {
        if !request.messages.iter().any(is_sealed) {
            return (Arc::clone(request), Vec::new());
        }
        let spoken = &planned.provider.describe().dialects;
        let unknown_may = meant && request.origin.as_ref().is_some_and(|origin| spoken.contains(&origin.dialect));
        let (mut messages, mut withheld) = (Vec::with_capacity(request.messages.len()), Vec::new());
        let (target, mut restored) = (planned.target.to_string(), false);
        for (at, message) in request.messages.iter().enumerate() {
            let open = |(place, block): (usize, &Block)| {
                let enveloped = envelope::opened_block(block);
                if let Some((maker, own)) = &enveloped
                    && *maker == target
                {
                    restored = true;
                    return Some(own.clone());
                }
                if enveloped.is_none()
                    && (!seal::is_sealed(block) || self.are_of(block, &planned.target).unwrap_or(unknown_may))
                {
                    return Some(block.clone());
                }
                let mut gone = Vec::new();
                let left = seal::opened(block, &mut gone);
                withheld.extend(gone.iter().map(|name| FieldPath(format!("messages[{at}].content[{place}]{name}"))));
                left
            };
            let content: Vec<Block> = message.content.iter().enumerate().filter_map(open).collect();
            // A turn that was nothing but sealed goes as a whole.
            if !content.is_empty() || message.content.is_empty() {
                let (name, mut extra) = (message.name.clone(), message.extra.clone());
                // Whose these are is not told by an answer: they have no place of their own in it.
                for (dialect, fields) in extra.iter_mut().filter(|_| !unknown_may) {
                    fields.retain(|name, value| {
                        let seal = seal::is_sealed_field(name, value);
                        withheld.extend(seal.then(|| FieldPath(format!("messages[{at}].{dialect}.{name}"))));
                        !seal
                    });
                }
                messages.push(Message { role: message.role, content, name, extra });
            }
        }
        if withheld.is_empty() && !restored {
            return (Arc::clone(request), withheld);
        }
        // The body as received still has it all.
        let opened = Request { messages, origin: None, ..Request::clone(request) };
        (Arc::new(opened), withheld)
    }

    /// Whether `target` made a block's seals; `None` where none of them is remembered.
    fn are_of(&self, block: &Block, target: &Target) -> Option<bool> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = None;
        seal::each(block, &mut |text| {
            if let Some(maker) = known.makers.get(&mark(text)) {
                all = Some(all.unwrap_or(true) && **maker == *target);
            }
        });
        all
    }
}

fn is_sealed(message: &Message) -> bool {
    let mut beside = message.extra.values().flatten();
    message.content.iter().any(seal::is_sealed) || beside.any(|(name, value)| seal::is_sealed_field(name, value))
}

/// Learns the seals of one answer as it streams by.
#[derive(Debug)]
pub(super) struct Learning {
    makers: Arc<Makers>,
    maker: Arc<Target>,
    /// Signatures that come in pieces, by choice and block.
    open: HashMap<(u32, u32), Sha256>,
}

impl Learning {
    /// For an answer of `maker`.
    pub(super) fn new(makers: &Arc<Makers>, maker: Target) -> Self {
        Self { makers: Arc::clone(makers), maker: Arc::new(maker), open: HashMap::new() }
    }

    /// Takes the next delta.
    pub(super) fn see(&mut self, delta: &Delta) {
        match delta {
            Delta::BlockDelta { choice, block, part: Part::Signature(piece) }
                if self.open.len() < MOST_OPEN || self.open.contains_key(&(*choice, *block)) =>
            {
                self.open.entry((*choice, *block)).or_default().update(piece);
            }
            Delta::BlockDelta { part: Part::Raw(value) | Part::Annotation(value), .. } => {
                let (makers, maker) = (&self.makers, &self.maker);
                seal::each_in_value(value, &mut |text| makers.learn(mark(text), maker));
            }
            Delta::BlockEnd { choice, block } if !self.open.is_empty() => {
                if let Some(hash) = self.open.remove(&(*choice, *block)) {
                    self.makers.learn(shortened(hash), &self.maker);
                }
            }
            _ => {}
        }
    }
}

fn mark(text: &str) -> Mark {
    shortened(Sha256::new_with_prefix(text))
}

fn shortened(hash: Sha256) -> Mark {
    let mut mark = Mark::default();
    mark.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    mark
}
