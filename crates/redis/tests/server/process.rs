//! A redis-server of a test's own: in a folder of its own, on a unix socket, ended with the test that holds it.
//!
//! Tests of other crates use this file too.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server under way. Dropping it kills it.
pub(crate) struct RedisServer {
    child: Child,
    folder: TempDir,
    words: Vec<String>,
}

impl RedisServer {
    /// A server that listens on its socket alone and writes nothing.
    ///
    /// # Panics
    /// Where there is no redis-server: these tests are for nothing without one.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more words on its command line.
    pub(crate) fn start_with(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let child = spawn(&folder, &words);
        Self { child, folder, words }
    }

    /// Starts it again, with what it had saved.
    pub(crate) fn again(&mut self) {
        self.kill();
        self.child = spawn(&self.folder, &self.words);
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Has it answer nobody; what is said to it waits.
    pub(crate) fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Has it answer again, those who waited first.
    pub(crate) fn go_on(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(folder: &TempDir, words: &[String]) -> Child {
    let socket = folder.path().join("redis.sock");
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"]);
    command.arg(folder.path()).arg("--unixsocket").arg(socket).args(words);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("redis-server cannot be started ({error}): these tests need the Debian package redis-server, or Valkey's program under that name")
    });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| {
        said.push(line.clone());
        line.contains("eady to accept connections")
    });
    if !ready {
        let _ = child.kill();
        let _ = child.wait();
        panic!("redis-server ended before it was ready: {}", said.join("\n"));
    }
    // What it says later is nobody's; it must not wait for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    child
}
