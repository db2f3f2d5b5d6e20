//! Instructions per request, counted by valgrind: a figure that no other work on the machine disturbs, and so the one to keep over time.
//!
//! Two runs that differ in nothing but their number of requests: the difference is the requests' alone, without the start and the end.
//!
//! Where many connections are served at once the caches count for more than the instructions. valgrind plays caches too, of the same sizes on every machine: two of 32 KiB, for
//! instructions and for data, and one of 2 MiB behind them.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::process::say;
use super::stage::{self, LANES, Lane, Stage, Through};
use crate::load::closed;

const FEW: u64 = 200;
const MORE: u64 = 1_200;

/// Size in bytes, ways, bytes of a line.
const CACHES: [&str; 4] = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=2097152,16,64"];

/// How to count.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    stage: stage::Options,
    /// Keep callgrind's files in this folder, for callgrind_annotate
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Count what the caches miss as well
    #[arg(long)]
    caches: bool,
    /// Connections
    #[arg(long, default_value_t = 1)]
    connections: u64,
}

/// What valgrind counts, in its order: one for each request.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    instructions: u64,
    /// Misses of the small caches: for instructions, for data.
    small: (u64, u64),
    /// Misses of the large one.
    large: u64,
}

impl Counted {
    /// From the line of totals: instructions, reads, writes, then misses of the small caches and of the large one, each for instructions, reads and writes.
    fn read(line: &str) -> Option<Self> {
        let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let at = |at: usize| numbers.get(at).copied().unwrap_or(0);
        Some(Self { instructions: *numbers.first()?, small: (at(3), at(4) + at(5)), large: at(6) + at(7) + at(8) })
    }

    /// One of so many more requests.
    fn each(self, fewer: Self, more: u64) -> Self {
        let each = |all: u64, few: u64| all.saturating_sub(few) / more;
        Self {
            instructions: each(self.instructions, fewer.instructions),
            small: (each(self.small.0, fewer.small.0), each(self.small.1, fewer.small.1)),
            large: each(self.large, fewer.large),
        }
    }
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
        let Counted { instructions, small, large } = more.each(few, MORE - FEW);
        write!(out, "{}: {instructions} instructions per request", lane.name)?;
        if options.caches {
            write!(out, "; missed in 32 KiB: {} instructions, {} data; in 2 MiB: {large}", small.0, small.1)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What a router takes that answers so many requests; none where it does not answer on this lane.
fn count(stage: &mut Stage, lane: &Lane, requests: u64, options: &Options) -> Result<Option<Counted>> {
    let file = match &options.keep {
        None => "/dev/null".to_owned(),
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let name = lane.name.replace([' ', ','], "-");
            folder.join(format!("callgrind.{name}.{requests}")).display().to_string()
        }
    };
    let mut wrapper =
        vec!["valgrind".to_owned(), "--tool=callgrind".to_owned(), format!("--callgrind-out-file={file}")];
    if options.caches {
        wrapper.extend(CACHES.map(str::to_owned));
    }
    say(&format!("{requests} requests: {}", lane.name));
    stage.start_router_under(&wrapper, "on Debian: apt-get install valgrind")?;
    if !stage.answers(lane) {
        return Ok(None);
    }
    let (connections, requests) = (options.connections.to_string(), requests.to_string());
    stage.load::<closed::Found>(lane, &["closed", "--connections", &connections, "--requests", &requests])?;
    let said = stage.end_router()?;
    let collected = said.lines().find_map(|line| Counted::read(line.split_once("Collected :")?.1));
    Ok(Some(collected.with_context(|| format!("valgrind counted nothing: {said}"))?))
}
