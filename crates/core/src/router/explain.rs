//! `explain`: the plan of a request as a list that people and programs read, with what each target's place goes by. Nothing is sent.
//!
//! What happened to a request that ran is its [`Trace`](crate::trace::Trace); this is what would happen to one that did not.

use serde::Serialize;

use super::resolve::{self, Chain, Door, Entry, Planned};
use super::{Router, windows};
use crate::error::Result;
use crate::pricing::{Price, dollars};
use crate::provider::{Availability, Target};
use crate::request::Request;
use crate::trace::Candidate;

/// A target as a plan sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Explained {
    /// Its provider.
    pub provider: String,
    /// Its model, where one is known before the call.
    pub model: Option<String>,
    /// Which of the provider's keys it is asked with, from 1, where it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<u32>,
    /// Whether it would be asked, in this order.
    pub planned: bool,
    /// The kind of error after which alone it would be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_after: Option<String>,
    /// Whether it could answer now; `null` where only connecting would tell.
    pub available: Option<bool>,
    /// Why it would be asked, or would not.
    pub reason: String,
    /// What its place in a balanced group goes by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// What a million tokens cost there, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Dollars>,
    /// Its context window in tokens, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Whether it takes tools.
    pub tools: bool,
    /// Its breakers that are not closed.
    pub breakers: Vec<String>,
    /// The key of its stored answer.
    pub key: Option<String>,
}

/// A price, as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Dollars {
    /// Of a million tokens of a prompt.
    pub input: String,
    /// Of a million tokens of an answer.
    pub output: String,
}

impl Dollars {
    fn of(price: &Price) -> Self {
        Self { input: dollars(price.input), output: dollars(price.output) }
    }
}

impl Router {
    /// The plan of a request and everyone considered, those that are asked only after certain errors last. Nothing is sent.
    ///
    /// # Errors
    /// As [`resolve::plan`].
    pub async fn explained(&self, request: &Request, door: Door) -> Result<Vec<Explained>> {
        let (plan, keys) = self.explain(request, door).await?;
        let mut all: Vec<Explained> = plan.candidates.iter().map(|candidate| self.explained_one(candidate)).collect();
        for (planned, key) in plan.targets.iter().zip(keys) {
            let place = all.iter_mut().find(|one| one.planned && is_of(one, planned));
            place.into_iter().for_each(|one| one.key = key.as_ref().map(|key| key.printed().to_owned()));
        }
        let mut request = request.clone();
        self.limit_riders(&mut request);
        for (chain, kind) in
            [(Chain::Context, "caller_context_length"), (Chain::ContentFilter, "caller_content_filter")]
        {
            for planned in resolve::chain(chain, &request, self.scope(door, &[])) {
                let Target { provider, model } = planned.target;
                let mut candidate = Candidate::new(provider, model, true, format!("only after {kind}"));
                candidate.key = planned.key;
                let only_after = Some(kind.to_owned());
                all.push(Explained { planned: false, only_after, ..self.explained_one(&candidate) });
            }
        }
        Ok(all)
    }

    fn explained_one(&self, candidate: &Candidate) -> Explained {
        let (provider, model) = (candidate.provider.as_str(), candidate.model.as_ref());
        let target = Target::new(candidate.provider.clone(), model.cloned());
        let entry = self.entries().iter().find(|entry| entry.id == *provider);
        let describe = entry.map(|entry| entry.provider.describe());
        let breakers = self.breakers().into_iter();
        let open = breakers.filter(|state| state.provider == *provider && state.covers(model, candidate.key));
        Explained {
            provider: provider.to_owned(),
            model: model.map(ToString::to_string),
            credential: candidate.key,
            planned: candidate.planned,
            only_after: None,
            available: entry.and_then(|entry| available(entry, candidate.key)),
            reason: candidate.reason.clone(),
            score: candidate.score.clone(),
            price: self.deps().prices.of(provider, model.map(|model| model.as_str())).map(Dollars::of),
            window: windows::of(&target, self.settings()).or_else(|| describe.and_then(|describe| describe.window)),
            tools: describe.is_some_and(|describe| describe.capabilities.tools),
            breakers: open.map(|state| state.to_string()).collect(),
            key: None,
        }
    }
}

fn is_of(one: &Explained, planned: &Planned) -> bool {
    let Target { provider, model } = &planned.target;
    one.key.is_none()
        && *provider == *one.provider
        && model.as_ref().map(|model| model.as_str()) == one.model.as_deref()
        && planned.key == one.credential
}

/// Whether a provider could answer now, with this key of its several; `None` where only connecting would tell.
fn available(entry: &Entry, key: Option<u32>) -> Option<bool> {
    let at = key.and_then(|key| usize::try_from(key).ok()).and_then(|key| key.checked_sub(1));
    let provider = at.and_then(|at| entry.keys.get(at)).unwrap_or(&entry.provider);
    match provider.availability() {
        Availability::Ready if provider.describe().guess => None,
        availability => Some(availability.is_ready()),
    }
}
