//! Numbers that only grow, each once for a group of threads, so that nobody waits to count. What they are numbers of is `telemetry.rs`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::families;

/// The upper bounds of most histograms' buckets, in seconds.
pub const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Those of what is mostly far below a second.
pub const FINE: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0];
const MICROS: [u64; 14] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];
const FINE_MICROS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// The most kinds of outcomes, `ok` included.
pub(super) const OUTCOMES: usize = 32;
/// Counters are kept once for each of so many groups of threads, so that threads do not wait for each other's cache lines.
pub(crate) const SHARDS: usize = 8;

/// The counters of one pair of labels. Those of a shard are made when one of its threads counts first.
#[derive(Debug, Default)]
pub(super) struct Series([OnceLock<Box<Shard>>; SHARDS]);

#[derive(Debug, Default)]
pub(super) struct Shard {
    /// By operation, then by outcome.
    pub(super) outcomes: Cells<{ 4 * OUTCOMES }>,
    /// By direction.
    pub(super) tokens: Cells<5>,
    /// Micro-dollars, and calls of unknown cost.
    pub(super) money: Cells<2>,
    /// Attempts that failed, by the kind of their error.
    pub(super) failed: Cells<OUTCOMES>,
    /// Retries, fallbacks, and hedges by their outcome.
    pub(super) again: Cells<5>,
    /// Calls that began and that ended.
    pub(super) under_way: Cells<2>,
    pub(super) total: Histogram,
    pub(super) first_content: Histogram,
    pub(super) overhead: Histogram<true>,
    pub(super) gaps: Histogram<true>,
}

impl Series {
    pub(super) fn shard(&self) -> &Shard {
        let [first, ..] = &self.0;
        self.0.get(own_shard()).unwrap_or(first).get_or_init(Box::default)
    }

    pub(super) fn used(&self) -> bool {
        self.0.iter().any(|shard| shard.get().is_some())
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.0.iter().filter_map(|shard| shard.get().map(Box::as_ref))
    }

    pub(super) fn sum<const N: usize>(&self, of: impl Fn(&Shard) -> &Cells<N>, at: usize) -> u64 {
        self.shards().fold(0, |sum: u64, shard| sum.wrapping_add(of(shard).get(at)))
    }

    pub(super) fn histogram<const FINER: bool>(&self, of: impl Fn(&Shard) -> &Histogram<FINER>) -> families::Histogram {
        let count = |at| self.shards().map(|shard| of(shard).0.buckets.get(at)).sum();
        let micros: u64 = self.shards().map(|shard| of(shard).0.micros.get(0)).sum();
        let bounds: &'static [f64] = if FINER { &FINE } else { &BUCKETS };
        #[allow(clippy::cast_precision_loss)]
        families::Histogram { bounds, counts: (0..=bounds.len()).map(count).collect(), sum: micros as f64 / 1e6 }
    }
}

/// Times by their length; `FINER` where they are mostly far below a second.
#[derive(Debug, Default)]
pub(super) struct Histogram<const FINER: bool = false>(Ranges);

#[derive(Debug, Default)]
struct Ranges {
    buckets: Cells<15>,
    micros: Cells<1>,
}

/// Where a time belongs, and its length in microseconds.
pub(super) fn range<const FINER: bool>(took: Duration) -> (usize, u64) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 16);
    let bounds = if FINER { &FINE_MICROS } else { &MICROS };
    (bounds.iter().position(|bound| micros <= *bound).unwrap_or(bounds.len()), micros)
}

impl<const FINER: bool> Histogram<FINER> {
    pub(super) fn add(&self, took: Duration) {
        let (at, micros) = range::<FINER>(took);
        self.0.buckets.add(at, 1);
        self.0.micros.add(0, micros);
    }

    /// Adds what somebody counted alone.
    pub(super) fn add_all(&self, counts: &[u32; 15], micros: u64) {
        for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.0.buckets.add(at, u64::from(*count));
        }
        self.0.micros.add(0, micros);
    }
}

/// Numbers that only grow.
#[derive(Debug)]
pub(super) struct Cells<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Cells<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl<const N: usize> Cells<N> {
    pub(super) fn add(&self, at: usize, by: u64) {
        if let Some(cell) = self.0.get(at) {
            cell.fetch_add(by, Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

/// Numbers that only grow, on a cache line of its own for each group of threads.
#[derive(Debug, Default)]
pub struct Counters<const N: usize>([Line<N>; SHARDS]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<const N: usize>(Cells<N>);

impl<const N: usize> Counters<N> {
    /// Adds to the number at this place; nothing where there is none.
    pub fn add(&self, at: usize, by: u64) {
        if let Some(line) = self.0.get(own_shard()) {
            line.0.add(at, by);
        }
    }

    /// The number at this place.
    pub fn sum(&self, at: usize) -> u64 {
        self.0.iter().fold(0, |sum: u64, line| sum.wrapping_add(line.0.get(at)))
    }
}

/// The shard of this thread.
pub(crate) fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    OWN.with(|own| *own)
}
