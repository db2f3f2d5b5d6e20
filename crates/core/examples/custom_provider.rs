//! Providers of one's own: a closure, a type of one's own, and one brought along in a single call.
//!
//! Run it with `cargo run -p ipfs-llm-router --example custom_provider`; it needs no network and no key.
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use llm_router::Result;
use llm_router::delta::DeltaStream;
use llm_router::ids::ProviderId;
use llm_router::provider::custom::provider_fn;
use llm_router::provider::{Availability, Call, Describe, Provider};
use llm_router::request::Request;
use llm_router::response::Response;
use llm_router::router::{Op, Router};

/// A type that implements [`Provider`]: says everything backwards.
struct Backwards(Describe);

impl Provider for Backwards {
    fn describe(&self) -> &Describe {
        &self.0
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let said: String = call.request.plain_prompt().unwrap_or_default().chars().rev().collect();
        let response = Response::of_text(call.cx.id.to_string(), "backwards", said);
        Ok(DeltaStream::of([Ok(response.to_deltas().into())]))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let router = Router::builder()
        .provider_fn("shout", |call: Arc<Call>| async move {
            Ok(call.request.plain_prompt().unwrap_or_default().to_uppercase())
        })
        .provider(Backwards(Describe::new(ProviderId::new("backwards")?)))
        .build()?;

    // The closure heads the automatic plan; the type is asked by name.
    println!("shout:     {}", router.generate(Request::new("hello")).await?.text());
    let mut request = Request::new("hello");
    request.model = Some("backwards/any".into());
    println!("backwards: {}", router.generate(request).await?.text());

    // One for this call alone, registered nowhere.
    let once = provider_fn("once", |_| async { Ok("only now") })?;
    let answer = router.call(Op::from(Request::new("hello")).via(Arc::new(once))).await?;
    println!("once:      {}", answer.collect().await?.text());
    Ok(())
}
