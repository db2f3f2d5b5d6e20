//! Peers that go away, are silent or have no room, with many requests under way.

use std::time::Duration;

use futures_util::StreamExt;
use llm_router::ErrorKind;
use llm_router::testing::scripted::{Turn, text_events};
use llm_router_peers::node::Network;

use super::stage::{Client, Server, request, share};

fn slow() -> [Turn; 1] {
    let events = text_events("a b c d e f g h i j", None).into_iter().map(Ok).collect();
    [Turn::Slow(Duration::from_millis(100), events)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_end_when_one_of_three_peers_vanishes() {
    let (one, two, three) = (Server::tcp(slow()).await, Server::tcp(slow()).await, Server::tcp(slow()).await);
    let client = Client::of(Network::Internet, &[&one, &two, &three]).await;
    let (begun, mut beginning) = tokio::sync::mpsc::unbounded_channel();
    let asked: Vec<_> = (0..200)
        .map(|number| {
            let (router, begun) = (client.router.clone(), begun.clone());
            tokio::spawn(async move {
                let mut answer = router.call(request(&format!("question {number}"))).await?;
                begun.send(()).unwrap();
                let mut ended = Ok(());
                while let Some(event) = answer.next().await {
                    ended = event.map(drop);
                }
                Ok::<llm_router::Result<()>, llm_router::Error>(ended)
            })
        })
        .collect();
    for _ in 0..60 {
        beginning.recv().await.unwrap();
    }
    one.peers.stop().await;
    let gone = one.provider.calls().len();
    let (mut whole, mut broken) = (0, 0);
    for asked in asked {
        // What had not begun is lost to nobody; what had ends, whole or with an error.
        match asked.await.unwrap().unwrap() {
            Ok(()) => whole += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ProviderUnavailable, "{error}");
                broken += 1;
            }
        }
    }
    assert_eq!(whole + broken, 200);
    assert!(broken <= gone, "{broken} broke, and {gone} were at the peer that vanished");
    let before = (two.provider.calls().len(), three.provider.calls().len());
    for _ in 0..5 {
        client.ask(request("later")).await.unwrap();
    }
    let after = (two.provider.calls().len(), three.provider.calls().len());
    assert_eq!(before.0 + before.1 + 5, after.0 + after.1, "nothing more is asked of who is gone");
}

#[tokio::test]
async fn whoever_has_no_room_is_passed_over() {
    let mut none = share();
    none.places = 0;
    let full = Server::with(Network::Memory, "/memory/0", slow(), none).await;
    let free = Server::start([Turn::Text("here".into())]).await;
    let client = Client::of(Network::Memory, &[&full, &free]).await;
    for _ in 0..6 {
        assert_eq!(client.ask(request("hi")).await.unwrap().text(), "here");
    }
    assert!(full.provider.calls().is_empty());
}

#[tokio::test]
async fn a_failure_before_the_first_content_is_another_peers_turn() {
    let broken = Server::start([Turn::Fail(llm_router::Error::connection("no"))]).await;
    let sound = Server::start([Turn::Text("here".into())]).await;
    let client = Client::of(Network::Memory, &[&broken, &sound]).await;
    for _ in 0..6 {
        assert_eq!(client.ask(request("hi")).await.unwrap().text(), "here");
    }
}
