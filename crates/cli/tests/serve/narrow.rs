//! What a key may not do, tried at the real program: reach what it does not name, administer, last, be forged, or gain by being derived or renamed; and what is written down of all of it.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::keys::{CONFIG, says, status, until};
use crate::reloading::line_with;
use crate::service::Service;

const KEYS: &str = "/api/v0/ai/llm/keys";

/// The status and the body of what is answered.
fn asks(service: &Service, key: &str, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
    let body = body.map(|body| body.to_string());
    let about = body
        .as_ref()
        .map_or(String::new(), |body| format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-api-key: {key}\r\n{about}");
    let answer = service.ask(&format!("{head}\r\n{}", body.unwrap_or_default()));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn chats(service: &Service, key: &str, model: &str) -> u16 {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    asks(service, key, "POST", "/v1/chat/completions", Some(body)).0
}

fn home_with(more: &str) -> (tempfile::TempDir, Service) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_owned();
    let service = Service::start_as(&home, &format!("{CONFIG}{more}"), |command| {
        command.env("HOME", &home);
    });
    (folder, service)
}

#[test]
fn a_key_reaches_what_it_names_and_nothing_of_the_same_name() {
    let more = "[providers.other]\ncommand = \"/usr/bin/env MODEL={model} /bin/cat\"\n[routes.fast]\ngroups = [[\"echo/x\"]]\n";
    let (folder, service) = home_with(more);
    let key = says(folder.path(), &["keys", "create", "k", "--model", "echo/*", "--model", "fast"], "");
    until(&service, &key, 200);
    assert_eq!((chats(&service, &key, "echo/x"), chats(&service, &key, "fast")), (200, 200));
    for model in ["other/x", "other/echo/x", "other/fast", "OTHER/echo/x", "other/ECHO/x", "other"] {
        assert_eq!(chats(&service, &key, model), 403, "{model}");
    }
    let native = |provider: &str, model: &str| {
        let body = json!({"prompt": "hi", "provider": provider, "model_name": model});
        asks(&service, &key, "POST", "/api/v0/ai/llm/generate", Some(body)).0
    };
    assert_eq!((native("echo", "x"), native("other", "echo/x"), native("other", "fast")), (200, 403, 403));
    let messages = json!({"model": "other/echo/x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(asks(&service, &key, "POST", "/v1/messages", Some(messages)).0, 403);
    let responses = json!({"model": "other/echo/x", "input": "hi"});
    assert_eq!(asks(&service, &key, "POST", "/v1/responses", Some(responses)).0, 403);
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    assert_eq!(asks(&service, &key, "POST", "/v1beta/models/other/echo/x:generateContent", Some(contents)).0, 403);
}

#[test]
fn what_is_derived_only_ever_does_less_and_nobody_else_can_make_it() {
    let (folder, service) = home_with("");
    let home = folder.path();
    let boss = says(home, &["keys", "create", "boss", "--role", "admin", "--rpm", "1000"], "");
    until(&service, &boss, 200);
    let derive = |from: &str, words: &[&str]| says(home, &[&["keys", "derive"], words].concat(), from);
    let once = derive(&boss, &["--rpm", "1", "--model", "echo/x"]);
    let wider = derive(&once, &["--rpm", "900", "--model", "*", "--ttl", "90d"]);
    assert_eq!((status(&service, &wider), status(&service, &wider), status(&service, &once)), (200, 429, 429));
    assert_eq!((chats(&service, &wider, "echo/y"), chats(&service, &boss, "echo/y")), (403, 200));
    // It administers nothing, and sees nobody's usage.
    let (id, made) = (&boss["sk-llmr1-".len()..][..16], json!({"name": "mine", "role": "admin"}));
    for (method, path, body) in [
        ("GET", KEYS.to_owned(), None),
        ("GET", format!("{KEYS}/log"), None),
        ("POST", KEYS.to_owned(), Some(made)),
        ("PATCH", format!("{KEYS}/{id}"), Some(json!({"role": "admin"}))),
        ("DELETE", format!("{KEYS}/boss"), None),
        ("POST", "/api/v0/ai/llm/cache/clear".to_owned(), Some(json!({}))),
        ("POST", "/api/v0/ai/llm/breakers/clear".to_owned(), Some(json!({}))),
        ("GET", "/api/v0/ai/llm/usage".to_owned(), None),
        ("GET", format!("/api/v0/ai/llm/usage?of=boss%23{id}"), None),
        ("GET", "/api/v0/ai/llm/requests/req_x".to_owned(), None),
        ("GET", "/metrics".to_owned(), None),
    ] {
        assert_eq!(asks(&service, &wider, method, &path, body).0, 403, "{method} {path}");
    }
    // A block taken away, moved, or put under another key is no key.
    let unseen = derive(&once, &["--rpm", "900", "--ttl", "9d"]);
    let parts: Vec<&str> = unseen.split('.').collect();
    let [head, first, second, mac] = parts[..] else { panic!("{unseen}") };
    let other = says(home, &["keys", "create", "other"], "");
    until(&service, &other, 200);
    for forged in [
        format!("{head}.{second}.{mac}"),
        format!("{head}.{second}.{first}.{mac}"),
        format!("{head}.{mac}"),
        format!("{head}-{mac}"),
        format!("{}.{first}.{second}.{mac}", &other[..head.len()]),
        format!("{other}.{mac}"),
        format!("{unseen}.{mac}"),
    ] {
        assert_eq!(status(&service, &forged), 401, "{forged}");
    }
    // Whoever shows the last link of a key that is known was given that key: it is that one, whatever stands before the link.
    let parts: Vec<&str> = wider.split('.').collect();
    let [head, _, second, mac] = parts[..] else { panic!("{wider}") };
    assert_eq!(chats(&service, &format!("{head}.{second}.{mac}"), "echo/y"), 403);
    // An administrator who is one no more is none at once.
    assert_eq!(asks(&service, &boss, "PATCH", &format!("{KEYS}/boss"), Some(json!({"role": "user"}))).0, 200);
    assert_eq!(asks(&service, &boss, "GET", KEYS, None).0, 403);
    says(home, &["keys", "revoke", "boss"], "");
    until(&service, &boss, 401);
    assert_eq!((status(&service, &once), status(&service, &wider)), (401, 401));
    let log: Value = serde_json::from_str(&says(home, &["keys", "log", "--json"], "")).unwrap();
    let deed = |deed: &'_ Value| {
        let of = |name: &str| deed[name].as_str().unwrap().split('#').next().unwrap().to_owned();
        format!("{} {} by {}", of("did"), of("name"), of("by"))
    };
    let deeds: Vec<String> = log["log"].as_array().unwrap().iter().map(deed).collect();
    let by_hand = ["create boss by command line", "create other by command line"];
    assert_eq!(deeds, [&by_hand[..], &["update boss by boss", "revoke boss by command line"]].concat());
}

#[test]
fn a_key_ends_with_its_time_and_is_forgotten_when_told() {
    let (folder, service) = home_with("");
    let home = folder.path();
    let (short, long) =
        (says(home, &["keys", "create", "short", "--ttl", "2s"], ""), says(home, &["keys", "create", "long"], ""));
    until(&service, &short, 200);
    until(&service, &long, 200);
    let narrower = says(home, &["keys", "derive", "--ttl", "1s"], &long);
    let beyond = says(home, &["keys", "derive", "--ttl", "9d"], &short);
    // A second is rounded down to when it begins: it may be over already.
    until(&service, &narrower, 401);
    until(&service, &short, 401);
    assert_eq!((status(&service, &beyond), status(&service, &long)), (401, 200), "no derived key outlives its own");
    let listed = says(home, &["keys", "ls"], "");
    assert!(listed.contains("short") && listed.contains("expired"), "{listed}");
    says(home, &["keys", "revoke", "long"], "");
    let gone: Value = serde_json::from_str(&says(home, &["keys", "prune", "--json"], "")).unwrap();
    assert_eq!(gone["forgotten"].as_array().unwrap().len(), 2);
    assert_eq!(says(home, &["keys", "ls"], "").lines().count(), 1, "the head of a table");
    for key in [&short, &long, &narrower, &beyond] {
        until(&service, key, 401);
    }
    let again = says(home, &["keys", "create", "short"], "");
    until(&service, &again, 200);
    assert_eq!(status(&service, &short), 401, "another key of that name is another key");
}

/// A key of the configuration, and the team that it is of.
const TEAM: &str = "[teams.lab]\nrequests_per_minute = 1\n";

fn write(home: &Path, config: &str) {
    fs::write(home.join("router.toml"), config).unwrap();
}

#[test]
fn a_team_that_comes_while_a_server_runs_lets_nobody_in_before_the_next_start() {
    let (folder, mut service) = home_with("");
    let home = folder.path();
    let old = says(home, &["keys", "create", "old"], "");
    until(&service, &old, 200);
    // A key of the configuration that names it: nothing is taken over.
    let of_team = "[[server.api_keys]]\nname = \"static\"\nkey = \"a-key-of-the-team\"\nteam = \"lab\"\n";
    write(home, &format!("{CONFIG}{TEAM}{of_team}"));
    service.tell(Signal::HUP);
    let told = line_with(&mut service, "configuration left as it was");
    assert!(told.contains("\"lab\"") && told.contains("\"static\""), "{told}");
    assert_eq!((status(&service, "a-key-of-the-team"), status(&service, &old)), (401, 200));
    // The team alone: said to come with the next start. A made key of it is let in nowhere until then.
    write(home, &format!("{CONFIG}{TEAM}"));
    service.tell(Signal::HUP);
    let told = line_with(&mut service, "after the next start only");
    assert!(told.contains("teams.lab"), "{told}");
    let made = says(home, &["keys", "create", "made", "--team", "lab"], "");
    until(&service, &made, 403);
    assert!(asks(&service, &made, "GET", "/v1/models", None).1.contains("[teams.lab]"));
    drop(service);
    let service = Service::start_as(home, &format!("{CONFIG}{TEAM}{of_team}"), |command| {
        command.env("HOME", home);
    });
    let first = (status(&service, &made), status(&service, "a-key-of-the-team"));
    assert_eq!(first, (200, 429), "one of the team in a minute");
}
