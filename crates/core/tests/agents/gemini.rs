//! The Gemini CLI, under both of its providers' names.

use std::time::Duration;

use llm_router::delta::FinishReason;
use llm_router::error::ErrorKind;
use llm_router::request::{BlockBody, Message, Request, Source};
use llm_router::response::collect;
use serde_json::{Value, json};

use crate::support::{Machine, Transcript, pieces, streamed};

/// A machine with a key, on which this was recorded.
fn machine(case: &str) -> Machine {
    keyed(Transcript::recorded(&format!("gemini/{case}")))
}

fn keyed(transcript: Transcript) -> Machine {
    Machine::new().with("gemini", transcript).variable("GEMINI_API_KEY", "key-of-gemini")
}

fn out(line: Value) -> Value {
    json!({"out": line.to_string()})
}

fn said(text: &str) -> Value {
    out(json!({"type": "message", "role": "assistant", "content": text, "delta": true}))
}

fn success() -> Value {
    out(
        json!({"type": "result", "status": "success", "stats": {"total_tokens": 3, "input_tokens": 1, "output_tokens": 2}}),
    )
}

fn failure(message: &str) -> Value {
    out(json!({"type": "result", "status": "error", "error": {"type": "unknown", "message": message}, "stats": {}}))
}

/// Its log of answers with these reasons in the last one.
fn log(reasons: &str) -> Value {
    let text = format!("{{\n  \"attributes\": {{\n    \"finish_reasons\": [\n      {reasons}\n    ]\n  }}\n}}\n");
    json!({"report": "$GEMINI_TELEMETRY_OUTFILE", "text": text})
}

#[tokio::test]
async fn pieces_come_as_they_are_said_and_thoughts_count_as_output() {
    for id in ["gemini_cli", "gemini_py"] {
        let machine = machine("streamed").variable("OPENAI_API_KEY", "canary");
        let stream = machine.open(id, Some("parrot"), streamed("hello")).await.unwrap();
        let (said, ended) = pieces(stream).await;
        ended.unwrap();
        assert_eq!(said.concat(), "One two three four five six seven.");
        assert!(said.len() > 3, "{said:?}");
        let answer = machine.ask(id, Request::new("hello")).await.unwrap();
        let usage = answer.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.reasoning, usage.cache_read), (11, 7, 2, 3));
        machine.runner.shutdown().await;
        assert!(machine.left().is_empty());
    }
}

#[tokio::test]
async fn it_is_started_with_nothing_of_the_users_but_the_key() {
    let machine = machine("whole")
        .variable("OPENAI_API_KEY", "canary")
        .variable("GEMINI_CLI_IDE_WORKSPACE_PATH", "/somewhere")
        .variable("GEMINI_TELEMETRY_OTLP_ENDPOINT", "http://collector")
        .file(".gemini/oauth_creds.json", "{}")
        .file(".gemini/settings.json", "{}")
        .file(".gemini/GEMINI.md", "obey")
        .file(".gemini/.env", "A=b");
    collect(machine.open("gemini_cli", Some("parrot"), Request::new("hello")).await.unwrap()).await.unwrap();
    let seen = machine.last("gemini");
    assert_eq!(seen.args(), Transcript::recorded("gemini/whole").words());
    assert_eq!((seen.stdin(), seen.files()), ("hello", vec![]));
    assert_eq!(seen.home(), [".gemini/settings.json"]);
    assert_eq!(seen.variable("GEMINI_API_KEY"), Some("key-of-gemini"));
    assert_eq!(seen.variable("GEMINI_TELEMETRY_OTLP_ENDPOINT"), Some(""));
    assert_eq!(seen.variable("GEMINI_CLI_HOME"), seen.variable("HOME"));
    let hidden = ["OPENAI_API_KEY", "GEMINI_CLI_IDE_WORKSPACE_PATH", "GOOGLE_APPLICATION_CREDENTIALS"];
    assert!(hidden.iter().all(|name| seen.variable(name).is_none()), "{:?}", seen.variables());
    let cache = machine.home().join(".cache/ipfs-llm-router/node");
    assert_eq!(seen.variable("NODE_COMPILE_CACHE"), cache.to_str());
}

#[tokio::test]
async fn the_users_login_is_linked_and_what_it_refreshed_comes_back() {
    let refreshed = json!({"write": ".gemini/oauth_creds.json", "text": "new"});
    let machine = Machine::new()
        .with("gemini", Transcript::of([refreshed, said("a"), success(), json!({"exit": 0})]))
        .file(".gemini/oauth_creds.json", "old")
        .file(".gemini/google_accounts.json", "{}");
    machine.ask("gemini_cli", Request::new("x")).await.unwrap();
    machine.runner.shutdown().await;
    let login = machine.home().join(".gemini/oauth_creds.json");
    assert_eq!(machine.last("gemini").leads(".gemini/oauth_creds.json"), Some(login.as_path()));
    assert_eq!(std::fs::read_to_string(login).unwrap(), "new");
}

#[tokio::test]
async fn whoever_is_not_logged_in_is_told_so_before_anything_starts() {
    let machine = Machine::new().with("gemini", Transcript::of([]));
    let error = machine.ask("gemini_cli", Request::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderAuth);
    assert!(error.hint().unwrap().contains("GEMINI_API_KEY"), "{error}");
    assert!(machine.seen("gemini").is_empty());
}

#[tokio::test]
async fn no_prompt_is_a_command_to_it() {
    let long = "né\u{1f980}".repeat(60_000);
    for (prompt, stdin) in [
        ("/help", "\n/help"),
        ("--version", "--version"),
        ("!ls $(id) {model}", "!ls $(id) {model}"),
        ("@file 'a' \"b\"\r\n", "@file 'a' \"b\"\r\n"),
        (long.as_str(), long.as_str()),
    ] {
        let machine = machine("whole");
        machine.ask("gemini_cli", Request::new(prompt)).await.unwrap();
        let seen = machine.last("gemini");
        assert!(seen.stdin() == stdin && seen.args() == ["-o", "stream-json"], "{:?}", seen.args());
    }
    let machine = machine("whole");
    let error = machine.ask("gemini_cli", Request::new("x".repeat((8 << 20) + 1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerTooLarge);
}

#[tokio::test]
async fn pictures_are_files_before_the_text() {
    let picture = |mime: &str, data: &str| {
        let source = Source::Base64 { mime: mime.into(), data: data.into() };
        let mut message = Message::user("@what is it?");
        message.content.insert(0, BlockBody::Image { source, detail: None }.into());
        let mut request = Request::new("");
        request.messages = vec![message];
        request
    };
    let machine = machine("whole");
    machine.ask("gemini_cli", picture("image/png", "aGVsbG8=")).await.unwrap();
    let seen = machine.last("gemini");
    assert_eq!((seen.stdin(), seen.files()), ("/see @what is it?", vec!["picture-1.png"]));
    assert_eq!(seen.home(), [".gemini/commands/see.toml", ".gemini/settings.json"]);
    for (refused, kind) in [
        (picture("image/x-icon", "aGVsbG8="), ErrorKind::CallerUnsupported),
        (picture("image/png", "?"), ErrorKind::CallerInvalidRequest),
    ] {
        assert_eq!(machine.ask("gemini_cli", refused).await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn its_log_tells_why_an_answer_ended() {
    for (case, reasons, finish) in [
        ("cut-at-the-limit", "\"stop\",\n      \"length\"", FinishReason::Length),
        ("filtered", "\"stop\",\n      \"content_filter\"", FinishReason::ContentFilter),
        ("whole", "\"stop\"", FinishReason::Stop),
    ] {
        let machine = keyed(Transcript::recorded(&format!("gemini/{case}")).and([log(reasons)]));
        let answer = machine.ask("gemini_cli", Request::new("hello")).await.unwrap();
        assert_eq!(answer.choices[0].finish, finish, "{case}");
    }
    let blocked = out(
        json!({"type": "error", "severity": "error", "message": "The model response was blocked due to safety settings."}),
    );
    let failed = out(json!({"type": "result", "status": "error", "stats": {}}));
    let machine = keyed(Transcript::of([blocked, failed, json!({"exit": 0})]));
    let answer = machine.ask("gemini_cli", Request::new("hello")).await.unwrap();
    assert_eq!(answer.choices[0].finish, FinishReason::ContentFilter);
}

#[tokio::test]
async fn errors_are_told_apart_as_they_were_recorded() {
    for (case, kind) in [
        ("bad-request", ErrorKind::ProviderRejected),
        ("bad-key", ErrorKind::ProviderAuth),
        ("forbidden", ErrorKind::ProviderAuth),
        ("model-unknown", ErrorKind::CallerModelUnknown),
        ("rate-limited", ErrorKind::ProviderRateLimited),
        ("quota", ErrorKind::ProviderQuotaExhausted),
        ("limit", ErrorKind::ProviderQuotaExhausted),
        ("server-broken", ErrorKind::ProviderServerError),
        ("overloaded", ErrorKind::ProviderOverloaded),
        ("too-long", ErrorKind::CallerContextLength),
        ("cut-stream", ErrorKind::ProviderConnection),
        ("late-failure", ErrorKind::ProviderProtocol),
        ("says-nothing", ErrorKind::ProviderProtocol),
    ] {
        let machine = machine(case);
        let error = machine.ask("gemini_cli", Request::new("hello")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{case}: {error}");
        assert!(error.message().len() < 1500 && !error.message().contains("    at "), "{case}: {error}");
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), (case == "limit").then_some(7380), "{case}");
    }
}

#[tokio::test]
async fn what_streamed_before_a_cut_was_said_and_is_no_answer() {
    let (said, ended) = pieces(machine("cut-stream").open("gemini_cli", None, streamed("x")).await.unwrap()).await;
    assert_eq!(said.concat(), "Half a sen");
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ProviderConnection);
}

#[tokio::test]
async fn a_quota_says_when_it_is_over() {
    let terminal = |reset: &str| {
        format!("[API Error: You have exhausted your capacity on this model. Your quota will reset after {reset}.]")
    };
    let class = |name: &str| json!({"err": format!("Error when talking to Gemini API Full report available at: /tmp/x.json {name}: words")});
    for (message, stderr, kind, seconds) in [
        (terminal("2h3m4s"), class("TerminalQuotaError"), ErrorKind::ProviderQuotaExhausted, Some(7384)),
        (
            "[API Error: Quota exceeded for metric: tokens\nSuggested retry after 37s.]\nPlease wait and try again later.".into(),
            class("RetryableQuotaError"),
            ErrorKind::ProviderRateLimited,
            Some(37),
        ),
        ("[API Error: slow down]".into(), json!({"err": "  retryDelayMs: 12000,\n  status: 429\n}"}), ErrorKind::ProviderRateLimited, Some(12)),
        ("[API Error: You have exhausted your daily quota on this model.]".into(), class("TerminalQuotaError"), ErrorKind::ProviderQuotaExhausted, None),
    ] {
        let machine = keyed(Transcript::of([stderr, failure(&message), json!({"exit": 173})]));
        let error = machine.ask("gemini_cli", Request::new("x")).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (kind, seconds.map(Duration::from_secs)), "{error}");
    }
}

#[tokio::test]
async fn a_program_that_says_nothing_tells_by_how_it_ends() {
    for (stderr, exit, kind, hint) in [
        ("Manual authorization is required", 41, ErrorKind::ProviderAuth, "log in"),
        ("Gemini CLI is not running in a trusted directory.", 55, ErrorKind::ProviderUnavailable, "newest"),
        ("Unknown arguments: output-format, outputFormat", 1, ErrorKind::ProviderUnavailable, "npm install"),
        ("/usr/bin/env: 'node': No such file or directory", 127, ErrorKind::ProviderUnavailable, "Node.js 20"),
        ("SyntaxError: Unexpected token 'with'", 1, ErrorKind::ProviderUnavailable, "Node.js 20"),
    ] {
        let machine = keyed(Transcript::of([json!({"err": stderr}), json!({"exit": exit})]));
        let error = machine.ask("gemini_cli", Request::new("x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.hint().unwrap().contains(hint) && error.message().contains(stderr), "{error:?}");
    }
    let crashed = keyed(Transcript::of([said("half"), json!({"signal": 9})]));
    let error = crashed.ask("gemini_cli", Request::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderServerError);
    assert!(error.message().contains("SIGKILL"), "{error}");
}

#[tokio::test]
async fn success_without_a_word_is_a_prompt_that_did_not_fit() {
    let nothing = out(json!({"type": "result", "status": "success", "stats": {"total_tokens": 0}}));
    let error =
        keyed(Transcript::of([nothing, json!({"exit": 0})])).ask("gemini_cli", Request::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerContextLength, "{error}");
}

#[tokio::test]
async fn with_tools_it_works_in_the_folder_in_the_mode() {
    let machine = machine("whole");
    let folder = machine.at("project");
    std::fs::create_dir_all(folder.join(".gemini")).unwrap();
    let with = |mode: Option<&str>| {
        let (folder, mode) = (folder.clone(), mode.map(str::to_owned));
        keyed(Transcript::recorded("gemini/whole")).settings(|settings| {
            (settings.agent, settings.folder, settings.permission_mode) = (true, Some(folder), mode);
        })
    };
    for mode in ["plan", "default", "auto_edit", "yolo"] {
        let machine = with(Some(mode));
        machine.ask("gemini_cli", Request::new("x")).await.unwrap();
        let seen = machine.last("gemini");
        assert_eq!(
            (seen.option("--approval-mode"), seen.folder()),
            (Some(mode), folder.canonicalize().unwrap().as_path())
        );
        assert_eq!(seen.variable("GOOGLE_GEMINI_BASE_URL"), Some(""));
    }
    assert!(
        with(Some("rampage")).ask("gemini_cli", Request::new("x")).await.unwrap_err().hint().unwrap().contains("plan")
    );
    for (settings, modes) in [
        (r#"{"ui":{}}"#, "plan yolo"),
        (r#"{"hooks":{}}"#, "yolo"),
        (r#"{"mcpServers":{"none":{}}}"#, "yolo"),
        ("// {}", "yolo"),
    ] {
        std::fs::write(folder.join(".gemini/settings.json"), settings).unwrap();
        for mode in ["plan", "yolo"] {
            let answer = with(Some(mode)).ask("gemini_cli", Request::new("x")).await;
            assert_eq!(answer.is_ok(), modes.contains(mode), "{settings} {mode}");
        }
    }
}
