//! From one peer to the next, as long as nothing of an answer was given out.
//!
//! The answer is a stream from the beginning: whoever waits hears, by empty events, that somebody is at work. What a peer says before its first content is kept until then, since another one may begin anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libp2p::PeerId;
use llm_router::delta::{Delta, DeltaStream, Event};
use llm_router::dialect::{Dialect, native};
use llm_router::ids::{ModelName, Namespace};
use llm_router::request::{Request, Timeouts};
use llm_router::{Error, Result};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::missed::Missed;
use super::need::Wants;
use super::talk::{self, Next, Said, Talk};
use crate::caps::ASK;
use crate::picker::{NoPeer, Pick};
use crate::receipt::Receipt;
use crate::service::shared::Shared;
use crate::table::{Lease, Outcome};
use crate::wire::{Done, Open, VERSION};

/// How many further peers are asked.
const FURTHER: usize = 2;

/// A request on its way.
pub(super) struct Asking {
    shared: Arc<Shared>,
    model: Option<String>,
    request: Request,
    wants: Wants,
    open: Open,
    until: Instant,
    /// Those that it was at, and those that it came through.
    tried: Vec<PeerId>,
    passed: usize,
    at: Option<At>,
    /// What came before the first content.
    head: Vec<Event>,
    ready: VecDeque<Event>,
    over: bool,
}

/// The peer that is asked now.
struct At {
    peer: PeerId,
    talk: Talk,
    held: Held,
    began: Option<Instant>,
    content: u64,
    output: Option<u64>,
    ended: bool,
}

/// What has to be given back to the table whatever happens.
struct Held {
    shared: Arc<Shared>,
    lease: Option<Lease>,
}

impl Held {
    fn first_token(&mut self) {
        if let Some(lease) = &mut self.lease {
            self.shared.table().first_token(lease, Instant::now());
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(lease) = self.lease.take() {
            self.shared.table().end(lease, outcome, Instant::now());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}

impl Asking {
    pub(super) fn new(
        shared: Arc<Shared>,
        model: Option<&ModelName>,
        request: &Request,
        longest: Duration,
        trace: Option<String>,
    ) -> Self {
        let wants = Wants::of(request, shared.asks_strangers());
        let mut rid = [0; 16];
        rid.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
        let open = Open {
            v: VERSION,
            rid: Bytes::copy_from_slice(&rid),
            endpoint: "generate".to_owned(),
            stream: request.stream,
            max_out: request.sampling.max_tokens,
            hops: request.riders.hops.clone(),
            trace,
            ..Open::default()
        };
        let mut request = request.clone();
        request.provider = None;
        // What these say is said to this router: whose answers are kept where, how long it waits, when it gives an answer out.
        request.riders.namespace = Namespace::default();
        (request.riders.hold, request.riders.resume) = (None, None);
        (request.timeouts, request.timeout, request.origin) = (Timeouts::default(), None, None);
        let tried = request.riders.hops.iter().filter_map(|peer| peer.parse().ok()).collect();
        Self {
            shared,
            model: model.map(|model| model.as_str().to_owned()),
            request,
            wants,
            open,
            until: Instant::now() + longest,
            tried,
            passed: 0,
            at: None,
            head: Vec::new(),
            ready: VecDeque::new(),
            over: false,
        }
    }

    /// The answer.
    pub(super) fn stream(self) -> DeltaStream {
        let next = |mut asking: Box<Self>| async move {
            let next = asking.next().await?;
            Some((next, asking))
        };
        DeltaStream::new(libp2p::futures::stream::unfold(Box::new(self), next))
    }

    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.over {
                return None;
            }
            let until = self.until;
            let late = |_| Err(Error::timeout("no peer gave its whole answer in the time that there was"));
            match timeout_at(until, self.step()).await.unwrap_or_else(late) {
                Ok(true) => {}
                Ok(false) => return Some(Ok(Event::default())),
                Err(error) => {
                    (self.over, self.at) = (true, None);
                    return Some(Err(error));
                }
            }
        }
    }

    /// One step: finds a peer, or hears what it says next. Whether there may be something to give out.
    async fn step(&mut self) -> Result<bool> {
        let Some(at) = &mut self.at else {
            let (pick, said) = Box::pin(self.choose()).await?;
            let mut held = Held { shared: Arc::clone(&self.shared), lease: Some(pick.lease) };
            tracing::debug!(peer = %pick.peer, "a peer is asked: {}", pick.reason);
            match Box::pin(talk::begin(&self.shared, pick.peer, &pick.addresses, said)).await {
                Ok(talk) => {
                    let (began, content, output, ended) = (None, 0, None, false);
                    self.at = Some(At { peer: pick.peer, talk, held, began, content, output, ended });
                    return Ok(true);
                }
                Err(missed) => {
                    held.end(Outcome::Failed(missed.lesson()));
                    return self.missed(pick.peer, missed);
                }
            }
        };
        match at.talk.next().await {
            Ok(Next::Working) => Ok(false),
            Ok(Next::Deltas(deltas)) => {
                self.hear(deltas);
                Ok(true)
            }
            Ok(Next::Done(done)) => {
                self.done(&done);
                Ok(true)
            }
            Err(missed) => {
                at.held.end(Outcome::Failed(missed.lesson()));
                let peer = at.peer;
                self.missed(peer, missed)
            }
        }
    }

    /// Goes on to another peer, if that may help and is not too late.
    fn missed(&mut self, peer: PeerId, missed: Missed) -> Result<bool> {
        let committed = self.at.take().is_some_and(|at| at.content > 0);
        let more = !committed && missed.passes() && self.passed < FURTHER && Instant::now() < self.until;
        tracing::debug!(%peer, "a peer did not answer: {missed:?}");
        if !more {
            return Err(missed.error());
        }
        self.passed += 1;
        self.tried.push(peer);
        self.head.clear();
        // Nobody else may be there: then this is what is said.
        let wants = self.model.as_deref().map(|model| self.wants.need(model, &self.tried));
        let others = wants.is_none_or(|need| {
            let all = self.shared.table().consider(&need, usize::MAX, Instant::now());
            all.iter().any(|one| one.out.is_none())
        });
        if others { Ok(false) } else { Err(missed.error()) }
    }

    /// Picks a peer, and makes the request for it.
    async fn choose(&mut self) -> Result<(Pick, Said)> {
        loop {
            let (picked, model) = self.pick();
            match picked {
                Ok(pick) => {
                    let said = self.said(&model)?;
                    return Ok((pick, said));
                }
                Err(none) => {
                    if self.passed > 0 || !self.shared.wait_for_contacts().await {
                        return Err(self.nobody(&none, &model));
                    }
                }
            }
        }
    }

    /// A peer for the named model; where none is named, for the one that most peers serve, and can.
    fn pick(&self) -> (Result<Pick, NoPeer>, String) {
        let (mut table, now) = (self.shared.table(), Instant::now());
        if let Some(model) = &self.model {
            return (table.pick(&self.wants.need(model, &self.tried), now), model.clone());
        }
        let mut served: Vec<(usize, String)> = table.served().map(|(model, count)| (count, model.to_owned())).collect();
        served.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let mut last = None;
        for (_, model) in served.into_iter().take(32) {
            match table.pick(&self.wants.need(&model, &self.tried), now) {
                Ok(pick) => return (Ok(pick), model),
                Err(none) => last = last.or(Some((none, model))),
            }
        }
        let (none, model) = last.unwrap_or_default();
        (Err(none), model)
    }

    fn nobody(&self, none: &NoPeer, model: &str) -> Error {
        if !self.shared.table().is_empty() {
            return none.error(model);
        }
        let known = self.shared.book.all().len();
        if known == 0 {
            return Error::unavailable("no peer that is trusted was found").with_hint(ASK).unsent();
        }
        Error::unavailable(format!("none of the {known} peers that are known here answers and serves anything"))
            .with_hint("llm-router peers ls shows the state of each; for a new one, ask for: llm-router peers invite")
            .unsent()
    }

    /// The request as this model is asked.
    fn said(&mut self, model: &str) -> Result<Said> {
        self.request.model = Some(model.to_owned());
        let body = native::write_request(&self.request)?;
        let left = self.until.saturating_duration_since(Instant::now());
        let mut open = self.open.clone();
        open.model = Some(model.to_owned());
        open.body_len = body.len() as u64;
        open.deadline_ms = u64::try_from(left.as_millis()).ok();
        Ok(Said { open, body })
    }

    /// Takes in a part of the answer.
    fn hear(&mut self, mut deltas: Vec<Delta>) {
        let Some(at) = &mut self.at else { return };
        // The end is the peer's word that all came, and not the last delta's.
        if deltas.last() == Some(&Delta::End) {
            at.ended = deltas.pop().is_some();
        }
        if let Some(start) = deltas.iter().position(|delta| matches!(delta, Delta::Start { .. })) {
            deltas.insert(start + 1, of_peer(json!({ "peer": at.peer.to_string() })));
        }
        for delta in &deltas {
            if let Delta::Usage(usage) = delta {
                at.output = Some(usage.output);
            }
        }
        let event = Event::from(deltas);
        if event.is_content() {
            at.content += 1;
            if at.began.is_none() {
                at.began = Some(Instant::now());
                at.held.first_token();
            }
        }
        if at.began.is_none() {
            self.head.push(event);
        } else {
            self.ready.extend(self.head.drain(..));
            self.ready.push_back(event);
        }
    }

    /// Takes in that all came.
    fn done(&mut self, done: &Done) {
        self.over = true;
        self.ready.extend(self.head.drain(..));
        let Some(mut at) = self.at.take() else { return };
        let further = at.output.unwrap_or(at.content).saturating_sub(1);
        let took = at.began.map(|began| began.elapsed()).unwrap_or_default();
        at.held.end(Outcome::Answered { further, took });
        let mut last = Vec::with_capacity(2);
        if let Some(receipt) = done.receipt.as_deref().filter(|receipt| self.is_sound(at.peer, receipt)) {
            last.push(of_peer(json!({ "peer": at.peer.to_string(), "receipt": Receipt::word(receipt) })));
        }
        last.push(Delta::End);
        self.ready.push_back(Event::from(last));
    }

    /// Whether a receipt is this peer's, for this request. One that is not says nothing bad of the answer: it is left out.
    fn is_sound(&self, peer: PeerId, receipt: &[u8]) -> bool {
        let sound = Receipt::verify(receipt)
            .is_ok_and(|receipt| receipt.peer == peer && receipt.request_id.as_slice() == self.open.rid.as_ref());
        if !sound {
            tracing::warn!(%peer, "a peer signed something else than its answer");
        }
        sound
    }
}

/// What is said of who answered, beside the answer.
fn of_peer(raw: serde_json::Value) -> Delta {
    Delta::Unknown { dialect: Dialect::Native, raw }
}
