//! The stream of an answer: bytes to frames, frames to events, within the call's deadlines. Dropping it ends the transfer.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::header;
use tokio::sync::OwnedSemaphorePermit;

use super::refusal::is_page;
use crate::delta::{Delta, DeltaStream, Event};
use crate::dialect::lines::Framer;
use crate::dialect::{Codec, Decoder, Frame, Framing, decode_whole, sse};
use crate::error::{Error, Result};
use crate::ids::{ModelName, ProviderId};
use crate::provider::Call;
use crate::provider::http::{HttpBody, HttpResponse, Pace};
use crate::provider::patience::Patience;
use crate::secret::Secret;

/// From this size on a whole answer is parsed on a thread of its own, so that all else on this one goes on: what is smaller takes a millisecond or two,
/// the hand-over some ten microseconds.
const LARGE: usize = 256 << 10;

/// How long the end of a body may come after the end of its answer.
const DRAIN: Duration = Duration::from_millis(100);

/// What reading an answer needs besides the answer.
pub(super) struct Reading {
    /// How the caller wants it.
    pub(super) asked: Framing,
    /// How the upstream was asked for it.
    pub(super) framing: Framing,
    pub(super) patience: Patience,
    /// Held until the stream is gone.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
    pub(super) at: ProviderId,
    /// What no error of the answer repeats.
    pub(super) secrets: Vec<Secret>,
}

impl Reading {
    fn without_secrets(&self, error: Error) -> Error {
        self.secrets.iter().map(Secret::expose).fold(error, Error::without)
    }
}

/// The stream of a successful answer.
///
/// # Errors
/// `provider_protocol` when its head says that it is no answer of the dialect.
pub(super) fn read(call: &Call, codec: &dyn Codec, answer: HttpResponse, reading: Reading) -> Result<DeltaStream> {
    let framing = framing(&answer, reading.framing)?;
    let state = Box::new(State {
        body: answer.body,
        framer: (framing == Framing::Stream).then(|| Framer::new(codec.dialect(), sse::MAX_FRAME)),
        decoder: Some(codec.decoder(call, framing)),
        events: VecDeque::new(),
        // Bytes of another framing than the caller's cannot be passed on as they are.
        keep_raw: framing == reading.asked,
        over: false,
        model: call.target.model.clone(),
        pace: Pace::new(call.deadlines.min_bytes_per_s, call.deadlines.idle),
        reading,
    });
    let events = stream::unfold(Some(state), |state| async {
        let mut state = state?;
        match state.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(state))),
            Ok(None) => None,
            // The state is dropped with the error: connection and permit are free before anybody reads it.
            Err(error) => {
                let error = state.reading.without_secrets(error);
                Some((Err(error.at(&state.reading.at, state.model.as_ref())), None))
            }
        }
    });
    Ok(DeltaStream::new(events.fuse()))
}

/// How the answer really comes: its content type says so, whatever was asked.
fn framing(answer: &HttpResponse, asked: Framing) -> Result<Framing> {
    if let Some(coding) = answer.headers.get(header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
        return Err(Error::protocol(format!("the answer is compressed ({coding:?}), which was not asked for"))
            .with_status(answer.status));
    }
    match &*answer.media_type() {
        "text/event-stream" | "application/x-ndjson" | "application/jsonl" => Ok(Framing::Stream),
        "application/json" => Ok(Framing::Whole),
        "text/html" => Err(page().with_status(answer.status)),
        // Some servers name no type, or a wrong one: the frames themselves will tell.
        _ => Ok(asked),
    }
}

fn page() -> Error {
    Error::protocol("it answered with a web page (HTML) where an API's answer was expected")
        .with_hint("check base_url: it may name a web site, or a login page stands in between")
}

struct State {
    body: HttpBody,
    /// `None` for a whole answer.
    framer: Option<Framer>,
    /// Gone once it has read a whole answer.
    decoder: Option<Box<dyn Decoder>>,
    /// Decoded and not yet given out; an error comes after what was said before it, whichever way the bytes were cut.
    events: VecDeque<Result<Event>>,
    keep_raw: bool,
    over: bool,
    model: Option<ModelName>,
    /// How fast a whole answer must come.
    pace: Option<Pace>,
    reading: Reading,
}

impl State {
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                let mut event = event?;
                if !self.keep_raw {
                    event.raw = None;
                }
                return Ok(Some(event));
            }
            if self.over {
                self.drain().await;
                return Ok(None);
            }
            match &mut self.framer {
                None => self.whole().await?,
                Some(_) => self.frames().await?,
            }
        }
    }

    async fn whole(&mut self) -> Result<()> {
        let body = self.reading.patience.wait("the answer", self.body.gather_at(self.pace)).await?;
        if is_page("", &body) {
            return Err(page());
        }
        self.over = true;
        let Some(mut decoder) = self.decoder.take() else { return Ok(()) };
        let event = beside(body.len(), move || decode_whole(decoder.as_mut(), body)).await?;
        self.events.push_back(event);
        Ok(())
    }

    /// Waits for the next frames and decodes them.
    async fn frames(&mut self) -> Result<()> {
        let (Some(framer), Some(decoder)) = (&mut self.framer, &mut self.decoder) else { return Ok(()) };
        let mut frames = Vec::new();
        let waiting = next_frames(&mut self.body, framer, &mut frames);
        let ended = self.reading.patience.wait("the answer", waiting).await;
        for frame in frames {
            let event = decoder.frame(frame);
            let done = event.as_ref().map_or(true, |event| event.deltas.contains(&Delta::End));
            push(&mut self.events, &mut self.reading.patience, event);
            if done {
                self.over = true;
                return Ok(());
            }
        }
        match ended {
            Ok(false) => return Ok(()),
            Ok(true) => push(&mut self.events, &mut self.reading.patience, decoder.end()),
            Err(error) => push(&mut self.events, &mut self.reading.patience, Err(error)),
        }
        self.over = true;
        Ok(())
    }

    /// Reads what is left of the body after its last event, usually nothing, so that the connection can serve again. What keeps coming is cut.
    async fn drain(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.body.next().await {} };
        // Whether it ended in time is seen by the connection's fate alone.
        let _ = tokio::time::timeout(DRAIN, rest).await;
    }
}

fn push(events: &mut VecDeque<Result<Event>>, patience: &mut Patience, event: Result<Event>) {
    if event.as_ref().is_ok_and(Event::is_content) {
        patience.begun();
    }
    if event.as_ref().map_or(true, |event| !event.deltas.is_empty() || event.raw.is_some()) {
        events.push_back(event);
    }
}

/// Does work over so many bytes: here where they are few, else on a thread for such work. That one ends by itself, and within the limit of an answer's size
/// soon, when nobody waits any more.
async fn beside<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if bytes < LARGE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("an answer was not parsed: {error}")))
}

/// Reads until a frame is complete, or the body ends: then it says so. Comments alone are no event.
async fn next_frames(body: &mut HttpBody, framer: &mut Framer, frames: &mut Vec<Frame>) -> Result<bool> {
    while frames.is_empty() {
        match body.next().await {
            Some(piece) => framer.push(&piece?, frames)?,
            None => {
                framer.end(frames);
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn large_answers_are_parsed_on_another_thread() {
        let here = std::thread::current().id();
        let there = || std::thread::current().id();
        assert_eq!(beside(LARGE - 1, there).await.unwrap(), here);
        assert_ne!(beside(LARGE, there).await.unwrap(), here);
    }
}
