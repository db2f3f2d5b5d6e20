//! `GET /v1/models`, `GET /v1beta/models` and one model: the same list in three shapes.
//!
//! OpenAI's, Anthropic's and Google's clients ask at the same path, so the shape follows what their requests carry: `anthropic-version`, a key where only
//! Google's clients put it, or the path `/v1beta`; anything else gets OpenAI's. Ids are what a request's `model` takes. The list itself is `catalog.rs`'s.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use llm_router::dialect::{Dialect, codec};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::limits::Holder;
use llm_router::router::Router;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::Server;
use crate::body::json_of;
use crate::catalog::Listed;
use crate::door::{Caller, GoogleKey};
use crate::error;
use crate::query::unescaped;

/// The shape of a list, by whose client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Openai,
    Anthropic,
    Google,
}

impl Shape {
    fn of(head: &Parts) -> Self {
        if head.uri.path().starts_with("/v1beta") || head.extensions.get::<GoogleKey>().is_some() {
            Self::Google
        } else if head.headers.contains_key("anthropic-version") {
            Self::Anthropic
        } else {
            Self::Openai
        }
    }

    fn refuse(self, error: &Error) -> Response {
        let dialect = match self {
            Self::Openai => Dialect::OpenaiChat,
            Self::Anthropic => Dialect::Anthropic,
            Self::Google => Dialect::Gemini,
        };
        error::response(codec(dialect).as_ref(), error, None)
    }
}

/// A model as OpenAI's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OpenaiModel {
    id: String,
    object: &'static str,
    /// Unknown, and so the beginning of time.
    created: u64,
    owned_by: String,
}

/// A list as OpenAI's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OpenaiList {
    object: &'static str,
    data: Vec<OpenaiModel>,
}

/// A model as Anthropic's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AnthropicModel {
    r#type: &'static str,
    id: String,
    display_name: String,
    /// Unknown, and so the beginning of time.
    created_at: &'static str,
}

/// A page of a list as Anthropic's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AnthropicList {
    data: Vec<AnthropicModel>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

/// A model as Google's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GoogleModel {
    name: String,
    display_name: String,
    supported_generation_methods: Vec<&'static str>,
}

/// A page of a list as Google's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GoogleList {
    models: Vec<GoogleModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

impl From<&Listed> for OpenaiModel {
    fn from(model: &Listed) -> Self {
        Self { id: model.id.clone(), object: "model", created: 0, owned_by: model.owner.clone() }
    }
}

impl From<&Listed> for AnthropicModel {
    fn from(model: &Listed) -> Self {
        let (id, display_name) = (model.id.clone(), model.id.clone());
        Self { r#type: "model", id, display_name, created_at: "1970-01-01T00:00:00Z" }
    }
}

impl From<&Listed> for GoogleModel {
    fn from(model: &Listed) -> Self {
        Self {
            name: format!("models/{}", model.id),
            display_name: model.id.clone(),
            supported_generation_methods: vec![
                if model.embeds { "embedContent" } else { "generateContent" },
                "countTokens",
            ],
        }
    }
}

fn caller(head: &Parts) -> Caller {
    head.extensions.get::<Caller>().cloned().unwrap_or_default()
}

/// `GET /v1/models`, `GET /v1beta/models`: all models that can be named.
pub(crate) async fn all(State(server): State<Server>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let shape = Shape::of(&head);
    let models = server.0.catalog.all(&server.0.router, &caller(&head)).await;
    let models = allowed(&server.0.router, &head, models);
    let page = |size, after| Page::of(&head, size, after).map(|page| page.take(&models));
    let answered = match shape {
        Shape::Openai => {
            let data = models.iter().map(OpenaiModel::from).collect();
            Ok(json_of(StatusCode::OK, &OpenaiList { object: "list", data }))
        }
        Shape::Anthropic => page("limit", "after_id").map(|(models, has_more)| {
            let data: Vec<_> = models.iter().map(AnthropicModel::from).collect();
            let id = |model: Option<&AnthropicModel>| model.map(|model| model.id.clone());
            let (first_id, last_id) = (id(data.first()), id(data.last()));
            json_of(StatusCode::OK, &AnthropicList { data, first_id, last_id, has_more })
        }),
        Shape::Google => page("pageSize", "pageToken").map(|(models, has_more)| {
            let next_page_token = models.last().filter(|_| has_more).map(|model| model.id.clone());
            let models = models.iter().map(GoogleModel::from).collect();
            json_of(StatusCode::OK, &GoogleList { models, next_page_token })
        }),
    };
    answered.unwrap_or_else(|error| shape.refuse(&error))
}

/// `GET /v1/models/{id}`: one model; its name may hold `/`.
pub(crate) async fn one(State(server): State<Server>, Path(id): Path<String>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let shape = Shape::of(&head);
    let found = server.0.catalog.find(&server.0.router, &id, &caller(&head)).await;
    let Some(model) = found.filter(|model| limited(&head).is_none_or(|holder| allows(&server.0.router, holder, model)))
    else {
        let shown: String = id.chars().take(80).collect();
        let error = Error::new(ErrorKind::CallerModelUnknown, format!("no model is called {shown:?}"))
            .with_hint("`GET /v1/models` lists those that can be named");
        return shape.refuse(&error);
    };
    match shape {
        Shape::Openai => json_of(StatusCode::OK, &OpenaiModel::from(&model)),
        Shape::Anthropic => json_of(StatusCode::OK, &AnthropicModel::from(&model)),
        Shape::Google => json_of(StatusCode::OK, &GoogleModel::from(&model)),
    }
}

/// Who holds limits on models, where somebody does.
fn limited(head: &Parts) -> Option<&Arc<Holder>> {
    head.extensions.get::<Caller>()?.holder.as_ref().filter(|holder| holder.limits_models())
}

/// Those that the key of a request may ask.
fn allowed(router: &Router, head: &Parts, models: Arc<Vec<Listed>>) -> Arc<Vec<Listed>> {
    match limited(head) {
        None => models,
        Some(holder) => Arc::new(models.iter().filter(|model| allows(router, holder, model)).cloned().collect()),
    }
}

/// Whether a key may ask a model; a route, where it may ask it as a whole or something that it leads to.
fn allows(router: &Router, holder: &Arc<Holder>, model: &Listed) -> bool {
    let at = |target: &str| match target.split_once('/') {
        Some((provider, name)) => router.allows(holder, provider, Some(name), None),
        None => router.allows(holder, target, None, None),
    };
    match router.settings().routes.get(&model.id) {
        Some(route) => {
            holder.allows("", None, Some(&model.id)) || route.groups.iter().flatten().any(|target| at(target))
        }
        None => {
            let own = model.id.strip_prefix(&model.owner).and_then(|rest| rest.strip_prefix('/'));
            router.allows(holder, &model.owner, Some(own.unwrap_or(&model.id)), None)
        }
    }
}

/// A part of a list. Without a size it is all of it: few clients turn pages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    size: Option<usize>,
    after: Option<String>,
}

impl Page {
    fn of(head: &Parts, size: &str, after: &str) -> Result<Self> {
        let mut page = Self::default();
        for pair in head.uri.query().unwrap_or_default().split('&') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            if name == size {
                let count = value.parse().ok().filter(|count| (1..=1000).contains(count));
                page.size =
                    Some(count.ok_or_else(|| Error::invalid(format!("{size}: it is not a count from 1 to 1000")))?);
            } else if name == after && !value.is_empty() {
                page.after = Some(unescaped(&value.replace('+', " ")));
            }
        }
        Ok(page)
    }

    /// The models of this page, and whether more follow.
    fn take<'a>(&self, models: &'a [Listed]) -> (&'a [Listed], bool) {
        let start = self.after.as_ref().and_then(|after| models.iter().position(|model| model.id == *after));
        let rest = models.get(start.map_or(0, |at| at + 1)..).unwrap_or_default();
        let size = self.size.unwrap_or(rest.len()).min(rest.len());
        (rest.get(..size).unwrap_or_default(), size < rest.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn page(query: &str) -> Result<Page> {
        let uri = format!("/v1/models?{query}");
        Page::of(&http::Request::get(uri).body(()).unwrap().into_parts().0, "limit", "after_id")
    }

    #[test]
    fn pages_are_read_and_taken() {
        let models: Vec<Listed> = ["a/1", "b/2", "c/3"]
            .map(|id| Listed { id: id.to_owned(), owner: String::new(), embeds: false, invites: false })
            .into();
        let (all, more) = page("").unwrap().take(&models);
        assert_eq!((all.len(), more), (3, false));
        let (some, more) = page("limit=1&after_id=a%2F1").unwrap().take(&models);
        assert_eq!((some[0].id.as_str(), some.len(), more), ("b/2", 1, true));
        assert!(page("limit=0").is_err() && page("limit=x").is_err());
    }
}
