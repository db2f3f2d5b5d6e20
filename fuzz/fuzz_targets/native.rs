//! What the native dialect reads, it writes back to the same meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_router::dialect::native::{self, Line};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = native::read_request(bytes) {
        let body = native::write_request(&request).expect("a request that was read can be written");
        assert_eq!(native::read_request(&body).expect("and read again"), request);
    }
    if let Ok(response) = native::read_response(bytes) {
        let body = native::write_response(&response).expect("a response that was read can be written");
        assert_eq!(native::read_response(&body).expect("and read again"), response);
    }
    if let Ok(Line::Deltas(deltas)) = native::read_line(bytes) {
        let line = native::write_line(&deltas).expect("deltas that were read can be written");
        assert_eq!(native::read_line(&line).expect("and read again"), Line::Deltas(deltas));
    }
    let _ = native::read_error(bytes);
});
