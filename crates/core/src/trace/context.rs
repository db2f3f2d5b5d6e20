//! Where a request stands in somebody's distributed trace, as W3C's Trace Context says it: read from a client's headers, passed on to providers.
//!
//! Of what tracing systems send along only these two headers are known. Baggage, which holds whatever a client's programs put there, is read by nobody and goes nowhere.

use std::fmt;
use std::sync::Arc;

/// The longest `tracestate` that is passed on, in bytes: as long as the specification asks everybody to keep.
const LONGEST_STATE: usize = 512;

/// A place in a trace: under which trace, and which span of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceContext {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub span: u64,
    /// Whether its spans are kept.
    pub sampled: bool,
    /// What tracing systems on the way left for each other.
    pub state: Option<Arc<str>>,
}

impl TraceContext {
    /// The first span of a new trace.
    #[must_use]
    pub fn new(trace: u128, span: u64, sampled: bool) -> Self {
        Self { trace, span, sampled, state: None }
    }

    /// Reads the header `traceparent`, and `tracestate` where it is sound. None where it says nothing that can be used: then a trace begins here.
    #[must_use]
    pub fn read(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut parts = parent.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length| {
            let plain = text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            plain.then(|| u128::from_str_radix(text, 16).ok()).flatten()
        };
        let known = hex(version, 2)?;
        // A later version may say more behind the flags; version 255 is none.
        if known == 255 || (known == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace, span, flags) = (hex(trace, 32)?, u64::try_from(hex(span, 16)?).ok()?, hex(flags, 2)?);
        let state = state.map(str::trim).filter(|state| {
            !state.is_empty() && state.len() <= LONGEST_STATE && state.bytes().all(|b| (b' '..=b'~').contains(&b))
        });
        let context = Self { trace, span, sampled: flags & 1 == 1, state: state.map(Arc::from) };
        (trace != 0 && span != 0).then_some(context)
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn at(&self, span: u64) -> Self {
        Self { span, ..self.clone() }
    }
}

/// As it stands in `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// The span of a request, or of an attempt, where somebody collects them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// Where it stands.
    pub context: TraceContext,
    /// The span above it.
    pub parent: Option<u64>,
}

impl Span {
    /// A span below another one, or at the top of its trace.
    #[must_use]
    pub fn new(context: TraceContext, parent: Option<u64>) -> Self {
        Self { context, parent }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_parent_is_read_and_written_as_the_specification_has_it() {
        let context = TraceContext::read(PARENT, Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")).unwrap();
        assert_eq!(context.to_string(), PARENT);
        assert!(context.sampled && context.state.is_some());
        assert_eq!(context.at(1).to_string(), "00-0af7651916cd43dd8448eb211c80319c-0000000000000001-01");
        // A later version with more behind it, and flags that only the first of is known.
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02-what-else";
        assert!(!TraceContext::read(later, None).unwrap().sampled);
    }

    #[test]
    fn what_is_no_parent_begins_a_trace_and_what_is_no_state_is_left_out() {
        for parent in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::read(parent, None), None, "{parent}");
        }
        for state in ["", " ", "a=\u{7f}", &"x".repeat(513)] {
            assert_eq!(TraceContext::read(PARENT, Some(state)).unwrap().state, None);
        }
    }
}
