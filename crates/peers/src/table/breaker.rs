//! Breakers of peers: one for the way to a peer, one for what it answers with a model.
//!
//! The rules and the words are those of the router's breakers (`router/breaker/cell.rs` of the core): open, then half-open with one probe, pauses that double with each probe that
//! fails. Those cells are not used here, because they are about a provider's keys and models and know each target by name, and because a table has tens of thousands of these, which must
//! be small. Pure: the time is handed in.

use std::time::Duration;

use super::time::Tick;

/// Error answers in a row that open a breaker.
const IN_A_ROW: u8 = 3;
/// Of so many answers no more than half may be errors.
const WINDOW: u32 = 20;
/// The pauses after error answers: 1, 2, 4 s.
const ANSWER_PAUSES: (u64, u64) = (1, 4);
/// The pauses after a peer could not be reached: 1, 2, 4 … 60 s.
const LINE_PAUSES: (u64, u64) = (1, 60);

/// Whether something passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Closed,
    /// Nothing passes before then.
    Open(Tick),
    /// One may try.
    HalfOpen,
    /// One tries.
    Probing,
}

/// What the two have in common.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    /// Open until then; the start is closed.
    until: Tick,
    trips: u8,
    probing: bool,
}

impl Pause {
    fn gate(&self, now: Tick) -> Gate {
        match self {
            Self { until: Tick::START, .. } => Gate::Closed,
            Self { until, .. } if now < *until => Gate::Open(*until),
            Self { probing: true, .. } => Gate::Probing,
            _ => Gate::HalfOpen,
        }
    }

    fn open(&mut self, now: Tick, (first, longest): (u64, u64)) {
        let pause = Duration::from_secs((first << self.trips.min(6)).min(longest));
        (self.until, self.probing, self.trips) = (now.after(pause), false, self.trips.saturating_add(1));
    }
}

/// The way to a peer. One failure opens it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line(Pause);

impl Line {
    pub(crate) fn gate(&self, now: Tick) -> Gate {
        self.0.gate(now)
    }

    /// It could not be reached, or broke off. What was under way before it opened says nothing new.
    pub(crate) fn failed(&mut self, now: Tick) {
        if !matches!(self.gate(now), Gate::Open(_)) {
            self.0.open(now, LINE_PAUSES);
        }
    }

    /// It was reached.
    pub(crate) fn reached(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn probe(&mut self, now: Tick) {
        self.0.probing |= matches!(self.gate(now), Gate::HalfOpen);
    }

    /// The probe ended without a word.
    pub(crate) fn unprobe(&mut self) {
        self.0.probing = false;
    }
}

/// What a peer answers with one model. Error answers open it: three in a row, or more than half of the last twenty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    pause: Pause,
    /// The last answers, a bit each, errors set, and how many there are.
    last: u32,
    seen: u8,
    run: u8,
}

impl Answers {
    pub(crate) fn gate(&self, now: Tick) -> Gate {
        self.pause.gate(now)
    }

    pub(crate) fn probe(&mut self, now: Tick) {
        self.pause.probing |= matches!(self.gate(now), Gate::HalfOpen);
    }

    pub(crate) fn unprobe(&mut self) {
        self.pause.probing = false;
    }

    /// It answered.
    pub(crate) fn answered(&mut self, now: Tick) {
        // An answer to what was asked before it opened does not close it.
        if !matches!(self.gate(now), Gate::Open(_)) {
            self.pause = Pause::default();
            self.run = 0;
            self.note(false);
        }
    }

    /// It answered with an error of its own.
    pub(crate) fn failed(&mut self, now: Tick) {
        if matches!(self.gate(now), Gate::Open(_)) {
            return;
        }
        self.run = self.run.saturating_add(1);
        self.note(true);
        let often = u32::from(self.seen) >= WINDOW && self.last.count_ones() * 2 > WINDOW;
        if self.pause.probing || self.run >= IN_A_ROW || often {
            self.pause.open(now, ANSWER_PAUSES);
            (self.last, self.seen) = (0, 0);
        }
    }

    /// It said that it will not answer before then.
    pub(crate) fn barred(&mut self, until: Tick) {
        self.pause.until = self.pause.until.max(until);
        self.pause.probing = false;
    }

    fn note(&mut self, error: bool) {
        self.last = (self.last << 1 | u32::from(error)) & ((1 << WINDOW) - 1);
        self.seen = self.seen.saturating_add(1).min(WINDOW as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(now: Tick, seconds: u64) -> Tick {
        now.after(Duration::from_secs(seconds))
    }

    #[test]
    fn one_failure_closes_a_way_for_1_2_4_and_at_most_60_seconds() {
        let (mut line, mut now) = (Line::default(), later(Tick::START, 5));
        assert_eq!(line.gate(now), Gate::Closed);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            line.failed(now);
            let until = later(now, seconds);
            assert_eq!(line.gate(now), Gate::Open(until));
            line.failed(now);
            assert_eq!(line.gate(now), Gate::Open(until), "what was under way changes nothing");
            now = until;
            assert_eq!(line.gate(now), Gate::HalfOpen);
            line.probe(now);
            assert_eq!(line.gate(now), Gate::Probing);
        }
        line.reached();
        line.failed(now);
        assert_eq!(line.gate(now), Gate::Open(later(now, 1)), "who was reached begins anew");
    }

    #[test]
    fn three_error_answers_in_a_row_open_it() {
        let (mut answers, now) = (Answers::default(), later(Tick::START, 5));
        for _ in 0..2 {
            answers.failed(now);
            answers.failed(now);
            answers.answered(now);
            assert_eq!(answers.gate(now), Gate::Closed);
        }
        (0..3).for_each(|_| answers.failed(now));
        assert_eq!(answers.gate(now), Gate::Open(later(now, 1)));
        answers.answered(now);
        assert_eq!(answers.gate(now), Gate::Open(later(now, 1)), "an answer from before it opened");
        let now = later(now, 1);
        answers.probe(now);
        answers.failed(now);
        assert_eq!(answers.gate(now), Gate::Open(later(now, 2)), "a probe that fails");
        let now = later(now, 2);
        answers.probe(now);
        answers.answered(now);
        assert_eq!(answers.gate(now), Gate::Closed);
    }

    #[test]
    fn more_than_half_of_twenty_open_it() {
        let (mut answers, now) = (Answers::default(), later(Tick::START, 5));
        // Two of three, so that never three stand in a row.
        for step in 0..19 {
            if step % 3 == 0 {
                answers.answered(now)
            } else {
                answers.failed(now)
            }
            assert_eq!(answers.gate(now), Gate::Closed, "{step}");
        }
        answers.failed(now);
        assert!(matches!(answers.gate(now), Gate::Open(_)));
        let mut half = Answers::default();
        for step in 0..60 {
            if step % 2 == 0 {
                half.answered(now)
            } else {
                half.failed(now)
            }
            assert_eq!(half.gate(now), Gate::Closed, "half is not more than half");
        }
    }
}
