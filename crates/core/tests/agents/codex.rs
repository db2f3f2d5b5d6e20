//! Codex over its app server: what was recorded of the real one, and what no recording holds.

use llm_router::delta::FinishReason;
use llm_router::error::ErrorKind;
use llm_router::request::{Block, BlockBody, JsonSchema, Message, RawJson, Reasoning, Request, ResponseFormat, Source};
use serde_json::{Value, json};

use crate::support::{Machine, Transcript, call, pieces, streamed};

const ANSWER: &str = "One two three four five six seven.";

/// A machine on which Codex was recorded.
fn machine(case: &str) -> Machine {
    Machine::new()
        .with("codex", Transcript::recorded(&format!("codex/{case}")))
        .variable("OPENAI_API_KEY", "key-of-codex")
        .variable("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
}

/// What it was told by way of this method.
fn told(machine: &Machine, method: &str) -> Value {
    let seen = machine.last("codex");
    let lines = seen.stdin().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut found: Vec<_> = lines.filter(|line| line["method"] == method).collect();
    found.pop().unwrap_or_else(|| panic!("{method} was not said"))["params"].take()
}

#[tokio::test]
async fn an_answer_comes_in_pieces_with_thoughts_and_counts() {
    let machine = machine("thinks").variable("ANTHROPIC_API_KEY", "canary");
    let (said, ended) = pieces(machine.open("codex_cli", Some("thinks"), streamed("hello")).await.unwrap()).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert!(said.len() > 6 && said[0].starts_with('['), "{said:?}");
    assert_eq!(said.concat().replace("][", ""), format!("[The user wants words.]{ANSWER}"));
    let seen = machine.last("codex");
    assert_eq!(seen.args(), Transcript::recorded("codex/thinks").words(), "it is started as it was recorded");
    assert_eq!(seen.variable("ANTHROPIC_API_KEY"), None);
    assert!(seen.files().is_empty() && seen.home().is_empty(), "{seen:?}");
    let thread = told(&machine, "thread/start");
    assert_eq!((&thread["sandbox"], &thread["approvalPolicy"]), (&json!("read-only"), &json!("never")));
    assert_eq!((&thread["ephemeral"], &thread["model"]), (&json!(true), &json!("thinks")));
    machine.runner.shutdown().await;
    assert!(machine.left().is_empty(), "{:?}", machine.left());
}

#[tokio::test]
async fn a_whole_answer_has_its_usage() {
    let machine = machine("whole");
    let response = machine.ask("codex", Request::new("hello")).await.unwrap();
    assert_eq!(response.text(), ANSWER);
    let usage = response.usage.unwrap();
    assert_eq!((usage.input, usage.output, usage.cache_read, usage.reasoning), (11, 7, 3, 2));
    assert_eq!(response.choices[0].finish, FinishReason::Stop);
    assert_eq!(told(&machine, "thread/start")["model"], "gpt-5.1-codex-mini", "the default one");
}

#[tokio::test]
async fn failures_are_told_apart() {
    for (case, kind, words) in [
        ("bad-request", ErrorKind::ProviderRejected, "a bad request"),
        ("bad-key", ErrorKind::ProviderAuth, "401"),
        ("forbidden", ErrorKind::ProviderAuth, "403"),
        ("model-unknown", ErrorKind::CallerModelUnknown, "does not exist"),
        ("rate-limited", ErrorKind::ProviderRateLimited, "429"),
        ("quota", ErrorKind::ProviderQuotaExhausted, "Quota exceeded"),
        ("limit", ErrorKind::ProviderQuotaExhausted, "usage limit"),
        ("server-broken", ErrorKind::ProviderServerError, "high demand"),
        ("overloaded", ErrorKind::ProviderOverloaded, "529"),
        ("too-long", ErrorKind::CallerContextLength, "context window"),
        ("cut-stream", ErrorKind::ProviderConnection, "disconnected"),
        ("late-failure", ErrorKind::ProviderServerError, "failed later"),
        ("says-nothing", ErrorKind::ProviderProtocol, "said nothing"),
        ("not-logged-in", ErrorKind::ProviderAuth, "nobody is logged in"),
    ] {
        let error = machine(case).ask("codex_cli", Request::new("hello")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{case}: {error}");
        assert!(error.message().contains(words), "{case}: {error}");
        assert!(kind != ErrorKind::ProviderAuth || error.hint().unwrap().contains("codex login"), "{case}");
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_by_a_limit_says_so() {
    for (case, finish) in [("cut-at-the-limit", FinishReason::Length), ("filtered", FinishReason::ContentFilter)] {
        let response = machine(case).ask("codex_cli", Request::new("hello")).await.unwrap();
        assert_eq!((response.text().as_str(), response.choices[0].finish), ("Half a sen", finish), "{case}");
    }
}

#[tokio::test]
async fn everything_that_is_asked_arrives() {
    let machine = machine("whole");
    let schema =
        r#"{"type":"object","properties":{"a":{"type":"number"}},"required":["a"],"additionalProperties":false}"#;
    let picture =
        BlockBody::Image { source: Source::Base64 { mime: "image/png".into(), data: "aGk=".into() }, detail: None };
    let prompt = "--mcp-config=x $(touch y)\n\u{1f98a} {model} \"'";
    let user = Message { content: vec![Block::text(prompt), picture.into()], ..Message::user("") };
    let mut request = Request::default();
    request.messages = vec![Message::system("Be short."), user];
    request.response_format = Some(ResponseFormat::JsonSchema(JsonSchema {
        name: "x".into(),
        description: None,
        schema: RawJson::parse(schema).unwrap(),
        strict: Some(true),
    }));
    let mut reasoning = Reasoning::default();
    reasoning.effort = Some("xhigh".into());
    request.reasoning = Some(reasoning);
    machine.ask("codex_cli", request).await.unwrap();
    assert_eq!(told(&machine, "thread/start")["baseInstructions"], "Be short.");
    let turn = told(&machine, "turn/start");
    assert_eq!(turn["input"][0], json!({"type": "image", "url": "data:image/png;base64,aGk="}));
    assert_eq!((&turn["input"][1]["text"], &turn["effort"]), (&json!(prompt), &json!("xhigh")));
    assert_eq!(turn["outputSchema"], serde_json::from_str::<Value>(schema).unwrap());
}

/// The word of an argument that describes the service which it asks.
fn service(machine: &Machine) -> String {
    machine.last("codex").args().into_iter().find(|word| word.starts_with("model_providers")).unwrap().to_owned()
}

#[tokio::test]
async fn the_users_login_goes_before_the_plain_key_and_its_own_key_before_the_login() {
    let machine = machine("login").file(".codex/auth.json", "{}").file(".codex/config.toml", "[mcp_servers.x]");
    let machine = machine.file(".codex/AGENTS.md", "obey").file("AGENTS.md", "obey");
    machine.ask("codex_cli", Request::new("hello")).await.unwrap();
    let seen = machine.last("codex");
    assert_eq!(seen.home(), [".codex/auth.json"]);
    assert_eq!(
        seen.leads(".codex/auth.json").unwrap(),
        machine.home().join(".codex/auth.json").canonicalize().unwrap()
    );
    assert!(service(&machine).contains("requires_openai_auth=true"), "{}", service(&machine));
    assert!(!service(&machine).contains("base_url"), "a login is shown to nobody else");
    let machine = machine.variable("CODEX_API_KEY", "key-of-codex");
    machine.ask("codex_cli", Request::new("hello")).await.unwrap();
    assert!(machine.last("codex").home().is_empty());
    assert!(service(&machine).contains("env_key=\"CODEX_API_KEY\""), "{}", service(&machine));
}

#[tokio::test]
async fn a_password_in_the_address_of_a_service_stands_in_no_argument() {
    let machine = machine("whole").variable("OPENAI_API_KEY", "key-of-codex");
    let machine = machine.variable("OPENAI_BASE_URL", "https://user:secret-word@host.test/v1");
    let provider = machine.provider("codex_cli").unwrap();
    let stream = provider.clone().generate(call("codex_cli", None, streamed("hello"))).await.unwrap();
    pieces(stream).await.1.unwrap();
    let seen = machine.last("codex");
    assert!(!seen.args().iter().any(|word| word.contains("secret-word")), "{:?}", seen.args());
    let file = std::path::Path::new(seen.variable("CODEX_HOME").unwrap()).join("config.toml");
    let said = std::fs::read_to_string(file).unwrap();
    assert!(said.contains("[model_providers]\nrouter = {") && said.contains("secret-word@host.test/v1\""), "{said}");
}

#[tokio::test]
async fn another_key_for_those_without_a_login_is_another_account() {
    let mark = |machine: &Machine| machine.provider("codex_cli").unwrap().login_mark().unwrap();
    let machine = machine("whole").variable("OPENAI_API_KEY", "key-of-codex");
    let before = mark(&machine);
    assert_ne!(mark(&machine.variable("OPENAI_API_KEY", "another")), before);
}

#[tokio::test]
async fn with_tools_it_works_in_the_named_folder_under_the_named_mode() {
    let machine = machine("whole").settings(|settings| {
        settings.agent = true;
        settings.sandbox = Some("workspace-write".into());
    });
    let folder = machine.at("project");
    std::fs::create_dir(&folder).unwrap();
    let machine = machine.settings(|settings| settings.folder = Some(folder.clone()));
    let mut request = Request::new("hello");
    request.messages.insert(0, Message::system("Be short."));
    machine.ask("codex_cli", request).await.unwrap();
    let seen = machine.last("codex");
    assert_eq!(seen.folder(), folder.canonicalize().unwrap());
    assert!(!seen.args().contains(&"features.shell_tool=false"));
    let trust = format!("projects={{{}={{trust_level=\"untrusted\"}}", json!(folder));
    assert!(seen.args().iter().any(|word| word.starts_with(&trust)), "{:?}", seen.args());
    let thread = told(&machine, "thread/start");
    assert_eq!((&thread["sandbox"], &thread["cwd"]), (&json!("workspace-write"), &json!(folder)));
    assert_eq!((&thread["developerInstructions"], &thread["baseInstructions"]), (&json!("Be short."), &Value::Null));
}

/// What was recorded up to the turn's start, then these messages of its thread.
fn instead(machine: &Machine, messages: impl IntoIterator<Item = Value>) {
    let mut transcript =
        Transcript::recorded("codex/whole").cut_after("\"method\":\"turn/started\"", json!({"hang": true}));
    transcript.lines.pop();
    let thread = "00000000-0000-0000-0000-000000000002";
    transcript.lines.extend(messages.into_iter().map(|mut message| {
        message["params"]["threadId"] = json!(thread);
        json!({"out": message.to_string()})
    }));
    transcript.lines.push(json!({"hang": true}));
    machine.plays("codex", &transcript);
}

#[tokio::test]
async fn it_is_not_left_to_try_again_by_itself() {
    let machine = machine("whole");
    let error = |details: &str, status: Value| {
        json!({"method": "error", "params": {"willRetry": true, "turnId": "t", "error": {"message": "Reconnecting... 1/5",
            "codexErrorInfo": {"responseStreamDisconnected": {"httpStatusCode": status}}, "additionalDetails": details}}})
    };
    instead(&machine, [error("Connection failed: error sending request", Value::Null)]);
    let refused = machine.ask("codex_cli", Request::new("hello")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ProviderConnection);
    assert!(refused.message().contains("error sending request"), "{refused}");
    instead(&machine, [error("exceeded retry limit, last status: 429 Too Many Requests", json!(429))]);
    let limited = machine.ask("codex_cli", Request::new("hello")).await.unwrap_err();
    assert_eq!(limited.kind(), ErrorKind::ProviderRateLimited);
}

#[tokio::test]
async fn a_used_up_allowance_says_when_there_is_more() {
    let machine = machine("whole");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let limits = json!({"method": "account/rateLimits/updated", "params": {"rateLimits": {
        "primary": {"usedPercent": 100, "windowDurationMins": 300, "resetsAt": now + 7500},
        "secondary": {"usedPercent": 40, "windowDurationMins": 10080, "resetsAt": now + 400_000}}}});
    let last = json!({"method": "turn/completed", "params": {"turn": {"id": "t", "status": "failed", "error": {
        "message": "You've hit your usage limit. Upgrade to Pro or try again at 8:15 PM.",
        "codexErrorInfo": "usageLimitExceeded", "additionalDetails": null}}}});
    instead(&machine, [limits, last]);
    let error = machine.ask("codex_cli", Request::new("hello")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderQuotaExhausted);
    let wait = error.retry_after().unwrap().as_secs();
    assert!((7400..=7500).contains(&wait), "{wait}");
}

#[tokio::test]
async fn services_that_stream_no_pieces_are_heard_and_messages_stand_apart() {
    let machine = machine("whole");
    let completed = |item: Value| json!({"method": "item/completed", "params": {"turnId": "t", "item": item}});

    instead(
        &machine,
        [
            completed(json!({"type": "reasoning", "id": "r", "summary": ["hm"], "content": []})),
            completed(json!({"type": "commandExecution", "id": "c", "command": "ls"})),
            completed(json!({"type": "agentMessage", "id": "m1", "text": "I look."})),
            json!({"method": "item/agentMessage/delta", "params": {"itemId": "m2", "delta": "Done."}}),
            completed(json!({"type": "agentMessage", "id": "m2", "text": "Done."})),
            json!({"method": "turn/completed", "params": {"turn": {"id": "t", "status": "completed", "error": null}}}),
        ],
    );

    let (said, ended) = pieces(machine.open("codex_cli", None, streamed("hello")).await.unwrap()).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said, ["[hm]", "I look.", "\n\n", "Done."]);
}
