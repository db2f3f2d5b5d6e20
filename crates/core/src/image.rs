//! Pictures: a prompt in, pictures out, whichever provider draws them.
//!
//! What providers call by different names stays in `extra` as it came, for those that speak the OpenAI API. Pictures that a conversation brings are blocks
//! of an answer, not this.

use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;

use crate::embedding::Traced;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::ProviderId;
use crate::request::{Block, CacheControl, RawJson, Request, Riders, Timeouts};
use crate::trace::Trace;
use crate::usage::Usage;

/// The most pictures of one request: the OpenAI API's own limit.
pub const MAX_PICTURES: u32 = 10;

/// The most bytes of a prompt: twice the longest that an API is known to take.
pub const MAX_PROMPT: usize = 64 << 10;

/// A request for pictures.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ImageRequest {
    /// The model as the caller named it.
    pub model: Option<String>,
    /// The provider, where the caller named one in a field of its own.
    pub provider: Option<ProviderId>,
    /// What to draw.
    pub prompt: String,
    /// How many pictures; one where nobody says.
    pub n: Option<u32>,
    /// The caller's own end user.
    pub user: Option<String>,
    /// All other fields of the OpenAI API, as received: `size`, `quality`, `response_format`, `background`.
    pub extra: IndexMap<String, RawJson>,
    /// Who may see it, and whose it is.
    pub riders: Riders,
    /// Pictures are not stored: of this only `only_if_cached` is heard, and refused.
    pub cache: CacheControl,
    /// The caller's own deadline.
    pub timeout: Option<Duration>,
    /// Single deadlines, over those of the configuration.
    pub timeouts: Timeouts,
}

impl ImageRequest {
    /// A request for one picture.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), ..Self::default() }
    }

    /// How many pictures are wanted.
    pub fn count(&self) -> u32 {
        self.n.unwrap_or(1)
    }

    /// Checks counts and sizes.
    ///
    /// # Errors
    /// `caller_invalid_request` for an empty prompt or a count out of range, `caller_too_large` for a prompt that is too long.
    pub fn check(&self) -> Result<()> {
        if self.prompt.trim().is_empty() {
            return Err(Error::invalid("prompt: it is empty; say what to draw"));
        }
        if self.prompt.len() > MAX_PROMPT {
            let message = format!("prompt: {} bytes, and the limit is {MAX_PROMPT}", self.prompt.len());
            return Err(Error::new(ErrorKind::CallerTooLarge, message));
        }
        match self.count() {
            1..=MAX_PICTURES => Ok(()),
            n => Err(Error::invalid(format!("n: {n} is not a count from 1 to {MAX_PICTURES}"))),
        }
    }

    /// What the router plans by and hooks see: the prompt as a user's message.
    pub(crate) fn outline(&self) -> Request {
        Request {
            model: self.model.clone(),
            provider: self.provider.clone(),
            user: self.user.clone(),
            riders: self.riders.clone(),
            cache: self.cache.clone(),
            timeout: self.timeout,
            timeouts: self.timeouts,
            ..Request::new(self.prompt.clone())
        }
    }

    /// Takes the prompt that hooks left in the outline.
    pub(crate) fn take_prompt(&mut self, outline: &Request) {
        let said = outline.messages.iter().flat_map(|message| &message.content);
        self.prompt = said.filter_map(Block::as_text).collect();
    }
}

/// Pictures, in the order in which the provider gave them.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ImageResponse {
    /// The model, in the provider's words, where it says one.
    pub model: Option<String>,
    /// Seconds since 1970, where the provider says so.
    pub created: Option<u64>,
    /// The pictures.
    pub pictures: Vec<Picture>,
    /// Token counts, where the provider reports them.
    pub usage: Option<Usage>,
    /// What else the provider said of all of them: `size`, `quality`, `output_format`, as received.
    pub extra: IndexMap<String, RawJson>,
    pub(crate) trace: Traced,
}

impl ImageResponse {
    /// These pictures.
    pub fn new(pictures: Vec<Picture>) -> Self {
        Self { pictures, ..Self::default() }
    }

    /// How it came about, where the router recorded it.
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.0.as_deref()
    }
}

/// One picture.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Picture {
    /// The picture itself, or where it lies.
    pub body: PictureBody,
    /// The prompt that it was drawn from, where the provider changed it.
    pub revised_prompt: Option<String>,
}

impl Picture {
    /// A picture as its provider gave it.
    pub fn new(body: PictureBody) -> Self {
        Self { body, revised_prompt: None }
    }
}

/// A picture itself, or where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PictureBody {
    /// Its bytes in base64, as the provider wrote them, and their media type where it is known.
    Base64 {
        /// The base64 text.
        data: Bytes,
        /// `image/png` and the like.
        mime: Option<String>,
    },
    /// An address that the provider keeps it at for a while. Never fetched here.
    Url(String),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn prompt_and_count_are_bounded() {
        assert!(ImageRequest::new("a cat").check().is_ok());
        assert!(ImageRequest::new(" ").check().is_err());
        assert_eq!(
            ImageRequest::new("a".repeat(MAX_PROMPT + 1)).check().unwrap_err().kind(),
            ErrorKind::CallerTooLarge
        );
        for n in [0, MAX_PICTURES + 1] {
            assert!(ImageRequest { n: Some(n), ..ImageRequest::new("a cat") }.check().is_err());
        }
    }
}
