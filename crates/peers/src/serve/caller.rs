//! The caller while its answer is made: whether it is still there, and that we are.
//!
//! A reset and an end look alike to whoever reads a stream (`Ok(0)`), and to whoever writes they do not: to a stream that was reset nothing can be written. So when nothing more can be
//! read something is written, a `tick`, and again a little later: an end and a reset may come one after the other.

use std::convert::Infallible;
use std::time::Duration;

use libp2p::futures::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::{Ended, PATIENCE};
use crate::io::{Reader, Writer};
use crate::wire::{Breach, ServerFrame, Tick};

/// After so long without anything new the caller is told that the work goes on.
pub(super) const TICK: Duration = Duration::from_secs(2);
/// When it is looked whether the caller, who says no more, is still there; from the moment on when that was seen.
const PROBES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(100)];

/// The caller, to whom something is said now and then.
pub(super) struct Caller<'a, R, W> {
    reader: &'a mut Reader<R>,
    pub(super) writer: &'a mut Writer<W>,
    /// Since when it says no more.
    closed: Option<Instant>,
    probed: usize,
    said: Instant,
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Caller<'a, R, W> {
    pub(super) fn new(reader: &'a mut Reader<R>, writer: &'a mut Writer<W>) -> Self {
        Self { reader, writer, closed: None, probed: 0, said: Instant::now() }
    }

    /// Says a frame.
    pub(super) async fn say(&mut self, frame: &ServerFrame) -> Result<(), Ended> {
        frame.encode(self.writer.out())?;
        self.send().await
    }

    /// Sends what was put into the writer.
    pub(super) async fn send(&mut self) -> Result<(), Ended> {
        self.said = Instant::now();
        self.writer.send(PATIENCE).await.map_err(|_| Ended::Gone)
    }

    /// Keeps the caller company until it lets go. Whoever has something better to do drops this: what was begun is not lost.
    pub(super) async fn watch(&mut self) -> Result<Infallible, Ended> {
        loop {
            let probe = self.closed.zip(PROBES.get(self.probed)).map(|(closed, after)| closed + *after);
            let wake = probe.map_or(self.said + TICK, |probe| probe.min(self.said + TICK));
            tokio::select! {
                biased;
                stirred = self.reader.stirs(), if self.closed.is_none() => {
                    if stirred {
                        return Err(Breach::Order.into());
                    }
                    self.closed = Some(Instant::now());
                }
                () = sleep_until(wake) => {
                    if probe.is_some_and(|probe| probe <= wake) {
                        self.probed += 1;
                    }
                    self.say(&ServerFrame::Tick(Tick::default())).await?;
                }
            }
        }
    }
}
