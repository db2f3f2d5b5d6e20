//! Numbers that only grow, each once for a group of threads, so that nobody waits to count. What they are numbers of is `telemetry.rs`.

use std::fmt::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The upper bounds of the histograms' buckets, in seconds.
pub const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
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

/// The most kinds of outcomes, `ok` included.
pub(super) const OUTCOMES: usize = 32;
/// Counters are kept once for each of so many groups of threads, so that threads do not wait for each other's cache lines.
pub(crate) const SHARDS: usize = 8;

/// The counters of one pair of labels. Those of a shard are made when one of its threads counts first.
#[derive(Debug, Default)]
pub(super) struct Series([OnceLock<Box<Shard>>; SHARDS]);

#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) outcomes: Cells<OUTCOMES>,
    pub(super) tokens: Cells<4>,
    /// Attempts that failed, and retries.
    pub(super) failed: Cells<2>,
    pub(super) total: Histogram,
    pub(super) first_content: Histogram,
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
        self.shards().map(|shard| of(shard).get(at)).sum()
    }

    pub(super) fn histogram(&self, out: &mut String, name: &str, labels: &str, of: impl Fn(&Shard) -> &Histogram) {
        let mut below = 0;
        for (at, bound) in BUCKETS.iter().enumerate() {
            below += self.shards().map(|shard| of(shard).buckets.get(at)).sum::<u64>();
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let count = below + self.shards().map(|shard| of(shard).buckets.get(BUCKETS.len())).sum::<u64>();
        let micros: u64 = self.shards().map(|shard| of(shard).micros.get(0)).sum();
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        #[allow(clippy::cast_precision_loss)]
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", micros as f64 / 1e6);
        let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
    }
}

#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: Cells<15>,
    micros: Cells<1>,
}

impl Histogram {
    pub(super) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 16);
        let at = MICROS.iter().position(|bound| micros <= *bound).unwrap_or(MICROS.len());
        self.buckets.add(at, 1);
        self.micros.add(0, micros);
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
