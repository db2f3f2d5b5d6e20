//! Replicas of the real program over one real redis-server, and the real program killed under load: `make test-redis`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod budgets;
mod kills;
mod money;
mod sharing;
mod silence;

#[path = "../../../redis/tests/server/process.rs"]
mod process;
#[path = "../serve/service.rs"]
#[allow(dead_code)]
mod service;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use process::RedisServer;
use service::{PATIENCE, Service, conversation};
use tempfile::TempDir;

/// A provider that answers with the prompt.
const ECHO: &str = "[providers.echo]\ncommand = \"/usr/bin/env MODEL={model} /bin/cat\"\n[server]\nvirtual_keys = true\ndrain = \"10ms\"\n";

/// Several servers that share one Redis, each with a home of its own.
struct Replicas {
    redis: RedisServer,
    services: Vec<Service>,
    homes: Vec<TempDir>,
}

impl Replicas {
    fn start(count: usize, settings: &str) -> Self {
        Self::over(RedisServer::start(), count, settings)
    }

    fn over(redis: RedisServer, count: usize, settings: &str) -> Self {
        let homes: Vec<TempDir> = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
        let seal = homes[0].path().join("seal");
        fs::write(&seal, [7; 32]).unwrap();
        // A busy machine is no failure: what patience does is tested in `crates/redis`.
        let patience = if settings.contains("patience = ") { "" } else { "patience = \"10s\"\n" };
        let store = format!("[store]\nurl = {:?}\nseal_file = {seal:?}\n{patience}", redis.url());
        // The last table of the settings may be [store], which then goes on.
        let config = match settings.split_once("[store]\n") {
            Some((before, more)) => format!("{ECHO}{before}{store}{more}"),
            None => format!("{ECHO}{settings}{store}"),
        };
        let services = homes.iter().map(|home| serve(home.path(), &config)).collect();
        Self { redis, services, homes }
    }

    /// What a command says that is given with the first one's configuration.
    fn says(&self, words: &[&str]) -> String {
        says(self.homes[0].path(), words, "")
    }

    /// A word with the server that they share.
    fn client(&self) -> redis::Connection {
        redis::Client::open(self.redis.url()).unwrap().get_connection().unwrap()
    }

    /// How many scripts the server has run that count limits: they and those that put right what was counted ask it for the time. The books are written by another one, twice a second.
    fn scripts(&self) -> u64 {
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut self.client()).unwrap();
        let line = info.lines().find(|line| line.starts_with("cmdstat_time:"));
        line.map_or(0, |line| line.split(['=', ',']).nth(1).unwrap().parse().unwrap())
    }
}

/// A server under way. Dropping it kills it, with the signal that no program sees.
fn serve(home: &Path, config: &str) -> Service {
    Service::start_as(home, config, |command| {
        command.env("HOME", home);
    })
}

/// What a command prints that succeeds.
fn says(home: &Path, words: &[&str], input: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router"));
    command.env_clear().env("HOME", home).current_dir("/").arg("--config").arg(home.join("router.toml")).args(words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn key_header(key: &str) -> String {
    format!("x-api-key: {key}\r\n")
}

/// How an answer begins.
fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

/// How a key is answered.
fn status(service: &Service, key: &str) -> u16 {
    status_of(&service.chat_with(&key_header(key)))
}

/// The answer to a key, where the service lives to give one.
fn try_chat(service: &Service, key: &str) -> Option<String> {
    let mut socket = TcpStream::connect(service.address).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.write_all(conversation("echo/x", &key_header(key)).as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}

/// Waits until a key is known everywhere, without spending anything of it.
fn known(services: &[Service], key: &str) {
    let list = format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\n{}connection: close\r\n\r\n", key_header(key));
    let began = Instant::now();
    while !services.iter().all(|service| status_of(&service.ask(&list)) == 200) {
        assert!(began.elapsed() < Duration::from_secs(2), "not within two seconds");
    }
}

/// Waits until a key is answered so everywhere, and says how long that took; two seconds at most.
fn until(services: &[Service], key: &str, wanted: u16) -> Duration {
    let began = Instant::now();
    while !services.iter().all(|service| status(service, key) == wanted) {
        assert!(began.elapsed() < Duration::from_secs(2), "not within two seconds");
        std::thread::yield_now();
    }
    began.elapsed()
}

/// Asks so many times from so many threads, each time another service, and gives the answers.
fn ask_all(services: &[Service], threads: usize, times: usize, key: &str) -> Vec<String> {
    let (to, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let to = to.clone();
            scope.spawn(move || {
                for time in (thread..times).step_by(threads) {
                    let service = &services[time % services.len()];
                    to.send(service.chat_with(&key_header(key))).unwrap();
                }
            });
        }
    });
    drop(to);
    answers.into_iter().collect()
}

fn count(answers: &[String], wanted: u16) -> usize {
    answers.iter().filter(|answer| status_of(answer) == wanted).count()
}

/// Where a home has its state.
fn state_folder(home: &Path) -> PathBuf {
    home.join(".local/share/ipfs-llm-router")
}
