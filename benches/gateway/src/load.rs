//! The load generator: prepared requests over plain sockets, one thread, so that it takes as little as can be of the core that it shares with the upstream.
//!
//! Not a client library: an answer that is not 200, that holds something else than the upstream's, or that is cut, is counted as failed and fails the measurement.

pub(crate) mod closed;
pub(crate) mod open;
pub(crate) mod streams;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::answers::{Dialect, MARK};
use crate::wire::{self, Reader};

/// Nothing here takes this long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whom to ask, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    /// The gateway, as address and port
    pub(crate) address: SocketAddr,
    /// The dialect to ask in
    #[arg(long, value_enum, default_value = "openai-chat")]
    pub(crate) dialect: Dialect,
    /// The model to ask for
    #[arg(long, default_value = "scripted-chat")]
    pub(crate) model: String,
    /// A further header, `name: value`; may be given again
    #[arg(long = "header")]
    pub(crate) headers: Vec<String>,
}

impl Target {
    /// The request, ready to be sent.
    pub(crate) fn request(&self, stream: bool) -> Vec<u8> {
        let body = self.dialect.question(&self.model, stream);
        wire::request(&self.address.to_string(), self.dialect.path(), &self.headers, &body)
    }
}

/// Middle and tail of a set of times, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Times {
    /// Of times in nanoseconds, in any order.
    pub(crate) fn of(mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        let at = |share: f64| {
            let last = nanoseconds.len().saturating_sub(1);
            nanoseconds.get((last as f64 * share).round() as usize).map_or(0.0, |time| *time as f64 / 1000.0)
        };
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
    }
}

/// One connection to the gateway.
struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).await.with_context(|| format!("nobody answers at {address}"))?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: vec![0; 16 << 10] })
    }

    /// Sends a request and reads its answer to the end; `body` is given what comes as it comes.
    async fn exchange(&mut self, request: &[u8], mut body: impl FnMut(&[u8])) -> Result<()> {
        self.socket.write_all(request).await?;
        let mut reader = Reader::default();
        loop {
            let read = self.socket.read(&mut self.buffer).await?;
            ensure!(read > 0, "the connection ended inside an answer");
            if reader.feed(self.buffer.get(..read).unwrap_or_default(), &mut body)? {
                break;
            }
        }
        ensure!(reader.status() == 200, "an answer had status {}", reader.status());
        Ok(())
    }

    /// One whole answer. Its length is held against the first one's, so that looking at all bytes of one is enough.
    async fn whole(&mut self, request: &[u8], length: usize) -> Result<()> {
        let mut got = 0;
        self.exchange(request, |bytes| got += bytes.len()).await?;
        // Ids and times in a translated answer may differ by some digits.
        ensure!(got.abs_diff(length) <= 32, "an answer has {got} bytes where the first had {length}");
        Ok(())
    }
}

/// Asks once, looks at the answer, and says how long it is.
async fn first_answer(target: &Target) -> Result<usize> {
    let mut answer = Vec::new();
    let mut connection = Connection::open(target.address).await?;
    let outcome = connection.exchange(&target.request(false), |bytes| answer.extend_from_slice(bytes)).await;
    let text = String::from_utf8_lossy(&answer);
    outcome.with_context(|| format!("the gateway said: {text}"))?;
    ensure!(text.contains(MARK), "the answer is not the upstream's: {text}");
    Ok(answer.len())
}

/// Runs a measurement on one thread.
fn on_one_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(work))
}

/// Waits for tasks; the first failure is the measurement's, as a figure with failures in it would say little.
async fn all<T>(tasks: Vec<tokio::task::JoinHandle<Result<T>>>) -> Result<Vec<T>> {
    let mut found = Vec::with_capacity(tasks.len());
    for task in tasks {
        match task.await {
            Ok(outcome) => found.push(outcome?),
            Err(error) => bail!("a task of the load ended early: {error}"),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_sorted_set() {
        let times = Times::of((1..=100).rev().map(|time| time * 1000).collect());
        assert_eq!((times.p50, times.p99, times.max), (51.0, 99.0, 100.0));
        assert_eq!(Times::of(Vec::new()).p50, 0.0);
    }
}
