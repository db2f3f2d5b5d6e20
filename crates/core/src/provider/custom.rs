//! Providers made of a closure: the short way for a program that links this library. The long way is to implement [`Provider`].

use std::{fmt, future::Future, sync::Arc};

use super::{Availability, Call, Describe, Liveness, Provider};
use crate::delta::{BlockKind, Delta, DeltaStream, Event, FinishReason, Part};
use crate::error::Result;
use crate::ids::{ModelName, ProviderId};
use crate::response::Response;

/// What a closure may answer with.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reply {
    /// A text: one block, finished.
    Text(String),
    /// A whole response.
    Response(Box<Response>),
    /// A stream of deltas, which must keep their laws.
    Stream(DeltaStream),
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Response(Box::new(response))
    }
}

impl From<DeltaStream> for Reply {
    fn from(stream: DeltaStream) -> Self {
        Self::Stream(stream)
    }
}

/// A provider that is a closure; see [`provider_fn`].
pub struct ProviderFn<F> {
    describe: Describe,
    models: Vec<ModelName>,
    answer: F,
}

/// A provider of this id that answers with what `answer` returns: a text, a [`Response`] or a [`DeltaStream`].
///
/// # Errors
/// `caller_invalid_request` when `id` is no provider id.
pub fn provider_fn<F, Answering, R>(id: &str, answer: F) -> Result<ProviderFn<F>>
where
    F: Fn(Arc<Call>) -> Answering + Send + Sync + 'static,
    Answering: Future<Output = Result<R>> + Send,
    R: Into<Reply>,
{
    // Most give an answer when it is done.
    let describe = Describe::new(ProviderId::new(id)?).with_liveness(Liveness::End);
    Ok(ProviderFn { describe, models: Vec::new(), answer })
}

impl<F> ProviderFn<F> {
    /// With another description: capabilities, default model, who sees what is sent to it.
    #[must_use]
    pub fn describing(mut self, change: impl FnOnce(Describe) -> Describe) -> Self {
        let id = self.describe.id.clone();
        self.describe = Describe { id, ..change(self.describe) };
        self
    }

    /// With the models that it serves.
    #[must_use]
    pub fn serving(mut self, models: impl IntoIterator<Item = ModelName>) -> Self {
        self.models = models.into_iter().collect();
        self
    }
}

impl<F, Answering, R> Provider for ProviderFn<F>
where
    F: Fn(Arc<Call>) -> Answering + Send + Sync + 'static,
    Answering: Future<Output = Result<R>> + Send,
    R: Into<Reply>,
{
    fn describe(&self) -> &Describe {
        &self.describe
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let (id, model) = (call.cx.id.to_string(), call.model().unwrap_or(self.describe.id.as_str()).to_owned());
        let answer = (self.answer)(call).await.map_err(|error| error.at(&self.describe.id, None))?;
        Ok(match answer.into() {
            Reply::Text(text) => DeltaStream::of([Ok(text_event(id, model, text))]),
            Reply::Response(response) => DeltaStream::of([Ok(response.to_deltas().into())]),
            Reply::Stream(stream) => stream,
        })
    }

    fn models(&self) -> Vec<ModelName> {
        self.models.clone()
    }
}

impl<F> fmt::Debug for ProviderFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderFn").field("id", &self.describe.id).finish_non_exhaustive()
    }
}

/// A whole answer that is one text.
fn text_event(id: String, model: String, text: String) -> Event {
    vec![
        Delta::Start { id, model, created: None },
        Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text },
        Delta::BlockDelta { choice: 0, block: 0, part: Part::Text(text) },
        Delta::BlockEnd { choice: 0, block: 0 },
        Delta::Finish { choice: 0, reason: FinishReason::Stop, raw_reason: None },
        Delta::End,
    ]
    .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::request::Request;
    use crate::testing::conformance::{answers, call, fails};

    #[tokio::test]
    async fn a_text_a_response_and_a_stream_are_answers() {
        let text = provider_fn("mine", |call: Arc<Call>| async move {
            Ok(format!("you said {}", call.request.plain_prompt().unwrap_or_default()))
        })
        .unwrap();
        let first = answers(&text, call(&text, Request::new("hi"))).await.unwrap();
        assert_eq!(first.text(), "you said hi");
        let again = first.clone();
        let whole = provider_fn("whole", move |_| std::future::ready(Ok(again.clone()))).unwrap();
        assert_eq!(answers(&whole, call(&whole, Request::new("hi"))).await.unwrap(), first);
        let stream = provider_fn("stream", move |_| {
            std::future::ready(Ok(DeltaStream::of(first.to_deltas().into_iter().map(|delta| Ok(delta.into())))))
        })
        .unwrap();
        assert_eq!(answers(&stream, call(&stream, Request::new("hi"))).await.unwrap().text(), "you said hi");
    }

    #[tokio::test]
    async fn its_errors_name_it() {
        let failing = provider_fn("mine", |_| async { Err::<String, _>(Error::timeout("too slow")) }).unwrap();
        fails(&failing, call(&failing, Request::new("hi")), ErrorKind::ProviderTimeout).await;
        assert!(provider_fn("no/id", |_| async { Ok("") }).is_err());
    }
}
