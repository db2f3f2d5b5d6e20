//! The router from its public door, over scripted providers.
//!
//! A router is put together in `support.rs`. What the rules of plans are is in `../router_rules.rs`.
#![allow(clippy::unwrap_used, missing_docs)]

mod balance;
#[path = "../common/mod.rs"]
mod common;
mod conditions;
mod failures;
mod hedging;
mod plans;
mod refusals;
mod stored;
mod support;
