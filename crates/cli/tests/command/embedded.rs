//! The embedded model through the command: the same text again, from the cache where that was asked for.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use crate::support::{Home, model};

fn home() -> Home {
    Home::with(&format!("[local]\nmodel = \"{}\"\n", model().display()))
}

#[test]
fn an_answer_is_stored_where_asked_and_is_the_same() {
    let home = home();
    let ask = || {
        home.run(["generate", "-p", "Name a colour.", "--provider", "local", "-t", "0", "--max-tokens", "12", "--json"])
    };
    let answers: Vec<_> = [
        ask(),
        ask(),
        ask().env("IPFS_KIT_ROUTER_RESPONSE_CACHE", "1"),
        ask().env("IPFS_KIT_ROUTER_RESPONSE_CACHE", "1"),
    ]
    .map(|run| run.succeeds().json())
    .into();
    let cached: Vec<_> = answers.iter().map(|answer| answer["cached"].as_bool().unwrap()).collect();
    assert_eq!(cached, [false, false, false, true]);
    let text = answers[0]["text"].as_str().unwrap();
    assert!(!text.trim().is_empty());
    assert!(
        answers.iter().all(|answer| answer["text"] == text && answer["model"].as_str().unwrap().contains('@')),
        "{answers:?}"
    );
}

#[test]
fn nothing_configured_is_answered_on_this_machine() {
    let home = home();
    let mut run = home.run(["generate", "Name a colour.", "--offline", "--max-tokens", "8", "--json"]);
    for key in ["OPENROUTER_API_KEY", "OPENAI_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY", "HF_TOKEN"] {
        run = run.env(key, "sk-stale-0123456789");
    }
    let answer = run.succeeds().json();
    assert!(!answer["text"].as_str().unwrap().is_empty());
}

#[test]
fn half_a_model_is_not_loaded() {
    let home = Home::new();
    let whole = fs::read(model()).unwrap();
    let half = home.file("half.gguf", &whole[..whole.len() / 2]);
    home.file("config/ipfs-llm-router/config.toml", format!("[local]\nmodel = \"{}\"\n", half.display()));
    let said = home.run(["generate", "hi", "--provider", "local"]).fails(1);
    assert!(said.starts_with("error: local: the model file <home>/half.gguf cannot be used: "), "{said}");
    assert!(said.contains("the download did not finish"), "{said}");
}

#[test]
fn a_reader_who_leaves_stops_the_model_without_a_word() {
    let home = home();
    let mut command = home.run(["generate", "Tell a long story.", "--provider", "local"]).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    // The computation under way is stopped, which the library reports as a failure of its own.
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
