//! [`DynProvider`]: a provider behind a pointer. What each method means is said in [`Provider`].

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::passthrough::{Passed, Passthrough};
use super::{Availability, Call, Context, Describe, Provider};
use crate::delta::DeltaStream;
use crate::embedding::{EmbedRequest, EmbedResponse};
use crate::error::Result;
use crate::ids::ModelName;
use crate::image::{ImageRequest, ImageResponse};

/// A [`Provider`] behind a pointer: implemented for every provider, named only by the registry and the router.
pub trait DynProvider: Send + Sync + 'static {
    /// See [`Provider::describe`].
    fn describe(&self) -> &Describe;
    /// See [`Provider::availability`].
    fn availability(&self) -> Availability;
    /// See [`Provider::generate`].
    fn generate(&self, call: Arc<Call>) -> Pin<Box<dyn Future<Output = Result<DeltaStream>> + Send + '_>>;
    /// See [`Provider::embed`].
    fn embed(
        &self,
        call: Arc<Call>,
        ask: Arc<EmbedRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<EmbedResponse>> + Send + '_>>;
    /// See [`Provider::image`].
    fn image(
        &self,
        call: Arc<Call>,
        ask: Arc<ImageRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<ImageResponse>> + Send + '_>>;
    /// See [`Provider::count_tokens`].
    fn count_tokens(&self, call: Arc<Call>) -> Pin<Box<dyn Future<Output = Result<u64>> + Send + '_>>;
    /// See [`Provider::models`].
    fn models(&self) -> Vec<ModelName>;
    /// See [`Provider::has_model`].
    fn has_model(&self, model: &ModelName) -> bool;
    /// See [`Provider::list_models`].
    fn list_models<'a>(&'a self, cx: &'a Context) -> Pin<Box<dyn Future<Output = Result<Vec<ModelName>>> + Send + 'a>>;
    /// See [`Provider::exact_model`].
    fn exact_model(&self, model: &ModelName) -> ModelName;
    /// See [`Provider::pass`].
    fn pass<'a>(
        &'a self,
        cx: &'a Context,
        request: Passthrough,
    ) -> Pin<Box<dyn Future<Output = Result<Passed>> + Send + 'a>>;
    /// See [`Provider::waiting`].
    fn waiting(&self) -> usize;
    /// See [`Provider::is_full`].
    fn is_full(&self) -> bool;
    /// See [`Provider::instead`].
    fn instead(&self) -> Option<Arc<dyn DynProvider>>;
    /// See [`Provider::login_mark`].
    fn login_mark(&self) -> Option<String>;
    /// See [`Provider::reach`].
    fn reach<'a>(&'a self, cx: &'a Context, limit: Duration) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;
}

impl<P: Provider> DynProvider for P {
    fn describe(&self) -> &Describe {
        Provider::describe(self)
    }

    fn availability(&self) -> Availability {
        Provider::availability(self)
    }

    fn generate(&self, call: Arc<Call>) -> Pin<Box<dyn Future<Output = Result<DeltaStream>> + Send + '_>> {
        Box::pin(Provider::generate(self, call))
    }

    fn embed(
        &self,
        call: Arc<Call>,
        ask: Arc<EmbedRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<EmbedResponse>> + Send + '_>> {
        Box::pin(Provider::embed(self, call, ask))
    }

    fn image(
        &self,
        call: Arc<Call>,
        ask: Arc<ImageRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<ImageResponse>> + Send + '_>> {
        Box::pin(Provider::image(self, call, ask))
    }

    fn count_tokens(&self, call: Arc<Call>) -> Pin<Box<dyn Future<Output = Result<u64>> + Send + '_>> {
        Box::pin(Provider::count_tokens(self, call))
    }

    fn models(&self) -> Vec<ModelName> {
        Provider::models(self)
    }

    fn has_model(&self, model: &ModelName) -> bool {
        Provider::has_model(self, model)
    }

    fn list_models<'a>(&'a self, cx: &'a Context) -> Pin<Box<dyn Future<Output = Result<Vec<ModelName>>> + Send + 'a>> {
        Box::pin(Provider::list_models(self, cx))
    }

    fn exact_model(&self, model: &ModelName) -> ModelName {
        Provider::exact_model(self, model)
    }

    fn pass<'a>(
        &'a self,
        cx: &'a Context,
        request: Passthrough,
    ) -> Pin<Box<dyn Future<Output = Result<Passed>> + Send + 'a>> {
        Box::pin(Provider::pass(self, cx, request))
    }

    fn waiting(&self) -> usize {
        Provider::waiting(self)
    }

    fn is_full(&self) -> bool {
        Provider::is_full(self)
    }

    fn instead(&self) -> Option<Arc<dyn DynProvider>> {
        Provider::instead(self)
    }

    fn login_mark(&self) -> Option<String> {
        Provider::login_mark(self)
    }

    fn reach<'a>(&'a self, cx: &'a Context, limit: Duration) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(Provider::reach(self, cx, limit))
    }
}

impl fmt::Debug for dyn DynProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "provider {}", self.describe().id)
    }
}
