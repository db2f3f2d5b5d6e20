//! A worker's life: started when it is needed and again after a crash, ended when it is idle, stopped, stuck or without a router.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use llm_router::error::ErrorKind;
use llm_router::ids::RequestId;
use llm_router::provider::process::Runner;
use llm_router::provider::worker::Worker;
use llm_router::provider::{Call, Provider};
use llm_router::response::collect;

use crate::support::{ask, call, context, first_text, open, settings, worker};

#[tokio::test]
async fn a_crash_ends_its_calls_clearly_and_the_next_one_finds_a_new_program() {
    let worker = worker(settings());
    let old = ask(&worker, "pid").await.unwrap();
    let mut beside = open(&worker, "flood").await;
    first_text(&mut beside).await;
    let mut crash = open(&worker, "crash").await;
    first_text(&mut crash).await;
    let rest: Vec<_> = crash.collect().await;
    let error = rest.last().unwrap().as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderConnection);
    assert!(error.message().contains("signal 6") && error.hint().is_some(), "{error}");
    let began = Instant::now();
    let new = ask(&worker, "pid").await.unwrap();
    assert!(new != old && began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let rest: Vec<_> = beside.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::ProviderConnection);
}

#[tokio::test]
async fn a_worker_that_keeps_crashing_is_started_again_and_again() {
    let worker = worker(settings());
    for _ in 0..3 {
        assert_eq!(ask(&worker, "crash").await.unwrap_err().kind(), ErrorKind::ProviderConnection);
    }
    assert!(ask(&worker, "pid").await.is_ok());
}

#[tokio::test]
async fn an_idle_program_is_ended_and_comes_back() {
    let mut idle = settings();
    idle.idle = Duration::from_millis(1);
    let runner = Runner::default();
    let worker = Worker::new(idle, runner.clone());
    let old = ask(&worker, "pid").await.unwrap();
    let ended = async {
        while runner.running() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    assert_ne!(ask(&worker, "pid").await.unwrap(), old);
}

#[tokio::test]
async fn a_program_that_does_not_let_go_of_a_cancelled_call_is_ended() {
    let mut strict = settings();
    strict.release = Duration::from_millis(50);
    let worker = worker(strict);
    let old = ask(&worker, "pid").await.unwrap();
    let mut stuck = open(&worker, "stuck").await;
    first_text(&mut stuck).await;
    drop(stuck);
    let replaced = async { while ask(&worker, "pid").await.is_ok_and(|pid| pid == old) {} };
    tokio::time::timeout(Duration::from_secs(20), replaced).await.unwrap();
}

#[tokio::test]
async fn stopping_lets_answers_finish() {
    let runner = Runner::default();
    let worker = Worker::new(settings(), runner.clone());
    let stream = open(&worker, "count 500").await;
    let (answer, ()) = tokio::join!(collect(stream), worker.stop(Duration::from_secs(20)));
    assert!(answer.unwrap().text().ends_with("499 "));
    runner.shutdown().await;
    assert_eq!(runner.running(), 0);
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let runner = Runner::default();
    let worker = Worker::new(settings(), runner.clone());
    let mut flood = open(&worker, "flood").await;
    first_text(&mut flood).await;
    worker.stop(Duration::from_millis(20)).await;
    let rest: Vec<_> = flood.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::ProviderConnection);
    runner.shutdown().await;
    assert_eq!(runner.running(), 0);
}

#[test]
fn a_worker_ends_when_its_router_is_killed() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut router = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::doomed_router", "--nocapture", &format!("witness={}", fifo.display())])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Opens when the worker is there, ends when it is gone.
    let mut witness = std::fs::File::open(&fifo).unwrap();
    router.kill().unwrap();
    router.wait().unwrap();
    witness.read_to_end(&mut Vec::new()).unwrap();
}

#[tokio::test]
async fn a_call_that_gives_up_does_not_end_the_start_that_others_need() {
    let worker = worker(settings());
    let mut hasty =
        Call::new(call("pid").request.clone(), call("pid").target.clone(), context(RequestId::from_parts(1, 2)));
    hasty.deadlines.total = Duration::ZERO;
    let error = Provider::generate(&worker, Arc::new(hasty)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderTimeout);
    assert!(ask(&worker, "pid").await.is_ok());
}
