//! One model at one peer: what the peer says of it, and what was measured.
//!
//! Advertised numbers are priors. After [`ENOUGH`] answers the measured ones stand alone; before that the two are mixed, and what is advertised is believed within bounds
//! only. What a peer has in common for all its models is `peer.rs`, what the numbers are used for `picker/cost.rs`.

use std::time::Duration;

use super::breaker::Answers;
use super::time::{Tick, fade};
use crate::record::{Modalities, Model};

/// So many answers replace what is advertised.
pub const ENOUGH: u8 = 3;
/// The weight of a new time among those before it.
const ALPHA: f32 = 0.2;
/// In this time half of a peak is forgotten.
const PEAK_FADES: f32 = 15.0;
/// In this time half of what went wrong is forgotten.
const ERRORS_FADE: f32 = 10.0;
/// What an unknown model is thought to need for its first token and for each further one, in seconds.
const UNKNOWN_FIRST: f32 = 1.0;
const UNKNOWN_TOKEN: f32 = 0.03;
/// No advertised time is believed that is shorter, in seconds: it costs nothing to advertise.
const LEAST_FIRST: f32 = 0.1;
const LEAST_TOKEN: f32 = 0.002;

/// One model at one peer.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// Whose it is, and of which model: places in the table.
    pub(crate) peer: u32,
    pub(crate) model: u32,
    /// Its place in the model's list, and whether that is the list of trusted peers.
    pub(crate) place: u32,
    pub(crate) trusted: bool,
    /// Which use of this place it is: who asked of an earlier one has nothing to say about this one.
    pub(crate) generation: u32,

    pub(crate) context: u32,
    pub(crate) modalities: Modalities,
    pub(crate) tools: bool,
    pub(crate) slots: u16,
    /// Micro-dollars for a million tokens.
    pub(crate) price_in: Option<u32>,
    pub(crate) price_out: Option<u32>,
    /// What is advertised, in seconds.
    said_first: f32,
    said_token: f32,

    /// The mean of the times to a first token, and the peak above it.
    first: f32,
    peak: f32,
    peak_at: Tick,
    /// The mean time of a further token.
    token: f32,
    samples: u8,
    token_samples: u8,
    /// Attempts and errors, which fade.
    tried: f32,
    errors: f32,
    tried_at: Tick,
    /// Requests of our own under way.
    pub(crate) in_flight: u16,
    pub(crate) answers: Answers,
}

impl Offer {
    pub(crate) fn new(peer: u32, model: u32, generation: u32, said: &Model) -> Self {
        let mut offer = Self {
            peer,
            model,
            place: 0,
            trusted: false,
            generation,
            context: 0,
            modalities: Modalities::default(),
            tools: false,
            slots: 1,
            price_in: None,
            price_out: None,
            said_first: UNKNOWN_FIRST,
            said_token: UNKNOWN_TOKEN,
            first: 0.0,
            peak: 0.0,
            peak_at: Tick::START,
            token: 0.0,
            samples: 0,
            token_samples: 0,
            tried: 0.0,
            errors: 0.0,
            tried_at: Tick::START,
            in_flight: 0,
            answers: Answers::default(),
        };
        offer.hear(said);
        offer
    }

    /// Takes over what a newer record says.
    pub(crate) fn hear(&mut self, said: &Model) {
        let price = |price: Option<u64>| price.map(|price| u32::try_from(price).unwrap_or(u32::MAX));
        self.context = said.context;
        self.modalities = said.modalities;
        self.tools = said.tools;
        self.slots = said.slots.max(1);
        (self.price_in, self.price_out) = (price(said.price_in), price(said.price_out));
        let first = said.first_token_ms.map_or(UNKNOWN_FIRST, |ms| ms as f32 / 1000.0);
        let token = said.tokens_per_second.map_or(UNKNOWN_TOKEN, |speed| 1.0 / speed.max(1) as f32);
        (self.said_first, self.said_token) = (first.max(LEAST_FIRST), token.max(LEAST_TOKEN));
    }

    /// Seconds to a first token as they are to be expected now.
    pub(crate) fn first_token(&self, now: Tick) -> f32 {
        let above = match self.peak > 0.0 {
            true => self.peak * fade(now.since(self.peak_at), PEAK_FADES),
            false => 0.0,
        };
        mixed(self.samples, self.first, self.said_first) + above
    }

    /// Seconds for each further token.
    pub(crate) fn per_token(&self) -> f32 {
        mixed(self.token_samples, self.token, self.said_token)
    }

    /// Whether it was measured often enough to be known.
    pub(crate) fn is_known(&self) -> bool {
        self.samples >= ENOUGH
    }

    /// How many first tokens were seen, up to 255.
    pub(crate) fn samples(&self) -> u8 {
        self.samples
    }

    /// A first token came after so long.
    pub(crate) fn saw_first_token(&mut self, took: Duration, now: Tick) {
        let took = took.as_secs_f32();
        let expected = self.first_token(now);
        self.first = match self.samples {
            0 => took,
            seen => self.first + (took - self.first) * ALPHA.max(1.0 / (f32::from(seen) + 1.0)),
        };
        // Up at once with a longer one, down slowly and with time alone.
        if self.samples > 0 && took > expected {
            (self.peak, self.peak_at) = (took - self.first, now);
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// So many further tokens came in so long.
    pub(crate) fn saw_tokens(&mut self, tokens: u64, took: Duration) {
        if tokens == 0 {
            return;
        }
        let each = took.as_secs_f32() / tokens as f32;
        self.token = match self.token_samples {
            0 => each,
            seen => self.token + (each - self.token) * ALPHA.max(1.0 / (f32::from(seen) + 1.0)),
        };
        self.token_samples = self.token_samples.saturating_add(1);
    }

    /// An attempt ended, with an error of the peer's own or without.
    pub(crate) fn saw_end(&mut self, error: bool, now: Tick) {
        let left = fade(now.since(self.tried_at), ERRORS_FADE);
        self.tried = self.tried * left + 1.0;
        self.errors = self.errors * left + f32::from(u8::from(error));
        self.tried_at = now;
        match error {
            true => self.answers.failed(now),
            false => self.answers.answered(now),
        }
    }

    /// The part of late attempts that failed; one attempt alone says half of what it says.
    pub(crate) fn error_rate(&self, now: Tick) -> f32 {
        if self.errors <= 0.0 {
            return 0.0;
        }
        let left = fade(now.since(self.tried_at), ERRORS_FADE);
        self.errors * left / (self.tried * left + 1.0)
    }
}

/// What was measured, with what was said for as long as that was not measured often enough.
fn mixed(samples: u8, measured: f32, said: f32) -> f32 {
    match samples {
        0 => said,
        1..ENOUGH => {
            let known = f32::from(samples) / f32::from(ENOUGH);
            measured * known + said * (1.0 - known)
        }
        _ => measured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(first_ms: u32, speed: u32) -> Model {
        let mut model = Model::new("m", 4096, 8);
        (model.first_token_ms, model.tokens_per_second) = (Some(first_ms), Some(speed));
        model
    }

    fn is(value: f32, wanted: f32) -> bool {
        (value - wanted).abs() < wanted * 0.02 + 1e-4
    }

    fn at(seconds: u64) -> Tick {
        Tick::START.after(Duration::from_secs(seconds))
    }

    #[test]
    fn three_answers_replace_what_is_advertised() {
        let mut offer = Offer::new(0, 0, 0, &said(300, 50));
        assert!(is(offer.first_token(at(1)), 0.3) && is(offer.per_token(), 0.02) && !offer.is_known());
        for _ in 0..3 {
            offer.saw_first_token(Duration::from_secs(2), at(1));
            offer.saw_tokens(10, Duration::from_secs(1));
        }
        assert!(is(offer.first_token(at(60)), 2.0) && is(offer.per_token(), 0.1) && offer.is_known());
        offer.hear(&said(1, 1000));
        assert!(is(offer.first_token(at(60)), 2.0) && is(offer.per_token(), 0.1), "whatever it advertises then");
    }

    #[test]
    fn wonders_are_not_believed() {
        let offer = Offer::new(0, 0, 0, &said(1, 1_000_000));
        assert!(is(offer.first_token(at(1)), LEAST_FIRST) && is(offer.per_token(), LEAST_TOKEN));
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let mut offer = Offer::new(0, 0, 0, &said(300, 50));
        (0..20).for_each(|_| offer.saw_first_token(Duration::from_millis(200), at(1)));
        offer.saw_first_token(Duration::from_secs(5), at(2));
        assert!(is(offer.first_token(at(2)), 5.0));
        let later = offer.first_token(at(17));
        assert!((2.0..4.0).contains(&later), "{later}");
        (0..20).for_each(|_| offer.saw_first_token(Duration::from_millis(200), at(60)));
        assert!(offer.first_token(at(90)) < 0.3);
    }

    #[test]
    fn half_of_the_errors_are_forgotten_in_ten_seconds() {
        let mut offer = Offer::new(0, 0, 0, &said(300, 50));
        (0..9).for_each(|_| offer.saw_end(false, at(1)));
        assert!(offer.error_rate(at(1)) < 1e-6);
        (0..9).for_each(|_| offer.saw_end(true, at(1)));
        assert!(is(offer.error_rate(at(1)), 9.0 / 19.0));
        assert!(is(offer.error_rate(at(11)), 4.5 / 10.0), "and so is that it was tried");
        assert!(offer.error_rate(at(200)) < 0.01);
    }
}
