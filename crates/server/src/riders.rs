//! What the headers of a request say besides its body: how the cache may be used, whether anything may be left out, how long things may take, when the answer is
//! given out, and whose request it is.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName};
use llm_router::error::{Error, Result};
use llm_router::pricing::parse_dollars;
use llm_router::request::{Hold, Request, Resume, Timeouts};
use llm_router::trace::TraceContext;
use std::time::Duration;

use crate::door::Caller;

/// What the names of the router's own headers begin with.
const OWN: &str = "x-llm-router-";
/// Says that nothing of the request may be left out: `1` or `true`.
const STRICT: &str = "x-llm-router-strict";
/// Seconds until the first content, whichever targets are tried.
const TIMEOUT: &str = "x-llm-router-timeout";
/// Single deadlines in seconds: `first_event=5, idle=20`.
const TIMEOUTS: &str = "x-llm-router-timeouts";
/// When the answer is given out: `content` or `whole`.
const HOLD: &str = "x-llm-router-hold";
/// Whether somebody else goes on with an answer that broke off: `off`, `continue` or `restart`.
const RESUME: &str = "x-llm-router-resume";

/// The shortest and the longest time that a request may ask for, in seconds.
const SHORTEST: f64 = 0.001;
const LONGEST: f64 = 86_400.0;

/// A time that a request asks for, `what` it is for in words.
///
/// # Errors
/// `caller_invalid_request` for none that makes sense.
pub(crate) fn seconds(what: &str, seconds: f64) -> Result<Duration> {
    let fits = (SHORTEST..=LONGEST).contains(&seconds);
    Some(seconds).filter(|_| fits).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(|| {
        Error::invalid(format!("{what}: {seconds} is not a number of seconds between {SHORTEST} and {LONGEST}"))
    })
}

/// The value of a header as text, trimmed; the last one counts where there are several.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    let last = headers.get_all(name).iter().next_back();
    let read = |value: &'a http::HeaderValue| value.to_str().map(str::trim);
    last.map(read).transpose().map_err(|_| Error::invalid(format!("the header {name} is not text")))
}

/// A word of a header as one of a few.
fn word<T: Copy>(headers: &HeaderMap, name: &str, words: &[(&str, T)]) -> Result<Option<T>> {
    let Some(said) = text(headers, name)? else { return Ok(None) };
    let found = words.iter().find(|(word, _)| said.eq_ignore_ascii_case(word)).map(|(_, value)| Some(*value));
    found.ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Error::invalid(format!("{name}: {said:?} is none of {}", known.join(", ")))
    })
}

fn number(what: &str, text: &str) -> Result<f64> {
    text.parse().map_err(|_| Error::invalid(format!("{what}: {text:?} is not a number")))
}

/// Puts single deadlines into the request.
fn timeouts(said: &str, timeouts: &mut Timeouts) -> Result<()> {
    for part in said.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (name.trim(), value.trim());
        let what = format!("{TIMEOUTS}: {name}");
        let field = match name {
            "connect" => &mut timeouts.connect,
            "first_event" => &mut timeouts.first_event,
            "idle" => &mut timeouts.idle,
            "whole" => &mut timeouts.whole,
            "total" => &mut timeouts.total,
            "min_bytes_per_s" => {
                let pace = value.parse().map_err(|_| Error::invalid(format!("{what}: {value:?} is not a count")))?;
                timeouts.min_bytes_per_s = Some(pace);
                continue;
            }
            _ => {
                return Err(Error::invalid(format!("{TIMEOUTS}: {name:?} is no deadline"))
                    .with_hint("they are connect, first_event, idle, whole, total, min_bytes_per_s"));
            }
        };
        *field = Some(seconds(&what, number(&what, value)?)?);
    }
    Ok(())
}

/// What a million tokens may cost at most, in dollars: `2.50`.
const MAX_PRICE: &str = "x-llm-router-max-price";

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// Where the request stands in the trace of whoever sent it, as W3C's headers say. Baggage is not read: it is nobody's business here.
pub(crate) fn context(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(PARENT).iter();
    let parent = parents.next().filter(|_| parents.next().is_none())?.to_str().ok()?;
    let states: Option<Vec<&str>> = headers.get_all(STATE).iter().map(|state| state.to_str().ok()).collect();
    TraceContext::read(parent, states.map(|states| states.join(",")).as_deref())
}

/// Puts them into the request.
///
/// # Errors
/// `caller_invalid_request` for a header that cannot be read.
pub(crate) fn read(headers: &HeaderMap, caller: &Caller, request: &mut Request) -> Result<()> {
    request.riders.namespace.clone_from(&caller.namespace);
    request.riders.key.clone_from(&caller.key);
    // Few requests have any; each is looked for by its text.
    if headers.keys().any(|name| name.as_str().starts_with(OWN)) {
        read_own(headers, request)?;
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

/// Puts what the router's own headers say into the request.
fn read_own(headers: &HeaderMap, request: &mut Request) -> Result<()> {
    for value in headers.get_all(STRICT) {
        request.riders.strict |= match value.as_bytes() {
            b"1" | b"true" => true,
            b"0" | b"false" => false,
            _ => return Err(Error::invalid(format!("{STRICT}: {value:?} is neither 1 nor 0"))),
        };
    }
    if let Some(timeout) = text(headers, TIMEOUT)? {
        request.timeout = Some(seconds(TIMEOUT, number(TIMEOUT, timeout)?)?);
    }
    if let Some(said) = text(headers, TIMEOUTS)? {
        timeouts(said, &mut request.timeouts)?;
    }
    if let Some(hold) = word(headers, HOLD, &[("content", Hold::Content), ("whole", Hold::Whole)])? {
        request.riders.hold = Some(hold);
    }
    let resumes = [("off", Resume::Off), ("continue", Resume::Continue), ("restart", Resume::Restart)];
    if let Some(resume) = word(headers, RESUME, &resumes)? {
        request.riders.resume = Some(resume);
    }
    for value in headers.get_all(MAX_PRICE) {
        let most = value.to_str().ok().and_then(parse_dollars).ok_or_else(|| {
            Error::invalid(format!("{MAX_PRICE}: {value:?} is no amount of dollars")).with_hint("2.50 for example")
        })?;
        request.riders.max_price = Some(request.riders.max_price.map_or(most, |before| before.min(most)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(headers: &[(&'static str, &'static str)]) -> Result<Request> {
        let named = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        let headers: HeaderMap = headers.iter().map(named).collect();
        let mut request = Request::new("a");
        read(&headers, &Caller::default(), &mut request).map(|()| request)
    }

    #[test]
    fn times_and_what_becomes_of_a_broken_answer_are_read() {
        let request = asked(&[
            (TIMEOUT, "30"),
            (TIMEOUTS, "first_event=2.5, idle=20,min_bytes_per_s=0"),
            (HOLD, "Whole"),
            (RESUME, "continue"),
        ])
        .unwrap();
        assert_eq!(request.timeout, Some(Duration::from_secs(30)));
        assert_eq!(request.timeouts.first_event, Some(Duration::from_millis(2500)));
        assert_eq!((request.timeouts.idle, request.timeouts.min_bytes_per_s), (Some(Duration::from_secs(20)), Some(0)));
        assert_eq!((request.riders.hold, request.riders.resume), (Some(Hold::Whole), Some(Resume::Continue)));
        let plain = asked(&[]).unwrap();
        assert_eq!((plain.timeout, plain.riders.hold), (None, None));
        assert!(plain.timeouts.is_default());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (name, value, said) in [
            (TIMEOUT, "soon", "soon"),
            (TIMEOUT, "0", "between"),
            (TIMEOUT, "1e300", "between"),
            (TIMEOUTS, "first=2", "first"),
            (TIMEOUTS, "idle", "idle"),
            (TIMEOUTS, "idle=NaN", "idle"),
            (TIMEOUTS, "min_bytes_per_s=-1", "-1"),
            (HOLD, "for ever", "content, whole"),
            (RESUME, "yes", "off, continue, restart"),
        ] {
            let error = asked(&[(name, value)]).unwrap_err();
            assert!(error.message().contains(said) && error.message().contains(name), "{error}");
        }
    }
}
