//! What tests of this crate and of its users share (feature `testing`): nothing here is part of a release build.
//!
//! [`upstream`] is a loopback server that answers wrongly on purpose, [`scripted`] a provider that says what it is told, [`clock`] a clock that
//! moves when told, and [`conformance`] the promises of [`Provider`](crate::provider::Provider) as a test that any implementation can run.

pub mod clock;
pub mod conformance;
pub mod scripted;
pub mod upstream;
