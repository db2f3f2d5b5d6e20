//! The real program before scripted providers, over sockets: who is asked by each way of sharing the load, beside whom, with which key, and what is told of it afterwards.
//!
//! What providers that fail do to an answer is `../faults`. Here everything is counted where it arrives; gates hold answers back, and nothing waits for time to pass.
#![allow(clippy::unwrap_used, missing_docs)]

mod balance;
mod costs;
mod credentials;
mod explaining;
mod hedging;
mod observed;
#[path = "../serve/service.rs"]
#[allow(dead_code)]
mod service;
mod stage;
mod stored;
