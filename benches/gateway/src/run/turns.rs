//! Builds of the router in turns: what a request costs each, on the same machine in the same minutes. For telling what a change brought or cost.
//!
//! Each turn starts the programs anew, one after the other, and every second turn in reverse. A ratio is taken inside a turn; the medians of both are printed.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::process::say;
use super::report::median;
use super::sample;
use super::stage::{self, LANES, ROUTER, Stage};
use crate::load::closed;

/// What takes turns.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    stage: stage::Options,
    /// Turns
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Seconds of load in each turn, for each program
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Further programs, held against `--program`
    #[arg(required = true)]
    others: Vec<PathBuf>,
}

/// Measures and prints.
///
/// # Errors
/// A program that does not start or does not answer.
pub(crate) fn run(options: &Options) -> Result<()> {
    let lane = LANES.iter().find(|lane| lane.name == ROUTER).context("no lane through the router")?;
    let programs: Vec<&PathBuf> = [&options.stage.program].into_iter().chain(&options.others).collect();
    let mut stages =
        programs.iter().map(|program| Stage::set(&options.stage.with(program))).collect::<Result<Vec<_>>>()?;
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); programs.len()];
    let mut order: Vec<usize> = (0..programs.len()).collect();
    for turn in 1..=options.turns.max(1) {
        say(&format!("turn {turn} of {}", options.turns));
        for at in &order {
            let (Some(stage), Some(costs)) = (stages.get_mut(*at), costs.get_mut(*at)) else { continue };
            stage.start_router()?;
            sample::<closed::Found>(stage, lane, &["closed", "--seconds", "1"])?;
            let found = sample::<closed::Found>(stage, lane, &["closed", "--seconds", &options.seconds.to_string()])?;
            ensure!(found.found.answers > 0, "no request was answered");
            costs.push(found.gateway * 1e6 / found.found.answers as f64);
            stage.end_router()?;
        }
        order.reverse();
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "| Program | CPU µs/request | to the first |\n|---|---|---|")?;
    let Some(first) = costs.first() else { return Ok(()) };
    for (program, own) in programs.iter().zip(&costs) {
        let ratio = median(own.iter().zip(first).map(|(own, first)| own / first)).unwrap_or(f64::NAN);
        let cost = median(own.iter().copied()).unwrap_or(f64::NAN);
        writeln!(out, "| {} | {cost:.1} | {ratio:.3} |", program.display())?;
    }
    Ok(())
}
