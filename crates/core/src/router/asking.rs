//! What is asked of a target: text, embeddings, pictures, a count of tokens. All of them take the one path of `router.rs`; here is what each does at its end.
//!
//! Text alone is stored, shared and streamed; the others are whole when they come. Read next: `attempts.rs`, which tries what is written here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::answer::{Aftermath, Committed};
use super::attempts::{self, Asked, Attempts};
use super::balance::Busy;
use super::charge::{Charge, Paid};
use super::count::{TokenCount, estimate};
use super::opening::Opening;
use super::record::Record;
use super::resume::Resuming;
use super::{Op, Router};
use crate::delta::DeltaStream;
use crate::embedding::{EmbedRequest, EmbedResponse, Traced};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{ImageRequest, ImageResponse};
use crate::provider::{Call, DynProvider};
use crate::request::Request;
use crate::trace::{CacheStatus, Operation};
use crate::usage::Usage;

/// One kind of thing to ask a target for.
pub(super) trait Asking: Clone + Send + Sync + 'static {
    /// What a target gives.
    type Done: Send;

    /// Whether that is vectors, for which a provider may have another model where none is named.
    const VECTORS: bool = false;

    /// Its name among the metrics.
    const OPERATION: Operation;

    /// How it is paid.
    const PAID: Paid;

    /// Whether it has a first event and a rest, so that more may go wrong after an attempt has succeeded.
    const STREAMS: bool = false;

    /// Has somebody told how the rest of it goes.
    fn telling(done: Self::Done, aftermath: impl FnOnce() -> Option<Aftermath>) -> Self::Done {
        let _ = aftermath;
        done
    }

    /// Has somebody go on with it where it breaks off.
    fn guarded(done: Self::Done, resuming: impl FnOnce() -> Option<Resuming>) -> Self::Done {
        let _ = resuming;
        done
    }

    /// Keeps a call counted as being under way until its answer ends.
    fn counted(done: Self::Done, busy: Busy) -> Self::Done {
        drop(busy);
        done
    }

    /// Takes over what hooks changed in the request.
    fn heed(&mut self, request: &Request) {
        let _ = request;
    }

    /// One try at one target, and what it costs settled, at once or when its answer ends.
    fn attempt(
        &self,
        provider: &dyn DynProvider,
        call: Arc<Call>,
        charge: Charge,
    ) -> impl Future<Output = Result<Self::Done>> + Send;

    /// What one target gives, after as many tries as it takes.
    fn answer_from(
        &self,
        router: &Router,
        asked: &Asked<'_>,
        record: &Arc<Record>,
    ) -> impl Future<Output = Result<Self::Done>> + Send {
        async move {
            record.dropped(asked.withheld.clone());
            if asked.request.cache.only_if_cached {
                return Err(not_cached("the request asked for a stored answer, and of this kind none is stored"));
            }
            own_call(router, self.clone(), asked, record).await
        }
    }
}

/// A call of our own, unless the target is known to be out of reach, or is left alone.
async fn own_call<A: Asking>(router: &Router, asking: A, asked: &Asked<'_>, record: &Arc<Record>) -> Result<A::Done> {
    if let Some(error) = unreached(router, asked, record) {
        return Err(error);
    }
    Attempts::new(router, asking, asked, record).committed().await
}

fn unreached(router: &Router, asked: &Asked<'_>, record: &Record) -> Option<Error> {
    if let Some(held) = asked.planned.held {
        let error = held.error(router.0.deps.clock.instant());
        record.held(asked.planned, Some(&error), Duration::ZERO);
        return Some(error);
    }
    let error = asked.planned.unreached.clone()?;
    record.attempted(asked.planned, router.0.deps.clock.instant(), Some(&error));
    Some(error)
}

/// Text, or whatever else a conversation brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text;

impl Asking for Text {
    type Done = Committed;
    const OPERATION: Operation = Operation::Chat;
    const PAID: Paid = Paid::ByToken;
    const STREAMS: bool = true;

    fn telling(committed: Committed, aftermath: impl FnOnce() -> Option<Aftermath>) -> Committed {
        committed.telling(aftermath())
    }

    fn guarded(committed: Committed, resuming: impl FnOnce() -> Option<Resuming>) -> Committed {
        match resuming() {
            Some(resuming) => resuming.guard(committed),
            None => committed,
        }
    }

    async fn attempt(&self, provider: &dyn DynProvider, call: Arc<Call>, charge: Charge) -> Result<Committed> {
        let mut opening = Opening::of(&call, provider.describe());
        match opening.wait(provider.generate(call)).await {
            Ok(events) => Committed::of(charge.riding(events), &mut opening).await,
            Err(error) => Err(charge.failed(error)),
        }
    }

    fn counted(committed: Committed, busy: Busy) -> Committed {
        committed.then(|rest| {
            DeltaStream::unchecked(rest.map(move |event| {
                let _ = &busy;
                event
            }))
        })
    }

    /// From the cache, from a call under way, or from a call of our own.
    async fn answer_from(&self, router: &Router, asked: &Asked<'_>, record: &Arc<Record>) -> Result<Committed> {
        let committed = Box::pin(text_from(router, asked, record)).await?;
        if committed.is_spilled() {
            record.spilled();
        }
        Ok(committed)
    }
}

async fn text_from(router: &Router, asked: &Asked<'_>, record: &Arc<Record>) -> Result<Committed> {
    let Asked { request, planned, .. } = asked;
    record.dropped(asked.withheld.clone());
    let cache = router.0.deps.cache.clone().filter(|cache| cache.covers(request));
    let kept = cache.and_then(|cache| cache.key(request, &planned.target).ok().map(|key| (cache, key)));
    let status = if kept.is_some() { CacheStatus::Miss } else { CacheStatus::Bypass };
    record.cache(status, kept.as_ref().map(|(_, key)| key));
    // A stored answer may be one to a part of the request: what was left out then is in nobody's key.
    if let Some((cache, key)) = kept.as_ref().filter(|_| !request.riders.strict)
        && let Some((stored, tier)) = Box::pin(cache.get(key, request)).await
    {
        record.found_in(tier);
        record.cache(CacheStatus::Hit, Some(key));
        return Ok(Committed::replay(&stored, request.stream));
    }
    if request.cache.only_if_cached {
        return Err(not_cached(if kept.is_some() {
            "the answer is not in the cache, and the request asked for nothing else"
        } else {
            "the request asked for a stored answer, and the cache is off for it"
        }));
    }
    match &kept {
        Some((cache, key)) => match unreached(router, asked, record) {
            Some(error) => Err(error),
            None => Box::pin(attempts::shared(router, cache, key, asked, record)).await,
        },
        None => own_call(router, Text, asked, record).await,
    }
}

fn not_cached(message: &str) -> Error {
    Error::unavailable(message).with_hint("drop `only-if-cached` to have it made")
}

/// Vectors of texts.
#[derive(Clone, Debug)]
struct Vectors(Arc<EmbedRequest>);

impl Asking for Vectors {
    type Done = EmbedResponse;
    const VECTORS: bool = true;
    const OPERATION: Operation = Operation::Embeddings;
    const PAID: Paid = Paid::ByInput;

    fn heed(&mut self, request: &Request) {
        Arc::make_mut(&mut self.0).take_texts(request);
    }

    async fn attempt(&self, provider: &dyn DynProvider, call: Arc<Call>, charge: Charge) -> Result<EmbedResponse> {
        let made = async {
            let made: EmbedResponse = provider.embed(call, Arc::clone(&self.0)).await?;
            made.check(self.0.inputs.len()).map_err(|error| error.at(&provider.describe().id, None))?;
            Ok(made)
        };
        match made.await {
            Ok(made) => {
                charge.told(made.usage);
                Ok(made)
            }
            Err(error) => Err(charge.failed(error)),
        }
    }
}

/// Pictures.
#[derive(Clone, Debug)]
struct Pictures(Arc<ImageRequest>);

impl Asking for Pictures {
    type Done = ImageResponse;
    const OPERATION: Operation = Operation::Images;
    const PAID: Paid = Paid::Otherwise;

    fn heed(&mut self, request: &Request) {
        Arc::make_mut(&mut self.0).take_prompt(request);
    }

    async fn attempt(&self, provider: &dyn DynProvider, call: Arc<Call>, charge: Charge) -> Result<ImageResponse> {
        let drawn = match provider.image(call, Arc::clone(&self.0)).await {
            Ok(drawn) if drawn.pictures.is_empty() => {
                let error = Error::protocol("it answered without a picture").with_hint("say more plainly what to draw");
                Err(error.at(&provider.describe().id, None))
            }
            drawn => drawn,
        };
        match drawn {
            Ok(drawn) => {
                charge.told(drawn.usage);
                Ok(drawn)
            }
            Err(error) => Err(charge.failed(error)),
        }
    }
}

/// A count of tokens.
#[derive(Clone, Copy, Debug)]
struct Tokens;

impl Asking for Tokens {
    /// The count, and whether it is an estimate.
    type Done = (u64, bool);
    const OPERATION: Operation = Operation::CountTokens;
    const PAID: Paid = Paid::Free;

    /// Another target would count for another model: where this one cannot count, the estimate is of its own.
    async fn attempt(&self, provider: &dyn DynProvider, call: Arc<Call>, _: Charge) -> Result<(u64, bool)> {
        match provider.count_tokens(Arc::clone(&call)).await {
            Err(error) if error.kind() == ErrorKind::CallerUnsupported => Ok((estimate(&call.request), true)),
            counted => Ok((counted?, false)),
        }
    }
}

impl Router {
    /// Makes vectors of texts.
    ///
    /// # Errors
    /// `caller_invalid_request` or `caller_too_large` past the limits of [`EmbedRequest::check`]; else as [`Router::call`].
    pub async fn embed(&self, op: impl Into<Op<EmbedRequest>>) -> Result<EmbedResponse> {
        let op = op.into();
        op.request.check()?;
        let (op, ask) = taken(op, EmbedRequest::outline);
        let (mut made, _, record) = self.run(Box::new(op), Vectors(Arc::new(ask))).await?;
        made.trace = closed(&record, made.usage);
        Ok(made)
    }

    /// Draws pictures.
    ///
    /// # Errors
    /// `caller_invalid_request` or `caller_too_large` past the limits of [`ImageRequest::check`]; else as [`Router::call`].
    pub async fn image(&self, op: impl Into<Op<ImageRequest>>) -> Result<ImageResponse> {
        let op = op.into();
        op.request.check()?;
        let (op, ask) = taken(op, ImageRequest::outline);
        let (mut drawn, _, record) = self.run(Box::new(op), Pictures(Arc::new(ask))).await?;
        drawn.trace = closed(&record, drawn.usage);
        Ok(drawn)
    }

    /// Counts the tokens of a request as its first target would. Nothing is generated.
    ///
    /// # Errors
    /// As [`Router::call`].
    pub async fn count_tokens(&self, op: impl Into<Op>) -> Result<TokenCount> {
        let ((tokens, estimated), target, _) = self.run(Box::new(op.into()), Tokens).await?;
        Ok(TokenCount { tokens, estimated, target })
    }
}

/// The op that the router plans by, and what is asked for.
fn taken<R>(op: Op<R>, outline: impl FnOnce(&R) -> Request) -> (Op, R) {
    let Op { request, door, provider, id, client, team, holder, context, arrived } = op;
    (Op { request: outline(&request), door, provider, id, client, team, holder, context, arrived }, request)
}

/// Notes that all has come, and gives the record as it stands then.
fn closed(record: &Record, usage: Option<Usage>) -> Traced {
    record.first_content();
    if let Some(usage) = usage {
        record.usage(usage);
    }
    Traced(Some(Arc::new(record.trace())))
}
