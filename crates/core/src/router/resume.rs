//! Resuming: an answer that breaks off after its first content is gone on with by somebody, so that the caller hears one answer. Only where somebody wished so.
//!
//! Works on deltas, before any encoder: the caller's stream stays open, and what the next target says is put behind what was said, in the same block. Two ways
//! ([`Resume`]): a target that is known to take the beginning of an answer goes on behind it; or a target answers anew and is heard once it has said the
//! same, byte for byte, which is rare where tokens are drawn by chance. Only for one choice of which nothing but text was given out. Whatever goes wrong
//! here, the caller hears what went wrong first. What was said is `resume/sent.rs`, how two answers are joined `resume/joint.rs`. Nothing of this is ever stored: the
//! cache is filled by the call itself, which failed.

mod joint;
mod sent;

use std::sync::{Arc, Weak};

use futures_util::{StreamExt, stream};

use self::joint::{Joined, Joint};
use self::sent::Sent;
use super::answer::{Aftermath, Committed, cut};
use super::asking::Text;
use super::attempts::{Asked, Attempts};
use super::count::of_text;
use super::deadlines::model_settings;
use super::first_event::FirstEvent;
use super::record::Record;
use super::resolve::Planned;
use super::{Router, retry};
use crate::delta::{Delta, DeltaStream, Event};
use crate::error::{Error, Result, SameTarget};
use crate::request::{Message, Request, Resume, Role};
use crate::trace::Resumed;

/// Who may go on with an answer.
pub(super) struct Resuming {
    router: Router,
    how: Resume,
    /// As the caller asked.
    request: Arc<Request>,
    /// Who gives the answer now.
    served: Planned,
    /// Who is left of the plan, the next one last.
    rest: Vec<Planned>,
    /// The caller's, gone with the caller.
    record: Weak<Record>,
    /// Targets asked to go on so far.
    asked: u32,
}

/// An answer under way that somebody else may go on with.
struct Flow {
    resuming: Resuming,
    now: DeltaStream,
    /// Between what was said before and what is said now, once it was resumed.
    joint: Option<Joint>,
    sent: Sent,
    aftermath: Option<Aftermath>,
    /// What went wrong first.
    first: Option<Error>,
    ended: bool,
}

impl Resuming {
    /// For an answer of `served`, with who is left behind it in the plan; none where nobody wished for it, or no such answer can be gone on with.
    pub(super) fn of(
        router: &Router,
        request: &Arc<Request>,
        (served, rest): (&Planned, &mut Vec<Planned>),
        record: &Arc<Record>,
    ) -> Option<Self> {
        let how = request.riders.resume.filter(|how| *how != Resume::Off && request.choices() == 1)?;
        Some(Self {
            router: router.clone(),
            how,
            request: Arc::clone(request),
            served: served.clone(),
            rest: std::mem::take(rest),
            record: Arc::downgrade(record),
            asked: 0,
        })
    }

    /// The answer, gone on with where it breaks off. Of one that may be, no bytes are passed on as received: two answers become one.
    pub(super) fn guard(self, mut committed: Committed) -> Committed {
        let mut sent = Sent::default();
        committed.events().for_each(|event| sent.see(event));
        if !sent.may_go_on() {
            return committed;
        }
        committed.without_raw();
        let aftermath = committed.take_aftermath();
        committed.then(|now| {
            let flow = Flow { resuming: self, now, joint: None, sent, aftermath, first: None, ended: false };
            DeltaStream::unchecked(stream::unfold(Some(flow), |flow| async {
                let mut flow = flow?;
                let event = flow.next().await?;
                let over = event.is_err();
                Some((event, (!over).then_some(flow)))
            }))
        })
    }

    /// The next target to go on with what was said, and its answer.
    async fn go_on(&mut self, sent: &Sent, error: &Error) -> std::result::Result<(Committed, Joint), Option<Error>> {
        // As for a retry: the same target first, where asking it again can help.
        if self.asked == 0 && error.kind().row().same == SameTarget::Retry {
            let own = self.served.shared;
            let again = Planned { deadlines: own, ..self.served.clone() };
            self.rest.push(again);
        }
        let mut last = None;
        let mut first_event = FirstEvent::of(&self.request);
        while self.asked < retry::MAX_ATTEMPTS {
            let Some(mut planned) = self.rest.pop() else { break };
            let Some(record) = self.record.upgrade() else { break };
            let Some((request, joint)) = self.asking(&planned, sent) else { continue };
            self.asked += 1;
            let others = !self.rest.is_empty();
            let turn = first_event.turn(&mut planned, others, self.router.deps().clock.instant());
            let (request, withheld) = self.router.0.makers.for_target(&Arc::new(request), &planned, false);
            let asked = Asked { request, withheld, planned: &planned, others };
            match Box::pin(Attempts::new(&self.router, Text, &asked, &record).committed()).await {
                Ok(committed) => {
                    let target = planned.target;
                    record.resumed(Resumed::new(target.provider, target.model, self.how, sent.text().len()));
                    return Ok((committed, joint));
                }
                Err(error) => {
                    first_event.spend(turn, self.router.deps().clock.instant());
                    last = Some(error.at(&planned.target.provider, planned.target.model.as_ref()));
                }
            }
        }
        Err(last)
    }

    /// What a target is asked to go on, and how its answer is joined; none where it is not known to be able to.
    fn asking(&self, planned: &Planned, sent: &Sent) -> Option<(Request, Joint)> {
        let mut request = Request::clone(&self.request);
        // Only the rest is to be held back, and no longer than it takes to join it.
        request.riders.hold = None;
        if self.how == Resume::Restart {
            return Some((request, Joint::restart(sent)));
        }
        let said = sent.text().trim_end();
        if said.is_empty() || request.response_format.is_some() || !self.takes_prefill(planned) {
            return None;
        }
        // The body as received says nothing of what was answered since.
        request.origin = None;
        request.messages.push(Message::text(Role::Assistant, said));
        request.prefill = true;
        let spent = u32::try_from(of_text(said)).unwrap_or(u32::MAX);
        request.sampling.max_tokens = request.sampling.max_tokens.map(|most| most.saturating_sub(spent).max(1));
        Some((request, Joint::go_on(sent)))
    }

    fn takes_prefill(&self, planned: &Planned) -> bool {
        let said = model_settings(self.router.settings(), &planned.target).and_then(|model| model.prefill);
        said.unwrap_or(planned.provider.describe().prefill)
    }
}

impl Flow {
    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            let error = match self.now.next().await {
                Some(Ok(event)) => match self.pass(event) {
                    Ok(event) if event.deltas.is_empty() && self.joint.is_some() => continue,
                    Ok(event) => return Some(Ok(event)),
                    // Somebody began anew and said something else: nobody is asked once more.
                    Err(other) => return Some(Err(self.told(Some(other)))),
                },
                None if self.ended => return None,
                Some(Err(error)) => error,
                None => cut(),
            };
            // The work behind a broken answer ends now.
            self.now = DeltaStream::of([]);
            if let Some(aftermath) = self.aftermath.take() {
                aftermath.failed(&error);
            }
            self.first.get_or_insert_with(|| error.clone());
            if self.ended || !self.sent.may_go_on() {
                return Some(Err(self.told(None)));
            }
            match self.resuming.go_on(&self.sent, &error).await {
                Ok((mut committed, joint)) => {
                    self.aftermath = committed.take_aftermath();
                    committed.without_raw();
                    self.joint = Some(joint);
                    self.now = committed.into_stream();
                }
                Err(why) => return Some(Err(self.told(why))),
            }
        }
    }

    fn pass(&mut self, mut event: Event) -> Result<Event> {
        event.raw = None;
        if let Some(joint) = &mut self.joint {
            event.deltas = match joint.pass(event.deltas) {
                Joined::Behind(deltas) => deltas,
                Joined::Otherwise => return Err(Error::protocol("asked anew, it began with something else")),
            };
        }
        self.sent.see(&event);
        if event.deltas.iter().any(|delta| matches!(delta, Delta::End)) {
            self.ended = true;
            if let Some(aftermath) = self.aftermath.take() {
                aftermath.see(&Ok(event.clone()));
            }
        }
        Ok(event)
    }

    /// What the caller hears: what went wrong first, and what kept it from being mended.
    fn told(&self, why: Option<Error>) -> Error {
        let first = self.first.clone().unwrap_or_else(cut);
        let why = match why {
            Some(error) => format!("nobody went on with it: {error}"),
            None if self.sent.may_go_on() => "nobody is left who could go on with it".to_owned(),
            None => "what was given out of it cannot be gone on with".to_owned(),
        };
        let mut told = Error::new(first.kind(), format!("{}; {why}", first.message()));
        if let Some(hint) = first.hint() {
            told = told.with_hint(hint);
        }
        if let Some(status) = first.status() {
            told = told.with_status(status);
        }
        if let Some(after) = first.retry_after() {
            told = told.with_retry_after(after);
        }
        match first.provider() {
            Some(provider) => told.at(provider, first.model()),
            None => told,
        }
    }
}
