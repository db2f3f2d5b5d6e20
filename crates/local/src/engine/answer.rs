//! The receiving end of one job. Dropping it cancels the job; not reading it pauses the job and no other.
//!
//! Next: [`super::scheduler`], which holds the sending end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use tokio::sync::mpsc;

use super::job::{EngineError, Output};

/// Items a reader may be behind before its sequence pauses.
const ROOM: usize = 32;

/// Items one step of a sequence may send: text, what was held, the end.
const STEP: usize = 3;

/// One job's answer, item by item.
#[derive(Debug)]
pub struct Answer {
    items: mpsc::Receiver<Result<Output, EngineError>>,
    left: Arc<AtomicBool>,
    engine: Thread,
}

impl Answer {
    /// The next item; `None` after [`Output::Done`] or an error. Safe to drop half-way: no item is lost.
    pub async fn next(&mut self) -> Option<Result<Output, EngineError>> {
        let item = self.items.recv().await;
        self.engine.unpark();
        item
    }

    /// The same for a thread outside a runtime.
    pub fn wait(&mut self) -> Option<Result<Output, EngineError>> {
        let item = self.items.blocking_recv();
        self.engine.unpark();
        item
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.left.store(true, Ordering::Relaxed);
        self.items.close();
        self.engine.unpark();
    }
}

/// The engine's end.
#[derive(Debug)]
pub(super) struct Sink {
    items: mpsc::Sender<Result<Output, EngineError>>,
    left: Arc<AtomicBool>,
}

impl Sink {
    /// Whether a step can send all it may have to.
    pub(super) fn has_room(&self) -> bool {
        self.items.capacity() >= STEP
    }

    /// Whether nobody reads any more.
    pub(super) fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// A flag that is set when nobody reads any more.
    pub(super) fn left(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.left)
    }

    /// Sends an item; there is room, for [`Self::has_room`] is asked before each step.
    pub(super) fn send(&self, item: Result<Output, EngineError>) {
        if self.items.try_send(item).is_err() && !self.is_left() {
            tracing::error!("an answer's channel was full although its room was checked");
        }
    }
}

/// Both ends of a new answer; `engine` is the thread to wake when there is room again.
pub(super) fn channel(engine: Thread) -> (Sink, Answer) {
    let (sender, receiver) = mpsc::channel(ROOM);
    let left = Arc::new(AtomicBool::new(false));
    (Sink { items: sender, left: Arc::clone(&left) }, Answer { items: receiver, left, engine })
}
