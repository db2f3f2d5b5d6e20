//! `providers`, `models`, `explain`, `doctor`, `test`: who could answer, and what is missing.

use llm_router::config::names::builtin;
use serde_json::Value;

use crate::support::Home;

/// Some of the built-in providers, of each sort: what is printed of the others is alike, and a new one changes no snapshot.
const SHOWN: &[&str] = &[
    "ipfs_peer",
    "accelerate",
    "openrouter",
    "openai",
    "hf_inference_api",
    "codex_cli",
    "gemini_cli",
    "copilot_sdk",
    "groq",
    "together",
    "azure_openai",
    "vllm",
    "ollama",
    "local_hf",
    "local",
    "claude_py",
];

/// A list without the built-in providers that are not shown, and without the hints below them. `at` is the place of the name in a line.
fn shown(list: &str, at: usize) -> String {
    let mut keeping = true;
    let kept = list.lines().filter(|line| {
        if !line.trim_start().starts_with('→') {
            let name = line.split_whitespace().nth(at).unwrap_or_default().trim_end_matches(':');
            keeping = builtin(name).is_none() || SHOWN.contains(&name);
        }
        keeping
    });
    kept.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn who_could_answer() {
    let home = Home::new();
    insta::assert_snapshot!(shown(&home.run(["providers"]).succeeds().stdout, 0));
    insta::assert_snapshot!(shown(&home.run(["list", "-v"]).succeeds().stdout, 0));
}

#[test]
fn a_server_that_is_only_guessed_is_not_called_ready() {
    let home = Home::new();
    let body = home.run(["providers", "--json"]).succeeds().json();
    let of = |id: &str| body["providers"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap().clone();
    assert_eq!((&of("ollama")["available"], &of("ollama")["guess"]), (&Value::Null, &Value::Bool(true)));
    assert_eq!((&of("echo")["available"], &of("echo")["guess"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(of("openai")["available"], Value::Bool(false));
    insta::assert_json_snapshot!(of("openai"));
    let told = home.run(["providers", "--json"]).env("OLLAMA_HOST", "127.0.0.1:11434").succeeds().json();
    let ollama = told["providers"].as_array().unwrap().iter().find(|one| one["id"] == "ollama").unwrap();
    assert_eq!(ollama["available"], Value::Bool(true));
}

#[test]
fn a_plan_with_its_reasons() {
    let home = Home::new();
    insta::assert_snapshot!(shown(&home.run(["explain", "hi"]).succeeds().stdout, 1));
    insta::assert_json_snapshot!(
        home.run(["explain", "hi", "--provider", "echo", "-t", "0", "--json"]).succeeds().json()
    );
}

#[test]
fn doctor_says_where_a_prompt_could_be_an_option() {
    let home = Home::new();
    let of = |line: &str| home.run(["doctor"]).env("IPFS_KIT_CLAUDE_CODE_CLI_CMD", line).succeeds().stdout;
    assert!(
        of("claude {prompt}").contains("missing  command of claude_code: {prompt} follows neither `--` nor an option")
    );
    for safe in ["claude -p {prompt}", "claude -- {prompt}", "claude"] {
        assert!(!of(safe).contains("command of"), "{safe}");
    }
}

#[test]
fn doctor_names_the_next_step() {
    let home = Home::new();
    let text = home.run(["doctor"]).env("IPFS_KIT_LLM_PROVIDR", "echo").succeeds().stdout;
    insta::assert_snapshot!(shown(&text, 1));
    let body = home.run(["doctor", "--json"]).succeeds().json();
    let findings = body["findings"].as_array().unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding["ok"] == true || finding["hint"].as_str().is_some_and(|hint| !hint.is_empty()))
    );
    home.run(["doctor", "--refresh", "--json"]).succeeds();
}

#[test]
fn a_provider_is_tested() {
    let home = Home::with("[providers.echo]\ncommand = \"cat\"\n[providers.broken]\ncommand = \"false\"\n");
    let good = home.run(["test", "--provider", "echo", "--json"]).succeeds().json();
    assert_eq!((&good["results"][0]["ok"], &good["results"][0]["provider"]), (&Value::Bool(true), &"echo".into()));
    let bad = home.run(["test", "--provider", "broken"]).ends();
    assert!(bad.status == 1 && bad.stdout.starts_with("broken  failed"), "{bad:?}");
}

#[test]
fn models_that_can_be_named() {
    let home = Home::with(
        "[providers.lab]\nbase_url = \"http://127.0.0.1:9/v1\"\nmodels = [\"a/b\", \"c\"]\n[routes.fast]\ngroups = [[\"lab/c\"]]\n",
    );
    home.run(["models", "--provider", "lab"]).answers("lab  a/b\nlab  c\n");
    let body = home.run(["models", "--json"]).succeeds().json();
    assert_eq!(body["models"][0], serde_json::json!({ "provider": "route", "model": "fast" }));
}
