//! The router's HTTP client, as the fetching of model files wants one.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use llm_router::provider::http::{HttpClient, HttpRequest, Limits};
use llm_router_local::fetch::{Answer, Asking, Get, Unreachable};

/// No model file is larger.
const LARGEST: u64 = 1 << 40;

/// GET over the router's client.
pub(crate) struct Hub(pub(crate) HttpClient);

impl Get for Hub {
    fn get<'a>(&'a self, url: &'a str, headers: &'a [(&'static str, String)], connect: Duration) -> Asking<'a> {
        Box::pin(async move {
            let unreachable = |error: llm_router::Error| Unreachable(error.message().to_owned());
            let limits = Limits { connect, body: LARGEST, ..Limits::default() };
            let mut request = HttpRequest::get(url).map_err(unreachable)?.with_limits(limits);
            for (name, value) in headers {
                // A token among them is not for a log.
                let name = http::HeaderName::from_static(name);
                request = request.with_secret(name, value).map_err(unreachable)?;
            }
            let response = self.0.send(request).await.map_err(unreachable)?;
            let body = response.body.map_err(|error| error.message().to_owned()).boxed();
            Ok(Answer { status: response.status.as_u16(), headers: response.headers, body })
        })
    }
}
