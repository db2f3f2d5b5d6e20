//! Providers: what turns a call into a delta stream.
//!
//! A provider knows its upstream and nothing of policy: whether it is tried, retried, cached or paid is decided in `router/`.
//! To add an OpenAI-compatible one, add a row to `provider/presets.rs`; for anything else implement [`Provider`].

pub mod absent;
mod boxed;
mod call;
pub mod credential;
pub mod custom;
mod describe;
pub(crate) mod ending;
pub mod http;
pub mod passthrough;
mod patience;
pub mod peer;
pub mod presets;
pub mod process;
pub mod registry;
pub mod upstream;
pub mod worker;

use std::{future::Future, sync::Arc, time::Duration};

use crate::delta::DeltaStream;
use crate::embedding::{EmbedRequest, EmbedResponse};
use crate::error::{Error, Result};
use crate::ids::ModelName;
use crate::image::{ImageRequest, ImageResponse};

use self::passthrough::{Passed, Passthrough};

pub use boxed::DynProvider;
pub use call::{Call, Context, Deadlines, Target};
pub use describe::{Availability, Capabilities, Describe, Liveness};

/// What turns a call into a delta stream.
pub trait Provider: Send + Sync + 'static {
    /// Who it is and what it can do. No I/O.
    fn describe(&self) -> &Describe;

    /// Whether it could answer now, as far as can be told in microseconds: no network, no child, no import.
    fn availability(&self) -> Availability;

    /// Answers a call. Always a stream; a whole answer is a stream of one event. Dropping the future or the stream ends the work.
    ///
    /// # Errors
    /// What keeps the answer from beginning; what breaks it later is an `Err` of the stream.
    fn generate(&self, call: Arc<Call>) -> impl Future<Output = Result<DeltaStream>> + Send;

    /// Makes vectors of texts. The call says where to and how long; its request holds the same texts as messages, for those who plan and watch.
    ///
    /// # Errors
    /// `caller_unsupported` where it makes none; else what keeps them from being made.
    fn embed(&self, call: Arc<Call>, ask: Arc<EmbedRequest>) -> impl Future<Output = Result<EmbedResponse>> + Send {
        let _ = (call, ask);
        std::future::ready(Err(unsupported(self.describe(), "embeddings")))
    }

    /// Draws pictures. The call says where to and how long; its request holds the prompt as a message.
    ///
    /// # Errors
    /// `caller_unsupported` where it draws none; else what keeps them from being drawn.
    fn image(&self, call: Arc<Call>, ask: Arc<ImageRequest>) -> impl Future<Output = Result<ImageResponse>> + Send {
        let _ = (call, ask);
        std::future::ready(Err(unsupported(self.describe(), "pictures")))
    }

    /// Counts the tokens of the call's request. Nothing is generated.
    ///
    /// # Errors
    /// `caller_unsupported` where it cannot count: the router estimates then, and says so.
    fn count_tokens(&self, call: Arc<Call>) -> impl Future<Output = Result<u64>> + Send {
        let _ = call;
        std::future::ready(Err(unsupported(self.describe(), "token counts")))
    }

    /// The names of the models it serves, as far as it knows without asking; empty where only the upstream knows.
    fn models(&self) -> Vec<ModelName> {
        Vec::new()
    }

    /// Whether [`Provider::models`] has this one. Asked for every request, so worth saying without making the list.
    fn has_model(&self, model: &ModelName) -> bool {
        self.models().contains(model)
    }

    /// Asks the upstream for the models it serves.
    ///
    /// # Errors
    /// What the upstream answers with.
    fn list_models(&self, cx: &Context) -> impl Future<Output = Result<Vec<ModelName>>> + Send {
        let _ = cx;
        std::future::ready(Ok(self.models()))
    }

    /// The name under which a model's answers are stored: for a model in a file, with the file's digest behind it.
    fn exact_model(&self, model: &ModelName) -> ModelName {
        model.clone()
    }

    /// Passes a request on as it is, and its answer back: for what is not translated here.
    ///
    /// # Errors
    /// `caller_unsupported` where no HTTP API is behind it; what keeps the answer's head from coming, and `provider_auth` for a refused key. Any other answer of
    /// the upstream is an answer.
    fn pass(&self, cx: &Context, request: Passthrough) -> impl Future<Output = Result<Passed>> + Send {
        let _ = (cx, request);
        std::future::ready(Err(Error::unsupported("it has no HTTP API that a request could be passed to")))
    }

    /// How many calls wait for a place at it.
    fn waiting(&self) -> usize {
        0
    }

    /// Whether one more call would find no place at it now, not even one among those that wait.
    fn is_full(&self) -> bool {
        false
    }

    /// Who answers in its place, under its id, where it is missing itself and was named: too slow, or too costly, to count as available. What that one is said to be
    /// ([`Describe::agent`] above all) holds for it, not what this one is.
    fn instead(&self) -> Option<Arc<dyn DynProvider>> {
        None
    }

    /// A one-way mark of the key, login or program in use, which changes when that does: a provider that refused it is passed over by automatic plans for
    /// a while. `None` where there is no such thing.
    fn login_mark(&self) -> Option<String> {
        None
    }

    /// Opens a way to where calls would go and sends nothing on it: tells within `limit` whether anything is there. Where no network lies between, there is
    /// nothing to try.
    ///
    /// # Errors
    /// What keeps it from being reached.
    fn reach(&self, cx: &Context, limit: Duration) -> impl Future<Output = Result<()>> + Send {
        let _ = (cx, limit);
        std::future::ready(Ok(()))
    }
}

/// The error of a provider that does not do this kind of thing.
pub(crate) fn unsupported(describe: &Describe, what: &str) -> Error {
    Error::unsupported(format!("it makes no {what}")).with_hint("name another provider").at(&describe.id, None)
}
