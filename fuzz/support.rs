//! What the targets share.

use std::sync::Arc;

use llm_router::deps::SystemClock;
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::provider::{Call, Context, Target, http::HttpClient};
use llm_router::request::Request;

pub fn call(request: Request) -> Call {
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(0, 0));
    let provider = ProviderId::new("upstream").expect("a good id");
    let model = ModelName::new("other/model").expect("a good name");
    Call::new(Arc::new(request), Target::new(provider, Some(model)), cx)
}
