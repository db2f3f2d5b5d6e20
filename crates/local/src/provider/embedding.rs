//! An embedding model in a file as a provider: texts in, vectors of length one out.
//!
//! It makes no text: that is [`LocalProvider`](super::LocalProvider)'s. How vectors are computed is [`crate::engine::embedder`]'s business; read that next.

use std::fmt;
use std::sync::Arc;

use llm_router::delta::DeltaStream;
use llm_router::dialect::{Dialect, FieldPath};
use llm_router::embedding::{EmbedInput, EmbedRequest, EmbedResponse};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::{ModelName, ProviderId};
use llm_router::provider::{Availability, Call, Describe, Provider};
use llm_router::request::{BlockBody, Privacy};
use llm_router::usage::Usage;
use tokio::sync::OnceCell;

use super::pin::Pinned;
use super::{ModelFile, aside, there, translate};
use crate::engine::{Embedder, EngineOptions};

/// An embedded embedding model. Cheap to make: nothing is opened before the first call.
pub struct EmbeddingProvider {
    describe: Describe,
    file: ModelFile,
    options: EngineOptions,
    loaded: OnceCell<Embedder>,
    pinned: Pinned,
}

impl fmt::Debug for EmbeddingProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingProvider")
            .field("file", &self.file)
            .field("loaded", &self.loaded.initialized())
            .finish_non_exhaustive()
    }
}

impl EmbeddingProvider {
    /// A provider called `id` for the model in `file`.
    #[must_use]
    pub fn new(id: ProviderId, file: ModelFile, options: EngineOptions) -> Self {
        let describe = Describe::new(id)
            .with_embedding_model(file.name.clone())
            .with_dialects(vec![Dialect::Native])
            .with_privacy(Privacy::Local);
        Self { describe, file, options, loaded: OnceCell::new(), pinned: Pinned::default() }
    }

    async fn loaded(&self) -> Result<&Embedder> {
        let load = || async {
            let (path, options) = (self.file.path.clone(), self.options.clone());
            aside(move || Embedder::load(&path, &options).map_err(translate)).await
        };
        self.loaded.get_or_try_init(load).await
    }

    async fn made(&self, call: &Call, ask: Arc<EmbedRequest>) -> Result<EmbedResponse> {
        self.pinned.serve(&self.file, call).await?;
        let embedder = self.loaded().await?;
        let width = wanted(ask.dimensions, embedder.width())?;
        call.note_dropped(unsaid(&ask))?;
        let tokenizer = embedder.clone();
        // Tokenizing many texts takes its time.
        let texts = aside(move || {
            let texts = ask.inputs.iter().enumerate().map(|(at, input)| match input {
                EmbedInput::Text(text) => tokenizer.tokenize(at, text),
                EmbedInput::Tokens(tokens) => tokenizer.accept(at, tokens),
            });
            texts.collect::<Result<Vec<_>, _>>().map_err(translate)
        })
        .await?;
        let tokens: usize = texts.iter().map(Vec::len).sum();
        let vectors = tokio::select! {
            vectors = embedder.embed(texts) => vectors.map_err(translate)?,
            () = call.cx.cancel.cancelled() => {
                return Err(Error::new(ErrorKind::CallerCancelled, "the request was cancelled"));
            }
        };
        let vectors = vectors.into_iter().map(|vector| shortened(vector, width)).collect::<Result<_>>()?;
        let usage = Usage::new(u64::try_from(tokens).unwrap_or(u64::MAX), 0);
        Ok(EmbedResponse::new(self.file.name.as_str(), vectors).with_usage(usage))
    }

    async fn counted(&self, call: &Call) -> Result<u64> {
        self.pinned.serve(&self.file, call).await?;
        let embedder = self.loaded().await?.clone();
        let request = Arc::clone(&call.request);
        aside(move || {
            let mut tokens = 0;
            for (at, message) in request.messages.iter().enumerate() {
                let mut text = String::new();
                for block in &message.content {
                    let BlockBody::Text { text: more, .. } = &block.body else {
                        return Err(Error::unsupported("an embedding model reads texts and nothing else"));
                    };
                    text.push_str(more);
                }
                tokens += embedder.tokenize(at, &text).map_err(translate)?.len();
            }
            Ok(u64::try_from(tokens).unwrap_or(u64::MAX))
        })
        .await
    }
}

/// The numbers of each vector as the caller wants them.
fn wanted(dimensions: Option<u32>, width: usize) -> Result<usize> {
    match dimensions.map(|count| usize::try_from(count).unwrap_or(usize::MAX)) {
        None => Ok(width),
        Some(count) if count <= width => Ok(count),
        Some(count) => {
            Err(Error::invalid(format!("dimensions: {count}, and the model's vectors have {width} numbers"))
                .with_hint("leave it out, or name a smaller one"))
        }
    }
}

/// What the model cannot be told: that it is a query, and whose.
fn unsaid(ask: &EmbedRequest) -> Vec<FieldPath> {
    let fields = [("task", ask.task.is_some()), ("title", ask.title.is_some())];
    let fields = fields.into_iter().filter(|(_, said)| *said).map(|(name, _)| name.into());
    fields.chain(ask.extra.keys().map(|name| name.as_str().into())).collect()
}

/// The first `width` numbers, of length one again: whoever compares directions needs no more.
fn shortened(mut vector: Vec<f32>, width: usize) -> Result<Vec<f32>> {
    vector.truncate(width);
    let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if !length.is_finite() {
        return Err(Error::protocol("the embedded model made a vector of numbers that are none; fetch its file again"));
    }
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
    }
    Ok(vector)
}

impl Provider for EmbeddingProvider {
    fn describe(&self) -> &Describe {
        &self.describe
    }

    fn availability(&self) -> Availability {
        there(&self.file, self.loaded.initialized())
    }

    async fn generate(&self, _: Arc<Call>) -> Result<DeltaStream> {
        let name = &self.file.name;
        let error =
            Error::unsupported(format!("{name} makes vectors of texts and no text")).with_hint("name a chat model");
        Err(error.at(&self.describe.id, Some(name)))
    }

    async fn embed(&self, call: Arc<Call>, ask: Arc<EmbedRequest>) -> Result<EmbedResponse> {
        self.made(&call, ask).await.map_err(|error| error.at(&self.describe.id, Some(&self.file.name)))
    }

    async fn count_tokens(&self, call: Arc<Call>) -> Result<u64> {
        self.counted(&call).await.map_err(|error| error.at(&self.describe.id, Some(&self.file.name)))
    }

    fn models(&self) -> Vec<ModelName> {
        vec![self.file.name.clone()]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn vectors_are_cut_and_of_length_one_again() {
        assert_eq!(shortened(vec![3.0, 4.0, 12.0], 2).unwrap(), [0.6, 0.8]);
        assert_eq!(shortened(vec![0.0, 0.0], 2).unwrap(), [0.0, 0.0]);
        assert!(shortened(vec![f32::NAN], 1).is_err());
        assert_eq!((wanted(None, 384).unwrap(), wanted(Some(384), 384).unwrap()), (384, 384));
        assert!(wanted(Some(385), 384).unwrap_err().message().contains("384 numbers"));
    }
}
