//! Times what the router adds to a call: `cargo bench -p ipfs-llm-router --bench router`.
//!
//! The provider answers from memory, so everything beyond calling it directly is the router's own. All cases take turns in every round, so that they
//! see the same machine; figures are medians. One line a figure, the bound where there is one; nothing is judged here.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_router::cache::key::KeyStrategy;
use llm_router::cache::{MemoryTier, ResponseCache, Tier};
use llm_router::config::Settings;
use llm_router::delta::DeltaStream;
use llm_router::deps::{RouterDeps, SystemClock};
use llm_router::ids::ProviderId;
use llm_router::provider::{Availability, Call, Describe, DynProvider, Provider, Target};
use llm_router::request::Request;
use llm_router::response::collect;
use llm_router::router::Router;
use llm_router::router::resolve::Entry;
use llm_router::testing::scripted::text_events;

const ROUNDS: usize = 5_000;
const WARM_UP: usize = 500;

/// Answers from memory and keeps no record: the testing one keeps every call.
struct Ready(Describe);

impl Provider for Ready {
    fn describe(&self) -> &Describe {
        &self.0
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    async fn generate(&self, call: Arc<Call>) -> llm_router::Result<DeltaStream> {
        Ok(DeltaStream::of(text_events("four words of text", call.model()).into_iter().map(Ok)))
    }
}

fn main() {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(measured());
}

async fn measured() {
    let id = ProviderId::new("ready").unwrap();
    let provider: Arc<dyn DynProvider> = Arc::new(Ready(Describe::new(id.clone())));
    let router = |deps: RouterDeps| {
        Router::new(deps, Arc::new(Settings::default()), vec![Entry::new(id.clone(), Arc::clone(&provider))])
    };
    let bare = router(RouterDeps::default());
    let mut deps = RouterDeps::default();
    let memory: Arc<dyn Tier> = Arc::new(MemoryTier::new(64 << 20, Arc::new(SystemClock)));
    deps.cache = Some(ResponseCache::new(vec![memory], KeyStrategy::default(), Arc::new(SystemClock), true));
    let cached = router(deps);
    let known = Request::new("hello");
    cached.generate(known.clone()).await.unwrap();

    let names = ["provider alone", "run, cache off", "run, cache on, miss", "run, cache on, hit"];
    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 0..WARM_UP + ROUNDS {
        let mut took = [Duration::ZERO; 4];
        let request = Request::new("hello");
        let began = Instant::now();
        let call = Call::new(Arc::new(request), Target::new(id.clone(), None), bare.context());
        black_box(collect(provider.generate(Arc::new(call)).await.unwrap()).await.unwrap());
        took[0] = began.elapsed();

        let request = Request::new("hello");
        let began = Instant::now();
        black_box(bare.generate(request).await.unwrap());
        took[1] = began.elapsed();

        let request = Request::new(format!("a prompt of round {round}"));
        let began = Instant::now();
        black_box(cached.generate(request).await.unwrap());
        took[2] = began.elapsed();

        let request = known.clone();
        let began = Instant::now();
        black_box(cached.generate(request).await.unwrap());
        took[3] = began.elapsed();

        if round >= WARM_UP {
            times.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
        }
    }
    let medians = times.map(middle);
    for (name, median) in names.iter().zip(medians) {
        let over = median.saturating_sub(medians[0]);
        let ratio = median.as_secs_f64() / medians[0].as_secs_f64();
        println!("{name}: {median:.2?}, {over:.2?} over the provider alone, {ratio:.2} times it");
    }
    println!("run over a direct call, cache off: {:.2?} (bound 10 µs)", medians[1].saturating_sub(medians[0]));
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
