//! Instructions per request, counted by valgrind: a figure that no other work on the machine disturbs, and so the one to keep over time.
//!
//! Two runs that differ in nothing but their number of requests: the difference is the requests' alone, without the start and the end.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::process::say;
use super::stage::{self, LANES, Lane, Stage, Through};
use crate::load::closed;

const FEW: u64 = 200;
const MORE: u64 = 1_200;

/// How to count.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    stage: stage::Options,
    /// Keep callgrind's files in this folder, for callgrind_annotate
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Counts and prints.
///
/// # Errors
/// No valgrind; a router that does not run under it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut stage = Stage::set(&options.stage)?;
    let mut out = std::io::stdout().lock();
    for lane in LANES.iter().filter(|lane| lane.through == Through::Router) {
        let Some(few) = count(&mut stage, lane, FEW, options)? else { continue };
        let Some(more) = count(&mut stage, lane, MORE, options)? else { continue };
        let each = more.saturating_sub(few) / (MORE - FEW);
        writeln!(out, "{}: {each} instructions per request", lane.name)?;
    }
    Ok(())
}

/// All instructions of a router that answers so many requests; none where it does not answer on this lane.
fn count(stage: &mut Stage, lane: &Lane, requests: u64, options: &Options) -> Result<Option<u64>> {
    let file = match &options.keep {
        None => "/dev/null".to_owned(),
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let name = lane.name.replace([' ', ','], "-");
            folder.join(format!("callgrind.{name}.{requests}")).display().to_string()
        }
    };
    let wrapper = ["valgrind".to_owned(), "--tool=callgrind".to_owned(), format!("--callgrind-out-file={file}")];
    say(&format!("{requests} requests: {}", lane.name));
    stage.start_router_under(&wrapper, "on Debian: apt-get install valgrind")?;
    if !stage.answers(lane) {
        return Ok(None);
    }
    stage.load::<closed::Found>(lane, &["closed", "--connections", "1", "--requests", &requests.to_string()])?;
    let said = stage.end_router()?;
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    Ok(Some(collected.with_context(|| format!("valgrind counted nothing: {said}"))?))
}
