//! Going through a plan: target after target until one commits, each failure leading to the next one that its kind allows.
//!
//! What one target is asked, and how often, is `attempts.rs`; which targets there are, and in which order, `resolve.rs` and `balance.rs`; where a failure leads besides the next target,
//! `onward.rs`. Who is asked beside a late one is `hedge.rs`.

use std::sync::Arc;

use super::asking::Asking;
use super::attempts::{self, Asked};
use super::balance::Shelves;
use super::breaker::Aside;
use super::charge::Paid;
use super::first_event::FirstEvent;
use super::hedge::{self, Raced, Under};
use super::record::Record;
use super::resolve::{self, Door, Plan, Planned};
use super::resume::Resuming;
use super::{Router, allowance, onward, reach};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Target;
use crate::request::{Request, Substitute};
use crate::trace::Served;

/// How far a plan was gone through.
struct Course<'a> {
    router: &'a Router,
    request: &'a Arc<Request>,
    door: Door,
    record: &'a Arc<Record>,
    /// What is left of it, the next target last.
    plan: Plan,
    aside: Aside,
    failures: Vec<Error>,
    /// Of targets that nobody asked, since they cost too much.
    passed_over: Vec<Error>,
    paid: Paid,
    looked_ahead: bool,
    shelves: Shelves,
}

impl Router {
    /// Goes through the plan until a target commits.
    pub(super) async fn first_answer<A: Asking>(
        &self,
        request: &Arc<Request>,
        asking: &A,
        mut plan: Plan,
        door: Door,
        record: &Arc<Record>,
    ) -> Result<(A::Done, Target)> {
        let meant = meant(request, &plan);
        let mut promised = meant.clone();
        let mut first_event = FirstEvent::of(request);
        plan.targets.reverse();
        let (aside, failures, passed_over, shelves) = Default::default();
        let (paid, looked_ahead) = (A::PAID, false);
        let mut course = Course {
            router: self,
            request,
            door,
            record,
            plan,
            aside,
            failures,
            passed_over,
            paid,
            looked_ahead,
            shelves,
        };
        loop {
            if A::STREAMS && self.0.settings.cache.group {
                let (shelves, targets) = (&mut course.shelves, &mut course.plan.targets);
                let behind = Box::pin(shelves.bring_up(self, targets, request, meant.as_ref())).await;
                if behind.is_some() && behind == promised {
                    // Any member of its group is what was promised.
                    promised = targets.last().map(|planned| planned.target.clone());
                }
            }
            let Some(mut planned) = course.next() else { break };
            let others = course.aside.judge(self, &mut planned, &course.plan.targets);
            let turn = first_event.turn(&mut planned, others, self.0.deps.clock.instant());
            let (seen, withheld) = self.0.makers.for_target(request, &planned, meant.as_ref() == Some(&planned.target));
            let asked = Asked { request: seen, withheld, planned: &planned, others };
            let raced = if course.plan.hedged {
                let under = Under { request, meant: meant.as_ref(), first_event, record };
                Box::pin(hedge::race(self, asking, &asked, &mut course.plan, under)).await
            } else {
                Raced::alone(asking.answer_from(self, &asked, record).await)
            };
            match raced.result {
                Ok(done) => {
                    let planned = raced.by.map_or(planned, |by| *by);
                    let rest = &mut course.plan.targets;
                    let done = A::guarded(done, || Resuming::of(self, request, (&planned, rest), record));
                    let target = planned.target;
                    let substituted = promised.filter(|meant| *meant != target).map(|meant| meant.to_string());
                    record.served(Served { substituted, ..Served::new(target.provider.clone(), target.model.clone()) });
                    return Ok((done, target));
                }
                Err(error) => {
                    first_event.spend(turn, self.0.deps.clock.instant());
                    if !Box::pin(course.failed(planned, error, raced.beside)).await {
                        break;
                    }
                }
            }
        }
        Err(attempts::last_of(course.passed_over, course.failures, &course.plan.candidates))
    }

    /// The same provider with its default model, where it does not know the one asked for and the caller may be given another.
    fn default_instead(&self, error: &Error, request: &Request, planned: &Planned, door: Door) -> Option<Planned> {
        let router = &self.0.settings.router;
        let allowed = match request.riders.substitute {
            Substitute::Never => false,
            // What requests say that say nothing.
            Substitute::SameModel => router.substitute == Substitute::Any && router.model_fallback,
            Substitute::Any => true,
        };
        let may = error.kind() == ErrorKind::CallerModelUnknown
            && door != Door::CompatibleApi
            && request.provider.is_some()
            && allowed;
        let model = planned.provider.describe().default_model.as_ref().filter(|_| may)?;
        let model = planned.provider.exact_model(model);
        (planned.target.model.as_ref() != Some(&model)).then(|| {
            let target = Target::new(planned.target.provider.clone(), Some(model));
            Planned { target, ..planned.clone() }
        })
    }
}

impl Course<'_> {
    /// The next target: of those left, else the soonest of those put aside.
    fn next(&mut self) -> Option<Planned> {
        self.plan.targets.pop().or_else(|| self.aside.soonest(&mut self.failures))
    }

    /// Takes note of a failure, and of one beside it, and says whether the plan goes on.
    async fn failed(&mut self, planned: Planned, error: Error, beside: Option<Box<(Planned, Error)>>) -> bool {
        let &mut Self { router, request, door, paid, record, .. } = self;
        if self.plan.automatic && !self.looked_ahead && reach::was_silent(&error) {
            self.looked_ahead = true;
            reach::look_ahead(&mut self.plan, &router.context_of(record.id())).await;
        }
        let default = router.default_instead(&error, request, &planned, door);
        let asked = (request, door, paid, record);
        if let Some((other, error)) = beside.map(|beside| *beside) {
            onward::leave(router, &mut self.plan, &mut self.aside, (&other, &error), asked);
            self.note(&other, error);
        }
        let remain = onward::leave(router, &mut self.plan, &mut self.aside, (&planned, &error), asked);
        let goes_on = default.is_some() || remain;
        let default = default.filter(|default| allowance::allows(router, &default.target, request, record));
        self.plan.targets.extend(default);
        if planned.held.is_some() {
            let error = error.at(&planned.target.provider, planned.target.model.as_ref());
            self.aside.put(planned, error);
            return true;
        }
        self.note(&planned, error);
        goes_on
    }

    /// Takes note of why a target gave no answer.
    fn note(&mut self, planned: &Planned, error: Error) {
        let passed_over = allowance::passes_over(self.router, self.record, &planned.target, self.paid, &error);
        if passed_over {
            self.record.passed_over(planned, &error);
        }
        let error = error.at(&planned.target.provider, planned.target.model.as_ref());
        if passed_over { self.passed_over.push(error) } else { self.failures.push(error) }
    }
}

/// The target that a request means: of a plan the first, even one that is left out. Whoever named nobody was promised nobody.
pub(super) fn meant(request: &Request, plan: &Plan) -> Option<Target> {
    let first = plan.candidates.first().filter(|_| resolve::names_somebody(request));
    first.map(|first| Target::new(first.provider.clone(), first.model.clone()))
}
