//! The real program under mixed faults for a long time: does memory grow, does anything stay open, does every request end?
//!
//! `cargo bench -p llm-router-cli --bench soak -- MINUTES REQUESTS_A_SECOND`, or `make soak`. Providers of every dialect fail in turn in every way that
//! `testing::faults` knows, clients of every dialect ask, some leave in the middle. Prints a line for each tenth of the time, and at the end what is left.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "../tests/faults/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../tests/serve/service.rs"]
#[allow(dead_code)]
mod service;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use llm_router::testing::faults::{Act, Faults};
use llm_router::testing::voice::{Refusal, Voice};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::client::{ask, question, send};
use crate::service::Service;

/// Nothing that is asked here may take longer.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// The most requests at once, of a router that does not keep up.
const MOST_AT_ONCE: usize = 4096;
/// How many requests it takes until one client leaves in the middle.
const ONE_LEAVES_OF: u64 = 20;

/// How requests ended.
#[derive(Debug, Default)]
struct Ends {
    whole: AtomicU64,
    failed: AtomicU64,
    left: AtomicU64,
    /// Neither an end nor an error within the time.
    hung: AtomicU64,
}

fn acts() -> Vec<Act> {
    let second = Duration::from_secs(1);
    let faults = [
        Act::Refuse(Refusal::RateLimited, None),
        Act::Refuse(Refusal::ServerError, None),
        Act::Refuse(Refusal::Unavailable, None),
        Act::Refuse(Refusal::ContextLength, None),
        Act::Refuse(Refusal::ContentFilter, None),
        Act::Reset,
        Act::Silence,
        Act::Late(3 * second),
        Act::CutAfter(40),
        Act::StallAfter(20, 4 * second),
        Act::Malformed,
        Act::NoTerminal,
        Act::ErrorInside,
        Act::Html,
        Act::GzipGarbage,
        Act::Huge(1 << 18),
        Act::Redirect("http://127.0.0.1:1/".into()),
        Act::Drip(second / 100),
    ];
    // Each fault after a few answers, so that breakers close again.
    faults.into_iter().flat_map(|fault| [Act::Answer, Act::Answer, Act::Answer, fault]).collect()
}

fn configuration(faults: &Faults) -> String {
    let timeouts = "first_event = \"2s\", idle = \"2s\", whole = \"5s\", total = \"20s\"";
    let mut config = format!("[router]\ntimeouts = {{ {timeouts} }}\n");
    for voice in Voice::ALL {
        let name = voice.name().replace('_', "-");
        for script in ["first", "second"] {
            let url = faults.url(script, voice);
            let _ = write!(
                config,
                "[providers.{script}-{name}]\nbase_url = \"{url}\"\ndialect = \"{}\"\napi_key = \"k\"\nmodels = [\"m\"]\n",
                voice.name()
            );
        }
        let _ = write!(config, "[routes.all-{name}]\ngroups = [[\"first-{name}/m\"], [\"second-{name}/m\"]]\n");
    }
    config
}

/// One request, to its end, or until its client has enough of it.
async fn one(address: SocketAddr, at: u64, ends: &Ends) {
    let voice = |at: u64| Voice::ALL[usize::try_from(at % 4).unwrap_or_default()];
    let (client, upstream, streamed) = (voice(at), voice(at / 4), !(at / 16).is_multiple_of(3));
    let route = "all-".to_owned() + &upstream.name().replace('_', "-");
    if at % ONE_LEAVES_OF == ONE_LEAVES_OF - 1 {
        let (path, body) = question(client, streamed, &route);
        let mut socket = send(address, &path, &body).await;
        let mut begun = [0; 700];
        let _ = timeout(Duration::from_millis(300), socket.read(&mut begun)).await;
        ends.left.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let end = match timeout(ENDS_WITHIN, ask(address, client, streamed, &route)).await {
        Ok(heard) if heard.whole && heard.error.is_none() => &ends.whole,
        Ok(heard) if heard.error.is_some() => &ends.failed,
        Ok(_) | Err(_) => &ends.hung,
    };
    end.fetch_add(1, Ordering::Relaxed);
}

/// Resident memory in KiB, open descriptors and threads of a process.
fn held(pid: u32) -> (u64, usize, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    (field("VmRSS:"), fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), field("Threads:"))
}

/// The growth of a line through these points, least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x).powi(2))
    });
    if below == 0.0 { 0.0 } else { above / below }
}

/// What a metric of the server says, all its labels together.
fn metric(service: &Service, name: &str) -> f64 {
    let shown = service.get("/metrics");
    let lines = shown.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::main]
async fn main() {
    let numbers: Vec<f64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (minutes, rate) = (numbers.first().copied().unwrap_or(30.0), numbers.get(1).copied().unwrap_or(200.0));
    let faults = Faults::serve([("first", vec![Act::InTurn(acts())]), ("second", vec![Act::InTurn(acts())])]).await;
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &configuration(&faults));
    let (pid, address) = (service.child.id(), service.address);
    let ends = Arc::new(Ends::default());
    let whole = Duration::from_secs_f64(minutes * 60.0);
    let mut pace = interval(Duration::from_secs_f64(1.0 / rate));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    println!("{minutes} minutes at {rate} requests a second");
    println!("| seconds | MiB | descriptors | threads | under way | whole | failed | left | hung |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let (began, mut asked, mut points, mut requests) = (Instant::now(), 0_u64, Vec::new(), JoinSet::new());
    let mut sample = interval(whole / 60);
    while began.elapsed() < whole {
        tokio::select! {
            _ = pace.tick() => {
                while requests.try_join_next().is_some() {}
                if requests.len() < MOST_AT_ONCE {
                    let (ends, at) = (Arc::clone(&ends), asked);
                    requests.spawn(async move { one(address, at, &ends).await });
                    asked += 1;
                }
            }
            _ = sample.tick() => {
                let (memory, descriptors, threads) = held(pid);
                points.push((began.elapsed().as_secs_f64(), memory as f64 / 1024.0));
                if points.len() % 6 == 1 {
                    report(began, (memory, descriptors, threads), requests.len(), &ends);
                }
            }
        }
    }
    while requests.join_next().await.is_some() {}
    // What clients left behind is over soon after them.
    let quiet = async {
        while faults.running() > 0 || metric(&service, "llm_router_requests_in_flight") > 0.0 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let settled = timeout(ENDS_WITHIN, quiet).await.is_ok();
    report(began, held(pid), 0, &ends);
    // The first third fills caches, pools and the allocator.
    let later: Vec<_> = points.iter().copied().filter(|(at, _)| *at > whole.as_secs_f64() / 3.0).collect();
    println!("asked {asked}; memory after the first third: {:+.2} MiB an hour", slope(&later) * 3600.0);
    println!("every request ended: {}", ends.hung.load(Ordering::Relaxed) == 0);
    println!("nothing is under way any more, here or at a provider: {settled}");
}

fn report(began: Instant, (memory, descriptors, threads): (u64, usize, u64), under_way: usize, ends: &Ends) {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "| {:.0} | {:.1} | {descriptors} | {threads} | {under_way} | {} | {} | {} | {} |",
        began.elapsed().as_secs_f64(),
        memory as f64 / 1024.0,
        count(&ends.whole),
        count(&ends.failed),
        count(&ends.left),
        count(&ends.hung),
    );
}
