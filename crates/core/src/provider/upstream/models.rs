//! The models that an upstream lists: `GET /models`, in the shapes of OpenAI, Anthropic and Google.

use std::sync::Arc;

use http::HeaderValue;
use serde_json::Value;

use super::{HttpProvider, Spoken, refusal, sign};
use crate::dialect::{Dialect, anthropic};
use crate::error::{Error, Result};
use crate::ids::ModelName;
use crate::provider::credential::Tried;
use crate::provider::http::{HttpClient, HttpRequest, Limits};
use crate::provider::{Call, Provider};

/// The most bytes of a list of models.
const LARGEST_LIST: u64 = 16 << 20;
/// The most names taken of it.
const MOST_MODELS: usize = 10_000;

impl HttpProvider {
    /// The names that the upstream lists, in its order.
    pub(super) async fn listed(&self, http: &HttpClient, limits: Limits) -> Result<Vec<ModelName>> {
        let at = |error: Error| error.at(&self.describe().id, None);
        self.ask_models(http, &self.spoken.preferred, limits).await.map_err(at)
    }

    /// The first model that a server of one's own lists, for calls that name none. Asked once.
    pub(super) async fn first_model(&self, call: &Arc<Call>) -> Result<ModelName> {
        let ask = || async {
            let limits = Limits { connect: call.deadlines.connect, ..Limits::default() };
            let listed = match self.listed(&call.cx.http, limits).await {
                Ok(models) => models.into_iter().next(),
                // Whatever answers at a guessed address is not the server it might have been: it gets no prompt.
                Err(error) => return Err(self.not_there(error)),
            };
            listed.ok_or_else(|| {
                self.not_there(Error::unavailable("it lists no model").with_hint("load a model there, or name one"))
            })
        };
        self.first_model.get_or_try_init(ask).await.cloned()
    }

    async fn ask_models(&self, http: &HttpClient, spoken: &Spoken, limits: Limits) -> Result<Vec<ModelName>> {
        let limit = (spoken.how.dialect == Dialect::Anthropic).then_some("limit=1000");
        let mut request = HttpRequest::get(&self.url(spoken.how.prefix, "/models", limit, None)?)?;
        if spoken.how.dialect == Dialect::Anthropic {
            // Its pages are of twenty names unless more are asked for, and it answers nobody who does not name a version.
            request.headers.insert(anthropic::VERSION_HEADER, HeaderValue::from_static(anthropic::VERSION));
        }
        request.headers.extend(self.headers.clone());
        let key = self.credentials.next(&mut Tried::default()).await?;
        sign(&mut request, spoken.how.auth, key.as_ref())?;
        request = request.with_limits(Limits { body: LARGEST_LIST, ..limits });
        let answer = self.client(http).send(request).await.map_err(|error| self.not_reached(error))?;
        if !answer.status.is_success() {
            let error = refusal::read(spoken.codec.as_ref(), answer, None).await;
            return Err(self.without_secrets(error, key.as_ref()));
        }
        let body = answer.body.bytes().await?;
        names(&body).ok_or_else(|| Error::protocol("its list of models cannot be read"))
    }
}

/// Names are under `data[].id` (OpenAI, Anthropic), `models[].name` (Google, with `models/` before each), or in a bare list (Together).
fn names(body: &[u8]) -> Option<Vec<ModelName>> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let list = json.get("data").or(json.get("models")).unwrap_or(&json).as_array()?;
    let name = |entry: &Value| {
        let text = entry.get("id").or(entry.get("name")).unwrap_or(entry).as_str()?;
        ModelName::new(text.strip_prefix("models/").unwrap_or(text)).ok()
    };
    Some(list.iter().filter_map(name).take(MOST_MODELS).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lists_of_every_shape_are_read() {
        for body in [
            r#"{"object":"list","data":[{"id":"a/b"},{"id":"c"}]}"#,
            r#"{"models":[{"name":"models/a/b"},{"name":"c"}]}"#,
            r#"[{"id":"a/b"},{"id":"c"},{"id":"-x"},{}]"#,
        ] {
            let read: Vec<String> = names(body.as_bytes()).unwrap().into_iter().map(String::from).collect();
            assert_eq!(read, ["a/b", "c"], "{body}");
        }
        assert!(names(b"<html>").is_none() && names(b"{}").is_none());
    }
}
