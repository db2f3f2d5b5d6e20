//! The embedded engine in a child of the real program, as a server runs it: with a tiny model whose text is noise and does not end by itself.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use llm_router::ErrorKind;
use llm_router::config::{Environment, Flags};
use llm_router::embedding::EmbedRequest;
use llm_router::ids::ProviderId;
use llm_router::request::Request;
use llm_router_app::{App, Home};
use llm_router_local::testing::encoder;
use llm_router_local::testing::tiny::{self, Family};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_llm-router");

/// An app with no settings but the model's file.
fn app(folder: &Path, model: &Path) -> App {
    app_at(child(), folder, &format!("model = {model:?}\n"))
}

fn child() -> Home {
    Home::Child { program: PathBuf::from(PROGRAM), args: vec!["worker".into()] }
}

fn app_at(home: Home, folder: &Path, settings: &str) -> App {
    let file = folder.join("config.toml");
    std::fs::write(&file, format!("[local]\nthreads = 1\n{settings}")).unwrap();
    let variables = [("HOME", folder.to_str().unwrap())];
    App::open(Environment::from_iter(variables), &Flags::new().config(&file), home).unwrap()
}

fn request(tokens: u32) -> Request {
    let mut request = Request::new("hello");
    request.provider = Some(ProviderId::new("local").unwrap());
    request.stream = true;
    request.sampling.temperature = Some(0.0);
    request.sampling.max_tokens = Some(tokens);
    request
}

async fn text(app: &App) -> String {
    app.router.generate(request(8)).await.unwrap().text()
}

fn process(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

#[tokio::test]
async fn a_killed_engine_ends_its_call_and_the_next_one_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &tiny::write(folder.path(), Family::Qwen, 7).unwrap());
    assert_eq!(app.engine_process_id(), None, "nothing starts before it is needed");
    let first = text(&app).await;
    let child = app.engine_process_id().unwrap();
    assert_eq!(text(&app).await, first);
    assert_eq!(app.engine_process_id(), Some(child), "one child for both");

    // Longer than what may be under way unread: the child cannot be done with it.
    let mut cut = app.router.call(request(900)).await.unwrap();
    cut.next().await.unwrap().unwrap();
    kill_process(process(child), Signal::KILL).unwrap();
    let killed = Instant::now();
    let error = loop {
        match cut.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("a cut answer ended as if it were whole"),
        }
    };
    assert_eq!(error.kind(), ErrorKind::ProviderConnection, "{error}");
    assert!(error.message().contains("worker") && error.message().contains("signal 9"), "{error}");
    assert_eq!(text(&app).await, first);
    println!("the next answer was there {} ms after the kill", killed.elapsed().as_millis());
    let second = app.engine_process_id().unwrap();
    assert_ne!(second, child);
    app.close().await;
    assert!(test_kill_process(process(second)).is_err(), "no child outlives the app");
}

#[tokio::test]
async fn a_job_behind_another_one_waits_for_the_slot_and_is_told_of_a_queue_where_time_runs_out() {
    for home in [Home::Here, child()] {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny::write(folder.path(), Family::Qwen, 7).unwrap();
        let app = app_at(home, folder.path(), &format!("model = {model:?}\nparallel = 1\n"));
        let said = text(&app).await;
        // It has the only slot, and keeps it: nobody reads on.
        let mut first = app.router.call(request(900)).await.unwrap();
        first.next().await.unwrap().unwrap();
        let mut hurried = request(8);
        hurried.timeouts.first_event = Some(Duration::from_millis(300));
        let late = app.router.generate(hurried).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::ProviderOverloaded, "{late}");
        assert!(late.message().contains("the calls that run already"), "{late}");
        // Who has the time waits until the slot is free.
        let waits = app.router.generate(request(8));
        tokio::pin!(waits);
        let early = tokio::time::timeout(Duration::from_millis(50), &mut waits).await;
        assert!(early.is_err(), "{early:?}");
        drop(first);
        assert_eq!(waits.await.unwrap().text(), said);
        assert!(app.router.breakers().is_empty());
        app.close().await;
    }
}

#[tokio::test]
async fn a_server_fetches_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("HOME", folder.path().to_str().unwrap())];
    let app = App::open(Environment::from_iter(variables), &Flags::new(), child()).unwrap();
    let error = app.router.generate(request(8)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderUnavailable, "{error}");
    assert!(error.hint().unwrap_or_default().contains("llm-router pull"), "{error:?}");
    assert_eq!(app.engine_process_id(), None);
}

#[tokio::test]
async fn what_a_strict_request_may_not_lose_is_refused_before_an_engine_starts() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &tiny::write(folder.path(), Family::Qwen, 7).unwrap());
    let mut asked = request(1);
    asked.modalities = vec!["text".into(), "audio".into()];
    asked.riders.strict = true;
    let error = app.router.generate(asked.clone()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::CallerUnsupported && error.provider().is_some(), "{error:?}");
    assert!(error.message().contains("modalities"), "{error}");
    assert!(app.router.count_tokens(asked.clone()).await.unwrap().estimated, "what is not sent can only be guessed");
    assert_eq!(app.engine_process_id(), None, "nothing was started");
    asked.riders.strict = false;
    let answer = app.router.generate(asked).await.unwrap();
    assert_eq!(answer.trace().unwrap().dropped, ["modalities".into()]);
    app.close().await;
}

#[tokio::test]
async fn counts_and_vectors_come_out_of_a_child_as_they_do_here() {
    let folder = tempfile::tempdir().unwrap();
    let text = tiny::write(folder.path(), Family::Qwen, 7).unwrap();
    let vectors = encoder::write(folder.path(), encoder::MEAN, 7).unwrap();
    let settings = format!("model = {text:?}\nembedding_model = {vectors:?}\n");
    let (here, child) = (app_at(Home::Here, folder.path(), &settings), app_at(child(), folder.path(), &settings));
    let mut ask = EmbedRequest::new(["hello world".into(), "the cat".into()]);
    ask.provider = Some(ProviderId::new("local").unwrap());
    let made = child.router.embed(ask.clone()).await.unwrap();
    assert_eq!(made, here.router.embed(ask.clone()).await.unwrap());
    assert_eq!((made.vectors.len(), made.usage.unwrap().input, made.model.as_str()), (2, 8, "tiny-encoder"));
    let served = made.trace().unwrap().served.clone().unwrap();
    assert!(served.model.unwrap().as_str().starts_with("tiny-encoder@"), "its own model is the default one");
    let counted = child.router.count_tokens(request(1)).await.unwrap();
    assert!(!counted.estimated && counted.tokens > 0);
    assert_eq!(counted.tokens, here.router.count_tokens(request(1)).await.unwrap().tokens);
    assert_eq!(counted.tokens, child.router.generate(request(1)).await.unwrap().usage.unwrap().input);
    for (model, said) in [("tiny-qwen", "makes text and no vectors"), ("tiny-encoder@00000000", "has no model")] {
        ask.model = Some(model.to_owned());
        let error = child.router.embed(ask.clone()).await.unwrap_err();
        assert!(error.message().contains(said), "{error}");
    }
    let mut wrong = request(1);
    (wrong.provider, wrong.model) = (None, Some("tiny-encoder".to_owned()));
    let error = child.router.generate(wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerUnsupported, "{error}");
    child.close().await;
}

#[tokio::test]
async fn an_embedding_model_alone_is_enough_for_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = encoder::write(folder.path(), encoder::MEAN, 7).unwrap();
    let app = app_at(child(), folder.path(), &format!("embedding_model = {vectors:?}\n"));
    let mut ask = EmbedRequest::new(["hello".into()]);
    ask.model = Some("local/tiny-encoder".to_owned());
    assert_eq!(app.router.embed(ask.clone()).await.unwrap().vectors[0].len(), encoder::WIDTH);
    assert_eq!(app.router.generate(request(1)).await.unwrap_err().kind(), ErrorKind::ProviderUnavailable);
    app.close().await;
    let model = tiny::write(folder.path(), Family::Qwen, 7).unwrap();
    let none = self::app(folder.path(), &model);
    (ask.model, ask.provider) = (None, Some(ProviderId::new("local").unwrap()));
    let error = none.router.embed(ask).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerUnsupported, "{error}");
    assert!(error.hint().unwrap().contains("embedding_model"), "{error:?}");
}

#[test]
fn a_child_ends_when_its_parent_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), Family::Qwen, 7).unwrap();
    let task = serde_json::json!({ "id": "local", "model": "tiny", "file": model, "window": 1024, "parallel": 1, "threads": 1 });
    let mut child = Command::new(PROGRAM)
        .args(["worker", &task.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("hello"));
    let request = serde_json::to_value(request(900)).unwrap();
    let call = serde_json::json!({ "request": request, "target": { "provider": "local", "model": null }, "attempt": 1, "request_id": "00000000000000000000000000" });
    let mut orders = child.stdin.take().unwrap();
    writeln!(orders, "{}", serde_json::json!({ "id": 1, "call": call, "credit": 4 })).unwrap();
    assert!(lines.next().unwrap().unwrap().contains("start"), "the answer has begun");
    // All that a parent's end does, however it ends.
    drop(orders);
    let (done, waited) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let _ = std::io::copy(&mut RestOf(lines), &mut std::io::sink());
        let _ = done.send(());
    });
    let ended = waited.recv_timeout(Duration::from_secs(20)).is_ok();
    if !ended {
        child.kill().unwrap();
    }
    child.wait().unwrap();
    reader.join().unwrap();
    assert!(ended, "it went on without its parent");
}

/// Set for the process that a test starts as a parent of its own and then kills: the folder with its model.
const PARENT: &str = "LLM_ROUTER_TEST_PARENT";

/// No parent but a test that wants one: see [`a_killed_parent_takes_its_engine_with_it`].
#[tokio::test]
async fn parent() {
    let Some(folder) = std::env::var_os(PARENT).map(PathBuf::from) else { return };
    let app = app(&folder, &folder.join("model.gguf"));
    let mut answer = app.router.call(request(1_000_000)).await.unwrap();
    answer.next().await.unwrap().unwrap();
    println!("\nengine {}", app.engine_process_id().unwrap());
    // It goes on with its answer until it is killed.
    while answer.next().await.is_some() {}
}

#[test]
fn a_killed_parent_takes_its_engine_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write(folder.path(), Family::Qwen, 7).unwrap();
    std::fs::rename(model, folder.path().join("model.gguf")).unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "parent", "--nocapture"])
        .env(PARENT, folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let engine = lines.find_map(|line| line.unwrap().strip_prefix("engine ").map(str::to_owned)).unwrap();
    let engine = process(engine.parse().unwrap());
    test_kill_process(engine).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    let killed = Instant::now();
    // Whoever adopts it may be slow to wait for it: dead is dead.
    let dead = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", engine.as_raw_nonzero())).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    while !dead() && killed.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    let ended = dead();
    if !ended {
        kill_process(engine, Signal::KILL).unwrap();
    }
    assert!(ended, "the engine went on without its parent");
    println!("the engine ended {} ms after its parent was killed", killed.elapsed().as_millis());
}

/// What lines are left, to be read to their end.
struct RestOf<R>(std::io::Lines<R>);

impl<R: BufRead> Read for RestOf<R> {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        for line in self.0.by_ref() {
            line?;
        }
        Ok(0)
    }
}
