//! The whole measurement: starts everything, lets the contestants take turns, prints the table.
//!
//! The gateways stand on one core, the upstream and the load on another. Every round measures each lane once, every second round in reverse, and ratios are taken inside a
//! round: what else the machine does then meets all alike. CPU time is the figure that other work disturbs least. `run/report.rs` makes the table of what is gathered here.

pub(crate) mod instructions;
mod machine;
mod process;
mod report;
pub(crate) mod stage;
pub(crate) mod syscalls;
pub(crate) mod turns;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::load::{closed, open, streams};
use machine::{Busy, cpu_seconds, rss};
use stage::{LANES, Lane, Stage};

/// How to measure.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    stage: stage::Options,
    /// A short try-out: one round, short phases, fewer requests; its figures are rough
    #[arg(long)]
    quick: bool,
    /// Rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Also write all that was gathered to this file, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How long each part takes.
#[derive(Debug, Clone, Copy, Serialize)]
struct Extent {
    rounds: usize,
    seconds: u32,
    repeat: u32,
    starts: usize,
    requests: u64,
}

const FULL: Extent = Extent { rounds: 3, seconds: 4, repeat: 5, starts: 5, requests: 200_000 };
const QUICK: Extent = Extent { rounds: 1, seconds: 2, repeat: 2, starts: 3, requests: 20_000 };

/// One measurement of one lane, with the CPU time that the gateway took for it.
#[derive(Debug, Serialize)]
struct Sample<T> {
    lane: &'static str,
    found: T,
    /// CPU seconds of the gateway's processes.
    gateway: f64,
    /// CPU seconds of upstream and load together.
    ours: f64,
    /// CPUs that everything else on the machine kept busy meanwhile.
    foreign: f64,
    /// Seconds.
    took: f64,
}

/// What one round found.
#[derive(Debug, Default, Serialize)]
struct Round {
    closed: Vec<Sample<closed::Found>>,
    open: Vec<Sample<open::Found>>,
    streams: Vec<Sample<streams::Found>>,
}

/// The router's memory, in MiB.
#[derive(Debug, Default, Serialize)]
struct Memory {
    idle: f64,
    after_streams: f64,
    /// After each tenth of the requests.
    growth: Vec<f64>,
}

/// All that was gathered.
#[derive(Debug, Serialize)]
struct Gathered {
    extent: Extent,
    /// Load average over a minute, before and after.
    load: [f64; 2],
    /// Milliseconds from starting the router to its first answer.
    starts: Vec<f64>,
    metrics: bool,
    memory: Memory,
    rounds: Vec<Round>,
}

/// What a measurement of the load generator prints.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Printed<T> {
    /// CPU seconds of the load generator.
    pub(crate) cpu_seconds: f64,
    /// What it found.
    #[serde(flatten)]
    pub(crate) found: T,
}

/// Measures and prints.
///
/// # Errors
/// A tool that is missing, a program that does not start, an answer that is not the upstream's.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut extent = if options.quick { QUICK } else { FULL };
    extent.rounds = options.rounds.unwrap_or(extent.rounds).max(1);
    let before = machine::load_average();
    let mut stage = Stage::set(&options.stage)?;

    process::say("starting the router, again and again");
    let starts = (0..extent.starts).map(|_| stage.first_answer()).collect::<Result<Vec<_>>>()?;
    process::say("memory");
    let memory = memory(&mut stage, &extent)?;

    stage.start_nginx()?;
    stage.start_router()?;
    let metrics = stage.has_metrics();
    let lanes: Vec<&Lane> = LANES.iter().filter(|lane| stage.answers(lane)).collect();
    let rounds =
        (1..=extent.rounds).map(|number| round(&stage, &lanes, &extent, number)).collect::<Result<Vec<_>>>()?;

    let gathered = Gathered { extent, load: [before, machine::load_average()], starts, metrics, memory, rounds };
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&gathered)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    report::print(&gathered)
}

/// A router of its own, as what it has done before would count.
fn memory(stage: &mut Stage, extent: &Extent) -> Result<Memory> {
    stage.start_router()?;
    let Some(lane) = LANES.iter().find(|lane| lane.name == stage::ROUTER) else { return Ok(Memory::default()) };
    let pid = stage.pid(lane).context("the router has no process")?;
    process::pause(Duration::from_secs(2));
    let idle = rss(pid);
    stage.load::<streams::Found>(lane, &["streams", "--streams", "1000", "--repeat", "1", "--spread", "200"])?;
    process::pause(Duration::from_secs(1));
    let after_streams = rss(pid);
    let tenth = (extent.requests / 10).to_string();
    let growth = (0..10).map(|_| {
        stage.load::<closed::Found>(lane, &["closed", "--requests", &tenth])?;
        Ok(rss(pid))
    });
    Ok(Memory { idle, after_streams, growth: growth.collect::<Result<_>>()? })
}

fn round(stage: &Stage, lanes: &[&Lane], extent: &Extent, number: usize) -> Result<Round> {
    let mut round = Round::default();
    let mut lanes = lanes.to_vec();
    if number.is_multiple_of(2) {
        lanes.reverse();
    }
    let (seconds, repeat) = (extent.seconds.to_string(), extent.repeat.to_string());
    process::say(&format!("round {number} of {}", extent.rounds));
    for lane in &lanes {
        round.closed.push(sample(stage, lane, &["closed", "--seconds", &seconds])?);
    }
    let plain: Vec<_> = lanes.iter().filter(|lane| !lane.closed_only).collect();
    for lane in &plain {
        round.open.push(sample(stage, lane, &["open", "--rate", "500", "--seconds", &seconds])?);
    }
    for lane in &plain {
        round.streams.push(sample(stage, lane, &["streams", "--streams", "100", "--repeat", &repeat])?);
    }
    Ok(round)
}

/// Runs the load against a lane, with the clocks of all concerned read around it.
fn sample<T: for<'a> Deserialize<'a>>(stage: &Stage, lane: &Lane, arguments: &[&str]) -> Result<Sample<T>> {
    let gateway = stage.pid(lane);
    let clocks = || (gateway.map_or(0.0, cpu_seconds), cpu_seconds(stage.upstream_pid()), Busy::now());
    let (gateway_before, upstream_before, busy_before) = clocks();
    let printed = stage.load::<T>(lane, arguments)?;
    let (gateway_after, upstream_after, busy_after) = clocks();
    let gateway = gateway_after - gateway_before;
    let ours = upstream_after - upstream_before + printed.cpu_seconds;
    let took = busy_after.seconds_since(&busy_before);
    let foreign = ((busy_after.busy - busy_before.busy - gateway - ours) / took).max(0.0);
    Ok(Sample { lane: lane.name, found: printed.found, gateway, ours, foreign, took })
}
