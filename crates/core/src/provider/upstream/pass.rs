//! Passing a request through: the provider's own address and key around what `passthrough.rs` let pass.

use bytes::Bytes;
use http::StatusCode;

use super::{HttpProvider, refusal, sign};
use crate::error::{Error, Result};
use crate::provider::credential::Tried;
use crate::provider::http::HttpRequest;
use crate::provider::passthrough::{Passed, Passthrough, passing};
use crate::provider::{Context, Provider};

impl HttpProvider {
    /// Sends it with one key: what was read of a stream cannot be sent again. A key that is refused is passed over by the next call.
    pub(super) async fn pass_through(&self, cx: &Context, request: Passthrough) -> Result<Passed> {
        let at = |error: Error| error.at(&self.describe().id, None);
        let place = self.place(cx, None).await?;
        let spoken = &self.spoken.preferred;
        // Addresses end in a version that some clients say themselves.
        let base = self.base_url()?;
        let version = base.rsplit('/').next().unwrap_or_default();
        let path = match request.path.strip_prefix('/').and_then(|path| path.strip_prefix(version)) {
            Some(below) if below.starts_with('/') && version.starts_with('v') => below,
            _ => request.path.as_str(),
        };
        let url = self.url(spoken.how.prefix, path, request.query.as_deref(), None)?;
        let mut sent = HttpRequest::new(request.method, &url, Bytes::new()).map_err(at)?.with_limits(request.limits);
        sent.headers.extend(request.headers);
        sent.headers.extend(self.headers.clone());
        sent.upload = request.body;
        let key = self.credentials.next(&mut Tried::default()).await.map_err(at)?;
        sign(&mut sent, spoken.how.auth, key.as_ref()).map_err(at)?;
        let answer = self.client(&cx.http).send(sent).await.map_err(|error| at(self.not_reached(error)))?;
        // Its words about a key may repeat half of it, and the key is not the client's.
        if answer.status == StatusCode::UNAUTHORIZED {
            let error = refusal::read(spoken.codec.as_ref(), answer, None).await;
            if let Some(key) = &key {
                self.credentials.refuse(key);
            }
            return Err(at(self.without_secrets(error, key.as_ref())));
        }
        if let Some(key) = key.filter(|_| answer.status.is_success()) {
            self.credentials.accept(&key);
        }
        Ok(Passed { status: answer.status, headers: passing(&answer.headers, false), body: answer.body, place })
    }
}
