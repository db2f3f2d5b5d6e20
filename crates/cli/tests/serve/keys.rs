//! Keys of clients with the real program: made and revoked by commands while a server runs, and after the server was killed without a word.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::service::Service;

pub(crate) const CONFIG: &str = r#"
[server]
virtual_keys = true
[providers.echo]
command = "/usr/bin/env MODEL={model} /bin/cat"
# A dollar for each token, so that a few requests spend a budget.
[prices."echo/x"]
input = 0
output = 1000000
[limits]
max_tokens = 4
"#;

fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-router"));
    command.env_clear().env("HOME", home).current_dir("/").arg("--config").arg(home.join("router.toml"));
    command
}

/// What a command prints that succeeds.
pub(crate) fn says(home: &Path, words: &[&str], input: &str) -> String {
    let mut child =
        program(home).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server under way. Dropping it kills it, with the signal that no program sees.
fn serve(home: &Path) -> Service {
    Service::start_as(home, CONFIG, |command| {
        command.env("HOME", home);
    })
}

/// How a key is answered.
pub(crate) fn status(service: &Service, key: &str) -> u16 {
    service.chat_with(&format!("x-api-key: {key}\r\n")).split(' ').nth(1).unwrap().parse().unwrap()
}

/// Waits until a key is answered so, for two seconds at most.
pub(crate) fn until(service: &Service, key: &str, wanted: u16) {
    let began = Instant::now();
    while status(service, key) != wanted {
        assert!(began.elapsed() < Duration::from_secs(2), "not within two seconds");
        std::thread::yield_now();
    }
}

#[test]
fn a_key_survives_the_end_of_whoever_made_it() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let service = serve(home);
    let key = says(home, &["keys", "create", "alice", "--rpm", "1000"], "");
    until(&service, &key, 200);
    let narrower = says(home, &["keys", "derive", "--ttl", "1h", "--model", "echo/x"], &key);
    let useless = says(home, &["keys", "derive", "--model", "other"], &narrower);
    assert_eq!((status(&service, &narrower), status(&service, &useless)), (200, 403));
    drop(service);

    let service = serve(home);
    assert_eq!((status(&service, &key), status(&service, &narrower)), (200, 200), "no key is lost");
    says(home, &["keys", "revoke", "alice"], "");
    until(&service, &key, 401);
    drop(service);

    let service = serve(home);
    assert_eq!((status(&service, &key), status(&service, &narrower)), (401, 401), "nor is a revocation");
    let log = says(home, &["keys", "log"], "");
    assert!(log.contains("create") && log.contains("revoke") && log.contains("by command line"), "{log}");
    let listed = says(home, &["keys", "ls", "--json"], "");
    assert!(listed.contains("alice") && !listed.contains(&key), "{listed}");
}

#[test]
fn a_cap_survives_the_end_of_whoever_spends() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    fs::write(home.join("router.toml"), CONFIG).unwrap();
    let key = says(home, &["keys", "create", "spender", "--budget", "20"], "");
    let mut answered = 0;
    // Each server is killed in the middle of its lease; the next one begins with what the books say.
    for _ in 0..3 {
        let service = serve(home);
        for _ in 0..2 {
            answered += u32::from(status(&service, &key) == 200);
        }
    }
    let service = serve(home);
    while status(&service, &key) == 200 {
        answered += 1;
        assert!(answered <= 10, "an answer costs two dollars");
    }
    // Four dollars are set aside for each, and what is not used of them may be on its way back when its server is killed.
    assert!(answered >= 5, "{answered}: a killed server forfeits its leases and no more");
    assert_eq!(status(&service, &key), 429);
    drop(service);
    let service = serve(home);
    assert_eq!(status(&service, &key), 429, "no cap is lost");
    let listed = says(home, &["keys", "ls"], "");
    assert!(listed.contains("of $20.00 in all"), "{listed}");
}

#[test]
fn what_was_used_survives_a_kill_a_second_later() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let service = serve(home);
    let key = says(home, &["keys", "create", "user"], "");
    until(&service, &key, 200);
    let requests = |home: &Path| -> u64 {
        let report: Value = serde_json::from_str(&says(home, &["usage", "--json", "--by", "key"], "")).unwrap();
        let rows = report["rows"].as_array().unwrap().iter();
        rows.filter(|row| row["key"].as_str().unwrap().starts_with("user#"))
            .map(|row| row["requests"].as_u64().unwrap())
            .sum()
    };
    let asked = 10;
    (0..asked).for_each(|_| assert_eq!(status(&service, &key), 200));
    let ended = Instant::now();
    // Another process sees it within a second, and so it is there whatever becomes of the server.
    while requests(home) < asked + 1 {
        assert!(ended.elapsed() < Duration::from_secs(1), "usage older than a second is in the store");
    }
    drop(service);
    assert_eq!(requests(home), asked + 1);
}
