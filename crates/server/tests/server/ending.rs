//! The end in steps: say so, take nobody new, let the rest finish, cut what is left.

use std::sync::Arc;
use std::time::Duration;

use llm_router::testing::scripted::Scripted;
use llm_router::testing::upstream::{Answer, Upstream};
use llm_router_server::Stop;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::{Ask, Setting, Talk, finished, piece, soon};

fn stop(drain: u64, grace: u64) -> Stop {
    Stop { drain: Duration::from_millis(drain), grace: Duration::from_millis(grace) }
}

#[tokio::test]
async fn a_server_that_ends_says_so_answers_on_and_then_takes_nobody() {
    let mut serving = Setting::new().provider(Scripted::text("s", "hello")).start();
    assert_eq!(serving.send(Ask::get("/readyz")).await.status, 200);
    serving.stop(stop(400, 10_000));
    soon(async { while serving.send(Ask::get("/readyz")).await.status != 503 {} }).await;
    // It still answers, and it lives.
    assert_eq!(serving.send(Ask::chat("s/x")).await.status, 200);
    assert_eq!(serving.send(Ask::get("/healthz")).await.status, 200);
    let address = serving.address;
    serving.ended().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_is_under_way_may_finish() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream =
        Upstream::serve([finished(Answer::sse().event(&piece("one ")).gate(&gate).event(&piece("two ")))]).await;
    let mut serving = Setting::new().lab(upstream.url("/v1")).start();
    let mut talk = Talk::to(serving.address).await;
    talk.write(&Ask::stream("lab/m").bytes()).await;
    soon(talk.head()).await;
    talk.until("one").await;
    serving.stop(stop(0, 20_000));
    soon(async {
        while TcpStream::connect(serving.address).await.is_ok() {
            tokio::task::yield_now().await
        }
    })
    .await;
    gate.add_permits(1);
    assert!(talk.until("[DONE]").await.contains("two"));
    // Its connection is not kept for more.
    assert!(talk.closes().await);
    serving.ended().await;
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    let upstream = Upstream::serve([Answer::sse().event(&piece("one ")).stall()]).await;
    let mut serving = Setting::new().lab(upstream.url("/v1")).start();
    let mut talk = Talk::to(serving.address).await;
    talk.write(&Ask::stream("lab/m").bytes()).await;
    soon(talk.head()).await;
    talk.until("one").await;
    serving.stop(stop(0, 50));
    serving.ended().await;
    // A cut, and no normal end: the last chunk never came.
    assert!(soon(talk.chunk()).await.is_none());
    soon(upstream.until(|seen| seen.hung_up == 1)).await;
}
