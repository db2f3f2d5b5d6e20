//! Streams side by side: how long until the first chunk, and how long each chunk was on its way, by the stamp that the upstream wrote into it.

use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Connection, PATIENCE, Target, Times, all, on_one_thread};
use crate::answers::Dialect;
use crate::clock;

/// How to ask.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Streams at once
    #[arg(long, default_value_t = 100)]
    streams: usize,
    /// Streams on each connection, one after the other
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Chunks that each stream is to have
    #[arg(long, default_value_t = 64)]
    chunks: usize,
    /// Milliseconds over which the starts are spread: clients do not all come in the same instant
    #[arg(long, default_value_t = 500)]
    spread: u64,
}

/// What was found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Streams read to their end.
    pub(crate) streams: u64,
    /// Chunks of content.
    pub(crate) chunks: u64,
    /// From the request to the first chunk, in microseconds.
    pub(crate) first: Times,
    /// Of the first chunk alone, from its stamp, in microseconds.
    pub(crate) first_delay: Times,
    /// Of each chunk, from its stamp, in microseconds.
    pub(crate) delay: Times,
}

/// Measures.
///
/// # Errors
/// A stream that is cut or lacks a chunk.
pub(crate) fn run(options: &Options) -> Result<Found> {
    on_one_thread(measure(options))
}

async fn measure(options: &Options) -> Result<Found> {
    let request: Rc<[u8]> = options.target.request(true).into();
    let began = tokio::time::Instant::now();
    let tasks = (0..options.streams).map(|number| {
        let (request, options) = (request.clone(), options.clone());
        tokio::task::spawn_local(async move {
            let share =
                std::time::Duration::from_micros(options.spread * 1000 * number as u64 / options.streams as u64);
            let mut connection = Connection::open(options.target.address).await?;
            tokio::time::sleep_until(began + share).await;
            let mut found = Vec::with_capacity(options.repeat);
            for _ in 0..options.repeat {
                found.push(one(&mut connection, &request, options.target.dialect, options.chunks).await?);
            }
            Ok(found)
        })
    });
    let found: Vec<Seen> = all(tasks.collect()).await?.into_iter().flatten().collect();
    let delays: Vec<u64> = found.iter().flat_map(|seen| seen.delays.iter().copied()).collect();
    Ok(Found {
        streams: found.len() as u64,
        chunks: delays.len() as u64,
        first: Times::of(found.iter().map(|seen| seen.first).collect()),
        first_delay: Times::of(found.iter().filter_map(|seen| seen.delays.first().copied()).collect()),
        delay: Times::of(delays),
    })
}

#[derive(Debug, Default)]
struct Seen {
    first: u64,
    delays: Vec<u64>,
}

async fn one(connection: &mut Connection, request: &[u8], dialect: Dialect, chunks: usize) -> Result<Seen> {
    let began = clock::now();
    let mut lines = Lines::default();
    let mut seen = Seen { first: 0, delays: Vec::with_capacity(chunks) };
    let mut ended = false;
    let last = dialect.last().as_bytes();
    let reading = connection.exchange(request, |bytes| {
        let now = clock::now();
        lines.feed(bytes, |line| {
            if let Some(sent) = clock::find(line) {
                if seen.delays.is_empty() {
                    seen.first = now - began;
                }
                seen.delays.push(now.saturating_sub(sent));
            } else if line.windows(last.len()).any(|window| window == last) {
                ended = true;
            }
        });
    });
    tokio::time::timeout(PATIENCE, reading).await.context("a stream does not end")??;
    ensure!(seen.delays.len() == chunks, "a stream has {} chunks instead of {chunks}", seen.delays.len());
    ensure!(ended, "a stream ended without its last event");
    Ok(seen)
}

/// Cuts bytes into lines, wherever a gateway has cut them into pieces.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            let (now, later) = bytes.split_at(at);
            if self.0.is_empty() {
                line(now);
            } else {
                self.0.extend_from_slice(now);
                line(&self.0);
                self.0.clear();
            }
            bytes = later.get(1..).unwrap_or_default();
        }
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"data: one\n\ndata: two\n";
        for cut in 0..text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            let (first, second) = text.split_at(cut);
            for part in [first, second] {
                lines.feed(part, |line| found.push(String::from_utf8_lossy(line).into_owned()));
            }
            assert_eq!(found, ["data: one", "", "data: two"], "cut at {cut}");
        }
    }
}
