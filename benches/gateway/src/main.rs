//! Measures `llm-router serve` beside nginx on this machine: one scripted upstream behind both, one load generator before both.
//!
//! Not a test: it judges no time, it prints figures and the bounds that the project has set itself. The parts can be used alone: `upstream` answers, `closed`, `open` and
//! `streams` ask, each prints one JSON object. `run` starts everything and prints the table; read `run.rs` next. `docs/benchmarks.md` says how to read the figures.

mod answers;
mod clock;
mod load;
mod run;
mod upstream;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures llm-router beside nginx over one scripted upstream.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer as an OpenAI-compatible and an Anthropic upstream would, whole and streamed, until ended
    Upstream(upstream::Options),
    /// Ask again as soon as an answer is there, on each of N connections
    Closed(load::closed::Options),
    /// Ask at a fixed rate; latency counts from when a request was due
    Open(load::open::Options),
    /// Read N streams at once; each chunk says when it was sent
    Streams(load::streams::Options),
    /// Start nginx and the router, measure both in turn, print the table
    Run(run::Options),
    /// Count the router's machine instructions per request, with valgrind
    Instructions(run::instructions::Options),
    /// Let builds of the router take turns: what a request costs each
    Turns(run::turns::Options),
    /// Show the router's system calls over 1,000 requests, with strace; fails if one touches a file
    Syscalls(run::syscalls::Options),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Upstream(options) => upstream::serve(&options),
        Command::Closed(options) => load::closed::run(&options).and_then(print),
        Command::Open(options) => load::open::run(&options).and_then(print),
        Command::Streams(options) => load::streams::run(&options).and_then(print),
        Command::Run(options) => run::run(&options),
        Command::Instructions(options) => run::instructions::run(&options),
        Command::Turns(options) => run::turns::run(&options),
        Command::Syscalls(options) => run::syscalls::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(found: impl serde::Serialize) -> Result<()> {
    let printed = run::Printed { cpu_seconds: clock::cpu_seconds(), found };
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&printed)?)?)
}
