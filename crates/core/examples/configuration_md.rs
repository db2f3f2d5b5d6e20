//! Prints `docs/configuration.md`, the reference made from the tables in `crates/core/src/config/`.
#![allow(clippy::print_stdout)]

fn main() {
    print!("{}", llm_router::config::configuration_md());
}
