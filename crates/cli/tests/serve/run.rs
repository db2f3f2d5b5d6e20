//! `run` beside a server that serves already: whose router the agent asks, with which key, and what is left of that key.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::keys::{CONFIG, says, status, until};
use crate::service::Service;

/// A server with this configuration, which says from then on where it listens.
fn serve(home: &Path, config: &str) -> Service {
    let service = Service::start_as(home, config, |command| {
        command.env("HOME", home);
    });
    let config = config.replacen("[server]", &format!("[server]\nport = {}", service.address.port()), 1);
    fs::write(home.join("router.toml"), config).unwrap();
    service
}

/// An agent under way that said where and how it was to ask.
struct Agent {
    child: Child,
    base: String,
    key: String,
}

impl Agent {
    fn start(home: &Path, words: &[&str]) -> Self {
        let bin = home.join("bin");
        if fs::create_dir(&bin).is_ok() {
            let draft = home.join("draft");
            fs::write(&draft, "#!/bin/sh\necho \"$ANTHROPIC_BASE_URL $ANTHROPIC_AUTH_TOKEN\"\nread line\n").unwrap();
            fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
            // Copied by another program: a file that this process still has open for writing would be busy.
            assert!(Command::new("cp").arg("-p").arg(&draft).arg(bin.join("claude")).status().unwrap().success());
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router"));
        command.env_clear().env("HOME", home).env("PATH", format!("{}:/usr/bin:/bin", bin.display())).current_dir("/");
        command.arg("--config").arg(home.join("router.toml")).args(["run", "claude", "-m", "echo/x"]).args(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        let Some((base, key)) = said.trim().split_once(' ') else {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("it ended before the agent: {said}");
        };
        Self { base: base.to_owned(), key: key.to_owned(), child }
    }

    /// Lets it end; what we said meanwhile.
    fn ends(mut self) -> String {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{said}");
        said
    }
}

impl Drop for Agent {
    /// A test that failed leaves nothing behind: the router ends what it started.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

#[test]
fn a_server_that_takes_made_keys_is_asked_with_one_of_the_run() {
    let home = tempfile::tempdir().unwrap();
    let service = serve(home.path(), CONFIG);
    let agent = Agent::start(home.path(), &["--budget", "1000", "--unpriced"]);
    assert_eq!(agent.base, format!("http://{}", service.address));
    assert_eq!(status(&service, &agent.key), 200);
    let key = agent.key.clone();
    assert_eq!(listed(home.path()).unwrap()["about"]["limits"]["budget"], 1_000_000_000);
    assert!(listed(home.path()).unwrap()["about"]["expires"].is_u64(), "one that nobody takes back ends by itself");
    agent.ends();
    assert!(!listed(home.path()).unwrap()["revoked"].is_null());
    until(&service, &key, 401);

    let file = home.path().join("key");
    fs::write(&file, says(home.path(), &["keys", "create", "alice"], "")).unwrap();
    let named = ["--ttl", "1h", "--key-file", file.to_str().unwrap()];
    until(&service, fs::read_to_string(&file).unwrap().trim(), 200);
    let agent = Agent::start(home.path(), &named);
    assert_eq!(agent.base, format!("http://{}", service.address));
    assert!(agent.key.contains('.'), "a narrower one is derived");
    assert_eq!(status(&service, &agent.key), 200);
    agent.ends();
}

#[test]
fn another_server_is_asked_only_with_a_key_that_may_be_no_more_than_the_run() {
    let fixed = CONFIG.replace("virtual_keys = true", "api_keys = [{ name = \"desk\", key = \"desk-key\" }]");
    let admin =
        CONFIG.replace("virtual_keys = true", "api_keys = [{ name = \"root\", key = \"root-key\", admin = true }]");
    for (config, words, served, key) in [
        (CONFIG.replace("virtual_keys = true", ""), &[][..], true, "none-is-wanted"),
        (CONFIG.replace("virtual_keys = true", ""), &["--ttl", "1h"], false, "sk-llmr1-"),
        (fixed.clone(), &[], true, "desk-key"),
        (fixed, &["--budget", "1"], false, "sk-llmr1-"),
        (admin, &[], false, "sk-llmr1-"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let service = serve(home.path(), &config);
        let agent = Agent::start(home.path(), words);
        assert_eq!(agent.base == format!("http://{}", service.address), served, "{config}");
        assert!(agent.key.starts_with(key), "{}", agent.key);
        let said = agent.ends();
        assert!(served || said.contains("none is at hand") == config.contains("api_keys"), "{said}");
    }
}

/// The first key that was made for a run of Claude Code, as it is listed.
fn listed(home: &Path) -> Option<Value> {
    let all: Value = serde_json::from_str(&says(home, &["keys", "ls", "--json"], "")).unwrap();
    let all = all["keys"].as_array().unwrap().clone();
    all.into_iter().find(|key| key["about"]["name"].as_str().unwrap().starts_with("run-claude-"))
}

/// The folders of runs.
fn folders(home: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(home.join(".local/share/ipfs-llm-router")).unwrap();
    all.map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("run-"))
        .collect()
}

#[test]
fn what_a_run_that_was_killed_left_is_cleared_away_by_the_next_and_not_before_its_agent_ended() {
    let home = tempfile::tempdir().unwrap();
    let service = serve(home.path(), CONFIG);
    let mut killed = Agent::start(home.path(), &[]);
    let left = folders(home.path());
    assert_eq!(left.len(), 1);
    // Whoever waits for a child closes its pipe.
    let stdin = killed.child.stdin.take();
    kill_process(Pid::from_child(&killed.child), Signal::KILL).unwrap();
    killed.child.wait().unwrap();
    // Its agent lives on, and works.
    Agent::start(home.path(), &[]).ends();
    assert!(left[0].exists() && listed(home.path()).is_some());
    assert_eq!(status(&service, &killed.key), 200);
    drop(stdin);
    killed.child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    // Both ends of the pipe are gone a moment before the program is.
    while left[0].exists() {
        Agent::start(home.path(), &[]).ends();
    }
    until(&service, &killed.key, 401);
    assert!(folders(home.path()).is_empty());
}

#[test]
fn a_key_is_taken_back_where_the_run_is_interrupted_before_its_agent_starts() {
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/false", bin.join("claude")).unwrap();
    // A router that never comes to know the key.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let config = CONFIG.replacen("[server]", &format!("[server]\nport = {port}"), 1);
    fs::write(home.path().join("router.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router"));
    command.env_clear().env("HOME", home.path()).env("PATH", &bin).current_dir("/");
    command.arg("--config").arg(home.path().join("router.toml")).args(["run", "claude", "-m", "echo/x"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let said = r#"{"detail": "a key is wanted", "kind": "policy_unauthenticated"}"#;
    for socket in other.incoming() {
        let mut socket = socket.unwrap();
        let mut head = String::new();
        let mut lines = BufReader::new(&mut socket);
        while lines.read_line(&mut head).unwrap() > 2 {}
        let length = said.len();
        let head_of_ours = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close";
        let _ = write!(socket, "{head_of_ours}\r\ncontent-length: {length}\r\n\r\n{said}");
        if head.to_ascii_lowercase().contains("authorization: bearer") {
            break;
        }
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    // Whoever asks now is told nothing: the listener is still there, and nobody answers.
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!listed(home.path()).unwrap()["revoked"].is_null());
    assert!(folders(home.path()).is_empty());
}

/// A port of this machine at which another user listens, where that can be had: root gives its socket away.
fn of_another(address: &str) -> Option<TcpListener> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let listener = TcpListener::bind(address).unwrap();
    rustix::fs::fchown(&listener, Some(rustix::fs::Uid::from_raw(65_534)), None).unwrap();
    Some(listener)
}

#[test]
fn nobody_shows_a_key_to_another_user_who_has_the_port() {
    let home = tempfile::tempdir().unwrap();
    let Some(listener) = of_another("127.0.0.1:0") else { return };
    let port = listener.local_addr().unwrap().port();
    let config = CONFIG.replacen("[server]", &format!("[server]\nport = {port}"), 1);
    fs::write(home.path().join("router.toml"), config).unwrap();
    let agent = Agent::start(home.path(), &[]);
    assert_ne!(agent.base, format!("http://127.0.0.1:{port}"));
    assert!(agent.ends().contains("another user's; this run gets a router of its own"));
    // It was knocked at, and told nothing.
    listener.set_nonblocking(true).unwrap();
    while let Ok((mut socket, _)) = listener.accept() {
        let mut said = Vec::new();
        socket.read_to_end(&mut said).unwrap();
        assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn an_agent_is_ended_when_another_user_takes_the_port() {
    let home = tempfile::tempdir().unwrap();
    if of_another("127.0.0.1:0").is_none() {
        return;
    }
    let mut service = serve(home.path(), CONFIG);
    let address = service.address.to_string();
    let mut agent = Agent::start(home.path(), &[]);
    assert_eq!(agent.base, format!("http://{address}"));
    service.tell(Signal::KILL);
    service.ended();
    let _listener = of_another(&address);
    let mut said = String::new();
    agent.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(agent.child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("another user's now: the agent was ended"), "{said}");
}
