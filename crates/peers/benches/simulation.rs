//! Ways to choose among many servers, compared in simulated time: `cargo bench -p llm-router-peers --bench simulation`, with a number of servers for that number alone.
//!
//! The simulation is that of the test of this name (`tests/simulation/`), with more servers. What it prints is simulated and not measured; nothing is judged here.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/simulation/policy.rs"]
mod policy;
#[path = "../tests/simulation/world.rs"]
mod world;

use policy::Policy;
use world::{Plan, World};

fn main() {
    let asked: Option<usize> = std::env::args().find_map(|word| word.parse().ok());
    let sizes = asked.map_or_else(|| vec![1_000, 10_000], |size| vec![size]);
    println!(
        "{:<8} {:<8} {:<16} {:<8} {:>9} {:>9} {:>9} {:>9} {:>7} {:>9} {:>8} {:>9}",
        "servers",
        "routers",
        "policy",
        "churn",
        "p50 ms",
        "p99 ms",
        "max/mean",
        "worst",
        "known",
        "attempts",
        "failed",
        "repeated"
    );
    for servers in sizes {
        // One router with all requests, and sixteen that share them and know nothing of each other.
        for (routers, lifetime) in [(1, None), (16, None), (16, Some(600.0))] {
            for policy in [Policy::Random, Policy::LeastAdvertised, Policy::Picker, Policy::PickerWithHomes] {
                let plan = Plan { lifetime, ..Plan::new(servers, routers) };
                let report = World::new(plan, policy).run();
                println!(
                    "{servers:<8} {routers:<8} {:<16} {:<8} {:>9.0} {:>9.0} {:>9.2} {:>9.2} {:>6.0}% {:>9.3} {:>8} {:>9}",
                    format!("{policy:?}"),
                    lifetime.map_or_else(|| "none".to_owned(), |life| format!("{life} s")),
                    report.p50 * 1e3,
                    report.p99 * 1e3,
                    report.max_to_mean,
                    report.worst,
                    report.known * 100.0,
                    report.attempts as f64 / report.requests as f64,
                    report.failed,
                    report.repeated
                );
            }
        }
    }
}
