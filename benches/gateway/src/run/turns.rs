//! Builds of the router in turns: what a request costs each, on the same machine in the same minutes. For telling what a change brought or cost.
//!
//! Each turn starts every program anew, the first of them twice, and loads them one after the other in short slices, every second time in reverse, so that all of
//! them see the same moments of the machine. A ratio is taken inside a turn; printed are the medians over the turns and how sure the ratio's is. What the first
//! program's second process shows against its first is what the machine alone makes of two equal programs.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::machine::cpu_shares;
use super::process::say;
use super::report::{between, median};
use super::sample;
use super::stage::{self, LANES, Lane, ROUTER, Stage};
use crate::load::closed;

/// What takes turns.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    stage: stage::Options,
    /// Turns
    #[arg(long, default_value_t = 12)]
    turns: usize,
    /// Slices of load in each turn, for each program
    #[arg(long, default_value_t = 8)]
    slices: usize,
    /// Seconds of load in a slice
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Further programs, held against `--program`
    #[arg(required = true)]
    others: Vec<PathBuf>,
}

/// What a program's process has taken and answered in a turn.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// CPU seconds.
    taken: f64,
    /// Those of them outside the kernel.
    outside: f64,
    answers: u64,
}

impl Cost {
    /// Microseconds.
    fn of_a_request(self) -> f64 {
        self.taken * 1e6 / self.answers as f64
    }

    /// The same, outside the kernel.
    fn outside_of_a_request(self) -> f64 {
        self.outside * 1e6 / self.answers as f64
    }
}

/// Measures and prints.
///
/// # Errors
/// A program that does not start or does not answer.
pub(crate) fn run(options: &Options) -> Result<()> {
    let lane = LANES.iter().find(|lane| lane.name == ROUTER).context("no lane through the router")?;
    let first = &options.stage.program;
    let programs: Vec<&PathBuf> = [first, first].into_iter().chain(&options.others).collect();
    let mut stages =
        programs.iter().map(|program| Stage::set(&options.stage.with(program))).collect::<Result<Vec<_>>>()?;
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); programs.len()];
    for number in 1..=options.turns.max(1) {
        say(&format!("turn {number} of {}", options.turns));
        for (costs, cost) in costs.iter_mut().zip(turn(&mut stages, lane, options)?) {
            costs.push(cost);
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| Program | CPU µs/request | of it outside the kernel | to the first | with 95 % certainty between |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    let Some(reference) = costs.first() else { return Ok(()) };
    for (at, (program, own)) in programs.iter().zip(&costs).enumerate() {
        let ratios = || own.iter().zip(reference).map(|(own, first)| own.of_a_request() / first.of_a_request());
        let of_turns = |figure: fn(Cost) -> f64| median(own.iter().copied().map(figure)).unwrap_or(f64::NAN);
        let (cost, outside) = (of_turns(Cost::of_a_request), of_turns(Cost::outside_of_a_request));
        let ratio = median(ratios()).unwrap_or(f64::NAN);
        let (low, high) = between(ratios()).unwrap_or((f64::NAN, f64::NAN));
        let program = program.display();
        let again = if at == 1 { ", once more" } else { "" };
        writeln!(out, "| {program}{again} | {cost:.1} | {outside:.1} | {ratio:.3} | {low:.3} and {high:.3} |")?;
    }
    Ok(())
}

fn turn(stages: &mut [Stage], lane: &Lane, options: &Options) -> Result<Vec<Cost>> {
    for stage in &mut *stages {
        stage.start_router()?;
        sample::<closed::Found>(stage, lane, &["closed", "--seconds", "1"])?;
    }
    let seconds = options.seconds.to_string();
    let mut costs = vec![Cost::default(); stages.len()];
    let mut order: Vec<usize> = (0..stages.len()).collect();
    for _ in 0..options.slices.max(1) {
        for at in &order {
            let (Some(stage), Some(cost)) = (stages.get(*at), costs.get_mut(*at)) else { continue };
            let outside = || stage.pid(lane).map_or(0.0, |pid| cpu_shares(pid).0);
            let before = outside();
            let found = sample::<closed::Found>(stage, lane, &["closed", "--seconds", &seconds])?;
            cost.outside += outside() - before;
            cost.taken += found.gateway;
            cost.answers += found.found.answers;
        }
        order.reverse();
    }
    for stage in stages {
        stage.end_router()?;
    }
    Ok(costs)
}
