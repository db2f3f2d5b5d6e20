//! Open loop: requests fall due at a fixed rate, whether or not the ones before have been answered, and latency counts from when a request was due. A gateway that
//! stalls thus pays for every request that waited, not for one.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use super::{Connection, PATIENCE, Target, Times, all, first_answer, on_one_thread};
use crate::clock;

/// More requests than this under way mean that the gateway does not keep up with the rate.
const MOST: usize = 1024;

/// How to ask.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Requests a second
    #[arg(long, default_value_t = 500)]
    rate: u64,
    /// How long, in seconds
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

/// What was found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Answers.
    pub(crate) answers: u64,
    /// From the due time to the answer, in microseconds.
    pub(crate) latency: Times,
    /// How late requests went out, in microseconds: the load generator's own share of the latency.
    pub(crate) late: Times,
}

/// Measures.
///
/// # Errors
/// Any answer that is not the upstream's; a gateway that does not keep up.
pub(crate) fn run(options: &Options) -> Result<Found> {
    ensure!(options.rate > 0, "--rate 0: nothing would ever be due");
    on_one_thread(measure(options))
}

async fn measure(options: &Options) -> Result<Found> {
    let length = tokio::time::timeout(PATIENCE, first_answer(&options.target)).await.context("no answer")??;
    let request: Rc<[u8]> = options.target.request(false).into();
    let idle = Rc::new(RefCell::new(Vec::new()));
    // Enough that none is opened while it is measured, unless the gateway stalls.
    for _ in 0..32 {
        let connection = Connection::open(options.target.address).await?;
        idle.borrow_mut().push(connection);
    }
    let under_way = Rc::new(());
    let timer = Timer::new()?;
    let count = (options.rate as f64 * options.seconds) as u64;
    let began = clock::now() + 1_000_000;
    let (mut tasks, mut late) = (Vec::new(), Vec::new());
    for number in 0..count {
        let due = began + number * 1_000_000_000 / options.rate;
        timer.wait_until(due).await?;
        late.push(clock::now().saturating_sub(due));
        ensure!(
            Rc::strong_count(&under_way) <= MOST,
            "{MOST} requests wait: the gateway does not keep up with {} a second",
            options.rate
        );
        let (request, idle, under_way) = (request.clone(), idle.clone(), under_way.clone());
        let address = options.target.address;
        tasks.push(tokio::task::spawn_local(async move {
            let free = idle.borrow_mut().pop();
            let mut connection = match free {
                Some(connection) => connection,
                None => Connection::open(address).await?,
            };
            tokio::time::timeout(PATIENCE, connection.whole(&request, length)).await.context("no answer")??;
            let took = clock::now() - due;
            idle.borrow_mut().push(connection);
            drop(under_way);
            Ok(took)
        }));
    }
    let times = all(tasks).await?;
    Ok(Found { answers: times.len() as u64, latency: Times::of(times), late: Times::of(late) })
}

/// A timer of the kernel: the runtime's own counts in whole milliseconds, which is more than a request takes.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that may give up their descriptor; an `OwnedFd` does not"
    )]
    fn new() -> Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(AsyncFd::new(timer)?))
    }

    async fn wait_until(&self, due: u64) -> Result<()> {
        if clock::now() >= due {
            // What is under way gets its turn even when this is behind.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let at = Timespec { tv_sec: (due / 1_000_000_000) as i64, tv_nsec: (due % 1_000_000_000) as i64 };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            if clock::now() >= due {
                ready.clear_ready();
                return Ok(());
            }
            ready.clear_ready();
        }
    }
}
