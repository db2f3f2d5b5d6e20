//! `Idempotency-Key`.

use std::sync::Arc;

use llm_router::testing::upstream::{Answer, Upstream};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{Ask, Setting, Talk, answer, chat, finished, piece, soon};

const KEY: &str = "idempotency-key";

#[tokio::test]
async fn the_same_key_gets_the_same_answer_and_one_call() {
    let upstream =
        Upstream::serve([answer("first"), finished(Answer::sse().event(&piece("second"))), answer("third")]).await;
    let serving = Setting::new().lab(upstream.url("/v1")).start();
    let whole = || Ask::chat("lab/m").header(KEY, "a");
    let (first, again) = (serving.send(whole()).await, serving.send(whole()).await);
    assert_eq!((first.text(), first.header("x-request-id")), (again.text(), again.header("x-request-id")));
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
    let stream = || Ask::stream("lab/m").header(KEY, "b");
    let (first, again) = (serving.send(stream()).await, serving.send(stream()).await);
    assert!(first.text().contains("second") && first.text() == again.text());
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!(upstream.seen().requests.len(), 2);
    // Another key is another call; another body under the same key is a mistake.
    assert!(serving.send(whole().header(KEY, "c")).await.text().contains("third"));
    let mut other = chat("lab/m", false);
    other["temperature"] = json!(1);
    let reply = serving.send(Ask::post("/v1/chat/completions", other.to_string()).header(KEY, "a")).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    for wrong in ["", &"k".repeat(300)] {
        assert_eq!(serving.send(whole().header(KEY, wrong)).await.status, 400);
    }
}

#[tokio::test]
async fn the_access_log_tells_a_replay_from_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.jsonl");
    let to = log.display().to_string();
    let upstream = Upstream::serve([answer("once")]).await;
    let serving = Setting::new().lab(upstream.url("/v1")).options(|options| options.access_log = Some(to)).start();
    for _ in 0..2 {
        assert_eq!(serving.send(Ask::chat("lab/m").header(KEY, "a")).await.status, 200);
    }
    let lines = soon(crate::observe::lines(&log, 2)).await;
    assert_eq!((&lines[0]["replayed"], &lines[1]["replayed"]), (&json!(null), &json!(true)));
    assert!(lines.iter().all(|line| line["cut"].is_null() && line["status"] == 200), "{lines:?}");
}

#[tokio::test]
async fn a_call_under_way_is_joined_and_ends_with_its_last_listener() {
    let gate = Arc::new(Semaphore::new(0));
    let stream = finished(Answer::sse().event(&piece("one ")).gate(&gate).event(&piece("two ")));
    let upstream = Upstream::serve([stream, Answer::sse().event(&piece("three ")).stall()]).await;
    let serving = Setting::new().lab(upstream.url("/v1")).start();
    let ask = Ask::stream("lab/m").header(KEY, "a").bytes();
    let mut talks = Vec::new();
    for _ in 0..3 {
        let mut talk = Talk::to(serving.address).await;
        talk.write(&ask).await;
        assert_eq!(soon(talk.head()).await.status, 200);
        talk.until("one").await;
        talks.push(talk);
    }
    // The one who began it leaves; the others do not notice.
    drop(talks.remove(0));
    gate.add_permits(1);
    for talk in &mut talks {
        assert!(talk.until("[DONE]").await.contains("two"));
    }
    assert_eq!((upstream.seen().requests.len(), upstream.seen().hung_up), (1, 0));

    let ask = Ask::stream("lab/m").header(KEY, "b").bytes();
    let mut pair = Vec::new();
    for _ in 0..2 {
        let mut talk = Talk::to(serving.address).await;
        talk.write(&ask).await;
        soon(talk.head()).await;
        talk.until("three").await;
        pair.push(talk);
    }
    drop(pair);
    soon(upstream.until(|seen| seen.hung_up == 1)).await;
}

#[tokio::test]
async fn failures_are_not_kept_and_keys_belong_to_clients() {
    let cut = Answer::sse().event(&piece("one ")).close();
    let upstream = Upstream::serve([
        Answer::json(400, "{\"error\":{\"message\":\"no\"}}"),
        answer("now"),
        cut,
        answer("for one"),
        answer("for two"),
    ])
    .await;
    let serving = Setting::new().lab(upstream.url("/v1")).key("one", "1").key("two", "2").start();
    let ask = |key: &str| Ask::chat("lab/m").header(KEY, key).header("x-api-key", "1");
    assert_eq!(serving.send(ask("a")).await.status, 502);
    assert!(serving.send(ask("a")).await.text().contains("now"));
    // A stream that broke off is a failure, though its status was 200.
    let stream = Ask::stream("lab/m").header(KEY, "b").header("x-api-key", "1");
    assert!(serving.send(stream.clone()).await.text().contains("error"));
    assert_eq!(serving.send(ask("c")).await.json()["choices"][0]["message"]["content"], "for one");
    let other = serving.send(ask("c").header("x-api-key", "2")).await;
    assert_eq!(other.json()["choices"][0]["message"]["content"], "for two");
    assert_eq!(serving.send(stream).await.header("idempotent-replayed"), "");
}

#[tokio::test]
async fn an_answer_too_large_to_keep_is_given_all_the_same() {
    let text = "x".repeat(64 << 10);
    let long = (0..100).fold(Answer::sse(), |answer, _| answer.event(&piece(&text)));
    let upstream = Upstream::serve([finished(long)]).await;
    let serving = Setting::new().lab(upstream.url("/v1")).start();
    for call in 1..=2 {
        let reply = serving.send(Ask::stream("lab/m").header(KEY, "a")).await;
        assert_eq!(reply.text().matches("xxxxxxxx").count() * 8, 100 * text.len());
        assert_eq!(upstream.seen().requests.len(), call);
    }
}
