//! The real program as a service: started with nothing but a configuration file, asked over HTTP, told to end by signals or killed.
#![allow(clippy::unwrap_used, missing_docs)]

mod keys;
mod narrow;
mod reloading;
mod run;
mod running;
mod service;
