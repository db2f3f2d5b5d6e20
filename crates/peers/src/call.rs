//! Asking peers: the backend of the provider `ipfs_peer`.
//!
//! Whom to ask is the table's choice; a request to one peer is `call/talk.rs`, what goes wrong with it `call/missed.rs`, what it needs of a peer `call/need.rs`. `call/asking.rs` goes from one peer to the next as long as
//! nothing of an answer was given out.

mod asking;
mod missed;
mod need;
mod talk;

use std::sync::Arc;
use std::time::Duration;

use libp2p::futures::future::BoxFuture;
use llm_router::delta::DeltaStream;
use llm_router::deps::{IpfsBackend, PeerStatus};
use llm_router::ids::ModelName;
use llm_router::provider::Call;
use llm_router::request::Request;
use llm_router::{Error, Result};

use self::asking::Asking;
use crate::caps::ASK;
use crate::serve::request::reaches_out;
use crate::service::seen;
use crate::service::shared::Shared;

/// How long an answer is waited for where nobody says so.
const LONGEST: Duration = Duration::from_secs(600);

/// Peers as the backend of the provider `ipfs_peer`.
pub(crate) struct Backend {
    shared: Arc<Shared>,
}

impl Backend {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn ask(
        &self,
        model: Option<&ModelName>,
        request: &Request,
        longest: Duration,
        trace: Option<String>,
    ) -> Result<DeltaStream> {
        if request.messages.iter().flat_map(|message| &message.content).any(reaches_out) {
            let message = "a peer fetches nothing: the request names an address or a file instead of what is there";
            return Err(Error::unsupported(message).with_hint("send the picture, sound or file itself, as base64"));
        }
        let longest = request.timeout.unwrap_or(longest).min(longest);
        Ok(Asking::new(Arc::clone(&self.shared), model, request, longest, trace).stream())
    }
}

impl IpfsBackend for Backend {
    fn route_llm_request<'a>(
        &'a self,
        _prompt: &'a str,
        model: Option<&'a ModelName>,
        params: &'a Request,
    ) -> BoxFuture<'a, Result<DeltaStream>> {
        Box::pin(async move { self.ask(model, params, LONGEST, None) })
    }

    fn route_call<'a>(&'a self, _prompt: &'a str, call: &'a Call) -> BoxFuture<'a, Result<DeltaStream>> {
        let trace = call.cx.trace.as_ref().map(ToString::to_string);
        Box::pin(async move { self.ask(call.target.model.as_ref(), &call.request, call.deadlines.total, trace) })
    }

    fn peers(&self) -> BoxFuture<'_, Vec<PeerStatus>> {
        Box::pin(async { seen::list(&self.shared).await.into_iter().map(PeerStatus::from).collect() })
    }

    fn ready(&self) -> Result<(), Error> {
        if self.shared.asks_strangers() || !self.shared.book.is_empty() {
            return Ok(());
        }
        Err(Error::unavailable("no peer is trusted yet").with_hint(ASK))
    }
}
