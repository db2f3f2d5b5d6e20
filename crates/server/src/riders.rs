//! What the headers of a request say besides its body: how the cache may be used, whether anything may be left out, and whose request it is.

use http::HeaderMap;
use http::header::CACHE_CONTROL;
use llm_router::error::{Error, Result};
use llm_router::request::Request;
use std::time::Duration;

use crate::door::Caller;

/// Says that nothing of the request may be left out: `1` or `true`.
const STRICT: &str = "x-llm-router-strict";

/// Puts them into the request.
///
/// # Errors
/// `caller_invalid_request` for a header that cannot be read.
pub(crate) fn read(headers: &HeaderMap, caller: &Caller, request: &mut Request) -> Result<()> {
    request.riders.namespace.clone_from(&caller.namespace);
    for value in headers.get_all(STRICT) {
        request.riders.strict |= match value.as_bytes() {
            b"1" | b"true" => true,
            b"0" | b"false" => false,
            _ => return Err(Error::invalid(format!("{STRICT}: {value:?} is neither 1 nor 0"))),
        };
    }
    for value in headers.get_all(CACHE_CONTROL) {
        let value = value.to_str().map_err(|_| Error::invalid("the header cache-control is not text"))?;
        for directive in value.split(',').map(str::trim) {
            match directive.split_once('=') {
                None if directive.eq_ignore_ascii_case("no-cache") => request.cache.no_cache = true,
                None if directive.eq_ignore_ascii_case("no-store") => request.cache.no_store = true,
                None if directive.eq_ignore_ascii_case("only-if-cached") => request.cache.only_if_cached = true,
                Some((name, seconds)) if name.eq_ignore_ascii_case("max-age") => {
                    let seconds: u64 = seconds.trim_matches('"').parse().map_err(|_| {
                        Error::invalid(format!("cache-control: max-age is {seconds:?}, not a count of seconds"))
                    })?;
                    request.cache.max_age = Some(Duration::from_secs(seconds));
                }
                // Browsers and proxies send more words than these; what nobody here obeys harms nobody.
                _ => {}
            }
        }
    }
    Ok(())
}
