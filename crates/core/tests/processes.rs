//! Several processes on one folder, ended by SIGKILL: nothing acknowledged is lost, nothing is damaged.
//!
//! Each test starts this test program again, as a child that runs the same test with a role in its environment. The
//! parent goes by what the children say on standard output, never by time.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use llm_router::{
    cache::{DiskTier, Sha256Digest, StorageKey, Tier},
    deps::SystemClock,
    ids::Namespace,
    store::{EmbeddedStore, Scan, Store, counter_value},
};

const ROLE: &str = "LLM_ROUTER_TEST_ROLE";
const LIMIT: u64 = 256 << 20;

#[tokio::test]
async fn killed_writers_of_the_state_lose_nothing_they_were_told_is_safe() {
    const NAME: &str = "killed_writers_of_the_state_lose_nothing_they_were_told_is_safe";
    if let Some((name, folder)) = role() {
        return write_state(&name, folder.as_ref()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut safe = 0;
    for round in 0..8 {
        let mut children = ["a", "b"].map(|name| Process::start(NAME, &format!("{name}{round}"), folder.path()));
        let mut said = Vec::new();
        for (turn, child) in children.iter_mut().enumerate() {
            child.ask(1_000);
            let last = child.until(1 + round * 17 + turn as u64 * 5);
            said.push(child.kill_and_hear_out(last));
        }
        let store = EmbeddedStore::open(folder.path(), Arc::new(SystemClock)).unwrap();
        for (name, said) in ["a", "b"].iter().zip(said) {
            let name = format!("{name}{round}/");
            let range = Scan { prefix: &name, after: None, limit: 10_000 };
            let records = store.scan("log", range).await.unwrap();
            assert!(records.len() as u64 >= said, "{} of {said} records", records.len());
            assert!(records.iter().all(|(key, value)| value.len() == 512 && value.starts_with(key.as_bytes())));
            safe += said;
        }
        let count = counter_value(&store.get("count", "all").await.unwrap().unwrap()).unwrap();
        assert!(count as u64 >= safe, "{count} of {safe}");
        intact(store.path());
    }
}

async fn write_state(name: &str, folder: &Path) {
    let store = EmbeddedStore::open(folder, Arc::new(SystemClock)).unwrap();
    for number in asked() {
        let key = format!("{name}/{number:08}");
        let mut value = key.clone().into_bytes();
        value.resize(512, b'.');
        store.put("log", &key, value.into(), None).await.unwrap();
        store.increment("count", "all", 1, None).await.unwrap();
        say(number);
    }
}

#[tokio::test]
async fn two_that_store_and_one_that_clears_are_killed_in_turn() {
    const NAME: &str = "two_that_store_and_one_that_clears_are_killed_in_turn";
    if let Some((name, folder)) = role() {
        return match name.as_str() {
            "clear" => clear_answers(folder.as_ref()).await,
            name => store_answers(name, folder.as_ref()).await,
        };
    }
    for round in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let [mut a, mut b, mut clear] = ["a", "b", "clear"].map(|name| Process::start(NAME, name, folder.path()));
        a.ask(200);
        b.ask(200);
        clear.ask(1_000);
        for _ in 0..(2 + round * 3) {
            clear.next();
        }
        clear.kill_and_hear_out(0);
        // Both have done what was asked; what they are asked now is stored after the last clearing.
        a.until(200);
        b.until(200);
        a.ask(1_000);
        b.ask(1_000);
        let a_last = a.until(240 + round);
        let a_last = a.kill_and_hear_out(a_last);
        let b_last = b.until(280 + round);
        let b_last = b.kill_and_hear_out(b_last);

        let tier = DiskTier::open(folder.path(), LIMIT, Arc::new(SystemClock)).unwrap();
        assert_eq!(tier.aside(), None, "nothing had to be set aside");
        for (name, last) in [("a", a_last), ("b", b_last)] {
            for number in 201..=last {
                let found = tier.get(&place(name, number)).await.unwrap();
                assert_eq!(found, Some(answer(name, number)), "{name} {number} of {last}");
            }
        }
        intact(tier.path());
        let held = tier.stat().await.unwrap().entries;
        assert_eq!(tier.clear(None).await.unwrap(), held, "the count kept beside the answers is right");
    }
}

#[tokio::test]
async fn many_that_find_a_damaged_cache_at_once_agree_on_a_new_one() {
    const NAME: &str = "many_that_find_a_damaged_cache_at_once_agree_on_a_new_one";
    if let Some((name, folder)) = role() {
        return store_answers(&name, folder.as_ref()).await;
    }
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    for _ in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("responses.sqlite"), "damaged ".repeat(2_000)).unwrap();
        let mut children = NAMES.map(|name| Process::start(NAME, name, folder.path()));
        for child in &mut children {
            child.ask(20);
        }
        for child in &mut children {
            child.until(20);
        }
        let tier = DiskTier::open(folder.path(), LIMIT, Arc::new(SystemClock)).unwrap();
        for name in NAMES {
            for number in 1..=20 {
                assert_eq!(tier.get(&place(name, number)).await.unwrap(), Some(answer(name, number)));
            }
        }
        let aside = std::fs::read(folder.path().join("responses.sqlite.aside")).unwrap();
        assert_eq!(aside, "damaged ".repeat(2_000).as_bytes());
    }
}

async fn store_answers(name: &str, folder: &Path) {
    let tier = DiskTier::open(folder, LIMIT, Arc::new(SystemClock)).unwrap();
    for number in asked() {
        tier.put(&place(name, number), answer(name, number), None).await.unwrap();
        say(number);
    }
}

async fn clear_answers(folder: &Path) {
    let tier = DiskTier::open(folder, LIMIT, Arc::new(SystemClock)).unwrap();
    for number in asked() {
        tier.clear(None).await.unwrap();
        say(number);
    }
}

fn place(name: &str, number: u64) -> StorageKey {
    let digest = Sha256Digest::of(format!("{name} {number}").as_bytes());
    StorageKey { namespace: Namespace::default(), digest }
}

fn answer(name: &str, number: u64) -> Bytes {
    format!("{name} {number} ").repeat(200).into()
}

/// The database's own check, by a connection of the test's own.
fn intact(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let answer: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "ok");
}

/// The role this process was started with, if it is a child.
fn role() -> Option<(String, String)> {
    #[expect(clippy::disallowed_methods, reason = "a test's way to tell its child what it is")]
    let role = std::env::var(ROLE).ok()?;
    role.split_once('=').map(|(name, folder)| (name.to_owned(), folder.to_owned()))
}

/// Counts what the parent asks for, one a line.
fn asked() -> impl Iterator<Item = u64> {
    (1..).zip(std::io::stdin().lines()).map(|(number, _)| number)
}

fn say(number: u64) {
    println!("@{number}");
    std::io::stdout().flush().unwrap();
}

/// A child, ended with the test.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(test: &str, name: &str, folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(ROLE, format!("{name}={}", folder.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Asks it to do so many things more.
    fn ask(&mut self, count: usize) {
        self.child.stdin.as_mut().unwrap().write_all("\n".repeat(count).as_bytes()).unwrap();
    }

    /// The next number it says.
    fn next(&mut self) -> u64 {
        self.said().expect("the child runs until it is killed")
    }

    fn until(&mut self, number: u64) -> u64 {
        loop {
            let said = self.next();
            if said >= number {
                return said;
            }
        }
    }

    fn said(&mut self) -> Option<u64> {
        loop {
            let line = self.lines.next()?.ok()?;
            if let Some(number) = line.strip_prefix('@') {
                return number.parse().ok();
            }
        }
    }

    /// Ends it with SIGKILL and gives the last number it said before.
    fn kill_and_hear_out(&mut self, mut last: u64) -> u64 {
        self.child.kill().unwrap();
        while let Some(number) = self.said() {
            last = number;
        }
        self.child.wait().unwrap();
        last
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
