//! Picks the next token from a row of logits. Pure: the same row, settings, history and seed give the same token.
//!
//! The order is bias, penalties, grammar, temperature, top-k, typical, top-p, min-p, draw; temperature 0 takes
//! the likeliest token and skips the rest. Log-probabilities are the model's own, before any of it. Next:
//! [`super::job::Sampling`] for what each setting means, [`super::scheduler`] for who calls.

use std::cmp::Ordering;

use super::job::Sampling;
use crate::ffi::{Candidate, Grammar, Token};

/// One answer's sampling state.
pub(crate) struct Sampler {
    settings: Sampling,
    random: Random,
    grammar: Option<Grammar>,
    /// Prompt and answer, the newest last; only as long as the repeat window.
    recent: Vec<Token>,
    /// How often each token of the answer was picked.
    counts: Vec<(Token, u32)>,
    /// The row with bias and penalties, kept for its memory.
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
}

/// A picked token, with its log-probability if asked for.
#[derive(Debug, PartialEq)]
pub(crate) struct Pick {
    /// The token.
    pub(crate) token: Token,
    /// Its natural log-probability under the model.
    pub(crate) logprob: Option<f32>,
    /// The likeliest tokens at this place, likeliest first.
    pub(crate) top: Vec<(Token, f32)>,
}

impl Sampler {
    /// State for one answer to `prompt`.
    pub(crate) fn new(settings: Sampling, grammar: Option<Grammar>, seed: u64, prompt: &[Token]) -> Self {
        let window = if settings.repeat_penalty == 1.0 { 0 } else { settings.repeat_window };
        let recent = prompt.get(prompt.len().saturating_sub(window)..).unwrap_or_default().to_vec();
        Self {
            settings,
            random: Random(seed),
            grammar,
            recent,
            counts: Vec::new(),
            logits: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Picks the next token; `None` where the grammar leaves nothing to pick.
    pub(crate) fn pick(&mut self, logits: &[f32], ends: impl Fn(Token) -> bool) -> Option<Pick> {
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.bias();
        self.penalise();
        let token = if self.settings.temperature <= 0.0 && self.grammar.is_none() {
            highest(&self.logits)?
        } else {
            self.candidates.clear();
            self.candidates.extend((0..).zip(&self.logits).map(|(id, &logit)| Candidate { id, logit, p: 0.0 }));
            self.choose()?
        };
        if !ends(token) {
            self.remember(token);
        }
        let wanted = self.settings.logprobs;
        let (logprob, top) = match wanted {
            None => (None, Vec::new()),
            Some(count) => {
                let total = log_sum_exp(logits);
                let at = usize::try_from(token).ok().and_then(|at| logits.get(at));
                (at.map(|logit| logit - total), likeliest(logits, count, total))
            }
        };
        Some(Pick { token, logprob, top })
    }

    fn choose(&mut self) -> Option<Token> {
        let Some(mut grammar) = self.grammar.take() else { return self.draw() };
        // Most picks fit the grammar by themselves, and checking one token is far cheaper than checking them all.
        let all = self.candidates.clone();
        let fits = self.draw().filter(|&id| {
            let mut one = [Candidate { id, logit: 1.0, p: 0.0 }];
            grammar.strike(&mut one);
            one[0].logit > f32::NEG_INFINITY
        });
        let token = fits.or_else(|| {
            self.candidates = all;
            grammar.strike(&mut self.candidates);
            self.candidates.retain(|candidate| candidate.logit > f32::NEG_INFINITY);
            self.draw()
        });
        self.grammar = Some(grammar);
        token
    }

    fn remember(&mut self, token: Token) {
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(token);
        }
        if self.settings.repeat_penalty != 1.0 && self.settings.repeat_window > 0 {
            if self.recent.len() >= self.settings.repeat_window {
                self.recent.remove(0);
            }
            self.recent.push(token);
        }
        if self.settings.frequency_penalty != 0.0 || self.settings.presence_penalty != 0.0 {
            match self.counts.iter_mut().find(|(known, _)| *known == token) {
                Some((_, count)) => *count += 1,
                None => self.counts.push((token, 1)),
            }
        }
    }

    fn bias(&mut self) {
        for &(token, bias) in &self.settings.logit_bias {
            if let Some(logit) = usize::try_from(token).ok().and_then(|at| self.logits.get_mut(at)) {
                *logit += bias;
            }
        }
    }

    fn penalise(&mut self) {
        let mut seen = self.recent.clone();
        seen.sort_unstable();
        seen.dedup();
        let penalty = self.settings.repeat_penalty;
        for token in seen {
            if let Some(logit) = usize::try_from(token).ok().and_then(|at| self.logits.get_mut(at)) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
        for &(token, count) in &self.counts {
            if let Some(logit) = usize::try_from(token).ok().and_then(|at| self.logits.get_mut(at)) {
                #[allow(clippy::cast_precision_loss)] // an answer has far fewer than 2^24 tokens
                let count = count as f32;
                *logit -= count * self.settings.frequency_penalty + self.settings.presence_penalty;
            }
        }
    }

    /// Narrows the candidates and draws one of them.
    fn draw(&mut self) -> Option<Token> {
        let candidates = &mut self.candidates;
        if self.settings.temperature <= 0.0 {
            return candidates
                .iter()
                .copied()
                .reduce(|best, next| if next.logit > best.logit { next } else { best })
                .map(|best| best.id);
        }
        let settings = &self.settings;
        for candidate in candidates.iter_mut() {
            candidate.logit /= settings.temperature;
        }
        if settings.top_k > 0 {
            keep_best(candidates, settings.top_k);
        }
        let mut total = probabilities(candidates);
        if settings.typical_p < 1.0 {
            total = keep_typical(candidates, settings.typical_p, total);
        }
        if settings.top_p < 1.0 {
            total = keep_nucleus(candidates, settings.top_p, total);
        }
        if settings.min_p > 0.0 {
            let floor = candidates.iter().map(|c| c.p).fold(0.0, f32::max) * settings.min_p;
            candidates.retain(|c| c.p >= floor);
            total = sum(candidates);
        }
        let mut left = self.random.fraction() * total;
        for candidate in candidates.iter() {
            left -= f64::from(candidate.p);
            if left < 0.0 {
                return Some(candidate.id);
            }
        }
        candidates.iter().rev().find(|c| c.p > 0.0).map(|c| c.id)
    }
}

/// The first of the highest logits. Sixteen lanes, for one at a time would take longer than the rest of the pick.
fn highest(logits: &[f32]) -> Option<Token> {
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in logits.chunks(16) {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            if logit > *lane {
                *lane = logit;
            }
        }
    }
    let most = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let at = logits.iter().position(|&logit| logit >= most)?;
    Token::try_from(at).ok()
}

/// Likelier first, and of two alike the lower token: a total order, so that no sort depends on its algorithm.
fn by_likelihood(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Keeps the `count` likeliest, in order.
fn keep_best(candidates: &mut Vec<Candidate>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, by_likelihood);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(by_likelihood);
}

/// Sets each `p` to its weight relative to the likeliest and returns their sum.
fn probabilities(candidates: &mut [Candidate]) -> f64 {
    let most = candidates.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max);
    for candidate in candidates.iter_mut() {
        candidate.p = (candidate.logit - most).exp();
    }
    sum(candidates)
}

fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| f64::from(c.p)).sum()
}

/// Keeps the likeliest that together reach `share` of `total`, and at least one. Returns the new total.
fn keep_nucleus(candidates: &mut Vec<Candidate>, share: f32, total: f64) -> f64 {
    let goal = total * f64::from(share);
    // The nucleus is nearly always small, so sort only as many as it takes.
    let mut sorted = 64;
    loop {
        if sorted < candidates.len() {
            candidates.select_nth_unstable_by(sorted, by_likelihood);
        }
        let end = sorted.min(candidates.len());
        let Some(front) = candidates.get_mut(..end) else { return total };
        front.sort_unstable_by(by_likelihood);
        let mut reached = 0.0;
        for (at, candidate) in front.iter().enumerate() {
            reached += f64::from(candidate.p);
            if reached >= goal {
                candidates.truncate(at + 1);
                return reached;
            }
        }
        if end == candidates.len() {
            return reached;
        }
        sorted *= 8;
    }
}

/// Keeps those whose surprise is nearest to the average surprise, until they reach `share` of `total`.
fn keep_typical(candidates: &mut Vec<Candidate>, share: f32, total: f64) -> f64 {
    let surprise = |c: &Candidate| -(f64::from(c.p) / total).ln();
    let average: f64 = candidates.iter().filter(|c| c.p > 0.0).map(|c| f64::from(c.p) / total * surprise(c)).sum();
    let distance = |c: &Candidate| (surprise(c) - average).abs();
    candidates.sort_unstable_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.id.cmp(&b.id)));
    let goal = total * f64::from(share);
    let mut reached = 0.0;
    let mut kept = 0;
    for candidate in candidates.iter() {
        reached += f64::from(candidate.p);
        kept += 1;
        if reached >= goal {
            break;
        }
    }
    candidates.truncate(kept);
    reached
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - most).exp())).sum();
    #[allow(clippy::cast_possible_truncation)] // a logarithm of at most the vocabulary's size
    let log = sum.ln() as f32;
    most + log
}

/// The `count` likeliest tokens with their log-probabilities.
fn likeliest(logits: &[f32], count: usize, total: f32) -> Vec<(Token, f32)> {
    if count == 0 {
        return Vec::new();
    }
    let mut all: Vec<_> = (0..).zip(logits).map(|(id, &logit)| Candidate { id, logit, p: 0.0 }).collect();
    keep_best(&mut all, count);
    all.iter().map(|c| (c.id, c.logit - total)).collect()
}

/// SplitMix64: small, portable, and every seed is a good one.
struct Random(u64);

impl Random {
    /// The next number in `0.0..1.0`.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        #[allow(clippy::cast_precision_loss)] // 53 bits fit
        let fraction = (mixed >> 11) as f64;
        fraction / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Tokens 0 to 4, the third likeliest.
    const LOGITS: [f32; 5] = [1.0, 2.0, 5.0, 4.0, -3.0];

    fn sampler(settings: Sampling, seed: u64) -> Sampler {
        Sampler::new(settings, None, seed, &[])
    }

    /// Every token that `draws` draws with these settings can give.
    fn reach(settings: &Sampling) -> Vec<Token> {
        let mut found: Vec<_> =
            (0..2000).map(|seed| sampler(settings.clone(), seed).pick(&LOGITS, |_| false).unwrap().token).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn warm() -> Sampling {
        Sampling { temperature: 1.5, ..Sampling::default() }
    }

    #[test]
    fn temperature_zero_takes_the_likeliest_and_of_equals_the_first() {
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_eq!(sampler(greedy.clone(), 7).pick(&LOGITS, |_| false).unwrap().token, 2);
        assert_eq!(sampler(greedy, 7).pick(&[1.0, 3.0, 3.0], |_| false).unwrap().token, 1);
    }

    #[test]
    fn a_seed_repeats_itself_and_another_differs() {
        let draw = |seed| {
            let mut sampler = sampler(warm(), seed);
            (0..32).map(|_| sampler.pick(&LOGITS, |_| false).unwrap().token).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn top_k_keeps_the_k_likeliest() {
        assert_eq!(reach(&Sampling { top_k: 2, ..warm() }), [2, 3]);
        assert_eq!(reach(&Sampling { top_k: 1, ..warm() }), [2]);
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_it() {
        assert_eq!(reach(&Sampling { temperature: 1.0, top_p: 0.5, ..warm() }), [2]);
        assert_eq!(reach(&Sampling { temperature: 1.0, top_p: 0.9, ..warm() }), [2, 3]);
    }

    #[test]
    fn min_p_keeps_what_is_near_the_likeliest() {
        assert_eq!(reach(&Sampling { temperature: 1.0, min_p: 0.3, ..warm() }), [2, 3]);
    }

    #[test]
    fn typical_p_keeps_some_and_never_none() {
        assert!(!reach(&Sampling { typical_p: 0.2, ..warm() }).is_empty());
        assert!(reach(&Sampling { typical_p: 0.5, ..warm() }).len() < reach(&warm()).len());
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = sampler(Sampling { temperature: 1.0, ..warm() }, 3);
        let hits = (0..10_000).filter(|_| sampler.pick(&[0.0, 1.0], |_| false).unwrap().token == 1).count();
        assert!((7_100..7_500).contains(&hits), "e/(1+e) is 0.731, got {hits}");
    }

    #[test]
    fn a_bias_can_ban_and_force() {
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        let biased = |logit_bias| Sampling { logit_bias, ..greedy.clone() };
        assert_eq!(sampler(biased(vec![(2, -100.0)]), 0).pick(&LOGITS, |_| false).unwrap().token, 3);
        assert_eq!(sampler(biased(vec![(4, 100.0)]), 0).pick(&LOGITS, |_| false).unwrap().token, 4);
        assert_eq!(sampler(biased(vec![(99, 100.0), (-1, 1.0)]), 0).pick(&LOGITS, |_| false).unwrap().token, 2);
    }

    #[test]
    fn penalties_turn_away_from_what_was_said() {
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        let two = |settings| {
            let mut sampler = sampler(settings, 0);
            [0, 1].map(|_| sampler.pick(&LOGITS, |_| false).unwrap().token)
        };
        assert_eq!(two(greedy.clone()), [2, 2]);
        assert_eq!(two(Sampling { presence_penalty: 1.5, ..greedy.clone() }), [2, 3]);
        assert_eq!(two(Sampling { frequency_penalty: 1.5, ..greedy.clone() }), [2, 3]);
        assert_eq!(two(Sampling { repeat_penalty: 1.5, ..greedy.clone() }), [2, 3]);
        let mut prompted = Sampler::new(Sampling { repeat_penalty: 1.5, ..greedy }, None, 0, &[2]);
        assert_eq!(prompted.pick(&LOGITS, |_| false).unwrap().token, 3, "the prompt counts as said");
    }

    #[test]
    fn log_probabilities_are_the_models_own() {
        let mut sampler = sampler(
            Sampling { temperature: 0.0, logprobs: Some(2), logit_bias: vec![(0, 100.0)], ..Sampling::default() },
            0,
        );
        let pick = sampler.pick(&[0.0, 0.0], |_| false).unwrap();
        assert_eq!(pick.token, 0);
        assert!((pick.logprob.unwrap() - 0.5_f32.ln()).abs() < 1e-6);
        assert_eq!(pick.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [0, 1]);
    }
}
