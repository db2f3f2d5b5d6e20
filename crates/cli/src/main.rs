//! The command `llm-router`: reads the line, runs one command, ends with its status.

mod args;
mod commands;
mod litellm;
mod log;
mod output;
mod prompt;
mod signals;

use std::process::ExitCode;

use clap::Parser;

// Chosen by measuring: docs/decisions/server.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let json = cli.global.json;
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output::fail(&failure, json),
    }
}
