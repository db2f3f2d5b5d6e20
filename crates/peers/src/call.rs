//! Asking peers.

use std::sync::Arc;

use libp2p::futures::future::BoxFuture;
use llm_router::delta::DeltaStream;
use llm_router::deps::IpfsBackend;
use llm_router::ids::ModelName;
use llm_router::request::Request;
use llm_router::{Error, Result};

use crate::service::shared::Shared;

/// Peers as the backend of the provider `ipfs_peer`.
pub(crate) struct Backend {
    shared: Arc<Shared>,
}

impl Backend {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl IpfsBackend for Backend {
    fn route_llm_request<'a>(
        &'a self,
        _prompt: &'a str,
        _model: Option<&'a ModelName>,
        _params: &'a Request,
    ) -> BoxFuture<'a, Result<DeltaStream>> {
        let id = self.shared.node.id();
        Box::pin(async move { Err(Error::unavailable(format!("{id} asks nobody yet"))) })
    }
}
