//! Writes the three tiny test models into a folder, to try another program on them:
//! `cargo run -p llm-router-local --features testing --example tiny_models -- FOLDER`.

use std::path::Path;

use llm_router_local::testing::tiny::{self, Family};

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    for family in Family::ALL {
        tiny::write(Path::new(&folder), family, 1)?;
    }
    Ok(())
}
