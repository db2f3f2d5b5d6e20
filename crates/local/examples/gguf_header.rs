//! Prints what the header of a GGUF file says, or why it is refused: `cargo run -p llm-router-local --example gguf_header -- FILE…`.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in std::env::args().skip(1) {
        match llm_router_local::gguf::check(Path::new(&path)) {
            Ok(header) => println!("{header:#?}"),
            Err(error) => {
                println!("{error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
