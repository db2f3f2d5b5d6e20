//! Balance: which member of a group is asked first.
//!
//! A group is put in order when a plan is made, and the plan stays a flat list: who fails is followed by the next one of the same order. Members that a breaker holds back stand last. What is
//! observed of targets is `balance/gauge.rs`, each strategy `balance/order.rs`, what belongs together `balance/affinity.rs`,
//! what a group has in store `balance/stored.rs`. A plan without groups costs nothing here.

mod affinity;
mod gauge;
mod order;
mod stored;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use self::gauge::Gauges;
pub(super) use self::gauge::{Busy, Gauge};
use self::order::{Member, Turns};
pub(super) use self::stored::Shelves;
use super::Router;
use super::asking::Asking;
use super::breaker::held;
use super::count::estimate;
use super::resolve::{Group, Plan, Planned};
use crate::config::{Balance, Settings};
use crate::deps::RouterDeps;
use crate::error::Result;
use crate::ids::ProviderId;
use crate::pricing::dollars;
use crate::request::{Request, Substitute};
use crate::trace::Candidate;
use crate::usage::Usage;

/// The tokens that an answer is thought to have where the request does not limit them: for comparing prices only.
const ANSWER: u64 = 500;

/// The groups of a configuration, and what is observed of their members.
#[derive(Debug, Default)]
pub(super) struct Balances {
    routes: HashMap<String, Vec<Balancer>>,
    keys: HashMap<ProviderId, Balancer>,
    gauges: Arc<Gauges>,
}

/// How one group shares its load.
#[derive(Debug, Default)]
struct Balancer {
    strategy: Balance,
    /// Of its members; without any they are all alike.
    weights: Vec<u64>,
    turn: AtomicUsize,
    turns: Turns,
}

/// Whether a plan is made to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is the next one's turn then.
    Take,
    /// Somebody looks: no turn is taken, and the plan says what was compared.
    Look,
}

impl Balances {
    pub(super) fn new(deps: &RouterDeps, settings: &Settings) -> Self {
        let routes = settings.routes.iter().map(|(name, route)| {
            let weight = |target: &String| route.weights.get(target).copied().unwrap_or(1);
            let group = |targets: &Vec<String>| Balancer {
                strategy: route.strategy(),
                weights: targets.iter().map(weight).collect(),
                ..Balancer::default()
            };
            (name.clone(), route.groups.iter().map(group).collect())
        });
        let keys = settings.providers.iter().filter_map(|(id, provider)| {
            Some((id.clone(), Balancer { strategy: provider.balance?, ..Balancer::default() }))
        });
        // Shared by all routers of the same dependencies: a configuration that is read again knows what the one before it saw.
        let gauges = deps.get_or_create("gauges", || Ok(Gauges::default())).unwrap_or_default();
        Self { routes: routes.collect(), keys: keys.collect(), gauges }
    }

    fn of(&self, group: &Group) -> Option<&Balancer> {
        match group {
            Group::Route { name, at } => self.routes.get(name)?.get(*at),
            Group::Keys(provider) => self.keys.get(provider),
        }
    }

    /// Watches a target, so that it can be compared.
    pub(super) fn watch(&self, planned: &mut Planned) {
        if planned.gauge.is_none() {
            planned.gauge = self.gauges.of(planned);
        }
    }
}

/// Puts the groups of a plan in order.
pub(super) fn arrange(router: &Router, plan: &mut Plan, request: &Request, turn: Turn) {
    if plan.groups.is_empty() {
        return;
    }
    let balances = &router.0.balances;
    plan.targets.iter_mut().filter(|planned| !planned.seats.is_empty()).for_each(|planned| balances.watch(planned));
    // Those within first: of a member that is a group itself, its first one is compared.
    for at in (0..plan.groups.len()).rev() {
        let Some(balancer) = plan.groups.get(at).and_then(|group| balances.of(group)) else { continue };
        let ranges = members_of(&plan.targets, at);
        if ranges.len() > 1 {
            let order = balancer.order(router, &plan.targets, &ranges, request, turn);
            reorder(&mut plan.targets, &ranges, &order);
        }
    }
    if request.riders.substitute == Substitute::Never
        && let Some(first) = plan.targets.first().map(|planned| planned.target.clone())
    {
        plan.targets.retain(|planned| planned.target == first);
    }
    retell(router, plan, request, turn);
}

/// The members of a group among the targets, in the order in which they stand.
fn members_of(targets: &[Planned], group: usize) -> Vec<(usize, Range<usize>)> {
    let mut members: Vec<(usize, Range<usize>)> = Vec::new();
    for (at, planned) in targets.iter().enumerate() {
        let Some(seat) = planned.seats.iter().find(|seat| seat.group == group) else { continue };
        match members.last_mut() {
            Some((member, range)) if *member == seat.member && range.end == at => range.end = at + 1,
            _ => members.push((seat.member, at..at + 1)),
        }
    }
    members
}

/// Moves the members to their places. They stand side by side: groups are written so, and a group within another one is moved as a whole.
fn reorder(targets: &mut [Planned], ranges: &[(usize, Range<usize>)], order: &[usize]) {
    let (Some(start), Some(end)) = (ranges.first().map(|(_, range)| range.start), ranges.last().map(|(_, r)| r.end))
    else {
        return;
    };
    let moved: Vec<Planned> = order
        .iter()
        .filter_map(|place| ranges.iter().find(|(member, _)| member == place))
        .flat_map(|(_, range)| targets.get(range.clone()).unwrap_or_default().iter().cloned())
        .collect();
    if let Some(run) = targets.get_mut(start..end).filter(|run| run.len() == moved.len()) {
        run.clone_from_slice(&moved);
    }
}

impl Balancer {
    /// The members in the order in which they are asked, by their places.
    fn order(
        &self,
        router: &Router,
        targets: &[Planned],
        ranges: &[(usize, Range<usize>)],
        request: &Request,
        turn: Turn,
    ) -> Vec<usize> {
        let key = match self.strategy {
            Balance::Sticky => Some(affinity::session(request)),
            Balance::Prefix => Some(affinity::beginning(request)),
            _ => None,
        };
        let tokens = (self.strategy == Balance::Cost).then(|| expected(request));
        let (mut well, mut shut) = (Vec::with_capacity(ranges.len()), Vec::new());
        for (place, range) in ranges {
            let Some(planned) = targets.get(range.start) else { continue };
            if held(router, planned).is_some() {
                shut.push(*place);
                continue;
            }
            let gauge = planned.gauge.as_deref();
            let peak = |gauge: &Gauge| gauge.peak(request.stream, router.deps().clock.instant());
            well.push(Member {
                place: *place,
                weight: self.weights.get(*place).copied().unwrap_or(1),
                in_flight: gauge.map_or(0, Gauge::in_flight),
                peak: gauge.filter(|_| self.strategy == Balance::Latency).and_then(peak),
                cost: tokens.as_ref().and_then(|tokens| cost(router, planned, &many(tokens))),
                rank: key.map_or(0, |key| affinity::rank(key, &planned.target, planned.key)),
            });
        }
        self.sort(router, &mut well, turn);
        well.iter().map(|member| member.place).chain(shut).collect()
    }

    fn sort(&self, router: &Router, members: &mut [Member], turn: Turn) {
        let chance = || router.deps().ids.jitter();
        let next = || match turn {
            Turn::Take => self.turn.fetch_add(1, Ordering::Relaxed),
            Turn::Look => self.turn.load(Ordering::Relaxed),
        };
        match self.strategy {
            Balance::Order => {}
            Balance::Random => order::random(members, chance),
            Balance::RoundRobin => order::round_robin(members, next()),
            Balance::Weighted => self.turns.next(members, turn == Turn::Take),
            Balance::LeastBusy => order::least_busy(members, next()),
            Balance::Latency => order::latency(members, chance),
            Balance::Cost => order::cost(members),
            Balance::Sticky => order::sticky(members),
            Balance::Prefix => order::prefix(members),
        }
    }

    /// What a target's place goes by, for a person.
    fn score(&self, router: &Router, planned: &Planned, place: usize, request: &Request) -> String {
        let busy = planned.gauge.as_deref().map_or(0, Gauge::in_flight);
        match self.strategy {
            Balance::Weighted => format!("weight {}", self.weights.get(place).copied().unwrap_or(1)),
            Balance::LeastBusy | Balance::Prefix => format!("{busy} under way"),
            Balance::Latency => {
                let now = router.deps().clock.instant();
                match planned.gauge.as_deref().and_then(|gauge| gauge.peak(request.stream, now)) {
                    Some(peak) => format!("{:.0} ms to the first content, {busy} under way", peak * 1000.0),
                    None => format!("not measured yet, {busy} under way"),
                }
            }
            Balance::Cost => match cost(router, planned, &expected(request)) {
                Some(micros) => format!("about {}", dollars(micros)),
                None => "of unknown price".to_owned(),
            },
            Balance::Order | Balance::Random | Balance::RoundRobin | Balance::Sticky => String::new(),
        }
    }

    fn name(&self) -> &'static str {
        match self.strategy {
            Balance::Order => "order",
            Balance::Random => "random",
            Balance::RoundRobin => "round_robin",
            Balance::Weighted => "weighted",
            Balance::LeastBusy => "least_busy",
            Balance::Latency => "latency",
            Balance::Cost => "cost",
            Balance::Sticky => "sticky",
            Balance::Prefix => "prefix",
        }
    }
}

/// Tells a target's gauge how an attempt went, and keeps the call counted until its answer ends.
pub(super) fn observed<A: Asking>(outcome: Result<A::Done>, busy: Option<Busy>, now: Instant) -> Result<A::Done> {
    let Some(mut busy) = busy else { return outcome };
    match outcome {
        Ok(done) => {
            busy.answered(now);
            Ok(A::counted(done, busy))
        }
        Err(error) => {
            busy.failed(&error, now);
            Err(error)
        }
    }
}

/// The tokens of a request and its answer, roughly.
fn expected(request: &Request) -> Usage {
    let answer = request.sampling.max_tokens.map_or(ANSWER, |most| u64::from(most).min(ANSWER));
    Usage::new(estimate(request), answer)
}

/// So many of them that the prices of short prompts are told apart too.
fn many(tokens: &Usage) -> Usage {
    Usage::new(tokens.input.saturating_mul(1_000), tokens.output.saturating_mul(1_000))
}

/// What they would cost at a target.
fn cost(router: &Router, planned: &Planned, tokens: &Usage) -> Option<u64> {
    let model = planned.target.model.as_ref().map(|model| model.as_str());
    Some(router.deps().prices.of(planned.target.provider.as_str(), model)?.cost(tokens))
}

/// Has the plan's candidates stand as its targets do, each with what it was compared by where somebody looks.
fn retell(router: &Router, plan: &mut Plan, request: &Request, turn: Turn) {
    let before = std::mem::take(&mut plan.candidates);
    let told = plan.targets.iter().filter_map(|planned| {
        let Planned { target, key, .. } = planned;
        let is_it = |candidate: &&Candidate| {
            candidate.planned
                && (&candidate.provider, &candidate.model, &candidate.key) == (&target.provider, &target.model, key)
        };
        let mut candidate = before.iter().find(is_it)?.clone();
        candidate.score = if turn == Turn::Look { scores(router, plan, planned, request) } else { None };
        Some(candidate)
    });
    let mut told = told.collect::<Vec<_>>().into_iter();
    let told = before.into_iter().filter_map(|candidate| if candidate.planned { told.next() } else { Some(candidate) });
    plan.candidates = told.collect();
}

/// What a target's places in its groups go by.
fn scores(router: &Router, plan: &Plan, planned: &Planned, request: &Request) -> Option<String> {
    let told = planned.seats.iter().filter_map(|seat| {
        let balancer = router.0.balances.of(plan.groups.get(seat.group)?)?;
        let score = balancer.score(router, planned, seat.member, request);
        let space = if score.is_empty() { "" } else { ": " };
        Some(format!("{}{space}{score}", balancer.name()))
    });
    Some(told.collect::<Vec<_>>().join("; ")).filter(|told| !told.is_empty())
}
