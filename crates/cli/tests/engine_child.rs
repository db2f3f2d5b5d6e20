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
use llm_router::ids::ProviderId;
use llm_router::request::Request;
use llm_router_app::{App, Home};
use llm_router_local::testing::tiny::{self, Family};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_llm-router");

/// An app with no settings but the model's file.
fn app(folder: &Path, model: &Path) -> App {
    let file = folder.join("config.toml");
    std::fs::write(&file, format!("[local]\nmodel = {model:?}\nthreads = 1\n")).unwrap();
    let home = Home::Child { program: PathBuf::from(PROGRAM), args: vec!["worker".into()] };
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
async fn a_server_fetches_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::Child { program: PathBuf::from(PROGRAM), args: vec!["worker".into()] };
    let variables = [("HOME", folder.path().to_str().unwrap())];
    let app = App::open(Environment::from_iter(variables), &Flags::new(), home).unwrap();
    let error = app.router.generate(request(8)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderUnavailable, "{error}");
    assert!(error.hint().unwrap_or_default().contains("llm-router pull"), "{error:?}");
    assert_eq!(app.engine_process_id(), None);
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
