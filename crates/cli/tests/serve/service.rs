//! The program serving, in a process of its own: started, asked over a socket, and ended with the test that holds it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server under way. Dropping it ends it.
pub(crate) struct Service {
    pub(crate) child: Child,
    pub(crate) stderr: Option<BufReader<ChildStderr>>,
    pub(crate) address: SocketAddr,
}

impl Service {
    /// Started with no environment at all, in the root folder.
    pub(crate) fn start(folder: &Path, config: &str) -> Self {
        Self::start_as(folder, config, |_| {})
    }

    /// The same, with something changed about the command.
    pub(crate) fn start_as(folder: &Path, config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let file = folder.join("router.toml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router"));
        command.args(["serve", "--port", "0", "--config"]).arg(&file).env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let address = loop {
            let begins = said.len();
            assert!(stderr.read_line(&mut said).unwrap() > 0, "it ended: {:?}\n{said}", child.wait());
            if let Some((_, address)) = said[begins..].trim().split_once("listening on http://") {
                break address.parse().unwrap();
            }
        };
        Self { child, stderr: Some(stderr), address }
    }

    pub(crate) fn ask(&self, text: &str) -> String {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
    }

    /// What is answered to a short conversation.
    pub(crate) fn chat(&self) -> String {
        self.chat_with("")
    }

    /// The same, with more headers, each with its line's end.
    pub(crate) fn chat_with(&self, headers: &str) -> String {
        self.ask(&conversation("echo/x", headers))
    }

    /// The body of what is answered to this one.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let head = "host: localhost\r\ncontent-type: application/json\r\nconnection: close";
        let answer =
            self.ask(&format!("POST {path} HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|_| panic!("{answer}"))
    }

    pub(crate) fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
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

/// A short conversation as it goes over the socket.
pub(crate) fn conversation(model: &str, headers: &str) -> String {
    let body = format!(r#"{{"model":{model:?},"messages":[{{"role":"user","content":"say it again"}}]}}"#);
    let head = "host: localhost\r\ncontent-type: application/json\r\nconnection: close";
    format!("POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
