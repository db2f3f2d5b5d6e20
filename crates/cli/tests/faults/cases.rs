//! Each fault, and what is expected of the router: the whole answer wherever another target could give it, else the exact kind and status.

use llm_router::testing::faults::Act;
use llm_router::testing::voice::Refusal;

use crate::scaled;

/// What a client hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The script, byte for byte, with its end.
    Answer,
    /// The script's beginning, so many words at least, then an error of this kind in the stream.
    Broken(&'static str, usize),
    /// This status, with an error of this kind.
    Error(u16, &'static str),
}

use Outcome::{Answer, Broken, Error};

/// A fault.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What is in front of the script's first word, or, in a whole answer, in its place.
    pub(crate) long: usize,
    /// What the first target does, request by request.
    pub(crate) primary: fn() -> Vec<Act>,
    /// What the next one does.
    pub(crate) next: fn() -> Vec<Act>,
    /// Whether there is no next one.
    pub(crate) alone: bool,
    /// What the route says besides.
    pub(crate) route: &'static str,
    /// Whether somebody must be waited for in vain: then the time that they have is scaled too. Elsewhere it must not be what decides.
    pub(crate) slow: bool,
    pub(crate) streamed: Outcome,
    pub(crate) at_once: Outcome,
    /// How often the two are asked.
    pub(crate) asked_streamed: [usize; 2],
    pub(crate) asked_at_once: [usize; 2],
}

impl Case {
    pub(crate) const fn new(
        name: &'static str,
        primary: fn() -> Vec<Act>,
        expected: Outcome,
        asked: [usize; 2],
    ) -> Self {
        Self {
            name,
            long: 0,
            primary,
            next: || vec![Act::Answer],
            alone: false,
            route: "",
            slow: false,
            streamed: expected,
            at_once: expected,
            asked_streamed: asked,
            asked_at_once: asked,
        }
    }

    /// With no next target.
    const fn alone(name: &'static str, primary: fn() -> Vec<Act>, expected: Outcome, asked: usize) -> Self {
        Self { alone: true, ..Self::new(name, primary, expected, [asked, 0]) }
    }

    /// One that says nothing for too long.
    const fn slow(self) -> Self {
        Self { slow: true, ..self }
    }

    /// With this in its route.
    const fn with(self, route: &'static str) -> Self {
        Self { route, ..self }
    }

    /// In a stream it comes out like this.
    const fn in_a_stream(self, expected: Outcome, asked: [usize; 2]) -> Self {
        Self { streamed: expected, asked_streamed: asked, ..self }
    }
}

/// The most attempts at one target.
const TRIES: usize = 3;

const HELD: &str = "hold = \"whole\"";

/// The next target is then known to go on behind the beginning of an answer.
pub(crate) const CONTINUED: &str = "resume = \"continue\"";
const RESTARTED: &str = "resume = \"restart\"";

pub(crate) const CASES: &[Case] = &[
    Case::new("well", || vec![Act::Answer], Answer, [1, 0]),
    Case::new("limited-for-a-second", || vec![Act::Refuse(Refusal::RateLimited, Some(1))], Answer, [1, 1]),
    Case::new("limited", || vec![Act::Refuse(Refusal::RateLimited, None)], Answer, [1, 1]),
    Case::new("fails-once", || vec![Act::Refuse(Refusal::ServerError, None), Act::Answer], Answer, [2, 0]),
    Case::new("fails-for-ever", || vec![Act::Refuse(Refusal::ServerError, None)], Answer, [TRIES, 1]),
    Case::new("unavailable", || vec![Act::Refuse(Refusal::Unavailable, None)], Answer, [TRIES, 1]),
    Case::new("reset", || vec![Act::Reset], Answer, [TRIES, 1]),
    Case::new("reset-once", || vec![Act::Reset, Act::Answer], Answer, [2, 0]),
    Case::new("silent", || vec![Act::Silence], Answer, [1, 1]).slow(),
    Case::new("late", || vec![Act::Late(scaled(25.0))], Answer, [1, 1]).slow(),
    Case::new("cut", || vec![Act::CutAfter(40)], Answer, [TRIES, 1]).in_a_stream(Broken("provider_", 40), [1, 0]),
    Case::new("stalls", || vec![Act::StallAfter(20, scaled(30.0))], Answer, [1, 1])
        .slow()
        .in_a_stream(Broken("provider_timeout", 20), [1, 0]),
    Case::new("malformed", || vec![Act::Malformed], Answer, [TRIES, 1])
        .in_a_stream(Broken("provider_protocol", 30), [1, 0]),
    Case::new("no-last-event", || vec![Act::NoTerminal], Answer, [1, 0])
        .in_a_stream(Broken("provider_protocol", 60), [1, 0]),
    Case::new("error-inside", || vec![Act::ErrorInside], Answer, [TRIES, 1]),
    Case::new("html", || vec![Act::Html], Answer, [TRIES, 1]),
    Case::new("no-gzip", || vec![Act::GzipGarbage], Answer, [TRIES, 1]),
    Case::new("redirect", || vec![Act::Redirect("http://127.0.0.1:1/".into())], Answer, [TRIES, 1]),
    Case::new("refuses-prefill", || vec![Act::RefusePrefill], Answer, [1, 0]),
    // The answer is given out when it is complete.
    Case::new("cut-held", || vec![Act::CutAfter(40)], Answer, [TRIES, 1]).with(HELD),
    Case::new("cut-once-held", || vec![Act::CutAfter(40), Act::Answer], Answer, [2, 0]).with(HELD),
    Case::new("stalls-held", || vec![Act::StallAfter(20, scaled(30.0))], Answer, [1, 1]).slow().with(HELD),
    Case::new("malformed-held", || vec![Act::Malformed], Answer, [TRIES, 1]).with(HELD),
    Case::new("no-last-event-held", || vec![Act::NoTerminal], Answer, [1, 0])
        .with(HELD)
        .in_a_stream(Answer, [TRIES, 1]),
    // Somebody goes on with what broke off: who is known to, or, from the beginning, the same target first.
    Case::new("cut-continued", || vec![Act::CutAfter(40)], Answer, [TRIES, 1])
        .with(CONTINUED)
        .in_a_stream(Answer, [1, 1]),
    Case::new("stalls-continued", || vec![Act::StallAfter(20, scaled(30.0))], Answer, [1, 1]).slow().with(CONTINUED),
    Case::new("malformed-continued", || vec![Act::Malformed], Answer, [TRIES, 1])
        .with(CONTINUED)
        .in_a_stream(Answer, [1, 1]),
    Case::new("cut-restarted", || vec![Act::CutAfter(40)], Answer, [TRIES, 1])
        .with(RESTARTED)
        .in_a_stream(Answer, [2, 1]),
    Case::new("stalls-restarted", || vec![Act::StallAfter(20, scaled(30.0))], Answer, [1, 1]).slow().with(RESTARTED),
    // Nobody is known to.
    Case::new("cut-not-continued", || vec![Act::CutAfter(40)], Answer, [TRIES, 1])
        .with("resume = 'continue'")
        .in_a_stream(Broken("provider_", 40), [1, 0]),
    // What went wrong first is what is told.
    Case {
        next: || vec![Act::RefusePrefill],
        ..Case::new("prefill-refused", || vec![Act::CutAfter(40)], Answer, [TRIES, 1])
    }
    .with(CONTINUED)
    .in_a_stream(Broken("provider_", 40), [1, 1]),
    // Nobody else can answer.
    Case::alone("limited-alone", || vec![Act::Refuse(Refusal::RateLimited, Some(60))], Error(429, "rate_limit"), 1),
    Case::alone(
        "fails-alone",
        || vec![Act::Refuse(Refusal::ServerError, None)],
        Error(502, "provider_server_error"),
        TRIES,
    ),
    Case::alone("unavailable-alone", || vec![Act::Refuse(Refusal::Unavailable, None)], Error(503, "provider_"), TRIES),
    Case::alone("reset-alone", || vec![Act::Reset], Error(502, "provider_connection"), TRIES),
    Case::alone("silent-alone", || vec![Act::Silence], Error(504, "provider_timeout"), 1).slow(),
    Case::alone("html-alone", || vec![Act::Html], Error(502, "provider_protocol"), TRIES),
    Case::alone("no-gzip-alone", || vec![Act::GzipGarbage], Error(502, "provider_protocol"), TRIES),
    Case::alone("redirect-alone", || vec![Act::Redirect("http://127.0.0.1:1/".into())], Error(502, "provider_"), TRIES),
    Case::alone("too-long-alone", || vec![Act::Refuse(Refusal::ContextLength, None)], Error(400, "context"), 1),
    Case::alone("filtered-alone", || vec![Act::Refuse(Refusal::ContentFilter, None)], Error(400, "filter"), 1),
    Case::alone("cut-alone", || vec![Act::CutAfter(40)], Error(502, "provider_"), TRIES)
        .in_a_stream(Broken("provider_", 40), [1, 0]),
];

/// How long one event is that carries a picture, or is meant to fill our memory.
const LONG: usize = 10 << 20;

/// One event of ten megabytes, which is within the bound of 32 MiB: it passes like any other.
pub(crate) const HUGE: Case = Case { long: LONG, ..Case::new("huge", || vec![Act::Huge(LONG)], Answer, [1, 0]) };
