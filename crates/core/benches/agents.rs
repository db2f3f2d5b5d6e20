//! Times what the router adds to an agent's run: `cargo bench -p ipfs-llm-router --bench agents`.
//!
//! A shell script replays what Claude Code printed, with a tenth of a second's pause, and is run by turns directly and through the provider, in a private home and read line by
//! line. Figures are medians and the 95th of a hundred. The memory is this process's own after each hundred runs.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_router::config::ProviderSettings;
use llm_router::deps::SystemClock;
use llm_router::ids::{ProviderId, RequestId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::process::agents::agent;
use llm_router::provider::process::{Environment, Runner};
use llm_router::provider::{Call, Context, DynProvider, Target};
use llm_router::request::Request;
use llm_router::response::collect;

const ROUNDS: usize = 100;

fn main() {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(measured());
}

async fn measured() {
    let folder = tempfile::tempdir().unwrap();
    let program = stand_in(folder.path());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let environment = Environment::default()
        .with("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .with("HOME", at("home"))
        .with("ANTHROPIC_API_KEY", "none");
    let runner = Runner::default();
    let claude = agent("claude_code").unwrap();
    let (provider, _) = claude.provider(&ProviderSettings::default(), &environment, runner.clone()).unwrap();
    for hundred in 1..=2 {
        let (mut direct, mut routed, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            direct.push(directly(&program));
            let began = Instant::now();
            let text = ask(&*provider).await;
            routed.push(began.elapsed());
            assert_eq!(text, "One two three four five six seven.");
            runner.shutdown().await;
            ended.push(began.elapsed());
        }
        let [direct, routed, ended] = [direct, routed, ended].map(sorted);
        println!("directly                              {}", shown(&direct));
        println!("through the provider                  {}", shown(&routed));
        println!("  until its home is removed           {}", shown(&ended));
        println!("more, at the median                   {:?}", routed[ROUNDS / 2].saturating_sub(direct[ROUNDS / 2]));
        println!("memory after {:>3} runs                 {} KiB", hundred * ROUNDS, memory());
    }
}

/// A program that says what was recorded, with a pause in it.
fn stand_in(folder: &Path) -> std::path::PathBuf {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agents/claude/whole.jsonl");
    let lines: Vec<serde_json::Value> =
        std::fs::read_to_string(recorded).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<&str> = lines.iter().filter_map(|line| line["out"].as_str()).collect();
    let (first, second) = said.split_at(said.len() / 2);
    std::fs::write(folder.join("first"), first.join("\n") + "\n").unwrap();
    std::fs::write(folder.join("second"), second.join("\n") + "\n").unwrap();
    let here = folder.display();
    let script = format!("#!/bin/sh\ncat >/dev/null\ncat {here}/first\nsleep 0.1\ncat {here}/second\n");
    let (draft, program) = (folder.join("draft"), folder.join("claude"));
    std::fs::write(&draft, script).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Command::new("cp").arg("-p").arg(&draft).arg(&program).status().unwrap().success());
    program
}

fn directly(program: &Path) -> Duration {
    let began = Instant::now();
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    assert!(child.wait_with_output().unwrap().stdout.len() > 1000);
    began.elapsed()
}

async fn ask(provider: &dyn DynProvider) -> String {
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(1, 2));
    let mut request = Request::new("hello");
    request.stream = true;
    let call = Call::new(Arc::new(request), Target::new(ProviderId::new("claude_code").unwrap(), None), cx);
    collect(provider.generate(Arc::new(call)).await.unwrap()).await.unwrap().text()
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

fn shown(times: &[Duration]) -> String {
    format!("{:.1?} median, {:.1?} at 95", times[times.len() / 2], times[times.len() * 95 / 100])
}

/// Resident memory of this process in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
