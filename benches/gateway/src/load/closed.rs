//! Closed loop: each connection asks again as soon as it has its answer. Gives the most a gateway can do, and its CPU per request with no time idle.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Connection, PATIENCE, Target, Times, all, first_answer, on_one_thread};
use crate::clock;

/// How to ask.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long, in seconds
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// How many requests instead, however long they take
    #[arg(long)]
    requests: Option<u64>,
}

/// What was found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Answers.
    pub(crate) answers: u64,
    /// Answers a second.
    pub(crate) rate: f64,
    /// From request to answer, in microseconds.
    pub(crate) latency: Times,
}

/// Measures.
///
/// # Errors
/// Any answer that is not the upstream's.
pub(crate) fn run(options: &Options) -> Result<Found> {
    on_one_thread(measure(options))
}

async fn measure(options: &Options) -> Result<Found> {
    let length = tokio::time::timeout(PATIENCE, first_answer(&options.target)).await.context("no answer")??;
    let request: Rc<[u8]> = options.target.request(false).into();
    let mut connections = Vec::with_capacity(options.connections);
    for _ in 0..options.connections {
        connections.push(Connection::open(options.target.address).await?);
    }
    let began = clock::now();
    let end = options
        .requests
        .map_or_else(|| Some(began + Duration::from_secs_f64(options.seconds).as_nanos() as u64), |_| None);
    // The request that looked at the first answer counts where a number was asked for.
    let left = Rc::new(std::cell::Cell::new(options.requests.map_or(u64::MAX, |asked| asked.saturating_sub(1))));
    let tasks = connections.into_iter().map(|mut connection| {
        let (request, left) = (request.clone(), left.clone());
        tokio::task::spawn_local(async move {
            let mut times = Vec::new();
            let mut now = clock::now();
            while end.is_none_or(|end| now < end) && left.get() > 0 {
                left.set(left.get() - 1);
                tokio::time::timeout(PATIENCE, connection.whole(&request, length)).await.context("no answer")??;
                let after = clock::now();
                times.push(after - now);
                now = after;
            }
            Ok(times)
        })
    });
    let times: Vec<u64> = all(tasks.collect()).await?.concat();
    let took = (clock::now() - began) as f64 / 1e9;
    let answers = times.len() as u64;
    Ok(Found { answers, rate: answers as f64 / took, latency: Times::of(times) })
}
