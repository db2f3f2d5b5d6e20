//! What tests of this crate and of others stand on (feature `testing`): nothing here is part of a release build.
//!
//! [`upstream`] is a loopback server that answers wrongly on purpose, [`faults`] one that stands for many providers in every dialect, [`heard`] an answer read off a socket, [`Silent`] one that does not answer at all, [`scripted`] a provider that says what it is told, [`ManualClock`] a clock set by
//! hand; the conformance suites are the promises of a trait as a test that any implementation can run.

mod clock;
pub mod conformance;
pub mod faults;
pub mod heard;
pub mod scripted;
mod silent;
mod store;
mod tier;
pub mod upstream;
pub mod voice;

pub use clock::ManualClock;
pub use silent::Silent;
pub use store::store_conformance;
pub use tier::tier_conformance;
