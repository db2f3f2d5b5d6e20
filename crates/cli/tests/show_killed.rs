//! The stored answers survive whoever dies: `clear-cache` and two `generate` at once, each killed with SIGKILL in turn, through the real program.
//!
//! After every round the cache opens, each answer in it is the one of its prompt, and an answer that a finished `generate` stored and that no
//! `clear-cache` could have taken is still there. The rounds are seeded; how far a program gets before it dies is what differs between runs.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod show_support;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use show_support::Home;

const ROUNDS: usize = 45;

/// What a finished `generate` said of its answer.
#[derive(Clone)]
struct Stored {
    prompt: String,
    key: String,
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn generate(home: &Home, prompt: &str) -> Command {
    let mut command = home.command();
    command.env("IPFS_KIT_ROUTER_RESPONSE_CACHE", "1");
    command.args(["generate", "--json", "--provider", "echo", "-p", prompt]);
    command
}

fn clear(home: &Home) -> Command {
    let mut command = home.command();
    command.args(["clear-cache", "--json"]);
    command
}

/// What it said where it finished; `None` where it was killed.
fn said(output: &Output, prompt: &str) -> Option<Stored> {
    output.status.code()?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said["text"], prompt, "{said}");
    Some(Stored { prompt: prompt.to_owned(), key: said["key"].as_str().unwrap().to_owned() })
}

/// Whether an answer is stored; one that is must be that of its prompt.
fn is_there(home: &Home, stored: &Stored) -> bool {
    let output = home.command().args(["cache", "get", "--json", &stored.key]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    if output.status.code() != Some(0) {
        assert!(!text.contains("damaged") && !text.contains("malformed"), "{text}");
        return false;
    }
    assert!(text.contains(&format!("{:?}", stored.prompt)), "{text}");
    true
}

/// Spins for a while: the work that is done before the kill, in place of a sleep.
fn work(for_: Duration) {
    let began = Instant::now();
    while began.elapsed() < for_ {
        std::hint::spin_loop();
    }
}

#[test]
fn nothing_is_corrupt_and_nothing_finished_is_lost_whoever_is_killed() {
    let home = Home::default();
    home.config("[providers.echo]\ncommand = \"cat\"\n");
    let mut random = fastrand::Rng::with_seed(2026);
    let began = Instant::now();
    let whole = said(&generate(&home, "before").output().unwrap(), "before").unwrap();
    let longest = began.elapsed();
    assert!(is_there(&home, &whole));
    let (mut killed, mut finished) = (0, 0);
    for round in 0..ROUNDS {
        // What nobody clears in this round is to outlive it.
        let clears = round % 3 == 0;
        let kept =
            said(&generate(&home, &format!("kept {round}")).output().unwrap(), &format!("kept {round}")).unwrap();
        let prompts = [format!("left {round}"), format!("right {round}")];
        let mut children = [
            start(&mut generate(&home, &prompts[0])),
            start(&mut generate(&home, &prompts[1])),
            start(&mut if clears { clear(&home) } else { generate(&home, &format!("third {round}")) }),
        ];
        let victim = (round / 3 + round) % children.len();
        work(longest.mul_f64(random.f64() * 1.5));
        // Ended by its id; one that is done already has no effect.
        children[victim].kill().unwrap();
        let outputs = children.map(|child| child.wait_with_output().unwrap());
        killed += usize::from(outputs[victim].status.code().is_none());
        let answers: Vec<Stored> =
            prompts.iter().zip(&outputs).filter_map(|(prompt, output)| said(output, prompt)).collect();
        finished += answers.len();
        if clears {
            for stored in &answers {
                // There or cleared: either will do, but what is there is whole.
                let _ = is_there(&home, stored);
            }
        } else {
            for stored in answers.iter().chain([&kept]) {
                assert!(is_there(&home, stored), "round {round}: the answer to {:?} is gone", stored.prompt);
            }
        }
        let listed = home.command().args(["cache", "stat", "--json"]).output().unwrap();
        assert_eq!(listed.status.code(), Some(0), "{}", String::from_utf8_lossy(&listed.stdout));
        assert_eq!(set_aside(&home), Vec::<String>::new(), "round {round}: the database was found corrupt");
    }
    let output = clear(&home).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    println!("{ROUNDS} rounds: {killed} killed before their end, {finished} answers finished beside them");
}

/// Files of a database that was set aside as corrupt.
fn set_aside(home: &Home) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![home.cache()];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if file.path().is_dir() {
                folders.push(file.path());
            } else if name.contains("corrupt") || name.contains("damaged") || name.contains("aside") {
                found.push(name);
            }
        }
    }
    found
}
