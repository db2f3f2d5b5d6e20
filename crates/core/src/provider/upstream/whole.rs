//! What an HTTP API answers besides text, always whole: embeddings, pictures, token counts.
//!
//! The same keys, places and deadlines as for text; only what is written and read differs, and that is `dialect/`'s business. Where a provider speaks
//! several dialects, the first one that has a way to say it is taken.

use std::sync::Arc;

use bytes::Bytes;

use super::{HttpProvider, Spoken};
use crate::dialect::{Dialect, HttpCall, anthropic, embeddings, gemini, images};
use crate::embedding::{EmbedRequest, EmbedResponse};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::ModelName;
use crate::image::{ImageRequest, ImageResponse, Picture, PictureBody};
use crate::provider::http::Pace;
use crate::provider::patience::Patience;
use crate::provider::{Call, Provider, unsupported};
use crate::request::BlockBody;
use crate::response::collect;

/// How a provider is asked for what is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Openai,
    Google,
    Anthropic,
}

/// Whether an upstream's answer says that nothing counts tokens there. Servers that speak a vendor's dialect often leave this part out, and say so by their
/// status; a 404 that names the model is about the model.
fn has_no_counter(error: &Error, model: Option<&ModelName>) -> bool {
    let about_the_model = || {
        let said = error.message();
        // What is ours to say of a body that is no API's begins like this, and always names the model.
        !said.starts_with("HTTP ") && model.is_some_and(|model| said.contains(model.as_str()))
    };
    match error.status().map(|status| status.as_u16()) {
        Some(404) => !about_the_model(),
        Some(405 | 501) => true,
        _ => false,
    }
}

fn uncounted(error: &Error) -> Error {
    Error::unsupported(format!("its API counts no tokens: {}", error.message()))
}

fn family(dialect: Dialect) -> Option<Family> {
    match dialect {
        Dialect::OpenaiChat | Dialect::OpenaiResponses => Some(Family::Openai),
        Dialect::Gemini => Some(Family::Google),
        Dialect::Anthropic => Some(Family::Anthropic),
        Dialect::Native => None,
    }
}

impl HttpProvider {
    /// The first dialect spoken whose family is one of these.
    fn speaks_as(&self, families: &[Family], what: &str) -> Result<(&Spoken, Family)> {
        let known = |spoken| {
            let spoken: &Spoken = spoken;
            let family = family(spoken.how.dialect).filter(|family| families.contains(family))?;
            Some((spoken, family))
        };
        self.spoken.iter().find_map(known).ok_or_else(|| unsupported(&self.describe, what))
    }

    pub(super) async fn embedded(&self, call: Arc<Call>, ask: &EmbedRequest) -> Result<EmbedResponse> {
        let (spoken, family) = self.speaks_as(&[Family::Openai, Family::Google], "embeddings")?;
        let encode = |call: &Call| match family {
            Family::Google => gemini::embed::encode_request(call, ask),
            _ => embeddings::encode_request(ask, call.model()),
        };
        let decode = |call: &Call, body: Bytes| {
            let mut made = match family {
                Family::Google => gemini::embed::decode_answer(&body)?,
                _ => embeddings::decode_answer(&body)?,
            };
            if made.model.is_empty() {
                made.model = call.model().unwrap_or_default().to_owned();
            }
            Ok(made)
        };
        self.whole(call, spoken, encode, decode).await
    }

    pub(super) async fn counted(&self, call: Arc<Call>) -> Result<u64> {
        let (spoken, family) = self.speaks_as(&[Family::Anthropic, Family::Google], "token counts")?;
        let encode = |call: &Call| match family {
            Family::Google => gemini::count::encode_request(call),
            _ => anthropic::count::encode_request(call),
        };
        let decode = |_: &Call, body: Bytes| match family {
            Family::Google => gemini::count::decode(&body),
            _ => anthropic::count::decode_answer(&body),
        };
        let model = call.target.model.clone();
        let counted = self.whole(call, spoken, encode, decode).await;
        counted.map_err(|error| if has_no_counter(&error, model.as_ref()) { uncounted(&error) } else { error })
    }

    pub(super) async fn drawn(&self, call: Arc<Call>, ask: &ImageRequest) -> Result<ImageResponse> {
        let (spoken, family) = self.speaks_as(&[Family::Openai, Family::Google], "pictures")?;
        if family == Family::Google {
            return self.drawn_in_conversation(&call, ask).await;
        }
        let encode = |call: &Call| Ok(images::encode_request(ask, call.model()));
        self.whole(call, spoken, encode, |_, body| images::decode_answer(&body)).await
    }

    /// Google's models draw in an answer like any other, one picture at a time.
    async fn drawn_in_conversation(&self, call: &Call, ask: &ImageRequest) -> Result<ImageResponse> {
        let at = |error: Error| error.at(&self.describe.id, call.target.model.as_ref());
        if ask.count() > 1 {
            return Err(at(Error::unsupported("n: this provider draws one picture at a time")));
        }
        if ask.extra.get("response_format").is_some_and(|format| format.get() == "\"url\"") {
            return Err(at(Error::unsupported("response_format: this provider gives pictures themselves, no URLs")
                .with_hint("ask for b64_json")));
        }
        let mut request = (*call.request).clone();
        request.modalities = vec!["text".to_owned(), "image".to_owned()];
        let mut asked = Call::new(Arc::new(request), call.target.clone(), call.cx.clone());
        (asked.attempt, asked.deadlines) = (call.attempt, call.deadlines);
        let unsaid = ask.extra.keys().filter(|name| *name != "response_format");
        asked.note_dropped(unsaid.map(|name| name.as_str().into())).map_err(at)?;
        let response = collect(Provider::generate(self, Arc::new(asked)).await?).await?;
        let blocks = response.choices.into_iter().flat_map(|choice| choice.content);
        let pictures = blocks.filter_map(|block| match block.body {
            BlockBody::Media { mime, data } if mime.starts_with("image/") => {
                Some(Picture::new(PictureBody::Base64 { data: Bytes::from(data), mime: Some(mime) }))
            }
            _ => None,
        });
        let mut drawn = ImageResponse::new(pictures.collect());
        (drawn.model, drawn.created, drawn.usage) = (Some(response.model), response.created, response.usage);
        Ok(drawn)
    }

    /// Sends one request and reads its whole answer.
    async fn whole<T>(
        &self,
        call: Arc<Call>,
        spoken: &Spoken,
        encode: impl FnOnce(&Call) -> Result<HttpCall>,
        decode: impl FnOnce(&Call, Bytes) -> Result<T>,
    ) -> Result<T> {
        let id = &self.describe.id;
        let _permit = self.place(&call.cx, call.target.model.as_ref()).await?;
        let call = self.prepared(&call).await.map_err(|error| error.at(id, None))?;
        let at = |error: Error| error.at(id, call.target.model.as_ref());
        let mut encoded = encode(&call).map_err(at)?;
        let model = call.target.model.as_ref();
        let mut request = self.request(spoken, &mut encoded, model, call.deadlines.connect).map_err(at)?;
        call.note_dropped(encoded.dropped).map_err(at)?;
        let mut patience = Patience::new(&call, false);
        let (mut answer, key) = self.send(&call, spoken, &mut request, &mut patience).await.map_err(|error| {
            // The body was written here, so a complaint about it may be about our writing.
            let ours = error.kind() == ErrorKind::CallerInvalidRequest && error.status().is_some();
            at(if ours { error.with_kind(ErrorKind::ProviderRejected) } else { error })
        })?;
        let pace = Pace::new(call.deadlines.min_bytes_per_s, call.deadlines.idle);
        let body = patience.wait("the answer", answer.body.gather_at(pace)).await.map_err(at)?;
        decode(&call, body).map_err(|error| at(self.without_secrets(error, key.as_ref())))
    }
}
