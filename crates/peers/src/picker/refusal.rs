//! Why no peer was picked: how many were out of the question, and for what.

use std::fmt;
use std::time::Duration;

use llm_router::error::{Error, ErrorKind};

use super::Need;
use super::filter;
use crate::table::{Gate, Table, Tick};

/// What puts a peer out of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Its record is over.
    Over,
    /// It could not be reached lately.
    Unreachable,
    /// It failed lately, has no room, or does not let us ask.
    Failing,
    /// It is not trusted.
    Trust,
    /// Its window is too small.
    Context,
    /// It calls no tools, or may not.
    Tools,
    /// It does not read what the request holds.
    Modalities,
    /// It is too dear, or names no price.
    Price,
    /// The request was there already.
    Tried,
}

impl Why {
    const ALL: [Self; 9] = [
        Self::Over,
        Self::Unreachable,
        Self::Failing,
        Self::Trust,
        Self::Context,
        Self::Tools,
        Self::Modalities,
        Self::Price,
        Self::Tried,
    ];

    /// It, in the words that follow "3 ".
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::Over => "not heard of any more",
            Self::Unreachable => "could not be reached",
            Self::Failing => "failed or have no room",
            Self::Trust => "not trusted",
            Self::Context => "with too small a window",
            Self::Tools => "without leave or ability to call tools",
            Self::Modalities => "that do not read what the request holds",
            Self::Price => "too dear or without a price",
            Self::Tried => "tried already",
        }
    }
}

/// That no peer can take a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoPeer {
    /// How many serve the model.
    pub serving: usize,
    /// How many of them are out of the question, and why.
    pub why: Vec<(Why, usize)>,
    /// When the first of those that failed may be asked again.
    pub again: Option<Duration>,
}

impl NoPeer {
    pub(super) fn unknown() -> Self {
        Self::default()
    }

    fn all(&self, why: Why) -> bool {
        self.serving > 0 && self.why == [(why, self.serving)]
    }

    /// As the router hears it.
    #[must_use]
    pub fn error(&self, model: &str) -> Error {
        let message = format!("no peer can answer with {model:?}: {self}");
        let (kind, hint) = match self {
            Self { serving: 0, .. } => (ErrorKind::CallerModelUnknown, "llm-router peers ls shows who serves what"),
            _ if self.all(Why::Trust) => (ErrorKind::ProviderUnavailable, "ask for: llm-router peers invite"),
            _ if self.all(Why::Context) => (ErrorKind::CallerContextLength, "shorten the prompt"),
            _ if self.all(Why::Tools) || self.all(Why::Modalities) => {
                (ErrorKind::CallerUnsupported, "name another model, or leave out what it cannot do")
            }
            _ => (ErrorKind::ProviderUnavailable, "llm-router peers ls shows the state of each"),
        };
        let error = Error::new(kind, message).with_hint(hint).unsent();
        match self.again {
            Some(again) => error.with_retry_after(again.max(Duration::from_millis(100))),
            None => error,
        }
    }
}

impl fmt::Display for NoPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.serving == 0 {
            return f.write_str("none serves it");
        }
        write!(f, "of {} that serve it", self.serving)?;
        for (at, (why, count)) in self.why.iter().enumerate() {
            write!(f, "{} {count} {}", if at == 0 { "" } else { "," }, why.says())?;
        }
        Ok(())
    }
}

impl Table {
    /// Why nobody was picked.
    pub(super) fn refusal(&self, model: u32, need: &Need<'_>, now: Tick) -> NoPeer {
        let mut counts = [0_usize; Why::ALL.len()];
        let mut refusal = NoPeer::default();
        for (offer, peer) in self.everyone(model).filter_map(|offer| self.both(offer)) {
            refusal.serving += 1;
            // What it lacks comes before what is the matter with it now: waiting helps against that alone.
            let Err(why) = filter::suits(peer, offer, need, now).and_then(|()| filter::is_up(peer, offer, now)) else {
                continue;
            };
            if let Some(count) = counts.get_mut(why as usize) {
                *count += 1;
            }
            let until = [peer.line.gate(now), offer.answers.gate(now)].into_iter().filter_map(|gate| match gate {
                Gate::Open(until) => Some(until.duration_since(now)),
                _ => None,
            });
            if let (Why::Unreachable | Why::Failing, Some(until)) = (why, until.max()) {
                refusal.again = Some(refusal.again.map_or(until, |again| again.min(until)));
            }
        }
        refusal.why = Why::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect();
        refusal
    }
}
