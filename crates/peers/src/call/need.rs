//! What a request needs of a peer, by a rough count: the peer that is asked counts for itself.

use llm_router::request::{Block, BlockBody, Message, Privacy, Request, Role};
use sha2::{Digest, Sha256};

use crate::picker::Need;
use crate::record::Modalities;

/// Tokens that a picture, a sound or a document may take.
const PER_MEDIUM: usize = 1000;
/// Tokens of an answer where nobody says how long it may be.
const ANSWER: u32 = 512;
/// So many bytes of what a conversation begins with tell it from others.
const BEGINNING: usize = 1024;

/// What is known of a request before a peer is chosen.
#[derive(Debug)]
pub(super) struct Wants {
    input: u32,
    output: u32,
    tools: bool,
    modalities: Modalities,
    strangers: bool,
    most_cost: Option<u64>,
    prefix: u64,
    explore: bool,
}

impl Wants {
    pub(super) fn of(request: &Request, strangers: bool) -> Self {
        let blocks = || request.messages.iter().flat_map(|message| &message.content);
        let schemas =
            request.tools.iter().map(|tool| 32 + tool.parameters.as_ref().map_or(0, |one| one.get().len() / 4));
        let input: usize = blocks().map(tokens).sum::<usize>() + schemas.sum::<usize>();
        let (input, output) = (u32::try_from(input).unwrap_or(u32::MAX), request.sampling.max_tokens.unwrap_or(ANSWER));
        let all = u64::from(input) + u64::from(output);
        Self {
            input,
            output,
            tools: !request.tools.is_empty(),
            modalities: blocks().map(modality).fold(Modalities::default(), |all, one| all.with(one)),
            strangers: strangers && request.riders.privacy == Privacy::Any,
            most_cost: request.riders.max_price.map(|price| (price.saturating_mul(all)).div_ceil(1_000_000)),
            prefix: prefix(request),
            explore: !request.stream,
        }
    }

    /// As the picker wants it.
    pub(super) fn need<'a>(&self, model: &'a str, tried: &'a [libp2p::PeerId]) -> Need<'a> {
        let mut need = Need::new(model, self.input, self.output);
        (need.tools, need.modalities, need.strangers) = (self.tools, self.modalities, self.strangers);
        (need.most_cost, need.prefix, need.explore) = (self.most_cost, Some(self.prefix), self.explore);
        need.tried = tried;
        need
    }
}

fn tokens(block: &Block) -> usize {
    match &block.body {
        BlockBody::Text { text, .. } | BlockBody::Refusal { text } => text.len() / 4,
        BlockBody::ToolCall { arguments, .. } => arguments.len() / 4,
        BlockBody::ToolResult { content, .. } => content.iter().map(tokens).sum(),
        BlockBody::Image { .. } | BlockBody::Audio { .. } | BlockBody::File { .. } => PER_MEDIUM,
        _ => 0,
    }
}

fn modality(block: &Block) -> Modalities {
    match &block.body {
        BlockBody::Image { .. } => Modalities::IMAGE,
        BlockBody::Audio { .. } => Modalities::AUDIO,
        BlockBody::File { .. } => Modalities::FILE,
        _ => Modalities::default(),
    }
}

/// A number for what the conversation begins with: instructions, tools, the first question.
fn prefix(request: &Request) -> u64 {
    let mut hash = Sha256::new();
    request.tools.iter().for_each(|tool| hash.update(&tool.name));
    let mut room = BEGINNING;
    let opens = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
    let instructions = request.messages.iter().take_while(opens);
    let first = request.messages.iter().find(|message| message.role == Role::User);
    for text in instructions.chain(first).flat_map(|message| &message.content).filter_map(Block::as_text) {
        let part = text.as_bytes().get(..room.min(text.len())).unwrap_or_default();
        hash.update(part);
        room -= part.len();
    }
    hash.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
