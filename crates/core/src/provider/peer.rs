//! The provider `ipfs_peer`: other routers, reached through whatever [`IpfsBackend`] is attached.
//!
//! It knows that trait and nothing of libp2p; the node itself, trust and the choice of a peer live behind it.

use std::sync::Arc;

use super::{Availability, Call, Capabilities, Describe, Liveness, Provider};
use crate::delta::DeltaStream;
use crate::deps::IpfsBackend;
use crate::error::{Error, Result};
use crate::ids::ProviderId;
use crate::request::{Block, Privacy, Request};

const MISSING: &str = "no IPFS node is attached";
const HINT: &str = "attach one through `RouterDeps::ipfs_backend`";

/// Other routers as one provider.
#[derive(Clone)]
pub struct PeerProvider {
    describe: Describe,
    backend: Option<Arc<dyn IpfsBackend>>,
}

impl PeerProvider {
    /// The provider over a backend; without one it says what is missing.
    pub fn new(id: ProviderId, backend: Option<Arc<dyn IpfsBackend>>) -> Self {
        let capabilities = Capabilities { multiple_choices: false, ..Capabilities::ALL };
        // Whom a node talks to is its own policy: what reaches a plan by itself is trusted, nothing more.
        let describe = Describe::new(id).with_privacy(Privacy::Trusted).with_capabilities(capabilities);
        // A peer that is at work says so, and one that is silent is passed over behind the trait.
        let describe = describe.with_liveness(Liveness::Progress);
        Self { describe, backend }
    }
}

impl Provider for PeerProvider {
    fn describe(&self) -> &Describe {
        &self.describe
    }

    fn availability(&self) -> Availability {
        match &self.backend {
            None => Availability::missing(MISSING, HINT),
            Some(backend) => match backend.ready() {
                Ok(()) => Availability::Ready,
                Err(error) => Availability::missing(error.message(), error.hint().unwrap_or_default()),
            },
        }
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let backend = self.backend.as_ref().ok_or_else(|| Error::unavailable(MISSING).with_hint(HINT))?;
        let prompt = last_text(&call.request);
        backend.route_call(&prompt, &call).await
    }
}

/// The prompt in the original's sense: the text of the last turn. The whole conversation goes along in the parameters.
fn last_text(request: &Request) -> String {
    let blocks = request.messages.last().map_or(&[][..], |message| &message.content);
    blocks.iter().filter_map(Block::as_text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::ids::ModelName;
    use crate::response::Response;

    struct Echo;

    impl IpfsBackend for Echo {
        fn route_llm_request<'a>(
            &'a self,
            prompt: &'a str,
            model: Option<&'a ModelName>,
            _: &'a Request,
        ) -> BoxFuture<'a, Result<DeltaStream>> {
            let answer = Response::of_text("1", model.map_or("none", ModelName::as_str), prompt);
            Box::pin(async move { Ok(DeltaStream::of([Ok(answer.to_deltas().into())])) })
        }
    }

    #[test]
    fn without_a_node_it_says_so() {
        let provider = PeerProvider::new(ProviderId::new("ipfs_peer").unwrap(), None);
        assert!(!provider.availability().is_ready());
    }

    #[tokio::test]
    async fn an_injected_backend_answers() {
        use crate::config::Settings;
        use crate::deps::RouterDeps;
        use crate::router::{Router, resolve};

        let id = ProviderId::new("ipfs_peer").unwrap();
        let mut deps = RouterDeps::default();
        deps.ipfs_backend = Some(Arc::new(Echo));
        let provider = PeerProvider::new(id.clone(), deps.ipfs_backend.clone());
        let entry = resolve::Entry::new(id, Arc::new(provider));
        let router = Router::new(deps, Arc::new(Settings::default()), vec![entry]);
        assert_eq!(router.generate(Request::new("hello")).await.unwrap().text(), "hello");
    }
}
