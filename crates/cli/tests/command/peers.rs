//! Two routers as peers: each a process with a home of its own, over loopback, one before an upstream and one with nothing but a ticket.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use llm_router::testing::upstream::Answer;

use crate::support::{Home, Server};

/// A router that answers peers with what its provider `lab` says. Dropping it kills it.
struct Host {
    server: Server,
    serving: Child,
}

impl Host {
    fn new() -> Self {
        let chunk = |delta: &str, finish: &str| {
            format!(
                r#"{{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":{finish}}}]}}"#
            )
        };
        let (word, stop) = (chunk(r#""role":"assistant","content":"a peer's word""#, "null"), chunk("", "\"stop\""));
        let answers = [Answer::sse().event(&word).event(&stop).event("[DONE]").end()];
        let shares = "models = [\"m\"]\n[peers]\nmdns = false\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\n[peers.share]\nproviders = [\"lab\"]\n[server]\nvirtual_keys = true\n";
        let server = Server::answering_with(answers, shares);
        let mut command = server.home.run(["serve", "--peers", "--port", "0"]).into_command();
        let mut serving = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines();
        let ready = lines.by_ref().map(Result::unwrap).any(|line| line.starts_with("peers at "));
        assert!(ready, "it ended before it served");
        // What it says further is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { server, serving }
    }

    fn ticket<const N: usize>(&self, words: [&str; N]) -> String {
        let run = words.into_iter().fold(self.server.home.run(["peers", "invite"]), crate::support::Run::word);
        run.succeeds().stdout.trim().to_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.serving.kill();
        let _ = self.serving.wait();
    }
}

/// A home of somebody who has no provider.
fn guest() -> Home {
    Home::with("[peers]\nmdns = false\n")
}

const ASKED: [&str; 5] = ["generate", "hi", "--provider", "ipfs_peer", "-m"];

fn ask<'a>(guest: &'a Home, words: &[&str]) -> crate::support::Run<'a> {
    let run = guest.run(ASKED).word("m");
    words.iter().fold(run, |run, word| run.word(word))
}

#[test]
fn whoever_has_a_ticket_is_answered_and_can_show_who_said_it() {
    let (host, guest) = (Host::new(), guest());
    let id = host.server.home.run(["peers", "id"]).succeeds().stdout.trim().to_owned();
    let joined = guest.run(["peers", "join"]).word(host.ticket([])).succeeds().stdout;
    assert!(joined.contains(&id) && joined.ends_with("it serves m\n"), "{joined}");

    ask(&guest, &[]).answers("a peer's word\n");
    let answer = ask(&guest, &["--json"]).succeeds().json();
    assert_eq!((answer["text"].as_str(), answer["provider"].as_str()), (Some("a peer's word"), Some("ipfs_peer")));
    let said = answer.to_string();
    assert!(said.contains(&id), "{said}");
    let receipt = said.split('"').find(|word| word.starts_with("llmr_receipt1_")).unwrap();
    let verified = guest.run(["peers", "verify", receipt, "--json"]).succeeds().json();
    assert_eq!(verified["peer"], *id, "{verified}");

    let listed = guest.run(["peers", "ls", "--json"]).succeeds().json();
    let peer = &listed["peers"][0];
    assert_eq!((peer["id"].as_str(), peer["trust"].as_str()), (Some(&*id), Some("trusted")), "{listed}");
    assert_eq!(peer["models"][0]["model"], "m", "{listed}");
    let me = guest.run(["peers", "id"]).succeeds().stdout.trim().to_owned();
    let usage = host.server.home.run(["usage", "--by", "key", "--json"]).succeeds().stdout;
    assert!(usage.contains(&format!("peer:{me}")), "{usage}");
}

#[test]
fn a_stranger_is_told_what_to_ask_for() {
    let (host, guest) = (Host::new(), guest());
    let refused = ask(&guest, &[]).fails(1);
    assert!(refused.contains("llm-router peers invite"), "{refused}");
    // Neither is one who knows the address and nothing else.
    let listed = host.server.home.run(["peers", "invite", "--json"]).succeeds().json();
    let (address, id) = (listed["addresses"][0].as_str().unwrap(), listed["peer"].as_str().unwrap());
    guest.file(
        "config/ipfs-llm-router/config.toml",
        format!("[peers]\nmdns = false\nbootstrap = [\"{address}/p2p/{id}\"]\ntrusted = [\"{id}\"]\n"),
    );
    let refused = ask(&guest, &[]).fails(1);
    assert!(refused.contains("llm-router peers invite"), "{refused}");
    assert!(host.server.seen().requests.is_empty());
}

#[test]
fn a_ticket_is_for_whoever_shows_it_first_and_until_it_is_taken_back() {
    let host = Host::new();
    let (first, second) = (guest(), guest());
    let ticket = host.ticket([]);
    first.run(["peers", "join"]).word(&ticket).succeeds();
    let refused = second.run(["peers", "join"]).word(&ticket).fails(1);
    assert!(refused.contains("hint: ") && refused.contains("peers invite"), "{refused}");

    let me = first.run(["peers", "id"]).succeeds().stdout.trim().to_owned();
    ask(&first, &[]).answers("a peer's word\n");
    host.server.home.run(["peers", "forget"]).word(&me).succeeds();
    // The server sees it within a second.
    let began = Instant::now();
    let refused = loop {
        let ended = ask(&first, &[]).ends();
        if ended.status != 0 {
            break ended.stderr;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{ended:?}");
    };
    assert!(refused.contains("peers invite"), "{refused}");
}

#[test]
fn what_is_no_ticket_and_no_receipt_is_named() {
    let (host, guest) = (Host::new(), guest());
    let ticket = host.ticket([]);
    let cut = &ticket[..ticket.len() - 9];
    for word in [cut, "llmr_ticket1_", "hello", ""] {
        let refused = guest.run(["peers", "join", word]).fails(1);
        assert!(refused.contains("ticket") && refused.contains("\nhint: "), "{word:?}: {refused}");
        let refused = guest.run(["peers", "verify", word]).fails(1);
        assert!(refused.contains("receipt") && refused.contains("\nhint: "), "{word:?}: {refused}");
    }
    let own = host.server.home.run(["peers", "join"]).word(&ticket).fails(1);
    assert!(own.contains("this very peer"), "{own}");
    let nobody = guest.run(["peers", "invite"]).fails(2);
    assert!(nobody.contains("serve --peers"), "{nobody}");
}

#[test]
fn an_answer_that_loses_its_peer_ends_with_an_error() {
    let (host, guest) = (Host::new(), guest());
    guest.run(["peers", "join"]).word(host.ticket([])).succeeds();
    drop(host);
    let ended = ask(&guest, &["--json"]).ends();
    assert_eq!(ended.status, 1);
    assert_eq!(ended.json()["error"]["provider"], "ipfs_peer", "{ended:?}");
}
