//! How many tokens a request has: counted by the target that would answer it, else estimated, and the count says which.
//!
//! A short door into the same plan that an answer would have. Nothing is generated, stored or recorded.

use std::sync::Arc;

use super::{Op, Router, resolve};
use crate::error::{ErrorKind, Result};
use crate::provider::{Call, Target};
use crate::request::{Block, BlockBody, Request};

/// A count of a request's tokens.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenCount {
    /// Tokens of the prompt, tools included.
    pub tokens: u64,
    /// Whether the target could not count them, and this is a guess from the length.
    pub estimated: bool,
    /// The target that would answer.
    pub target: Target,
}

impl Router {
    /// Counts the tokens of a request at the first target of its plan.
    ///
    /// # Errors
    /// What a hook refuses with, the error of the plan, and the target's own where it can count and failed.
    pub async fn count_tokens(&self, op: impl Into<Op>) -> Result<TokenCount> {
        let Op { mut request, door, provider, id } = op.into();
        self.ask_hooks(&mut request)?;
        self.limit_riders(&mut request);
        let mut plan = match provider {
            Some(provider) => resolve::plan_via(provider, &request, self.scope(door, &[]))?,
            None => resolve::plan(&request, self.scope(door, &self.passed_over(&request).await))?,
        };
        let planned = plan.targets.swap_remove(0);
        let target = planned.target;
        let cx = self.context_of(id.unwrap_or_else(|| self.new_id()));
        let request = Arc::new(request);
        let mut call = Call::new(Arc::clone(&request), target.clone(), cx);
        call.deadlines = planned.deadlines;
        match planned.provider.count_tokens(Arc::new(call)).await {
            Ok(tokens) => Ok(TokenCount { tokens, estimated: false, target }),
            Err(error) if error.kind() == ErrorKind::CallerUnsupported => {
                Ok(TokenCount { tokens: estimate(&request), estimated: true, target })
            }
            Err(error) => Err(error.at(&target.provider, target.model.as_ref())),
        }
    }
}

/// Bytes of a token, about, in the languages and the code that vocabularies are made for.
const BYTES_A_TOKEN: usize = 4;
/// What a turn costs beside its text: the marks around it.
const A_TURN: usize = 4;
/// A picture of middling size.
const A_PICTURE: usize = 1_000;

/// A guess from the length of what is said.
fn estimate(request: &Request) -> u64 {
    let turns = request.messages.iter().map(|message| {
        let blocks: usize = message.content.iter().map(weight).sum();
        blocks + A_TURN
    });
    let tools = request.tools.iter().map(|tool| {
        let parameters = tool.parameters.as_ref().map_or(0, |schema| schema.get().len());
        tokens(tool.name.len() + tool.description.as_ref().map_or(0, String::len) + parameters) + A_TURN
    });
    u64::try_from(turns.chain(tools).sum::<usize>()).unwrap_or(u64::MAX)
}

fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(BYTES_A_TOKEN)
}

fn weight(block: &Block) -> usize {
    match &block.body {
        BlockBody::Text { text, .. } | BlockBody::Refusal { text } | BlockBody::Reasoning { text, .. } => {
            tokens(text.len())
        }
        BlockBody::ToolCall { name, arguments, .. } => tokens(name.len() + arguments.len()),
        BlockBody::ToolResult { content, .. } => content.iter().map(weight).sum(),
        _ => A_PICTURE,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::scripted::Scripted;

    #[tokio::test]
    async fn a_provider_that_cannot_count_leaves_an_estimate_that_says_so() {
        let router = Router::builder().provider(Scripted::text("echo", "x")).build().unwrap();
        let mut request = Request::new("x".repeat(400));
        request.provider = Some(crate::ids::ProviderId::new("echo").unwrap());
        let count = router.count_tokens(request).await.unwrap();
        assert_eq!((count.tokens, count.estimated, count.target.provider.as_str()), (104, true, "echo"));
    }
}
