//! What a request cannot do without, and what of it a target lacks: a plan with a choice leaves such a target out.
//!
//! Coarse and quick: whether a target can say a request exactly is told by its codec, when it is asked.

use crate::dialect::hosted;
use crate::provider::Capabilities;
use crate::request::{Block, BlockBody, Request, ResponseFormat, Role};

/// What a request cannot do without.
pub(super) fn needs(request: &Request) -> Capabilities {
    let mut needs = Capabilities {
        tools: !hosted::are_all(request) || request.messages.iter().any(|message| message.role == Role::Tool),
        json_schema: matches!(request.response_format, Some(ResponseFormat::JsonSchema(_))),
        multiple_choices: request.choices() > 1,
        ..Capabilities::default()
    };
    request.messages.iter().flat_map(|message| &message.content).for_each(|block| note_needs(block, &mut needs));
    needs
}

fn note_needs(block: &Block, needs: &mut Capabilities) {
    match &block.body {
        BlockBody::Image { .. } => needs.images = true,
        BlockBody::Audio { .. } => needs.audio = true,
        BlockBody::File { .. } => needs.files = true,
        BlockBody::ToolCall { .. } => needs.tools = true,
        BlockBody::ToolResult { content, .. } => {
            needs.tools = true;
            content.iter().for_each(|block| note_needs(block, needs));
        }
        _ => {}
    }
}

/// The first thing that a target has not and a request needs, in words.
pub(super) fn lacks(has: Capabilities, needs: Capabilities) -> Option<&'static str> {
    [
        (needs.tools && !has.tools, "tools"),
        (needs.images && !has.images, "images"),
        (needs.audio && !has.audio, "audio"),
        (needs.files && !has.files, "files"),
        (needs.json_schema && !has.json_schema, "a JSON schema"),
        (needs.multiple_choices && !has.multiple_choices, "n > 1"),
    ]
    .into_iter()
    .find_map(|(lacking, what)| lacking.then_some(what))
}
