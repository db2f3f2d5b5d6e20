//! An answer's way: streamed with the reader's pace, cancelled from either side, refused where it must be.

use std::time::Duration;

use futures_util::StreamExt;
use llm_router::delta::{BlockKind, Delta, Event, Part};
use llm_router::testing::scripted::{Turn, text_events};
use llm_router_peers::node::Network;
use llm_router_peers::receipt::Receipt;

use super::stage::{Client, Server, request, until};

#[tokio::test]
async fn an_answer_crosses_memory_and_says_who_gave_it() {
    let server = Server::start([Turn::Text("one two three".into())]).await;
    let client = Client::of(Network::Memory, &[&server]).await;
    let answer = client.ask(request("count")).await.unwrap();
    assert_eq!(answer.text(), "one two three");
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.output), (1, 3));
    let said = serde_json::to_string(&answer.unknown).unwrap();
    assert!(said.contains(&server.peers.id().to_string()), "{said}");
    let receipt = answer.unknown.iter().find_map(|(_, raw)| raw.get("receipt")?.as_str()).unwrap();
    assert_eq!(Receipt::verify_word(receipt).unwrap().peer, server.peers.id());
    let call = &server.provider.calls()[0];
    let name = format!("peer:{}", client.peers.id());
    assert_eq!(call.request.riders.namespace, name.as_str());
    client.peers.stop().await;
    server.peers.stop().await;
}

#[tokio::test]
async fn an_answer_crosses_tcp() {
    let server = Server::tcp([Turn::Text("one two three".into())]).await;
    let client = Client::of(Network::Internet, &[&server]).await;
    assert_eq!(client.ask(request("count")).await.unwrap().text(), "one two three");
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_work_there() {
    let events = text_events("for ever and ever", None);
    let server = Server::start([Turn::Hang(events[..2].to_vec())]).await;
    let client = Client::of(Network::Memory, &[&server]).await;
    let mut answer = client.router.call(request("go on")).await.unwrap();
    assert!(answer.next().await.unwrap().is_ok());
    assert_eq!(server.provider.live(), 1);
    drop(answer);
    until(|| server.provider.live() == 0).await;
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_first_content_ends_the_work_there() {
    let server = Server::start([Turn::Hang(Vec::new())]).await;
    let client = Client::of(Network::Memory, &[&server]).await;
    let router = client.router.clone();
    let asking = tokio::spawn(async move { router.generate(request("hello")).await });
    until(|| server.provider.live() == 1).await;
    asking.abort();
    until(|| server.provider.live() == 0).await;
}

#[tokio::test]
async fn whoever_reads_slowly_holds_the_answer_back() {
    let part = "x".repeat(64 << 10);
    let start = text_events("", None).remove(0);
    let piece = Event::from(Delta::BlockDelta { choice: 0, block: 0, part: Part::Text(part.clone()) });
    let events: Vec<_> = std::iter::once(start).chain(std::iter::repeat_n(piece, 512)).collect();
    let end = text_events("", None).pop().unwrap();
    let all = events.into_iter().chain([end]).map(Ok).collect();
    let server = Server::tcp([Turn::Events(all)]).await;
    let client = Client::of(Network::Internet, &[&server]).await;
    let mut answer = client.router.call(request("much")).await.unwrap();
    // Far more than any window: the provider's stream cannot have come to its end while nobody reads.
    let mut idle = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..4 {
        idle.tick().await;
        assert_eq!(server.provider.live(), 1, "32 MiB went out, and nobody read them");
    }
    let mut bytes = 0;
    while let Some(event) = answer.next().await {
        for delta in event.unwrap().deltas {
            if let Delta::BlockDelta { part: Part::Text(text), .. } = delta {
                bytes += text.len();
            }
        }
    }
    assert_eq!(bytes, 512 * part.len());
}

#[tokio::test]
async fn a_line_longer_than_a_frame_comes_in_pieces() {
    let mut events = text_events("", None);
    let data = "A".repeat(1 << 20);
    events.insert(
        1,
        vec![
            Delta::BlockStart { choice: 0, block: 1, kind: BlockKind::Media { mime: "image/png".into() } },
            Delta::BlockDelta { choice: 0, block: 1, part: Part::Bytes(data.clone()) },
            Delta::BlockEnd { choice: 0, block: 1 },
        ]
        .into(),
    );
    let server = Server::start([Turn::Events(events.into_iter().map(Ok).collect())]).await;
    let client = Client::of(Network::Memory, &[&server]).await;
    let answer = client.ask(request("a picture")).await.unwrap();
    let said = serde_json::to_string(&answer.choices).unwrap();
    assert!(said.contains(&data));
}
