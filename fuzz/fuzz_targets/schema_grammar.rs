//! Any JSON as a schema: a grammar within its limits, or an error.
#![no_main]

use llm_router_local::grammar::{Limits, check, from_schema_within};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(schema) = serde_json::from_slice(bytes) else { return };
    let limits = Limits::default();
    if let Ok((grammar, steps)) = from_schema_within(&schema, &limits) {
        assert!(steps <= limits.steps && check(&grammar, &limits).is_ok());
    }
});
