//! Servers that stay between requests, whichever agent they are of: Codex's stand for all.
//!
//! The dialogues here are the least that such a server says; `codex.rs` has the recorded ones.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use llm_router::error::{Error, ErrorKind};
use llm_router::provider::DynProvider;
use llm_router::request::Request;
use llm_router::response::collect;
use serde_json::{Value, json};

use crate::support::{Machine, Transcript, all_gone, call, content, streamed, watch};

fn out(message: Value) -> Value {
    json!({"out": message.to_string()})
}

fn heard() -> Value {
    json!({"in": ""})
}

/// The answers to a greeting.
fn greeting() -> Vec<Value> {
    let account = json!({"id": 2, "result": {"account": null, "requiresOpenaiAuth": false}});
    vec![heard(), out(json!({"id": 1, "result": {}})), heard(), heard(), out(account)]
}

fn piece(text: &str) -> Value {
    out(json!({"method": "item/agentMessage/delta", "params": {"threadId": "t", "itemId": "m", "delta": text}}))
}

/// The beginning of a server's turn, from 0 on: each has two requests.
fn opened(turn: usize) -> Vec<Value> {
    let id = 3 + 2 * turn;
    let thread = out(json!({"id": id, "result": {"thread": {"id": "t"}, "model": "m"}}));
    vec![heard(), thread, heard(), out(json!({"id": id + 1, "result": {}}))]
}

/// A whole turn.
fn turn(number: usize) -> Vec<Value> {
    let last = json!({"method": "turn/completed", "params": {"threadId": "t", "turn": {"status": "completed"}}});
    opened(number).into_iter().chain([piece(&format!("turn {number}")), out(last)]).collect()
}

fn turns(count: usize) -> Vec<Value> {
    greeting().into_iter().chain((0..count).flat_map(turn)).collect()
}

fn then(mut lines: Vec<Value>, more: impl IntoIterator<Item = Value>) -> Transcript {
    lines.extend(more);
    Transcript::of(lines)
}

fn machine(transcript: Transcript) -> Machine {
    Machine::new().with("codex", transcript).variable("OPENAI_API_KEY", "key-of-codex")
}

/// One provider, which keeps its servers from one request to the next.
async fn ask(provider: &Arc<dyn DynProvider>) -> Result<String, Error> {
    let stream = provider.clone().generate(call("codex_cli", None, streamed("hello"))).await?;
    collect(stream).await.map(|response| response.text())
}

fn hang() -> Value {
    json!({"hang": true})
}

#[tokio::test]
async fn the_second_request_goes_to_the_server_of_the_first() {
    let machine = machine(then(turns(2), [hang()]));
    let provider = machine.provider("codex").unwrap();
    assert_eq!(ask(&provider).await.unwrap(), "turn 0");
    assert_eq!(ask(&provider).await.unwrap(), "turn 1");
    assert_eq!(machine.seen("codex").len(), 1);
    drop(provider);
    machine.runner.shutdown().await;
    assert!(machine.left().is_empty(), "{:?}", machine.left());
}

#[tokio::test]
async fn one_that_ended_while_it_rested_is_replaced() {
    for end in [json!({"exit": 0}), json!({"signal": 9})] {
        let machine = machine(then(turns(1), [end]));
        let provider = machine.provider("codex").unwrap();
        for started in 1..4 {
            assert_eq!(ask(&provider).await.unwrap(), "turn 0");
            assert_eq!(machine.seen("codex").len(), started);
        }
    }
}

#[tokio::test]
async fn one_that_ends_in_its_answer_has_failed_and_is_not_asked_again() {
    let ends = |lines: Vec<Value>| then(greeting(), opened(0).into_iter().chain(lines));
    for (transcript, words) in [
        (ends(vec![piece("half"), json!({"signal": 9})]), "signal 9"),
        (ends(vec![piece("half"), json!({"err": "out of luck"}), json!({"exit": 3})]), "out of luck"),
        (ends(vec![json!({"part": "{\"method\":\"turn/comp"}), json!({"exit": 0})]), "turn/comp"),
        (ends(vec![out(json!("hello"))]), "hello"),
        (ends(vec![json!({"out": "Loading the model..."}), hang()]), "Loading the model"),
        (ends(vec![json!({"out": "[".repeat(300)}), hang()]), "[[["),
        (ends(vec![json!({"out": "x", "times": 50 << 20}), hang()]), "more than 41"),
        (
            ends(vec![out(json!({"method": "turn/completed", "params": {"threadId": "t", "turn": 7}})), hang()]),
            "turn/completed",
        ),
    ] {
        let machine = machine(transcript);
        let provider = machine.provider("codex").unwrap();
        let error = ask(&provider).await.unwrap_err();
        assert!(error.message().contains(words), "{words}: {error}");
        let kind = error.kind();
        assert!([ErrorKind::ProviderProtocol, ErrorKind::ProviderServerError].contains(&kind), "{words}: {error}");
        assert_eq!(machine.seen("codex").len(), 1, "{words}");
    }
}

#[tokio::test]
async fn one_that_does_not_greet_is_given_up() {
    for (transcript, kind) in [
        (Transcript::of([json!({"deaf": true}), hang()]), ErrorKind::ProviderTimeout),
        (Transcript::of([heard(), json!({"exit": 0})]), ErrorKind::ProviderProtocol),
        (
            Transcript::of([heard(), out(json!({"id": 1, "error": {"code": -32601, "message": "what?"}})), hang()]),
            ErrorKind::ProviderRejected,
        ),
    ] {
        let machine = machine(transcript);
        let mut call = Arc::into_inner(call("codex_cli", None, streamed("hello"))).unwrap();
        call.deadlines.first_event = Duration::from_secs(1);
        let error = match machine.provider("codex").unwrap().generate(Arc::new(call)).await {
            Ok(_) => panic!("{kind:?}"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn one_that_knows_no_server_is_too_old() {
    let said = "error: unrecognized subcommand 'app-server'";
    let machine = machine(Transcript::of([json!({"deaf": true}), json!({"err": said}), json!({"exit": 2})]));
    let error = ask(&machine.provider("codex").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderUnavailable);
    assert!(error.message().contains("too old") && error.hint().unwrap().contains("npm install"), "{error}");
}

/// A machine with a server that holds a named pipe, and the pipe's other end.
fn held(lines: Vec<Value>) -> (Machine, std::thread::JoinHandle<std::fs::File>) {
    let machine = Machine::new().variable("OPENAI_API_KEY", "key-of-codex");
    let pipe = machine.pipe("held");
    let before = [json!({"hold": pipe}), json!({"child": true})];
    machine.plays("codex", &Transcript::of(before.into_iter().chain(lines).chain([hang()])));
    (machine, watch(pipe))
}

#[tokio::test]
async fn whoever_leaves_ends_the_server_that_answered() {
    let (machine, pipe) = held(greeting().into_iter().chain(opened(0)).chain([piece("half")]).collect());
    let provider = machine.provider("codex").unwrap();
    let mut stream = provider.clone().generate(call("codex_cli", None, streamed("hello"))).await.unwrap();
    content(&mut stream).await;
    drop(stream);
    all_gone(pipe.join().unwrap());
    machine.plays("codex", &then(turns(1), [hang()]));
    assert_eq!(ask(&provider).await.unwrap(), "turn 0");
}

#[tokio::test]
async fn the_end_of_the_provider_is_the_end_of_its_servers() {
    let (machine, pipe) = held(turns(1));
    let provider = machine.provider("codex").unwrap();
    assert_eq!(ask(&provider).await.unwrap(), "turn 0");
    let pipe = pipe.join().unwrap();
    drop(provider);
    tokio::task::spawn_blocking(|| all_gone(pipe)).await.unwrap();
}

#[tokio::test]
async fn one_that_rested_long_enough_is_ended() {
    let (machine, pipe) = held(turns(1));
    let provider = machine.provider("codex").unwrap();
    assert_eq!(ask(&provider).await.unwrap(), "turn 0");
    let pipe = pipe.join().unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(301)).await;
    tokio::task::spawn_blocking(|| all_gone(pipe)).await.unwrap();
    drop(provider);
}

#[tokio::test]
async fn another_login_or_program_is_another_server() {
    let machine = machine(then(turns(3), [hang()])).file(".codex/auth.json", "{}");
    let provider = machine.provider("codex").unwrap();
    for _ in 0..2 {
        ask(&provider).await.unwrap();
    }
    assert_eq!(machine.seen("codex").len(), 1);
    let machine = machine.file(".codex/auth.json", "{\"another\":1}");
    assert_eq!(ask(&provider).await.unwrap(), "turn 0");
    assert_eq!(machine.seen("codex").len(), 2);
    machine.plays("codex", &then(turns(1), [hang()]));
    assert_eq!(ask(&provider).await.unwrap(), "turn 0");
}

#[tokio::test]
async fn a_server_is_retired_before_it_has_piled_up_too_much() {
    let machine = machine(then(turns(60), [hang()]));
    let provider = machine.provider("codex").unwrap();
    for number in 0..51 {
        assert_eq!(ask(&provider).await.unwrap(), format!("turn {}", number % 50));
    }
    assert_eq!(machine.seen("codex").len(), 2);
}

#[tokio::test]
async fn many_at_once_share_as_many_servers_as_there_are_places() {
    let machine = machine(then(turns(60), [hang()]));
    let provider = machine.provider("codex").unwrap();
    let answers = join_all((0..50).map(|_| ask(&provider))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|text| text.starts_with("turn"))), "{answers:?}");
    assert!(machine.seen("codex").len() <= 8, "{} servers", machine.seen("codex").len());
}

#[tokio::test]
async fn what_a_server_asks_is_refused() {
    let approve = json!({"id": "q", "method": "item/commandExecution/requestApproval", "params": {"threadId": "t"}});
    let middle = [out(approve), heard()];
    let lines = greeting().into_iter().chain(opened(0)).chain(middle).chain(turn(0).split_off(4));
    let machine = machine(Transcript::of(lines.chain([hang()])));
    assert_eq!(machine.ask("codex", Request::new("hello")).await.unwrap().text(), "turn 0");
    let seen = machine.last("codex");
    let answer: Value = serde_json::from_str(seen.stdin().lines().last().unwrap()).unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("q"), &json!(-32601)));
}
