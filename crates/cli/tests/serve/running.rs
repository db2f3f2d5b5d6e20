//! What it does from its start to its end: whom it serves, what it writes, how it goes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use llm_router_local::testing::encoder;
use llm_router_local::testing::tiny::{self, Family};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::service::{PATIENCE, Service};

#[test]
fn the_embedded_engine_counts_exactly_and_makes_vectors_for_every_client() {
    let folder = tempfile::tempdir().unwrap();
    let text = tiny::write(folder.path(), Family::Qwen, 7).unwrap();
    let vectors = encoder::write(folder.path(), encoder::MEAN, 7).unwrap();
    let settings = format!("[local]\nmodel = {text:?}\nembedding_model = {vectors:?}\nthreads = 1\n");
    let service = Service::start(folder.path(), &settings);

    let asked = json!({"model": "tiny-encoder", "input": ["hello world", "the cat"], "encoding_format": "float"});
    let made = service.post("/v1/embeddings", &asked);
    let first = made["data"][0]["embedding"].as_array().unwrap_or_else(|| panic!("{made}")).clone();
    assert_eq!((first.len(), made["data"].as_array().unwrap().len()), (encoder::WIDTH, 2));
    assert_eq!(made["usage"], json!({"prompt_tokens": 8, "total_tokens": 8}));
    let packed =
        json!({"model": "local/tiny-encoder", "input": "hello world", "encoding_format": "base64", "dimensions": 4});
    let packed = service.post("/v1/embeddings", &packed);
    // Four numbers of four bytes.
    assert_eq!(packed["data"][0]["embedding"].as_str().unwrap().len(), 24, "{packed}");
    let long = json!({"model": "tiny-encoder", "input": "cat ".repeat(100)});
    let refused = service.post("/v1/embeddings", &long);
    assert_eq!(refused["error"]["code"], "context_length_exceeded", "{refused}");

    let part = json!({"content": {"parts": [{"text": "hello world"}]}});
    let google = service.post("/v1beta/models/tiny-encoder:embedContent", &part);
    let close = |(a, b): (&Value, &Value)| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-6;
    let values = google["embedding"]["values"].as_array().unwrap_or_else(|| panic!("{google}"));
    assert!(values.len() == first.len() && values.iter().zip(&first).all(close));
    let batch = service.post("/v1beta/models/tiny-encoder:batchEmbedContents", &json!({"requests": [part, part]}));
    assert_eq!(batch["embeddings"].as_array().unwrap().len(), 2, "{batch}");

    let said = json!({"model": "tiny-qwen", "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]});
    let counted = service.post("/v1/messages/count_tokens", &said);
    assert!(counted.get("estimated").is_none(), "{counted}");
    assert_eq!(counted["input_tokens"], service.post("/v1/messages", &said)["usage"]["input_tokens"]);
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]});
    let google = service.post("/v1beta/models/tiny-qwen:countTokens", &contents);
    assert_eq!(google, json!({"totalTokens": counted["input_tokens"]}));
}

/// A provider that answers with the prompt.
const ECHO: &str = "[providers.echo]\ncommand = \"/usr/bin/env MODEL={model} /bin/cat\"\n";

#[test]
fn it_serves_with_no_home_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &format!("{ECHO}[server]\naccess_log = \"stdout\"\n"));
    assert!(service.get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(service.get("/readyz").starts_with("HTTP/1.1 200"));
    let answer = service.chat();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("say it again"), "{answer}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["router.toml"]);
    let mut service = service;
    service.tell(Signal::INT);
    assert!(service.ended().success());
    // What waited in the access log was written before the end.
    let mut log = String::new();
    service.child.stdout.take().unwrap().read_to_string(&mut log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
    assert!(lines[2].contains("\"provider\":\"echo\"") && !log.contains("say it again"), "{log}");
}

#[test]
fn it_serves_as_nobody_who_can_write_nowhere() {
    // Whoever runs this test, the server runs as a user without a name, a home or a folder of its own. Only root can become one; anybody else is one already.
    let nobody = rustix::process::geteuid().is_root().then_some(65_534);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The program may lie below a folder that only root may enter: it is opened before, and what is open can be run.
    let program = fs::File::open(env!("CARGO_BIN_EXE_llm-router")).unwrap();
    rustix::io::fcntl_setfd(&program, rustix::io::FdFlags::empty()).unwrap();
    let mut service = Service::start_as(folder.path(), &format!("{ECHO}[server]\ndrain = \"10ms\"\n"), |command| {
        let mut other = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        other.args(command.get_args()).env_clear().current_dir("/");
        other.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(nobody) = nobody {
            other.uid(nobody).gid(nobody);
        }
        *command = other;
    });
    assert!(service.get("/readyz").starts_with("HTTP/1.1 200"));
    let answer = service.chat();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("say it again"), "{answer}");
    service.tell(Signal::TERM);
    assert!(service.ended().success());
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["router.toml"]);
}

#[test]
fn no_log_at_any_level_holds_what_was_said() {
    const CANARY: &str = "c4narybird7f3e9b1d5a";
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{ECHO}[server]\naccess_log = \"stdout\"\ndrain = \"10ms\"\n");
    let mut service = Service::start_as(folder.path(), &config, |command| {
        command.env("IPFS_LLM_ROUTER_LOG", "trace,rmcp=trace,rmcp::service=trace");
    });
    let mut stderr = service.stderr.take().unwrap();
    // It tells much: somebody must read, or it waits.
    let log = std::thread::spawn(move || {
        let mut all = String::new();
        stderr.read_to_string(&mut all).unwrap();
        all
    });
    let post = |path: &str, body: String| {
        let head = "host: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nconnection: close";
        service.ask(&format!("POST {path} HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    };
    let said = format!(r#"[{{"role":"user","content":"{CANARY}"}}]"#);
    let call = |meta: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"generate","arguments":{{"prompt":"{CANARY}","provider":"echo","model":"x"}}{meta}}}}}"#
        )
    };
    for (path, body) in [
        ("/v1/chat/completions", format!(r#"{{"model":"echo/x","messages":{said}}}"#)),
        ("/v1/chat/completions", format!(r#"{{"model":"echo/x","stream":true,"messages":{said}}}"#)),
        ("/v1/messages", format!(r#"{{"model":"echo/x","max_tokens":9,"messages":{said}}}"#)),
        ("/v1/responses", format!(r#"{{"model":"echo/x","input":"{CANARY}"}}"#)),
        ("/v1beta/models/echo/x:generateContent", format!(r#"{{"contents":[{{"parts":[{{"text":"{CANARY}"}}]}}]}}"#)),
        ("/api/v0/ai/llm/generate", format!(r#"{{"prompt":"{CANARY}","provider":"echo","model_name":"x"}}"#)),
        ("/mcp", call("")),
        ("/mcp", call(r#","_meta":{"progressToken":"p"}"#)),
    ] {
        let answer = post(path, body.clone());
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(CANARY), "{path} {body} {answer}");
    }
    // What cannot be read is not repeated in a log either.
    for (path, body) in [
        ("/v1/chat/completions", format!(r#"{{"model":"echo/x","messages":{said},"#)),
        ("/mcp", format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{CANARY}"}}"#)),
        ("/mcp", format!("{{{CANARY}")),
    ] {
        assert!(post(path, body).starts_with("HTTP/1.1 "));
    }
    service.tell(Signal::TERM);
    assert!(service.ended().success());
    let log = log.join().unwrap();
    let line = log.lines().find(|line| line.contains(CANARY));
    assert_eq!(line, None);
    let mut access = String::new();
    service.child.stdout.take().unwrap().read_to_string(&mut access).unwrap();
    assert!(access.lines().count() == 11 && !access.contains(CANARY), "{access}");

    // Over pipes as well.
    let mut mcp = Command::new(env!("CARGO_BIN_EXE_llm-router"))
        .args(["mcp", "--config"])
        .arg(folder.path().join("router.toml"))
        .env_clear()
        .env("IPFS_LLM_ROUTER_LOG", "trace")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let mut stdin = mcp.stdin.take().unwrap();
    writeln!(stdin, "{hello}\n{ready}\n{}\n{{{CANARY}", call("")).unwrap();
    let mut lines = BufReader::new(mcp.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map(Result::unwrap).any(|line| line.contains(CANARY)), "the tool answered");
    drop(stdin);
    let out = mcp.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(log.lines().find(|line| line.contains(CANARY)), None);
}

#[test]
fn a_service_manager_is_told_before_it_ends_and_whoever_asks_twice_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path(), &format!("{ECHO}[server]\ndrain = \"10m\"\n"));
    service.tell(Signal::TERM);
    let began = Instant::now();
    while !service.get("/readyz").starts_with("HTTP/1.1 503") {
        assert!(began.elapsed() < PATIENCE, "it does not say that it goes");
    }
    assert!(service.chat().starts_with("HTTP/1.1 200"));
    service.tell(Signal::TERM);
    assert!(service.ended().success());
    assert!(TcpStream::connect(service.address).is_err());
    // With a short drain it ends by itself.
    let mut service = Service::start(folder.path(), &format!("{ECHO}[server]\ndrain = \"50ms\"\n"));
    service.tell(Signal::TERM);
    assert!(service.ended().success());
    let mut rest = String::new();
    service.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("panicked"), "{rest}");
}

#[test]
fn a_setting_that_cannot_work_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for (settings, names) in [
        ("host = \"0.0.0.0\"", "api_keys"),
        ("host = \"router.example.org\"", "server.host"),
        ("tls_cert = \"/nowhere.pem\"\ntls_key = \"/nowhere.key\"", "/nowhere.pem"),
        ("access_log = \"not/absolute\"", "access_log"),
        ("admin = \"0.0.0.0:0\"", "admin"),
        ("api_keys = [{ name = \"team\", key_file = \"/nowhere\" }]", "/nowhere"),
    ] {
        let file = folder.path().join("router.toml");
        fs::write(&file, format!("{ECHO}[server]\nport = 0\n{settings}\n")).unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_llm-router"))
            .args(["serve", "--config"])
            .arg(&file)
            .env_clear()
            .current_dir("/")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(matches!(out.status.code(), Some(1 | 2)) && said.contains(names), "{settings}: {said}");
    }
}
