//! A Redis that is gone, or has a state that is not for this version.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::RedisServer;
use crate::service::Service;
use crate::{ECHO, Replicas, key_header, status, status_of, until};

/// Starts two replicas, makes a key with ten requests a minute, and takes Redis away.
fn silenced(settings: &str) -> (Replicas, String, String) {
    let mut all = Replicas::start(2, settings);
    let key = all.says(&["keys", "create", "alice", "--rpm", "10"]);
    let free = all.says(&["keys", "create", "bob"]);
    until(&all.services, &free, 200);
    all.redis.kill();
    (all, key, free)
}

fn answer(service: &Service, key: &str) -> String {
    service.chat_with(&key_header(key)).to_ascii_lowercase()
}

#[test]
fn closed_refuses_who_has_limits_and_nobody_else() {
    let (mut all, key, free) = silenced("");
    for service in &all.services {
        let began = Instant::now();
        let refused = answer(service, &key);
        assert!(refused.starts_with("http/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(status(service, &free), 200);
    }
    all.redis.again();
    let began = Instant::now();
    // The keys were in a Redis that kept nothing: what is known stays known until it is read again.
    while !all.services.iter().all(|service| [200, 401].contains(&status(service, &key))) {
        assert!(began.elapsed() < Duration::from_secs(10), "it is not used again");
    }
}

#[test]
fn open_lets_everything_pass_and_says_so() {
    let (all, key, _) = silenced("[store]\nunreachable = \"open\"\n");
    for service in &all.services {
        for _ in 0..11 {
            let answer = answer(service, &key);
            assert!(answer.starts_with("http/1.1 200") && answer.contains("x-llm-router-limits: open"), "{answer}");
        }
    }
}

#[test]
fn local_allows_each_replica_its_part() {
    let (all, key, _) = silenced("[store]\nunreachable = \"local\"\nreplicas = 2\n");
    for service in &all.services {
        let answers: Vec<String> = (0..12).map(|_| answer(service, &key)).collect();
        let passed = answers.iter().filter(|answer| status_of(answer) == 200).count();
        assert_eq!(passed, 5, "half of ten: {:?}", answers.last());
        assert!(answers[0].contains("x-llm-router-limits: local"), "{}", answers[0]);
        assert!(answers[11].starts_with("http/1.1 429"), "{}", answers[11]);
    }
}

#[test]
fn a_state_of_a_newer_version_is_refused_by_name_at_the_start() {
    let redis = RedisServer::start();
    let mut client = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let _: () = redis::cmd("SET").arg("llm-router:format").arg(99).query(&mut client).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.toml");
    fs::write(&file, format!("{ECHO}[store]\nurl = {:?}\n", redis.url())).unwrap();
    let serve = Command::new(env!("CARGO_BIN_EXE_llm-router"))
        .args(["serve", "--port", "0", "--config"])
        .arg(&file)
        .env_clear()
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&serve.stderr).into_owned();
    assert_eq!(serve.status.code(), Some(1), "{said}");
    assert!(said.contains("redis.sock") && said.contains("format 99"), "{said}");
}
