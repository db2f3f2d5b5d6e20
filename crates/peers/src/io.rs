//! Frames onto a stream and off it: whole ones alone, within bounds, and with the other side's pace.
//!
//! Both ends can be let go of at any await: nothing that was read or is to be written is lost. What a frame says is `wire`, how long one is waited for the business of `serve` and `call`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use libp2p::futures::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::wire::{Breach, frame};

/// What is read at once.
const READ: usize = 16 << 10;

/// Why nothing more comes.
#[derive(Debug)]
pub(crate) enum Lost {
    /// What came is no frame.
    Breach(Breach),
    /// The stream is over.
    Gone,
}

impl From<Breach> for Lost {
    fn from(breach: Breach) -> Self {
        Self::Breach(breach)
    }
}

/// The half of a stream that is read.
pub(crate) struct Reader<R> {
    from: R,
    read: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, read: BytesMut::new() }
    }

    /// The next frame, without its length.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Lost> {
        loop {
            if let Some(frame) = frame::take(&mut self.read)? {
                return Ok(frame);
            }
            if self.more().await? == 0 {
                return Err(Lost::Gone);
            }
        }
    }

    /// Waits until the other side says something although it should not, or lets go; whether it said something.
    pub(crate) async fn stirs(&mut self) -> bool {
        if !self.read.is_empty() {
            return true;
        }
        matches!(self.more().await, Ok(read) if read > 0)
    }

    async fn more(&mut self) -> Result<usize, Lost> {
        poll_fn(|cx| self.poll_more(cx)).await.map_err(|_| Lost::Gone)
    }

    /// Takes what is there in: where nothing is, nothing is changed.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let held = self.read.len();
        self.read.resize(held + READ, 0);
        let polled = match self.read.get_mut(held..) {
            Some(room) => Pin::new(&mut self.from).poll_read(cx, room),
            None => Poll::Ready(Ok(0)),
        };
        let taken = if let Poll::Ready(Ok(taken)) = &polled { *taken } else { 0 };
        self.read.truncate(held + taken);
        polled
    }
}

/// The half of a stream that is written.
pub(crate) struct Writer<W> {
    to: W,
    out: BytesMut,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, out: BytesMut::new() }
    }

    /// Where frames are put that go out next.
    pub(crate) fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// How much waits to go out.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Sends what waits, as fast as the other side reads it, and no longer than `patience` without it reading anything.
    pub(crate) async fn send(&mut self, patience: Duration) -> io::Result<()> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        while !self.out.is_empty() {
            timeout(patience, poll_fn(|cx| self.poll_send(cx))).await.unwrap_or_else(|elapsed| Err(late(elapsed)))?;
        }
        let flushed = timeout(patience, poll_fn(|cx| Pin::new(&mut self.to).poll_flush(cx)));
        flushed.await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    /// Sends what waits and says that this was all.
    pub(crate) async fn finish(&mut self, patience: Duration) -> io::Result<()> {
        self.send(patience).await?;
        let closed = timeout(patience, poll_fn(|cx| Pin::new(&mut self.to).poll_close(cx)));
        closed.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = ready!(Pin::new(&mut self.to).poll_write(cx, &self.out))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.out.advance(sent);
        Poll::Ready(Ok(()))
    }
}
