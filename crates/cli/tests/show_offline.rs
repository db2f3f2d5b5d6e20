//! What a machine without a network gets from the real program: text from the embedded model, and an error for a model that nobody serves.
//!
//! The time is printed, never judged: the machine of a test is not the machine of a promise. Read next: `show_support/mod.rs`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod show_support;

use std::time::Instant;

use llm_router::testing::Silent;
use show_support::{Home, closed_port, may_leave_the_network};

const STALE: [(&str, &str); 5] = [
    ("OPENROUTER_API_KEY", "stale-1"),
    ("OPENAI_API_KEY", "stale-2"),
    ("ANTHROPIC_API_KEY", "stale-3"),
    ("GEMINI_API_KEY", "stale-4"),
    ("HF_TOKEN", "stale-5"),
];

/// Five keys of providers that cannot be reached, and nobody named: the embedded model answers.
#[test]
fn without_a_network_and_with_five_stale_keys_the_embedded_model_answers() {
    let home = Home::default();
    home.lend_model();
    let apart = may_leave_the_network();
    let mut command = if apart { home.command_without_network() } else { home.command() };
    command.envs(STALE);
    if !apart {
        // The same in effect where no namespace may be made: all that goes out goes to a port where nobody listens.
        let nowhere = format!("http://127.0.0.1:{}", closed_port());
        command.env("HTTPS_PROXY", &nowhere).env("HTTP_PROXY", &nowhere);
    }
    command.args(["generate", "--json", "--max-tokens", "8", "-t", "0", "-p", "Say hello."]);
    let began = Instant::now();
    let output = command.output().unwrap();
    let took = began.elapsed();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said["provider"], "local");
    assert!(!said["text"].as_str().unwrap().trim().is_empty());
    let tried: Vec<&str> =
        said["attempts"].as_array().unwrap().iter().map(|attempt| attempt["provider"].as_str().unwrap()).collect();
    assert_eq!(tried.last(), Some(&"local"));
    assert!(
        tried.len() <= STALE.len() + 1,
        "a host that cannot be reached is asked once while others are left: {tried:?}"
    );
    println!("no network, five stale keys: answered by local in {took:.2?} (bound 3 s, namespace of its own: {apart})");
}

/// The same where the network swallows what is sent instead of refusing it: five services that nothing connects to.
#[tokio::test]
async fn in_a_network_that_drops_packets_the_embedded_model_answers_soon() {
    let home = Home::default();
    home.lend_model();
    let silent = Silent::listen().await.unwrap();
    let section = |name: &str| format!("[providers.{name}]\nbase_url = \"{}\"\n", silent.url("/v1"));
    let names = ["openrouter", "openai", "anthropic", "gemini", "hf_inference_api"];
    home.config(&names.map(section).concat());
    let mut command = home.command();
    command.envs(STALE).args(["generate", "--json", "--max-tokens", "8", "-t", "0", "-p", "Say hello."]);
    let began = Instant::now();
    let output = command.output().unwrap();
    let took = began.elapsed();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &said["provider"]), (Some(0), &"local".into()), "{said}");
    let tried: Vec<&str> =
        said["attempts"].as_array().unwrap().iter().map(|attempt| attempt["provider"].as_str().unwrap()).collect();
    assert_eq!(tried, [&names[..], &["local"]].concat(), "each is tried, and once");
    println!("a network that drops packets, five stale keys: answered by local in {took:.2?}");
}

#[test]
fn a_model_that_nobody_serves_is_an_error_and_not_an_answer_from_another() {
    let home = Home::default();
    home.config(
        r#"
        [providers.echo]
        command = "echo {model} {prompt}"
        models = ["parrot-large"]
        "#,
    );
    for json in [false, true] {
        let mut command = home.command();
        command.args(["generate", "--model", "parrot-larg", "-p", "hello"]);
        if json {
            command.arg("--json");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let said = if json { &stdout } else { &stderr };
        assert!(said.contains("parrot-larg") && said.contains("echo/parrot-large"), "{said}");
        assert_eq!(stdout.is_empty(), !json, "{stdout}");
    }
    let right = home.command().args(["generate", "--model", "parrot-large", "-p", "hello"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&right.stdout).trim(), "parrot-large hello");
}
