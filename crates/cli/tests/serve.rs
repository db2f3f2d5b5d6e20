//! The real program as a service: started with nothing but a configuration file, asked over HTTP, told to end by signals.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server under way. Dropping it ends it.
struct Service {
    child: Child,
    stderr: BufReader<ChildStderr>,
    address: SocketAddr,
}

impl Service {
    /// Started with no environment at all, in the root folder.
    fn start(folder: &Path, config: &str) -> Self {
        let file = folder.join("router.toml");
        fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_llm-router"))
            .args(["serve", "--port", "0", "--config"])
            .arg(&file)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended: {:?}", child.wait());
            if let Some((_, address)) = line.trim().split_once("listening on http://") {
                break address.parse().unwrap();
            }
        };
        Self { child, stderr, address }
    }

    fn ask(&self, text: &str) -> String {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
    }

    fn chat(&self) -> String {
        let body = r#"{"model":"echo/x","messages":[{"role":"user","content":"say it again"}]}"#;
        let head = "host: localhost\r\ncontent-type: application/json\r\nconnection: close";
        self.ask(&format!(
            "POST /v1/chat/completions HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    service.stderr.read_to_string(&mut rest).unwrap();
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
