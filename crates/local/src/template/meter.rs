//! What a template may spend, and how it ends early. Every node that runs, every item that is visited and every byte that is made or read
//! is paid for here, before it happens where it could be large: so the budget bounds time and memory, whatever the template does.
//! It knows no values; `value.rs` is next.

use std::cell::Cell;

/// What one node of the template costs, in units. A byte made costs one unit, so that a step pays for 64 bytes.
const STEP: u64 = 64;

/// Why a template ended before its end.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stop {
    /// A limit was reached: this one.
    Exhausted(&'static str),
    /// The template called `raise_exception` with these words.
    Raised(String),
    /// An operation that cannot be done, and the line it stands on once that is known.
    Failed(String, Option<u32>),
}

impl Stop {
    pub(super) fn failed(what: impl Into<String>) -> Self {
        Stop::Failed(what.into(), None)
    }

    /// Adds the line, if none is known yet.
    pub(super) fn at(self, line: u32) -> Self {
        match self {
            Stop::Failed(what, None) => Stop::Failed(what, Some(line)),
            other => other,
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, Stop>;

/// The budget of one rendering.
#[derive(Debug)]
pub(super) struct Meter {
    left: Cell<u64>,
}

impl Meter {
    pub(super) fn new(steps: u64) -> Self {
        Self { left: Cell::new(steps.saturating_mul(STEP)) }
    }

    /// Pays for one node.
    pub(super) fn step(&self) -> Result<()> {
        self.pay(STEP)
    }

    /// Pays for bytes that are made, copied or compared.
    pub(super) fn bytes(&self, count: usize) -> Result<()> {
        self.pay(count as u64)
    }

    /// Pays for `count` texts of `length` bytes.
    pub(super) fn product(&self, count: usize, length: usize) -> Result<()> {
        self.pay((count as u64).saturating_mul(length as u64))
    }

    /// Pays for letters that are looked at one by one: slower than copying them.
    pub(super) fn letters(&self, count: usize) -> Result<()> {
        self.product(count, 4)
    }

    /// Pays for the places of a list.
    pub(super) fn places(&self, count: usize) -> Result<()> {
        self.product(count, 48)
    }

    fn pay(&self, units: u64) -> Result<()> {
        // Once a payment fails nothing smaller may pass either: a template must not live on by asking for less.
        let left = self.left.get().checked_sub(units);
        self.left.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(Stop::Exhausted("steps"))
    }
}
