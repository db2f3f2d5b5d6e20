//! What tests of this crate and of others stand on (feature `testing`): clocks to be set by hand, conformance suites.

mod clock;
mod store;
mod tier;

pub use clock::ManualClock;
pub use store::store_conformance;
pub use tier::tier_conformance;
