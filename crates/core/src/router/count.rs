//! Token counts without an answer: the number, and whether somebody counted or it is an estimate of ours.
//!
//! A provider that has the model's own tokens counts; where the target cannot, [`estimate`] says roughly how many there will be, and says that it does.
//! How a count is asked for is `asking.rs`.

use crate::provider::Target;
use crate::request::{Block, BlockBody, RawJson, Request, ResponseFormat, Tool};

/// How many tokens a request has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenCount {
    /// Tokens of the prompt, instructions and tools included.
    pub tokens: u64,
    /// Whether it is an estimate, because the target cannot count.
    pub estimated: bool,
    /// The target that would answer.
    pub target: Target,
}

/// Tokens that mark a message's beginning, end and role in the templates in use.
const PER_MESSAGE: u64 = 4;

/// Tokens of a picture of common size; vendors count from a hundred to some thousands.
const PER_PICTURE: u64 = 1_000;

/// A rough count that needs no vocabulary: four ASCII characters a token, as English has, and one token for each other character, as Chinese has.
pub(super) fn estimate(request: &Request) -> u64 {
    let messages: u64 =
        request.messages.iter().map(|message| PER_MESSAGE + message.content.iter().map(of_block).sum::<u64>()).sum();
    let tools: u64 = request.tools.iter().map(of_tool).sum();
    let schema = match &request.response_format {
        Some(ResponseFormat::JsonSchema(wanted)) => of_text(wanted.schema.get()),
        _ => 0,
    };
    messages + tools + schema
}

fn of_block(block: &Block) -> u64 {
    match &block.body {
        BlockBody::Text { text, .. } | BlockBody::Refusal { text } => of_text(text),
        BlockBody::ToolCall { name, arguments, .. } => of_text(name) + of_text(arguments),
        BlockBody::ToolResult { content, .. } => content.iter().map(of_block).sum(),
        BlockBody::Image { .. } | BlockBody::File { .. } | BlockBody::Audio { .. } => PER_PICTURE,
        _ => 0,
    }
}

fn of_tool(tool: &Tool) -> u64 {
    let parts = [Some(tool.name.as_str()), tool.description.as_deref(), tool.parameters.as_ref().map(RawJson::get)];
    let said: u64 = parts.into_iter().flatten().map(of_text).sum();
    // A tool that runs at a provider is all in its further fields.
    let extra = if tool.extra.is_empty() { None } else { serde_json::to_string(&tool.extra).ok() };
    PER_MESSAGE + said + extra.map_or(0, |text| of_text(&text))
}

/// Each piece of every answer is counted so; nearly all are ASCII, which a processor sees many bytes at a time.
pub(super) fn of_text(text: &str) -> u64 {
    if text.is_ascii() {
        return (text.len() as u64).div_ceil(4);
    }
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    ascii.div_ceil(4) + text.chars().count() as u64 - ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_follows_the_script() {
        assert_eq!(estimate(&Request::new("Hello there, world!")), PER_MESSAGE + 5);
        assert_eq!(estimate(&Request::new("你好")), PER_MESSAGE + 2);
    }
}
