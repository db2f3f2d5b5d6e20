//! The tool `generate`: a prompt through the router, with progress as its text comes where the client asked for it.

use std::time::Duration;

use futures_util::StreamExt;
use llm_router::delta::{Delta, Part};
use llm_router::error::Result;
use llm_router::ids::ProviderId;
use llm_router::request::{Message, Request};
use llm_router::response::Folder;
use llm_router::router::Op;
use llm_router::router::resolve::Door;
use rmcp::model::{CallToolResult, ContentBlock, ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext, RoleServer};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Mcp, tools};
use crate::door::Caller;
use crate::routes::native::generate::{Generated, finish_word};

/// Pieces that come closer together than this are told together: a notification costs more than a token.
const CLOSE: Duration = Duration::from_millis(100);

/// What is asked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// The prompt.
    prompt: String,
    /// Instructions that come before the prompt.
    #[serde(default)]
    system: Option<String>,
    /// The model: a route, `provider/model`, or a name that a provider lists; see `list_models`.
    #[serde(default)]
    model: Option<String>,
    /// The provider; see `list_providers`.
    #[serde(default)]
    provider: Option<String>,
    /// The most tokens of the answer.
    #[serde(default)]
    max_tokens: Option<u32>,
    /// Randomness; 0 is the same answer every time.
    #[serde(default)]
    temperature: Option<f64>,
}

impl Wanted {
    pub(super) fn into_request(self) -> Result<Request> {
        let mut request = Request::new(self.prompt);
        if let Some(system) = self.system {
            request.messages.insert(0, Message::system(system));
        }
        request.model = self.model.filter(|name| !name.trim().is_empty());
        let provider = self.provider.filter(|id| !id.trim().is_empty());
        request.provider = provider.map(ProviderId::new).transpose()?.filter(|id| *id != "auto");
        request.sampling.max_tokens = self.max_tokens;
        request.sampling.temperature = self.temperature;
        Ok(request)
    }
}

pub(super) async fn run(
    mcp: &Mcp,
    wanted: Wanted,
    caller: &Caller,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResult> {
    let mut request = wanted.into_request()?;
    request.riders.namespace.clone_from(&caller.namespace);
    request.riders.key.clone_from(&caller.key);
    let mut progress = context.meta.get_progress_token().map(|token| Progress::new(token, context.peer.clone()));
    request.stream = progress.is_some();
    let mut answer = mcp
        .router
        .call(
            Op::new(request, Door::NativeApi)
                .for_client(caller.name.clone())
                .of_team(caller.team.clone())
                .within(caller.holder.clone())
                .under(super::context_of(context)),
        )
        .await?;
    let mut folder = Folder::default();
    while let Some(event) = answer.next().await {
        for delta in &event?.deltas {
            folder.push(delta);
            if let (Delta::BlockDelta { choice, block, part: Part::Text(text) }, Some(progress)) =
                (delta, &mut progress)
                && folder.is_text(*choice, *block)
            {
                progress.add(text).await;
            }
        }
    }
    if let Some(progress) = &mut progress {
        progress.tell().await;
    }
    let response = folder.finish()?;
    let text = response.text();
    let finish = response.choices.first().map(|choice| finish_word(choice.finish).to_owned());
    let about = answer.look(Generated::of);
    let model = about.model.clone().or(Some(response.model)).filter(|name| !name.is_empty());
    let mut result = tools::structured(&Generated { text: Some(text.clone()), model, finish_reason: finish, ..about })?;
    // Clients that read only text want the answer, not JSON about it.
    result.content = vec![ContentBlock::text(text)];
    Ok(result)
}

/// Tells the client of text as it comes. Progress is counted in characters, which only grow.
struct Progress {
    token: ProgressToken,
    peer: Peer<RoleServer>,
    so_far: usize,
    untold: String,
    told: Option<Instant>,
}

impl Progress {
    fn new(token: ProgressToken, peer: Peer<RoleServer>) -> Self {
        Self { token, peer, so_far: 0, untold: String::new(), told: None }
    }

    async fn add(&mut self, text: &str) {
        self.so_far += text.chars().count();
        self.untold.push_str(text);
        if self.told.is_none_or(|told| told.elapsed() >= CLOSE) {
            self.tell().await;
        }
    }

    async fn tell(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        #[allow(clippy::cast_precision_loss)]
        let params = ProgressNotificationParam::new(self.token.clone(), self.so_far as f64)
            .with_message(std::mem::take(&mut self.untold));
        // A client that does not listen gets its answer all the same.
        let _ = self.peer.notify_progress(params).await;
        self.told = Some(Instant::now());
    }
}
