//! Keys, revocations, limits and kept answers are those of all replicas.

use std::time::{Duration, Instant};

use crate::service::conversation;
use crate::{Replicas, count, key_header, known, says, status, status_of, until};

#[test]
fn of_a_thousand_requests_at_three_replicas_exactly_a_hundred_pass() {
    let all = Replicas::start(3, "");
    let key = all.says(&["keys", "create", "alice", "--rpm", "100"]);
    known(&all.services, &key);
    let before = all.scripts();
    let began = Instant::now();
    let answers = crate::ask_all(&all.services, 12, 1_000, &key);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(50), "{took:?}");
    assert_eq!((count(&answers, 200), count(&answers, 429)), (100, 900));
    assert_eq!(all.scripts() - before, 1_000, "one script for each request, and nothing else");
    println!("1000 requests at 3 replicas in {took:?}: 100 passed");
    let refused = answers.iter().find(|answer| status_of(answer) == 429).unwrap().to_ascii_lowercase();
    for header in ["retry-after: ", "x-ratelimit-limit-requests: 100", "x-ratelimit-remaining-requests: 0"] {
        assert!(refused.contains(header), "{header}: {refused}");
    }
    // Who has no limits costs no script.
    let free = all.says(&["keys", "create", "bob"]);
    until(&all.services, &free, 200);
    let before = all.scripts();
    assert_eq!(count(&crate::ask_all(&all.services, 3, 30, &free), 200), 30);
    assert_eq!(all.scripts(), before);
}

#[test]
fn a_revoked_key_is_dead_on_every_replica_within_two_seconds() {
    let all = Replicas::start(3, "");
    let key = all.says(&["keys", "create", "alice"]);
    until(&all.services, &key, 200);
    let narrower = says(all.homes[1].path(), &["keys", "derive", "--ttl", "1h"], &key);
    until(&all.services, &narrower, 200);
    let began = Instant::now();
    all.says(&["keys", "revoke", "alice"]);
    until(&all.services, &key, 401);
    assert!(all.services.iter().all(|service| status(service, &narrower) == 401));
    assert!(began.elapsed() < Duration::from_secs(2), "the command included: {:?}", began.elapsed());
    println!("revoked everywhere {:?} after the command was typed", began.elapsed());
}

#[test]
fn a_revoked_key_is_dead_within_two_seconds_also_where_connections_are_cut_meanwhile() {
    let all = Replicas::start(3, "");
    let mut client = all.client();
    let mut cut = || -> u64 {
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").query(&mut client).unwrap()
    };
    for round in 0..5 {
        let name = format!("alice{round}");
        let key = all.says(&["keys", "create", &name]);
        until(&all.services, &key, 200);
        assert!(cut() >= 3, "each replica has a connection");
        all.says(&["keys", "revoke", &name]);
        let began = Instant::now();
        // Whoever has connected again has heard nothing on the new connection yet.
        cut();
        until(&all.services, &key, 401);
        println!(
            "revoked everywhere {:?} after it was said, with all connections cut before and after",
            began.elapsed()
        );
    }
}

#[test]
fn a_change_of_a_key_holds_on_every_replica() {
    let all = Replicas::start(2, "");
    let key = all.says(&["keys", "create", "alice"]);
    until(&all.services, &key, 200);
    all.says(&["keys", "update", "alice", "--model", "other/*"]);
    until(&all.services, &key, 403);
    all.says(&["keys", "update", "alice", "--no", "model"]);
    until(&all.services, &key, 200);
    let log = all.says(&["keys", "log"]);
    assert!(log.contains("update"), "{log}");
}

#[test]
fn a_place_is_taken_for_all_replicas() {
    // A provider that answers when it is told to.
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let slow = format!("[providers.slow]\ncommand = \"/usr/bin/env MODEL={{model}} /bin/cat {}\"\n", gate.display());
    let all = Replicas::start(2, &slow);
    let key = all.says(&["keys", "create", "alice", "--concurrency", "1"]);
    until(&all.services, &key, 200);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            // The other replica's own try may be there first.
            loop {
                let answer = all.services[0].ask(&conversation("slow/x", &key_header(&key)));
                if status_of(&answer) != 429 {
                    return answer;
                }
            }
        });
        let began = Instant::now();
        while status(&all.services[1], &key) != 429 {
            assert!(began.elapsed() < Duration::from_secs(10), "the place is not taken");
        }
        // Opening it waits until somebody reads.
        std::fs::write(&gate, "at last").unwrap();
        assert_eq!(status_of(&asked.join().unwrap()), 200);
    });
    until(&all.services, &key, 200);
}

#[test]
fn a_conversation_goes_on_at_another_replica() {
    let all = Replicas::start(2, "");
    let key = all.says(&["keys", "create", "alice"]);
    let other = all.says(&["keys", "create", "bob"]);
    known(&all.services, &key);
    known(&all.services, &other);
    let ask = |at: usize, key: &str, body: serde_json::Value| -> (u16, serde_json::Value) {
        let body = body.to_string();
        let head = "host: localhost\r\ncontent-type: application/json\r\nconnection: close";
        let length = body.len();
        let text = format!(
            "POST /v1/responses HTTP/1.1\r\n{head}\r\n{}content-length: {length}\r\n\r\n{body}",
            key_header(key)
        );
        let answer = all.services[at].ask(&text);
        (status_of(&answer), serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap())
    };
    let (status, first) = ask(0, &key, serde_json::json!({"model": "echo/x", "input": "a first word"}));
    assert_eq!(status, 200, "{first}");
    let id = first["id"].as_str().unwrap();
    let next = serde_json::json!({"model": "echo/x", "input": "a second one", "previous_response_id": id});
    let (status, second) = ask(1, &key, next.clone());
    assert_eq!(status, 200, "{second}");
    // The provider says what it was told: all of it.
    assert!(second.to_string().contains("a first word") && second.to_string().contains("a second one"), "{second}");
    assert_eq!(ask(1, &other, next).0, 404, "another key's");
}
