//! The parent's side: workers of this test program, and calls of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use llm_router::Result;
use llm_router::delta::DeltaStream;
use llm_router::deps::SystemClock;
use llm_router::embedding::{EmbedRequest, EmbedResponse};
use llm_router::ids::{ProviderId, RequestId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::process::Runner;
use llm_router::provider::worker::{Worker, WorkerSettings};
use llm_router::provider::{Call, Context, Describe, Provider, Target};
use llm_router::request::Request;
use llm_router::response::collect;

pub(crate) fn context(id: RequestId) -> Context {
    Context::new(HttpClient::default(), Arc::new(SystemClock), id)
}

/// Starts this test program again, as [`child`].
pub(crate) const AS_WORKER: &str = "exec \"$0\" --exact child::child --nocapture serve-as-worker 3>&1 1>&2";

pub(crate) fn settings() -> WorkerSettings {
    with_script(AS_WORKER)
}

pub(crate) fn with_script(script: &str) -> WorkerSettings {
    let program = std::env::current_exe().unwrap().display().to_string();
    with_program("/bin/sh", &["-c", script, &program])
}

pub(crate) fn with_program(program: &str, args: &[&str]) -> WorkerSettings {
    let describe = Describe::new(ProviderId::new("lab").unwrap());
    WorkerSettings::new(describe, program, args.iter().map(|&arg| arg.to_owned()).collect())
}

pub(crate) fn worker(settings: WorkerSettings) -> Worker {
    Worker::new(settings, Runner::default())
}

pub(crate) fn call(prompt: &str) -> Arc<Call> {
    let mut request = Request::new(prompt);
    request.stream = true;
    let target = Target::new(ProviderId::new("lab").unwrap(), None);
    Arc::new(Call::new(Arc::new(request), target, context(RequestId::from_parts(1, 2))))
}

pub(crate) async fn open(worker: &Worker, prompt: &str) -> DeltaStream {
    Provider::generate(worker, call(prompt)).await.unwrap()
}

pub(crate) async fn ask(worker: &Worker, prompt: &str) -> Result<String> {
    Ok(collect(Provider::generate(worker, call(prompt)).await?).await?.text())
}

pub(crate) async fn embed(worker: &Worker, inputs: usize, dimensions: u32) -> Result<EmbedResponse> {
    let mut ask = EmbedRequest::new((0..inputs).map(|n| "x".repeat(n % 7 + 1).as_str().into()));
    ask.dimensions = Some(dimensions);
    Provider::embed(worker, call("unread"), Arc::new(ask)).await
}

/// Reads until the first text is there.
pub(crate) async fn first_text(stream: &mut DeltaStream) {
    while !stream.next().await.unwrap().unwrap().is_content() {}
}

/// Asks again until the answer is this one; a worker that never gives it fails the test by its deadline.
pub(crate) async fn until(worker: &Worker, prompt: &str, wanted: &str) {
    let answered = async { while ask(worker, prompt).await.unwrap() != wanted {} };
    tokio::time::timeout(Duration::from_secs(20), answered).await.unwrap();
}
