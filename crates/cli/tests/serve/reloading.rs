//! A configuration that changes while the server runs.

use std::fs;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use llm_router::testing::upstream::{Answer, Upstream};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::service::{PATIENCE, Service};

const ECHO: &str = "[providers.echo]\ncommand = \"/usr/bin/env MODEL={model} /bin/cat\"\n";

/// The next line on standard error that holds this.
pub(crate) fn line_with(service: &mut Service, part: &str) -> String {
    let stderr = service.stderr.as_mut().unwrap();
    loop {
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended before it said {part:?}");
        if line.contains(part) {
            return line;
        }
    }
}

fn asked_at(service: &Service, model: &str) -> String {
    let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"say it again"}}]}}"#);
    let head = "host: localhost\r\ncontent-type: application/json\r\nconnection: close";
    service
        .ask(&format!("POST /v1/chat/completions HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

#[test]
fn a_file_that_changes_is_taken_over_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.toml");
    let mut service = Service::start(folder.path(), ECHO);
    assert!(asked_at(&service, "again").starts_with("HTTP/1.1 404"));

    // Written in its place, as editors and orchestrators do.
    let next = folder.path().join("next.toml");
    fs::write(&next, format!("{ECHO}[routes.again]\ngroups = [[\"echo/x\"]]\n")).unwrap();
    fs::rename(&next, &file).unwrap();
    line_with(&mut service, "configuration read again: 1 value changed");
    assert!(asked_at(&service, "again").starts_with("HTTP/1.1 200"));

    fs::write(&file, format!("{ECHO}[routes.again]\ngroups = [[\"ehco/x\"]]\n[server]\nport = 99999\n")).unwrap();
    let told = line_with(&mut service, "configuration left as it was");
    assert!(told.contains("ehco"), "{told}");
    assert!(asked_at(&service, "again").starts_with("HTTP/1.1 200"));

    // A key from now on, and something that only the next start can do.
    let key = "[[server.api_keys]]\nname = \"team\"\nkey = \"a-key-of-the-team\"\n";
    fs::write(&file, format!("{ECHO}[server]\nmax_connections = 77\n{key}")).unwrap();
    service.tell(Signal::HUP);
    line_with(&mut service, "configuration read again");
    let told = line_with(&mut service, "after the next start only");
    assert!(told.contains("server.max_connections") && !told.contains("api_keys"), "{told}");
    assert!(asked_at(&service, "echo/x").starts_with("HTTP/1.1 401"));
    let answer = service.chat_with("authorization: Bearer a-key-of-the-team\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    service.tell(Signal::INT);
    assert!(service.ended().success());
}

#[test]
fn a_file_that_is_cut_to_nothing_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.toml");
    let mut service = Service::start(folder.path(), ECHO);
    for nothing in ["", "# Nothing yet.\n"] {
        // Found by the watcher, and read at once.
        fs::write(&file, nothing).unwrap();
        line_with(&mut service, "configuration left as it was: ");
        service.tell(Signal::HUP);
        let told = line_with(&mut service, "configuration left as it was: ");
        assert!(told.contains("router.toml is empty"), "{told}");
        assert!(asked_at(&service, "echo/x").starts_with("HTTP/1.1 200"));
    }
    fs::write(&file, format!("{ECHO}[routes.again]\ngroups = [[\"echo/x\"]]\n")).unwrap();
    line_with(&mut service, "configuration read again");
    assert!(asked_at(&service, "again").starts_with("HTTP/1.1 200"));
}

#[test]
fn what_waits_for_the_next_start_is_named_until_it_runs_and_a_new_secret_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.toml");
    let with = |most: u32, key: &str| {
        let lab = format!("[providers.lab]\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key = \"{key}\"\n");
        format!("{ECHO}{lab}[server]\nmax_connections = {most}\n")
    };
    let mut service = Service::start(folder.path(), &with(70, "first"));
    // Moved into place, and found by the watcher: each is read once.
    let put = |text: String| {
        let next = folder.path().join("next.toml");
        fs::write(&next, text).unwrap();
        // Else it is warned of, which is a line more.
        fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&next, &file).unwrap();
    };
    let read_again = |service: &mut Service, text: String| {
        put(text);
        line_with(service, "configuration read again")
    };
    read_again(&mut service, with(71, "first"));
    assert!(line_with(&mut service, "after the next start only").contains("server.max_connections"));
    let told = read_again(&mut service, with(71, "second"));
    assert!(told.contains("0 values changed, 1 secret changed") && !told.contains("second"), "{told}");
    assert!(line_with(&mut service, "after the next start only").contains("server.max_connections"), "it still waits");
    // As it is running: nothing waits, and what is told next is of the reading after this one.
    assert!(read_again(&mut service, with(70, "second")).contains("1 value changed"));
    put(String::new());
    let told = line_with(&mut service, "");
    assert!(told.contains("configuration left as it was"), "{told}");
}

#[tokio::test]
async fn what_is_under_way_goes_on_as_it_began() {
    let gate = Arc::new(Semaphore::new(0));
    let chunk = |text: &str, reason: &str| {
        format!(
            r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{reason}}}]}}"#
        )
    };
    let answer = Answer::sse().event(&chunk("begun ", "null")).gate(&gate);
    let answer = answer.event(&chunk("and ended", "null")).event(&chunk("", "\"stop\"")).event("[DONE]").end();
    let upstream = Upstream::serve([answer]).await;
    let folder = tempfile::tempdir().unwrap();
    let lab = format!("[providers.lab]\nbase_url = \"{}\"\nmodels = [\"m\"]\n", upstream.url("/v1"));
    let mut service = Service::start(folder.path(), &lab);
    let body = r#"{"model":"lab/m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let head = "host: localhost\r\ncontent-type: application/json\r\nconnection: close";
    let request =
        format!("POST /v1/chat/completions HTTP/1.1\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut socket = TcpStream::connect(service.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("begun") {
        assert!(socket.read_buf(&mut heard).await.unwrap() > 0);
    }

    // The provider is gone from the configuration; its answer is not.
    fs::write(folder.path().join("router.toml"), ECHO).unwrap();
    service.tell(Signal::HUP);
    line_with(&mut service, "configuration read again");
    assert!(asked_at(&service, "lab/m").starts_with("HTTP/1.1 404"));
    gate.add_permits(1);
    socket.read_to_end(&mut heard).await.unwrap();
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.contains("and ended") && heard.contains("[DONE]"), "{heard}");
}

#[test]
fn a_provider_that_stays_the_same_keeps_what_it_learnt() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let down = "[providers.down]\nbase_url = \"http://127.0.0.1:1/v1\"\nmodels = [\"m\"]\n";
    let mut service = Service::start(folder.path(), down);
    let held = |service: &Service| service.get("/api/v0/ai/llm/providers").contains("open for another");
    let began = Instant::now();
    while !held(&service) {
        assert!(began.elapsed() < PATIENCE, "its breaker never opened");
        asked_at(&service, "down/m");
    }
    // Opened a few times in a row, it stays so for four seconds.
    fs::write(folder.path().join("router.toml"), format!("{down}{ECHO}")).unwrap();
    service.tell(Signal::HUP);
    line_with(&mut service, "configuration read again");
    let providers = service.get("/api/v0/ai/llm/providers");
    assert!(providers.contains("\"echo\""), "{providers}");
    assert!(held(&service) || providers.contains("half-open"), "{providers}");
}
