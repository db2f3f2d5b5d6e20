//! The Copilot CLI as a server that stays (`copilot_sdk`): recorded talks with the real program, and what is said to it.

use llm_router::delta::FinishReason;
use llm_router::error::ErrorKind;
use llm_router::request::{BlockBody, JsonSchema, Message, Reasoning, Request, ResponseFormat, Source};
use llm_router::response::collect;
use serde_json::{Value, json};

use crate::support::{Machine, Seen, Transcript, all_gone, call, content, pieces, streamed, watch};

const ID: &str = "copilot_sdk";

fn recorded(case: &str) -> Transcript {
    Transcript::recorded(&format!("copilot_sdk/{case}")).framed()
}

fn machine(transcript: Transcript) -> Machine {
    Machine::new()
        .with("copilot", transcript)
        .variable("COPILOT_PROVIDER_BASE_URL", "http://127.0.0.1:1/v1")
        .variable("COPILOT_PROVIDER_API_KEY", "own")
        .variable("COPILOT_MODEL", "parrot")
}

/// What the server was told, in order.
fn told(seen: &Seen) -> Vec<Value> {
    seen.stdin().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The parameters that it was told with this method first.
fn params(seen: &Seen, method: &str) -> Value {
    told(seen).into_iter().find(|message| message["method"] == method).unwrap()["params"].take()
}

/// A recorded talk of so many turns: the first as it was, then its messages again with the numbers of later requests.
fn turns(count: u64) -> Vec<Value> {
    let lines = recorded("text").lines;
    let greeted =
        lines.iter().position(|line| line["in"].as_str().is_some_and(|said| said.contains("session.create"))).unwrap();
    let (greeting, turn) = lines.split_at(greeted);
    let turn = &turn[..turn.len() - 1];
    let again = |turns: u64, line: &Value| {
        let Some(Ok(mut message)) = line["out"].as_str().map(serde_json::from_str::<Value>) else {
            return line.clone();
        };
        if let Some(id) = message["id"].as_u64() {
            message["id"] = json!(id + 4 * turns);
        }
        json!({"out": message.to_string()})
    };
    let rest = (0..count).flat_map(|turns| turn.iter().map(move |line| again(turns, line)));
    greeting.iter().cloned().chain(rest).collect()
}

#[tokio::test]
async fn text_thoughts_and_usage_come_as_they_did() {
    let (said, ended) = pieces(machine(recorded("text")).open(ID, None, streamed("x")).await.unwrap()).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said, ["One tw", "o thre", "e four", " five ", "six se", "ven."]);
    for (case, text, reason, calls) in [
        ("text", "One two three four five six seven.", FinishReason::Stop, 1),
        ("thoughts", "One two three four five six seven.", FinishReason::Stop, 1),
        ("filtered", "Half a sen", FinishReason::ContentFilter, 1),
        ("length", "Half a senHalf a senHalf a sen", FinishReason::Length, 3),
        ("refused", "I cannot help with that.", FinishReason::Refusal, 1),
    ] {
        let response = machine(recorded(case)).ask(ID, Request::new("x")).await.unwrap();
        assert_eq!((response.text(), response.choices[0].finish), (text.to_owned(), reason), "{case}");
        let usage = response.usage.unwrap();
        let counts = [usage.input, usage.output, usage.cache_read, usage.reasoning];
        assert_eq!(counts, [11, 7, 3, 2].map(|count| count * calls), "{case}");
    }
}

#[tokio::test]
async fn failures_are_told_apart() {
    for (case, kind, words) in [
        ("unauthorised", ErrorKind::ProviderAuth, "the key is not valid"),
        ("model", ErrorKind::CallerModelUnknown, "does not exist"),
        ("rate_limited", ErrorKind::ProviderRateLimited, "too many requests"),
        ("quota", ErrorKind::ProviderQuotaExhausted, "exceeded your current quota"),
        ("limit", ErrorKind::ProviderQuotaExhausted, "reset after 2h3m"),
        ("length_exceeded", ErrorKind::CallerContextLength, "too long"),
        ("cut", ErrorKind::ProviderConnection, "unexpected EOF"),
        ("nothing", ErrorKind::ProviderProtocol, "No response"),
        ("not_logged_in", ErrorKind::ProviderAuth, "No GitHub OAuth token"),
        ("login_model", ErrorKind::CallerModelUnknown, "nosuch"),
    ] {
        let error = machine(recorded(case)).ask(ID, Request::new("x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{case}: {error}");
        assert!(error.message().contains(words), "{case}: {error}");
    }
}

#[tokio::test]
async fn a_server_answers_one_request_after_the_other_and_keeps_none() {
    let machine = machine(Transcript::of(turns(3)).framed());
    let provider = machine.provider(ID).unwrap();
    for prompt in ["one", "/autopilot two", "three"] {
        let response = collect(provider.generate(call(ID, None, Request::new(prompt))).await.unwrap()).await.unwrap();
        assert_eq!(response.text(), "One two three four five six seven.");
    }
    drop(provider);
    machine.runner.shutdown().await;
    let seen = machine.seen("copilot");
    assert_eq!(seen.len(), 1, "one server for all");
    let said = told(&seen[0]);
    let prompts: Vec<_> = said.iter().filter_map(|message| message["params"]["prompt"].as_str()).collect();
    assert_eq!(prompts, ["one", "/autopilot two", "three"]);
    let methods: Vec<_> = said.iter().map(|message| message["method"].as_str().unwrap()).collect();
    assert_eq!(methods[..5], ["connect", "session.create", "session.send", "session.destroy", "session.delete"]);
}

#[tokio::test]
async fn a_session_has_its_own_system_prompt_and_nothing_else() {
    let machine = machine(recorded("text")).variable("COPILOT_ALLOW_ALL", "true").variable("OPENAI_API_KEY", "canary");
    let mut request = Request::default();
    request.messages = vec![Message::system("Be brief."), Message::user("-x")];
    machine.ask(ID, request).await.unwrap();
    let seen = machine.last("copilot");
    let created = params(&seen, "session.create");
    assert_eq!(created["availableTools"], json!([]));
    assert_eq!(created["systemMessage"], json!({"mode": "replace", "content": "Be brief."}));
    assert_eq!(created["model"], "parrot");
    assert_eq!(created["provider"], json!({"baseUrl": "http://127.0.0.1:1/v1", "apiKey": "own"}));
    for (off, value) in [
        ("skipCustomInstructions", true),
        ("enableConfigDiscovery", false),
        ("enableSkills", false),
        ("enableFileHooks", false),
        ("enableSessionStore", false),
        ("enableSessionTelemetry", false),
    ] {
        assert_eq!(created[off], value, "{off}");
    }
    assert_eq!(params(&seen, "session.send")["prompt"], "-x");
    assert_eq!((seen.variable("COPILOT_ALLOW_ALL"), seen.variable("OPENAI_API_KEY")), (None, None));
    assert_eq!(seen.variable("COPILOT_OFFLINE"), Some("true"));
    let folder = created["workingDirectory"].as_str().unwrap();
    assert!(folder.ends_with("/work") && seen.files().is_empty() && seen.home().is_empty(), "{seen:?}");
}

#[tokio::test]
async fn pictures_schemas_effort_and_the_whole_of_an_own_provider_are_said() {
    let machine = machine(recorded("text"))
        .variable("COPILOT_PROVIDER_TYPE", "azure")
        .variable("COPILOT_PROVIDER_WIRE_MODEL", "other")
        .variable("COPILOT_PROVIDER_MAX_OUTPUT_TOKENS", "100")
        .variable("COPILOT_PROVIDER_AZURE_API_VERSION", "v")
        .variable("COPILOT_PROVIDER_HEADERS", "A: 1\\nB: x:y");
    let picture =
        BlockBody::Image { source: Source::Base64 { mime: "image/png".into(), data: "AAAA".into() }, detail: None };
    let mut user = Message::user("what is it?");
    user.content.push(picture.into());
    let mut request = Request::default();
    request.messages = vec![user];
    let mut reasoning = Reasoning::default();
    reasoning.effort = Some("low".into());
    request.reasoning = Some(reasoning);
    let schema = serde_json::from_value(json!({"name": "n", "schema": {"type": "object"}, "strict": true}));
    request.response_format = Some(ResponseFormat::JsonSchema(schema.map(|schema: JsonSchema| schema).unwrap()));
    collect(machine.open(ID, Some("named"), request).await.unwrap()).await.unwrap();
    let seen = machine.last("copilot");
    let created = params(&seen, "session.create");
    assert_eq!((&created["model"], &created["reasoningEffort"]), (&json!("named"), &json!("low")));
    let own = json!({"type": "azure", "baseUrl": "http://127.0.0.1:1/v1", "apiKey": "own", "wireModel": "named",
        "maxOutputTokens": 100, "azure": {"apiVersion": "v"}, "headers": {"A": "1", "B": "x:y"}});
    assert_eq!(created["provider"], own);
    assert_eq!(created["modelCapabilities"]["supports"]["vision"], true);
    let sent = params(&seen, "session.send");
    let attached = json!([{"type": "blob", "mimeType": "image/png", "data": "AAAA", "displayName": "picture 1"}]);
    assert_eq!(sent["attachments"], attached);
    let schema = json!({"name": "n", "schema": {"type": "object"}, "strict": true});
    assert_eq!(sent["responseFormat"], json!({"type": "json_schema", "jsonSchema": schema}));

    let wrong = machine.variable("COPILOT_PROVIDER_MAX_OUTPUT_TOKENS", "many");
    assert!(wrong.ask(ID, Request::new("x")).await.unwrap_err().message().contains("\"many\""));
}

#[tokio::test]
async fn leave_is_refused_unless_the_mode_gives_it() {
    let folder = tempfile::tempdir().unwrap();
    for (mode, decision, tools) in [
        ("read-only", "user-not-available", json!(["view", "grep", "rg", "glob"])),
        ("allow-all", "approve-once", json!(null)),
    ] {
        let asks = recorded("permission").cut_after("permission.requested", json!({"in": ""}));
        let machine = machine(asks).settings(|settings| {
            settings.agent = true;
            settings.permission_mode = Some(mode.into());
            settings.folder = Some(folder.path().to_owned());
        });
        // The recording ends here: what is said to it is what counts.
        machine.ask(ID, Request::new("x")).await.unwrap_err();
        let seen = machine.last("copilot");
        let decided = params(&seen, "session.permissions.handlePendingPermissionRequest");
        assert_eq!(decided["result"], json!({"kind": decision}), "{mode}");
        let created = params(&seen, "session.create");
        assert_eq!((&created["availableTools"], &created["systemMessage"]), (&tools, &json!(null)), "{mode}");
        assert_eq!(created["workingDirectory"], json!(folder.path()), "{mode}");
    }
}

#[tokio::test]
async fn who_may_only_read_reads_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("given.txt");
    std::fs::write(&inside, "words").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
    for (path, decision) in [
        (inside.display().to_string(), "approve-once"),
        ("given.txt".into(), "approve-once"),
        (folder.path().display().to_string(), "approve-once"),
        (folder.path().join("link").display().to_string(), "user-not-available"),
        ("../../etc/hostname".into(), "user-not-available"),
        ("/etc/hostname".into(), "user-not-available"),
        (folder.path().join("missing").display().to_string(), "user-not-available"),
    ] {
        let mut asks = recorded("tools-read-only").cut_after("permission.requested", json!({"in": ""}));
        for line in &mut asks.lines {
            if let Some(out) = line["out"].as_str() {
                line["out"] = out.replace("/tmp/agent/given.txt", &path).into();
            }
        }
        let machine = machine(asks).settings(|settings| {
            settings.agent = true;
            settings.folder = Some(folder.path().to_owned());
        });
        machine.ask(ID, Request::new("x")).await.unwrap_err();
        let decided = params(&machine.last("copilot"), "session.permissions.handlePendingPermissionRequest");
        assert_eq!(decided["result"], json!({"kind": decision}), "{path}");
    }
}

#[tokio::test]
async fn the_users_login_is_lent_to_the_server() {
    let machine = Machine::new()
        .with("copilot", recorded("login"))
        .file(".copilot/config.json", "{\"authTokens\": {\"h:u\": {\"token\": \"t\"}}, \"trustedFolders\": []}");
    let response = machine.ask(ID, Request::new("x")).await.unwrap();
    assert_eq!((response.text().as_str(), response.model.as_str()), ("PONG octo", "gpt-5.4"));
    let seen = machine.last("copilot");
    assert_eq!(seen.home(), [".copilot/config.json"]);
    assert_eq!(seen.variable("COPILOT_OFFLINE"), None);
    assert_eq!(params(&seen, "session.create").get("provider"), None);
}

#[tokio::test]
async fn another_protocol_is_another_version() {
    for (answer, words) in [
        (json!({"id": 1, "result": {"ok": true, "protocolVersion": 2}}), "version 2"),
        (json!({"id": 1, "error": {"code": -32601, "message": "Method not found: connect"}}), "not found"),
    ] {
        let old = Transcript::of([json!({"in": ""}), json!({"out": answer.to_string()}), json!({"exit": 0})]).framed();
        let error = machine(old).ask(ID, Request::new("x")).await.unwrap_err();
        assert!(error.message().contains(words), "{error}");
    }
    let none = Transcript::of([
        json!({"deaf": true}),
        json!({"err": "error: unexpected argument '--server' found"}),
        json!({"exit": 2}),
    ])
    .framed();
    let error = machine(none).ask(ID, Request::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderUnavailable, "{error}");
    assert!(error.hint().unwrap().contains("npm install"), "{error}");
}

#[tokio::test]
async fn whoever_leaves_ends_the_server() {
    let machine = machine(Transcript::default());
    let pipe = machine.pipe("held");
    let text = recorded("text").cut_after("One tw", json!({"hang": true})).lines;
    let lines = [vec![json!({"hold": pipe}), json!({"child": true})], text].concat();
    machine.plays("copilot", &Transcript::of(lines).framed());
    let pipe = watch(pipe);
    let mut stream = machine.open(ID, None, streamed("x")).await.unwrap();
    content(&mut stream).await;
    drop(stream);
    all_gone(pipe.join().unwrap());
}

#[tokio::test]
async fn a_turn_that_failed_as_the_server_says_leaves_the_server_for_the_next() {
    let mut lines = turns(2);
    let session = "00000000-0000-0000-0000-000000000001";
    let event = |kind: &str, data: Value| {
        let event = json!({"type": kind, "data": data});
        let params = json!({"sessionId": session, "event": event});
        json!({"out": json!({"jsonrpc": "2.0", "method": "session.event", "params": params}).to_string()})
    };
    // The first turn: where its answer began to come, the call of the model fails; the recorded rest of it comes too.
    let at = lines.iter().position(|line| line["out"].as_str().is_some_and(|out| out.contains("model.call_start")));
    let failure = json!({"statusCode": 429, "failureKind": "http", "errorMessage": "slow down", "retryAttempt": 1});
    lines.insert(at.unwrap(), event("model.call_failure", failure));
    let machine = machine(Transcript::of(lines).framed());
    let provider = machine.provider(ID).unwrap();
    let asked = async |prompt: &str| {
        collect(provider.clone().generate(call(ID, None, Request::new(prompt))).await?).await.map(|said| said.text())
    };
    assert_eq!(asked("one").await.unwrap_err().kind(), ErrorKind::ProviderRateLimited);
    assert_eq!(asked("two").await.unwrap(), "One two three four five six seven.");
    drop(provider);
    machine.runner.shutdown().await;
    let seen = machine.seen("copilot");
    assert_eq!(seen.len(), 1, "one server for both");
    let methods: Vec<_> = told(&seen[0]).iter().map(|said| said["method"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        methods[1..6],
        ["session.create", "session.send", "session.destroy", "session.delete", "session.create"]
    );
}
