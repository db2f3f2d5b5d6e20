//! A router that takes the end of a stream for the end of an answer: what is expected of cut streams must be seen to fail before it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use llm_router::config::{Environment, Flags, Settings};
use llm_router::delta::{Delta, DeltaStream, Event, FinishReason};
use llm_router::deps::RouterDeps;
use llm_router::provider::registry::{Entry, Registry, Surroundings};
use llm_router::provider::{Availability, Call, Describe, DynProvider, Provider};
use llm_router::router::Router;
use llm_router::testing::voice::Voice;
use llm_router_server::{Server, ServerOptions};
use tokio_util::task::AbortOnDropHandle;

use crate::{Scene, Stage, before, failing, named, upstreams};

/// A provider whose cut streams look whole.
#[derive(Debug)]
struct Blind(Arc<dyn DynProvider>);

impl Provider for Blind {
    fn describe(&self) -> &Describe {
        self.0.describe()
    }

    fn availability(&self) -> Availability {
        self.0.availability()
    }

    async fn generate(&self, call: Arc<Call>) -> llm_router::Result<DeltaStream> {
        let events = self.0.generate(call).await?;
        Ok(DeltaStream::new(Unchecked { events, missing: finish(), over: false }))
    }
}

struct Unchecked {
    events: DeltaStream,
    /// What an end still lacks.
    missing: Vec<Delta>,
    over: bool,
}

fn finish() -> Vec<Delta> {
    vec![Delta::Finish { choice: 0, reason: FinishReason::Stop, raw_reason: None }]
}

impl Stream for Unchecked {
    type Item = llm_router::Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let next = std::task::ready!(Pin::new(&mut self.events).poll_next(cx));
        let Some(Ok(event)) = next else {
            self.over = true;
            let mut deltas = std::mem::take(&mut self.missing);
            deltas.push(Delta::End);
            return Poll::Ready(Some(Ok(Event::from(deltas))));
        };
        for delta in &event.deltas {
            match delta {
                Delta::BlockStart { choice, block, .. } => {
                    self.missing.insert(0, Delta::BlockEnd { choice: *choice, block: *block });
                }
                Delta::BlockEnd { .. } => self.missing = finish(),
                Delta::Finish { .. } => self.missing.clear(),
                Delta::End => self.over = true,
                _ => {}
            }
        }
        Poll::Ready(Some(Ok(event)))
    }
}

impl Stage {
    /// Behind a router of this process whose providers are blind.
    fn blind(self) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("router.toml");
        std::fs::write(&file, &self.config).unwrap();
        let flags = Flags::default().config(file);
        let settings = Settings::load(&Environment::default(), &flags).unwrap().settings;
        let entries = Registry::default().entries(&settings, &Surroundings::default()).unwrap();
        let blind = |entry: Entry| Entry { provider: Arc::new(Blind(Arc::clone(&entry.provider))), ..entry };
        let entries = entries.into_iter().map(blind).collect();
        let router = Router::new(RouterDeps::default(), Arc::new(settings), entries);
        let server = Server::new(router, ServerOptions::default()).unwrap();
        let bound = server.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = bound.address().unwrap();
        let task = tokio::spawn(async move { bound.serve(std::future::pending()).await.unwrap() });
        let served = Box::new(AbortOnDropHandle::new(task));
        Scene { faults: self.faults, address, _served: served, _folder: folder }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_look_at_a_streams_end_what_is_cut_is_seen_to_fail() {
    let cases = named(&["well", "cut", "no-last-event"]);
    for client in Voice::ALL {
        let upstreams = upstreams(client, true);
        let scene = Stage::of(&cases, &upstreams, "").await.blind();
        let failing = failing(before(&scene, client, true, &cases).await);
        let names = ["cut", "no-last-event"]
            .map(|case| upstreams.map(|upstream| case.to_owned() + "-" + &upstream.name().replace('_', "-")));
        let mut names = names.concat();
        names.sort();
        assert_eq!(failing, names, "{client:?}");
    }
}
