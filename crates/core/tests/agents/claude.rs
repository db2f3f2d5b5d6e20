//! Claude Code: what the real program printed, said again by a stand-in, and what no real one prints.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use llm_router::Result;
use llm_router::delta::FinishReason;
use llm_router::error::ErrorKind;
use llm_router::request::{BlockBody, JsonSchema, Message, RawJson, Reasoning, Request, ResponseFormat, Source};
use llm_router::response::Response;
use serde_json::{Value, json};

use crate::support::{Machine, Transcript, all_gone, call, content, pieces, streamed, watch};

const ANSWER: &str = "One two three four five six seven.";

fn out(line: Value) -> Value {
    json!({"out": line.to_string()})
}

fn event(event: Value) -> Value {
    out(json!({"type": "stream_event", "event": event}))
}

fn start() -> Value {
    event(json!({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1}}}))
}

fn piece(text: &str) -> Value {
    event(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}))
}

fn stop(reason: &str) -> Value {
    event(json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}}))
}

fn result(text: &str) -> Value {
    out(json!({"type": "result", "subtype": "success", "is_error": false, "result": text, "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2}}))
}

fn exit() -> Value {
    json!({"exit": 0})
}

fn with(transcript: Transcript) -> Machine {
    Machine::new().with("claude", transcript).variable("ANTHROPIC_API_KEY", "canary-of-the-key")
}

fn saying(lines: impl IntoIterator<Item = Value>) -> Machine {
    with(Transcript::of(lines))
}

async fn ask(machine: &Machine) -> Result<Response> {
    machine.ask("claude_code", Request::new("hello")).await
}

async fn said(machine: &Machine) -> (Vec<String>, Result<()>) {
    pieces(machine.open("claude_code", None, streamed("hello")).await.unwrap()).await
}

fn finish(response: &Response) -> FinishReason {
    response.choices[0].finish
}

// What the real program printed.

#[tokio::test]
async fn a_recorded_answer_comes_in_its_pieces_with_what_it_took() {
    let machine = with(Transcript::recorded("claude/whole"));
    let (said, ended) = said(&machine).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(said, ["One tw", "o thre", "e four", " five ", "six se", "ven."]);
    let answer = ask(&machine).await.unwrap();
    assert_eq!(
        (answer.text().as_str(), answer.model.as_str(), finish(&answer)),
        (ANSWER, "parrot", FinishReason::Stop)
    );
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output), (11, 3, 7));
    assert_eq!(usage.cost_micros, None, "a price of its own table for a model that is not in it");
    machine.runner.shutdown().await;
    assert!(machine.left().is_empty());
}

#[tokio::test]
async fn the_program_is_asked_as_it_was_when_that_was_recorded() {
    let recorded = Transcript::recorded("claude/whole");
    let machine = with(recorded.clone());
    machine.open("claude_code", Some("parrot"), streamed("hello")).await.map(pieces).unwrap().await.1.unwrap();
    let seen = machine.last("claude");
    let shape = |words: &[&str]| -> Vec<String> {
        words.iter().filter(|word| !word.starts_with('/')).map(|&word| word.to_owned()).collect()
    };
    let words = recorded.words();
    assert_eq!(shape(&seen.args()), shape(&words.iter().map(String::as_str).collect::<Vec<_>>()));
}

#[tokio::test]
async fn recorded_thoughts_come_apart_from_the_text() {
    let (said, ended) = said(&with(Transcript::recorded("claude/thinks"))).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(
        said.iter().filter(|piece| piece.starts_with('[')).cloned().collect::<String>(),
        "[The us][er wan][ts wor][ds.]"
    );
    assert!(said.last().unwrap().ends_with("ven."));
}

#[tokio::test]
async fn recorded_failures_are_told_apart() {
    use ErrorKind::*;
    for (case, kind) in [
        ("bad-request", ProviderRejected),
        ("bad-key", ProviderAuth),
        ("forbidden", ProviderAuth),
        ("model-unknown", CallerModelUnknown),
        ("rate-limited", ProviderRateLimited),
        ("quota", ProviderQuotaExhausted),
        ("server-broken", ProviderServerError),
        ("overloaded", ProviderOverloaded),
        ("too-long", CallerContextLength),
        ("says-nothing", ProviderProtocol),
        ("not-logged-in", ProviderAuth),
        ("refused-connection", ProviderConnection),
        ("credit", ProviderBilling),
        ("forged-call", ProviderProtocol),
        ("unknown-option", ProviderUnavailable),
        ("root", ProviderUnavailable),
    ] {
        let error = ask(&with(Transcript::recorded(&format!("claude/{case}")))).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{case}: {error}");
        let needs_hint = matches!(kind, ProviderAuth | ProviderUnavailable);
        assert!(!needs_hint || error.hint().is_some(), "{case}: {error}");
    }
}

#[tokio::test]
async fn a_recorded_limit_of_a_subscription_names_its_reset() {
    let mut transcript = Transcript::recorded("claude/limit");
    let reset = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 7200;
    for line in &mut transcript.lines {
        let Some(mut told) = line["out"].as_str().and_then(|line| serde_json::from_str::<Value>(line).ok()) else {
            continue;
        };
        if told["type"] == "rate_limit_event" {
            told["rate_limit_info"]["resetsAt"] = reset.into();
            *line = out(told);
        }
    }
    let error = ask(&with(transcript)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderQuotaExhausted);
    let wait = error.retry_after().unwrap();
    assert!(wait <= Duration::from_secs(7200) && wait > Duration::from_secs(7100), "{wait:?}");
    assert!(error.message().contains("5-hour limit"), "{error}");
}

#[tokio::test]
async fn recorded_attempts_of_its_own_double_no_text() {
    let limit = ask(&with(Transcript::recorded("claude/cut-at-the-limit"))).await.unwrap();
    assert_eq!((limit.text().as_str(), finish(&limit)), ("Half a sen", FinishReason::Length));
    assert_eq!(limit.usage.unwrap().output, 7, "one message's");
    let refused = ask(&with(Transcript::recorded("claude/refuses"))).await.unwrap();
    assert_eq!((refused.text().as_str(), finish(&refused)), ("I cannot help with that.", FinishReason::Refusal));
    let (said, ended) = said(&with(Transcript::recorded("claude/cut-stream-direct"))).await;
    assert_eq!(said.concat(), "Half a");
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ProviderConnection);
    // A stream of which nothing came is asked for again without one.
    let whole = ask(&with(Transcript::recorded("claude/not-streamed"))).await.unwrap();
    assert_eq!(whole.text(), "Whole answer.");
    // Half of one came, and then an error.
    let (said, ended) = self::said(&with(Transcript::recorded("claude/cut-and-asked-again"))).await;
    assert_eq!(said.concat(), "One two three");
    assert!(ended.is_err());
}

fn schema() -> Request {
    let schema =
        RawJson::parse(r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#).unwrap();
    let mut request = Request::new("where");
    let schema = JsonSchema { name: "place".into(), description: None, schema, strict: None };
    request.response_format = Some(ResponseFormat::JsonSchema(schema));
    request
}

#[tokio::test]
async fn a_recorded_answer_in_a_form_is_that_form_alone() {
    let machine = with(Transcript::recorded("claude/structured"));
    let answer = machine.ask("claude_code", schema()).await.unwrap();
    assert_eq!(answer.text(), r#"{"city":"Paris","degrees":21}"#);
    let seen = machine.last("claude");
    // On no command line, where everybody on the machine could read it.
    assert!(!seen.args().iter().any(|word| word.contains("city")), "{:?}", seen.args());
    let first: Value = serde_json::from_str(seen.stdin().lines().next().unwrap()).unwrap();
    assert_eq!((&first["type"], &first["request"]["subtype"]), (&json!("control_request"), &json!("initialize")));
    assert!(first["request"]["jsonSchema"]["properties"].get("city").is_some(), "{first}");
    assert_eq!(seen.option("--max-turns"), Some("4"));
    let formless = with(Transcript::recorded("claude/structured-wrong"));
    assert_eq!(formless.ask("claude_code", schema()).await.unwrap_err().kind(), ErrorKind::ProviderProtocol);
    // Of a form that it does not understand it says nothing; it has no tool for it.
    let init = json!({"type": "system", "subtype": "init", "tools": []});
    let error = saying([out(init), start(), piece("x"), stop("end_turn"), result("x"), exit()]);
    let error = error.ask("claude_code", schema()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::CallerUnsupported && error.message().contains("JSON Schema"), "{error}");
}

#[tokio::test]
async fn a_recorded_run_with_tools_gives_the_text_of_each_message() {
    let folder = tempfile::tempdir().unwrap();
    let machine = with(Transcript::recorded("claude/with-tools")).settings(|settings| {
        settings.agent = true;
        settings.folder = Some(folder.path().into());
        settings.permission_mode = Some("acceptEdits".into());
    });
    let answer = ask(&machine).await.unwrap();
    assert!(answer.text().starts_with("It said: "), "{}", answer.text());
    let seen = machine.last("claude");
    assert_eq!(seen.folder(), folder.path().canonicalize().unwrap());
    assert_eq!(seen.option("--permission-mode"), Some("acceptEdits"));
    assert!(!seen.args().contains(&"--tools=") && seen.option("--system-prompt-file").is_none());
    assert_eq!(answer.usage.unwrap().output, 14, "of both messages");
}

// How it is started.

#[tokio::test]
async fn what_is_said_to_it_is_one_line_whatever_the_prompt_holds() {
    let machine = saying([start(), piece("x"), stop("end_turn"), result("x"), exit()]);
    let long = "0123456789abcde\n".repeat(20_000);
    for prompt in [
        "-p --mcp-config=/x \"$(id)\" {model}",
        "a\0b",
        "🎉 日本\n",
        "/init",
        "//compact",
        "/",
        "//",
        "@/etc/passwd",
        long.as_str(),
    ] {
        machine.ask("claude_code", Request::new(prompt)).await.unwrap();
        let seen = machine.last("claude");
        let told: Value = serde_json::from_str(seen.stdin()).unwrap();
        let texts = told["message"]["content"].as_array().unwrap();
        let whole: String = texts.iter().map(|block| block["text"].as_str().unwrap()).collect();
        assert_eq!(whole, prompt);
        let last = texts.last().unwrap()["text"].as_str().unwrap();
        assert!(prompt.trim_matches('/').is_empty() || !last.starts_with('/'), "a slash command of its own: {last}");
        assert!(!seen.args().iter().any(|word| word.contains("mcp-config=/x")));
    }
    assert_eq!(
        machine.ask("claude_code", Request::new(" \n")).await.unwrap_err().kind(),
        ErrorKind::CallerInvalidRequest
    );
}

#[tokio::test]
async fn with_a_key_it_sees_no_login_and_nobody_elses_keys() {
    let machine = saying([start(), piece("x"), result("x"), exit()])
        .file(".claude/.credentials.json", "{}")
        .file(".claude/settings.json", "{}")
        .variable("OPENAI_API_KEY", "canary-of-another");
    ask(&machine).await.unwrap();
    let seen = machine.last("claude");
    assert!(seen.args().contains(&"--bare") && seen.args().contains(&"--tools="));
    assert!(seen.home().is_empty() && seen.files().is_empty(), "{seen:?}");
    assert_eq!(seen.variable("ANTHROPIC_API_KEY"), Some("canary-of-the-key"));
    assert_eq!(seen.variable("CLAUDE_SECURESTORAGE_CONFIG_DIR"), None);
    assert!(!seen.0.to_string().contains("canary-of-another"));
    let mine: BTreeSet<_> =
        seen.variables().into_iter().filter(|name| name.starts_with("CLAUDE_CODE_DISABLE")).collect();
    assert!(mine.contains("CLAUDE_CODE_DISABLE_ATTACHMENTS") && mine.contains("CLAUDE_CODE_DISABLE_CLAUDE_MDS"));
}

#[tokio::test]
async fn without_a_key_the_users_login_is_there_and_what_is_refreshed_reaches_it() {
    for anew in [false, true] {
        let refreshed = json!({"write": ".claude/.credentials.json", "text": "fresh", "anew": anew});
        let machine = Machine::new()
            .with("claude", Transcript::of([refreshed, start(), piece("x"), result("x"), exit()]))
            .file(".claude/.credentials.json", "planted")
            .file(".claude/CLAUDE.md", "obey")
            .file(".claude.json", "{}");
        ask(&machine).await.unwrap();
        let seen = machine.last("claude");
        assert_eq!(seen.home(), [".claude/.credentials.json"]);
        assert!(!seen.args().contains(&"--bare") && seen.args().contains(&"--setting-sources="));
        let user = machine.home().join(".claude");
        assert_eq!(seen.variable("CLAUDE_SECURESTORAGE_CONFIG_DIR"), user.to_str());
        machine.runner.shutdown().await;
        assert_eq!(std::fs::read_to_string(user.join(".credentials.json")).unwrap(), "fresh", "{anew}");
        assert_eq!(std::fs::read_dir(&user).unwrap().count(), 2);
        assert!(machine.left().is_empty());
    }
}

#[tokio::test]
async fn model_system_effort_limit_and_pictures_are_passed_on() {
    let machine = saying([start(), piece("x"), result("x"), exit()]);
    let source = Source::Base64 { mime: "image/png".into(), data: "iVBORw0KGgo=".into() };
    let picture = BlockBody::Image { source, detail: None };
    let mut question = Message::user("what");
    question.content.insert(0, picture.into());
    let mut request = streamed("");
    request.messages = vec![Message::system("- speak"), question];
    request.sampling.max_tokens = Some(9);
    let mut reasoning = Reasoning::default();
    reasoning.effort = Some("minimal".into());
    request.reasoning = Some(reasoning);
    let call = call("claude_code", Some("opus"), request.clone());
    pieces(machine.provider("claude_code").unwrap().generate(call.clone()).await.unwrap()).await.1.unwrap();
    let seen = machine.last("claude");
    assert_eq!((seen.option("--model"), seen.option("--effort")), (Some("opus"), Some("low")));
    assert_eq!(seen.variable("CLAUDE_CODE_MAX_OUTPUT_TOKENS"), Some("9"));
    assert!(seen.option("--system-prompt-file").is_some() && !seen.args().contains(&"- speak"));
    let told: Value = serde_json::from_str(seen.stdin()).unwrap();
    assert_eq!(told["message"]["content"][0]["source"]["media_type"], "image/png");
    assert_eq!(told["message"]["content"][1]["text"], "what");

    request.reasoning.as_mut().unwrap().effort = Some("none".into());
    machine.ask("claude_code", request.clone()).await.unwrap();
    assert_eq!(machine.last("claude").variable("MAX_THINKING_TOKENS"), Some("0"));
    let source = Source::Base64 { mime: "image/bmp".into(), data: "Qk0=".into() };
    request.messages[1].content[0] = BlockBody::Image { source, detail: None }.into();
    assert_eq!(machine.ask("claude_code", request).await.unwrap_err().kind(), ErrorKind::CallerUnsupported);
}

#[tokio::test]
async fn tools_need_a_folder_and_a_mode_that_it_knows() {
    let machine = saying([]).settings(|settings| settings.agent = true);
    assert!(machine.provider("claude_code").unwrap_err().message().contains("no folder"));
    let machine = machine.settings(|settings| {
        settings.folder = Some("/".into());
        settings.permission_mode = Some("auto".into());
    });
    assert!(machine.provider("claude_code").unwrap_err().hint().unwrap().contains("dontAsk"));
}

#[tokio::test]
async fn a_refused_login_is_known_until_it_changes() {
    let machine = saying([]).file(".claude/.credentials.json", "{}");
    let mark = |machine: &Machine| machine.provider("claude_code").unwrap().login_mark().unwrap();
    let before = mark(&machine);
    assert_eq!(mark(&machine), before);
    assert!(!before.contains("canary"), "{before}");
    let machine = machine.file(".claude/.credentials.json", "{\"another\": 1}");
    let other = mark(&machine);
    assert_ne!(other, before);
    let machine = machine.variable("CLAUDE_CODE_OAUTH_TOKEN", "token");
    let token = mark(&machine);
    assert_ne!(token, other);
    assert_ne!(mark(&machine.variable("ANTHROPIC_API_KEY", "another")), token);
}

// What no real program prints.

#[tokio::test]
async fn text_that_no_event_brought_is_not_lost_and_none_is_doubled() {
    for (events, result_text, wanted) in [
        (vec![start()], "all", Some("all")),
        (vec![start(), piece("al")], "all", Some("all")),
        (vec![start(), piece("all")], "all", Some("all")),
        (vec![start(), piece("all ")], "all", Some("all ")),
        (vec![start(), piece("half")], "other", None),
        (vec![start(), piece("half"), start(), piece("half")], "half", None),
        (vec![start(), start(), piece("all")], "all", Some("all")),
    ] {
        let machine = saying(events.into_iter().chain([result(result_text), exit()]));
        match (ask(&machine).await, wanted) {
            (Ok(answer), Some(text)) => assert_eq!(answer.text(), text),
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::ProviderConnection),
            (other, wanted) => panic!("{wanted:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn messages_of_a_run_with_tools_are_parted_and_subagents_are_passed_over() {
    let other = out(json!({"type": "stream_event", "parent_tool_use_id": "toolu_1",
        "event": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "aside"}}}));
    let lines = [start(), piece("I look."), stop("tool_use"), other, start(), piece("It is so."), stop("end_turn")];
    let folder = tempfile::tempdir().unwrap();
    let machine = saying(lines.into_iter().chain([result("It is so."), exit()])).settings(|settings| {
        settings.agent = true;
        settings.folder = Some(folder.path().into());
    });
    assert_eq!(ask(&machine).await.unwrap().text(), "I look.\n\nIt is so.");
    assert_eq!(machine.last("claude").option("--permission-mode"), Some("dontAsk"));
}

#[tokio::test]
async fn whatever_it_prints_is_bounded_and_told() {
    let half = json!({"part": "{\"type\":\"resu"});
    let wide = json!({"out": "x", "times": 50 << 20});
    for (lines, said) in [
        (vec![json!({"out": "Segmentation fault"}), exit()], "not understood"),
        (vec![half, exit()], "not understood"),
        (vec![wide], "more than"),
        (vec![exit()], "no whole answer"),
        (vec![start(), piece("half"), exit()], "no whole answer"),
        (vec![json!({"out": "[1]"}), exit()], "not understood"),
        (
            vec![out(json!({"type": "result", "subtype": "success", "is_error": null, "result": null})), exit()],
            "no answer",
        ),
        (vec![start(), piece("half"), json!({"signal": 9})], "signal 9"),
        (vec![json!({"err": "canary-of-the-key is bad"}), json!({"exit": 3})], "exit status 3: … is bad"),
    ] {
        let error = ask(&saying(lines)).await.unwrap_err();
        assert!(error.message().contains(said), "{said}: {error}");
        assert!(!error.to_string().contains("canary") && error.message().len() < 4000, "{error}");
    }
}

#[tokio::test]
async fn whoever_leaves_ends_the_whole_group() {
    let machine = saying([]);
    let pipe = machine.pipe("held");
    let held = json!({"hold": pipe});
    machine.plays("claude", &Transcript::of([held, json!({"child": true}), piece("one"), json!({"hang": true})]));
    let pipe = watch(pipe);
    let mut stream = machine.open("claude_code", None, streamed("x")).await.unwrap();
    content(&mut stream).await;
    drop(stream);
    all_gone(pipe.join().unwrap());
    machine.runner.shutdown().await;
    assert!(machine.left().is_empty());
}

#[tokio::test]
async fn one_that_is_deaf_to_the_polite_signal_is_killed() {
    let machine = saying([]);
    let pipe = machine.pipe("held");
    let lines = [json!({"hold": pipe}), piece("one"), json!({"hang": true})];
    machine.plays("claude", &Transcript::of(lines).stubborn());
    let pipe = watch(pipe);
    let mut stream = machine.open("claude_code", None, streamed("x")).await.unwrap();
    content(&mut stream).await;
    drop(stream);
    all_gone(pipe.join().unwrap());
}

/// A tool's programs in sessions of their own, one still below the agent and one that nobody is above any more; both hold a pipe.
#[cfg(target_os = "linux")]
fn with_strays(end: &str) -> (Machine, std::thread::JoinHandle<[std::fs::File; 2]>) {
    let machine = Machine::new().variable("ANTHROPIC_API_KEY", "key");
    let folder = machine.home();
    let machine = machine.settings(|settings| (settings.agent, settings.folder) = (true, Some(folder)));
    let [below, orphan] = ["below", "orphan"].map(|name| machine.pipe(name));
    let stray = |pipe: &std::path::Path| {
        format!("setsid sh -c 'exec 3>{}; exec sleep 1000' </dev/null >/dev/null 2>&1", pipe.display())
    };
    let said: Vec<_> = [start(), piece("one"), stop("end_turn"), result("one")].map(|line| line["out"].clone()).into();
    let said: String = said.iter().map(|line| format!("{}\n", line.as_str().unwrap())).collect();
    std::fs::write(machine.at("said"), said).unwrap();
    // It says something when both pipes are open.
    let opened = machine.pipe("opened");
    let script = format!(
        "#!/bin/sh\n{} &\n({} &)\nread go <{}\ncat {}\n{end}\n",
        stray(&below),
        stray(&orphan),
        opened.display(),
        machine.at("said").display()
    );
    machine.script("claude", &script);
    let watched = std::thread::spawn(move || {
        let files = [below, orphan].map(|pipe| std::fs::File::open(pipe).unwrap());
        std::fs::write(opened, "go\n").unwrap();
        files
    });
    (machine, watched)
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn what_its_tools_start_in_sessions_of_their_own_ends_with_it() {
    let gone = async |watched: std::thread::JoinHandle<[std::fs::File; 2]>| {
        let gone = tokio::task::spawn_blocking(|| watched.join().unwrap().map(all_gone));
        tokio::time::timeout(std::time::Duration::from_secs(60), gone).await.expect("both end").unwrap();
    };
    let (machine, watched) = with_strays("exec sleep 1000");
    let mut stream = machine.open("claude_code", None, streamed("x")).await.unwrap();
    content(&mut stream).await;
    drop(stream);
    gone(watched).await;
    let (machine, watched) = with_strays("exit 0");
    assert_eq!(machine.ask("claude_code", Request::new("x")).await.unwrap().text(), "one");
    gone(watched).await;
    machine.runner.shutdown().await;
    assert!(machine.left().is_empty(), "{:?}", machine.left());
}

#[tokio::test]
async fn an_absent_program_is_named_with_how_to_come_by_it() {
    let error = ask(&Machine::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderUnavailable);
    assert!(error.hint().unwrap().contains("npm install"), "{error}");
}
