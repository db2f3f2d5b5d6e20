//! The Copilot CLI, once for a request (`copilot_cli`): recorded runs of the real program and what it is started with.

use llm_router::delta::FinishReason;
use llm_router::error::ErrorKind;
use llm_router::request::{BlockBody, Message, Request, Source};
use serde_json::json;

use crate::support::{Machine, Transcript, all_gone, content, pieces, streamed, watch};

const ID: &str = "copilot_cli";

fn machine(case: &str) -> Machine {
    Machine::new().with("copilot", Transcript::recorded(&format!("copilot/{case}")))
}

fn event(kind: &str, data: serde_json::Value) -> serde_json::Value {
    json!({"out": json!({"type": kind, "data": data}).to_string()})
}

fn asked(messages: Vec<Message>) -> Request {
    let mut request = Request::default();
    request.messages = messages;
    request
}

#[tokio::test]
async fn text_and_thoughts_come_in_their_pieces() {
    let (said, ended) = pieces(machine("text").open(ID, None, streamed("x")).await.unwrap()).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said, ["One tw", "o thre", "e four", " five ", "six se", "ven."]);
    let (said, ended) = pieces(machine("thoughts").open(ID, None, streamed("x")).await.unwrap()).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said[..4].concat(), "[The us][er wan][ts wor][ds.]");
    assert_eq!(said[4..].concat(), "One two three four five six seven.");
}

#[tokio::test]
async fn how_the_model_ended_and_what_was_used_come_from_the_journal() {
    for (case, text, reason, calls) in [
        ("text", "One two three four five six seven.", FinishReason::Stop, 1),
        ("filtered", "Half a sen", FinishReason::ContentFilter, 1),
        // After a limit it asks the model to go on, twice.
        ("length", "Half a senHalf a senHalf a sen", FinishReason::Length, 3),
    ] {
        let response = machine(case).ask(ID, Request::new("Say it.")).await.unwrap();
        assert_eq!((response.text(), response.choices[0].finish), (text.to_owned(), reason), "{case}");
        let usage = response.usage.unwrap();
        let counts = [usage.input, usage.output, usage.cache_read, usage.reasoning];
        assert_eq!(counts, [11, 7, 3, 2].map(|count| count * calls), "{case}");
    }
    assert_eq!(machine("login").ask(ID, Request::new("Say it.")).await.unwrap().model, "gpt-5.4");
}

#[tokio::test]
async fn failures_are_told_apart() {
    for (case, kind, words) in [
        ("rejected", ErrorKind::ProviderRejected, "a bad request"),
        ("unauthorised", ErrorKind::ProviderAuth, "the key is not valid"),
        ("model", ErrorKind::CallerModelUnknown, "does not exist"),
        ("rate_limited", ErrorKind::ProviderRateLimited, "too many requests"),
        ("quota", ErrorKind::ProviderQuotaExhausted, "exceeded your current quota"),
        ("limit", ErrorKind::ProviderQuotaExhausted, "reset after 2h3m"),
        ("server", ErrorKind::ProviderServerError, "broken"),
        ("overloaded", ErrorKind::ProviderOverloaded, "overloaded"),
        ("length_exceeded", ErrorKind::CallerContextLength, "too long"),
        ("credit", ErrorKind::ProviderBilling, "credit balance"),
        ("cut", ErrorKind::ProviderConnection, "unexpected EOF"),
        ("refused_connection", ErrorKind::ProviderConnection, "Connection refused"),
        ("nothing", ErrorKind::ProviderProtocol, "No response"),
        ("cancelled", ErrorKind::ProviderServerError, "signal 15"),
        ("not_logged_in", ErrorKind::ProviderAuth, "No authentication information"),
        ("login_refused", ErrorKind::ProviderAuth, "Authentication failed"),
        ("login_model", ErrorKind::CallerModelUnknown, "nosuch"),
        ("unknown_option", ErrorKind::ProviderUnavailable, "too old"),
    ] {
        let error = machine(case).ask(ID, Request::new("Say it.")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{case}: {error}");
        assert!(error.message().contains(words), "{case}: {error}");
        let logs_in = error.hint().is_some_and(|hint| hint.contains("copilot login"));
        assert_eq!(logs_in, kind == ErrorKind::ProviderAuth, "{case}: {:?}", error.hint());
    }
}

#[tokio::test]
async fn what_no_copilot_prints_is_no_answer() {
    let text = || Transcript::recorded("copilot/text").lines;
    let cut = |words: &str, end| Transcript::recorded("copilot/text").cut_after(words, end);
    for (transcript, kind, words) in [
        (Transcript::of([json!({"out": "hello"}), json!({"exit": 0})]), ErrorKind::ProviderProtocol, "hello"),
        (Transcript::of([json!({"out": "{\"type\":"}), json!({"exit": 0})]), ErrorKind::ProviderProtocol, "type"),
        (Transcript::of([json!({"exit": 0})]), ErrorKind::ProviderProtocol, "no whole answer"),
        (
            Transcript::of([json!({"out": "x", "times": 20 << 20}), json!({"exit": 0})]),
            ErrorKind::ProviderProtocol,
            "more than",
        ),
        // Told to end it may say that it ended well.
        (
            cut("six se", event("abort", json!({"reason": "user_initiated"}))).and([text().remove(text().len() - 3)]),
            ErrorKind::ProviderProtocol,
            "interrupted",
        ),
        (cut("six se", json!({"exit": 0})), ErrorKind::ProviderProtocol, "no whole answer"),
        (cut("six se", json!({"signal": 9})), ErrorKind::ProviderServerError, "signal 9"),
        (
            Transcript::of([json!({"err": "/usr/bin/env: 'node': No such file or directory"}), json!({"exit": 127})]),
            ErrorKind::ProviderUnavailable,
            "Node.js",
        ),
        (
            Transcript::of([json!({"err": "GitHub Copilot CLI: no platform package found."}), json!({"exit": 1})]),
            ErrorKind::ProviderUnavailable,
            "package",
        ),
    ] {
        let error = Machine::new().with("copilot", transcript).ask(ID, Request::new("Say it.")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(words), "{words}: {error}");
    }
    // Events that nobody knows yet are read over.
    let new = json!({"out": json!({"type": "assistant.sings", "data": [1, {"a": null}]}).to_string()});
    let lines = [vec![new], text()].concat();
    assert!(Machine::new().with("copilot", Transcript::of(lines)).ask(ID, Request::new("Say it.")).await.is_ok());
}

#[tokio::test]
async fn its_own_patience_is_cut_short_but_where_its_tools_have_worked() {
    let machine = Machine::new();
    let pipe = machine.pipe("held");
    let failing = Transcript::recorded("copilot/rate_limited").cut_after("model.call_failure", json!({"hang": true}));
    let lines = [vec![json!({"hold": pipe})], failing.lines].concat();
    machine.plays("copilot", &Transcript::of(lines));
    let pipe = watch(pipe);
    let error = machine.ask(ID, Request::new("Say it.")).await.unwrap_err();
    assert_eq!((error.kind(), error.status().unwrap().as_u16()), (ErrorKind::ProviderRateLimited, 429));
    all_gone(pipe.join().unwrap());

    let failure = |status: u16| event("model.call_failure", json!({"statusCode": status, "source": "top_level"}));
    let worked = vec![event("tool.execution_start", json!({"toolName": "bash"})), failure(503)];
    let again = Transcript::of([worked.clone(), Transcript::recorded("copilot/text").lines].concat());
    assert!(Machine::new().with("copilot", again).ask(ID, Request::new("Say it.")).await.is_ok());
    let last = Transcript::of([worked, vec![failure(403)]].concat());
    let error = Machine::new().with("copilot", last).ask(ID, Request::new("Say it.")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderAuth);
    // A helper's failure is the agent's own business.
    let helper = event("model.call_failure", json!({"statusCode": 401, "source": "subagent"}));
    let lines = [vec![helper], Transcript::recorded("copilot/text").lines].concat();
    assert!(Machine::new().with("copilot", Transcript::of(lines)).ask(ID, Request::new("Say it.")).await.is_ok());
}

#[tokio::test]
async fn it_is_started_as_it_was_recorded_and_sees_its_own_things_alone() {
    let transcript = Transcript::recorded("copilot/text");
    let words = transcript.words();
    let machine = Machine::new()
        .with("copilot", transcript)
        .variable("COPILOT_PROVIDER_BASE_URL", "http://127.0.0.1:1/v1")
        .variable("COPILOT_PROVIDER_API_KEY", "own")
        .variable("COPILOT_PROVIDER_WIRE_MODEL", "other")
        .variable("COPILOT_ALLOW_ALL", "true")
        .variable("COPILOT_CUSTOM_INSTRUCTIONS_DIRS", "/planted")
        .variable("OPENAI_API_KEY", "canary")
        .variable("ANTHROPIC_API_KEY", "canary")
        .file(".copilot/config.json", "{\"authTokens\": {\"a\": 1}}")
        .file(".copilot/mcp-config.json", "{}")
        .file("AGENTS.md", "planted");
    let (said, ended) = pieces(machine.open(ID, Some("parrot"), streamed("Say it.")).await.unwrap()).await;
    assert!(ended.is_ok() && said.len() == 6);
    let seen = machine.last("copilot");
    let missing: Vec<_> = words.iter().filter(|word| !seen.args().contains(&word.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} of {:?}", seen.args());
    assert_eq!(seen.stdin(), "Say it.");
    assert!(seen.files().is_empty(), "{:?}", seen.files());
    assert!(seen.home().is_empty(), "with a key of its own no login is lent: {:?}", seen.home());
    for (name, value) in [
        ("COPILOT_PROVIDER_API_KEY", Some("own")),
        ("COPILOT_PROVIDER_WIRE_MODEL", Some("parrot")),
        ("COPILOT_OFFLINE", Some("true")),
        ("COPILOT_AUTO_UPDATE", Some("false")),
        ("COPILOT_ALLOW_ALL", None),
        ("COPILOT_CUSTOM_INSTRUCTIONS_DIRS", None),
        ("OPENAI_API_KEY", None),
        ("ANTHROPIC_API_KEY", None),
    ] {
        assert_eq!(seen.variable(name), value, "{name}");
    }
    let packages = machine.home().join(".cache/ipfs-llm-router/copilot");
    assert_eq!(seen.variable("COPILOT_PKG_CACHE_HOME"), packages.to_str());
    let mode = std::os::unix::fs::MetadataExt::mode(&packages.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o700);
    // One that others may write to is not good enough for what will be run.
    std::fs::set_permissions(&packages, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    machine.ask(ID, Request::new("Say it.")).await.unwrap();
    assert_eq!(machine.last("copilot").variable("COPILOT_PKG_CACHE_HOME"), None);
}

#[tokio::test]
async fn the_login_alone_is_in_its_home_and_refreshed_tokens_reach_the_user() {
    let config = "// Managed.\n{\"authTokens\": {\"h:u\": {\"token\": \"old\"}}, \"trustedFolders\": [\"/\"], \
                  \"lastLoggedInUser\": {\"login\": \"u\"}}";
    let new = "{\"authTokens\":{\"h:u\":{\"token\":\"new\"}},\"firstLaunchAt\":\"now\"}";
    let refreshes = json!({"write": ".copilot/config.json", "text": new, "anew": true});
    let machine = Machine::new()
        .with("copilot", Transcript::recorded("copilot/login").and([refreshes]))
        .file(".copilot/config.json", config)
        .file(".copilot/settings.json", "{\"model\": \"planted\"}")
        .file(".copilot/copilot-instructions.md", "planted")
        .file(".config/gh/hosts.yml", "github.com:\n    oauth_token: x\n")
        .file(".config/gh/config.yml", "aliases: {}\n");
    assert_eq!(machine.ask(ID, Request::new("Say it.")).await.unwrap().text(), "PONG octo");
    let seen = machine.last("copilot");
    assert_eq!(seen.home(), [".config/gh/hosts.yml", ".copilot/config.json"]);
    assert_eq!(seen.leads(".config/gh/hosts.yml").unwrap().file_name().unwrap(), "hosts.yml");
    machine.runner.shutdown().await;
    let back = std::fs::read_to_string(machine.home().join(".copilot/config.json")).unwrap();
    assert!(back.starts_with("// Managed.\n{") && back.contains("\"new\"") && !back.contains("\"old\""), "{back}");
    assert!(back.contains("trustedFolders") && back.contains("lastLoggedInUser"), "{back}");
    assert!(!back.contains("firstLaunchAt"), "{back}");
}

#[tokio::test]
async fn another_login_of_github_s_own_program_is_another_account() {
    let mark = |machine: &Machine| machine.provider(ID).unwrap().login_mark().unwrap();
    let machine = machine("text").file(".config/gh/hosts.yml", "github.com:\n    oauth_token: x\n");
    let before = mark(&machine);
    assert_eq!(mark(&machine), before);
    assert_ne!(mark(&machine.file(".config/gh/hosts.yml", "github.com:\n    oauth_token: y\n")), before);
}

#[tokio::test]
async fn what_was_used_is_counted_once_however_long_the_journal_is() {
    let entry = |sequence: u64| {
        let accounting = json!({"sourceSessionId": "s", "sequence": sequence});
        let usage = json!({"inputTokens": 10, "outputTokens": 1, "finishReason": "stop", "accounting": accounting});
        json!({"type": "session.usage_record", "data": {"usage": usage}}).to_string()
    };
    let filler = json!({"type": "tool.execution_complete", "data": {"text": "x".repeat(400_000)}}).to_string() + "\n";
    let journal = format!("{}\n{}\n{}{}\n", entry(1), entry(2), filler.repeat(5), entry(2));
    let write = json!({"write": ".copilot/session-state/s/events.jsonl", "text": journal});
    let said = [event("assistant.message", json!({"messageId": "m", "content": "a"})), write];
    let ends = [json!({"out": "{\"type\":\"result\",\"exitCode\":0}"}), json!({"exit": 0})];
    let machine = Machine::new().with("copilot", Transcript::of(said.into_iter().chain(ends)));
    let usage = machine.ask(ID, Request::new("Say it.")).await.unwrap().usage.unwrap();
    assert_eq!((usage.input, usage.output), (20, 2));
}

#[tokio::test]
async fn no_prompt_is_taken_for_a_command() {
    let machine = machine("text");
    let long = "é🦀".repeat(50_000);
    for prompt in
        ["--mcp-config=x", "$(id) {model} \"q\" 'r'\n two ", "@/etc/passwd", "!ls", "a\0b", "x\n/compact", &long]
    {
        machine.ask(ID, Request::new(prompt)).await.unwrap();
        assert_eq!(machine.last("copilot").stdin(), prompt);
    }
    for prompt in ["/autopilot x", " \n/Compact", "\u{feff}/goal"] {
        machine.ask(ID, Request::new(prompt)).await.unwrap();
        assert_eq!(machine.last("copilot").stdin(), format!("\u{2060}{prompt}"));
    }
    for prompt in ["", " \n"] {
        let error = machine.ask(ID, Request::new(prompt)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest, "{error}");
    }
}

#[tokio::test]
async fn a_system_prompt_is_an_agents_and_pictures_are_attached() {
    let machine = machine("text");
    let picture =
        BlockBody::Image { source: Source::Base64 { mime: "image/jpeg".into(), data: "AAAA".into() }, detail: None };
    let mut user = Message::user("what is it?");
    user.content.push(picture.into());
    machine.ask(ID, asked(vec![Message::system("---\nBe brief."), user])).await.unwrap();
    let seen = machine.last("copilot");
    assert!(seen.args().contains(&"--agent=router"), "{:?}", seen.args());
    assert!(seen.home().contains(&".copilot/agents/router.agent.md"), "{:?}", seen.home());
    assert_eq!(seen.stdin(), "what is it?");
    let attached = seen.args().into_iter().find_map(|word| word.strip_prefix("--attachment=")).unwrap();
    assert!(attached.ends_with("/picture-1.jpeg"), "{attached}");
    machine.ask(ID, Request::new("Say it.")).await.unwrap();
    assert!(!machine.last("copilot").args().iter().any(|word| word.starts_with("--agent")));
}

#[tokio::test]
async fn its_tools_are_off_or_as_far_as_the_mode_allows() {
    let folder = tempfile::tempdir().unwrap();
    for (mode, has, lacks) in [
        (None, "--available-tools=none", "--allow-all"),
        (Some("read-only"), "--deny-tool=shell", "--allow-all"),
        (Some("allow-all-tools"), "--allow-all-tools", "--allow-all"),
        (Some("allow-all"), "--allow-all", "--deny-tool=write"),
    ] {
        let machine = machine("text").settings(|settings| {
            settings.agent = mode.is_some();
            settings.permission_mode = mode.map(str::to_owned);
            settings.folder = mode.is_some().then(|| folder.path().to_owned());
        });
        machine.ask(ID, Request::new("Say it.")).await.unwrap();
        let seen = machine.last("copilot");
        assert!(seen.args().contains(&has) && !seen.args().contains(&lacks), "{mode:?}: {:?}", seen.args());
        assert!(seen.args().contains(&"--no-custom-instructions"), "{mode:?}");
        assert_eq!(seen.folder() == folder.path().canonicalize().unwrap(), mode.is_some());
    }
    let unknown = machine("text").settings(|settings| {
        settings.agent = true;
        settings.permission_mode = Some("yolo".into());
        settings.folder = Some("/".into());
    });
    assert!(unknown.provider(ID).unwrap_err().hint().unwrap().contains("read-only, allow-all-tools, allow-all"));
}

#[tokio::test]
async fn whoever_leaves_ends_the_whole_group() {
    let machine = Machine::new();
    let pipe = machine.pipe("held");
    let text = Transcript::recorded("copilot/text").cut_after("One tw", json!({"hang": true})).lines;
    let lines = [vec![json!({"hold": pipe}), json!({"child": true})], text].concat();
    machine.plays("copilot", &Transcript::of(lines));
    let pipe = watch(pipe);
    let mut stream = machine.open(ID, None, streamed("x")).await.unwrap();
    content(&mut stream).await;
    drop(stream);
    all_gone(pipe.join().unwrap());
}
