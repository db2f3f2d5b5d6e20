//! What the codec tests share.

use std::sync::Arc;

use llm_router::deps::SystemClock;
use llm_router::ids::{ProviderId, RequestId};
use llm_router::provider::{Call, Context, Target, http::HttpClient};
use llm_router::request::Request;

/// A call to a provider that takes the model as the request names it.
pub(crate) fn call(request: Request) -> Call {
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(0, 0));
    Call::new(Arc::new(request), Target::new(ProviderId::new("upstream").unwrap(), None), cx)
}
