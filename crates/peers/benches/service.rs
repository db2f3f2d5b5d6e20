//! Times a request at a peer beside the same provider asked directly: `cargo bench -p llm-router-peers --bench service`.
//!
//! Two nodes of one process over loopback TCP. Figures are medians over rounds; one line a figure, the bound where there is one; nothing is judged here. Frames a second are of one answer of short deltas, both sides
//! on one thread: what one core does for asking and answering together.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use libp2p::identity::Keypair;
use llm_router::delta::{Delta, Event, Part};
use llm_router::deps::RouterDeps;
use llm_router::ids::ModelName;
use llm_router::request::Request;
use llm_router::router::Router;
use llm_router::testing::scripted::{Scripted, Turn, text_events};
use llm_router_peers::node::NodeConfig;
use llm_router_peers::{Book, Known, Options, Peers, Share};

const ROUNDS: usize = 200;
const FRAMES: usize = 50_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (server, direct, _peers) = server(Turn::Text("one two three".into())).await;
        let (asking, _client) = client(&server).await;
        let mut near = Vec::new();
        let mut far = Vec::new();
        for _ in 0..ROUNDS {
            near.push(first(&direct, "lab/m").await);
            far.push(first(&asking, "ipfs_peer/m").await);
        }
        let (near, far) = (middle(near), middle(far));
        println!("first token, asked directly: {near:.1?}");
        println!("first token, asked at a peer: {far:.1?}");
        println!("added by the peer: {:.1?} (bound 1 RTT + 2 ms)", far.saturating_sub(near));

        let (server, _direct, _peers) = server_of_frames().await;
        let (asking, _client) = client(&server).await;
        let mut times = Vec::new();
        for _ in 0..3 {
            let began = Instant::now();
            assert!(whole(&asking, "ipfs_peer/m").await >= FRAMES);
            times.push(began.elapsed());
        }
        let rate = FRAMES as f64 / middle(times).as_secs_f64();
        println!("frames asked and answered on one core: {rate:.0} a second (bound 20000)");
    });
}

/// Where a server is, and how it is known.
struct At {
    known: Known,
    book: Arc<Book>,
}

async fn server(turn: Turn) -> (At, Router, Peers) {
    let mut share = Share::default();
    share.providers = vec!["lab".to_owned()];
    let book = Arc::new(Book::in_memory());
    let node = NodeConfig::listening(["/ip4/127.0.0.1/tcp/0".parse().unwrap()]);
    let options = Options::new(Keypair::generate_ed25519()).book(Arc::clone(&book)).share(share).node(node);
    let peers = Peers::start(options).unwrap();
    let provider = Scripted::new("lab", [turn]).serving([ModelName::new("m").unwrap()]);
    let router = Router::builder().provider(provider).build().unwrap();
    peers.serve(&router).unwrap();
    let known = Known::new(peers.id()).at(peers.node().listening().await.unwrap());
    (At { known, book }, router, peers)
}

async fn server_of_frames() -> (At, Router, Peers) {
    let mut events = text_events("", None);
    let end = events.split_off(1);
    let token = Event::from(Delta::BlockDelta { choice: 0, block: 0, part: Part::Text(" token".into()) });
    events.extend(std::iter::repeat_n(token, FRAMES));
    events.extend(end.into_iter().next_back());
    server(Turn::Events(events.into_iter().map(Ok).collect())).await
}

async fn client(server: &At) -> (Router, Peers) {
    let book = Arc::new(Book::in_memory());
    book.allow(server.known.clone()).unwrap();
    let peers = Peers::start(Options::new(Keypair::generate_ed25519()).book(book)).unwrap();
    server.book.allow(Known::new(peers.id())).unwrap();
    let mut deps = RouterDeps::default();
    deps.ipfs_backend = Some(peers.backend());
    (Router::builder().deps(deps).build().unwrap(), peers)
}

async fn first(router: &Router, model: &str) -> Duration {
    let began = Instant::now();
    let mut answer = router.call(request(model)).await.unwrap();
    let took = began.elapsed();
    while answer.next().await.is_some() {}
    took
}

async fn whole(router: &Router, model: &str) -> usize {
    let mut answer = router.call(request(model)).await.unwrap();
    let mut deltas = 0;
    while let Some(event) = answer.next().await {
        deltas += event.unwrap().deltas.len();
    }
    deltas
}

fn request(model: &str) -> Request {
    let mut request = Request::new("hello");
    (request.model, request.stream) = (Some(model.to_owned()), true);
    request
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
