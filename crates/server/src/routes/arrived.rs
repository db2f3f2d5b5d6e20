//! A request for something that is whole when it comes, at the door of its handler: its body, its id, its riders.
//!
//! What it asks for is read by each handler. Text has a path of its own, in `chat.rs`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use llm_router::dialect::{Codec, Dialect, RequestHead, codec};
use llm_router::error::Result;
use llm_router::ids::RequestId;
use llm_router::request::Request;
use llm_router::router::Op;
use llm_router::router::resolve::Door;
use llm_router::trace::Trace;

use crate::app::Server;
use crate::door::Caller;
use crate::{body, chat, early, error, headers, riders};

/// A request whose body is here.
pub(super) struct Arrived {
    /// Says errors in the way of its clients.
    codec: Arc<dyn Codec>,
    pub(super) id: RequestId,
    pub(super) head: RequestHead,
    pub(super) body: Bytes,
    /// What headers and key say, in a request that says nothing else.
    said: Result<Request>,
    caller: Caller,
}

impl Arrived {
    /// Reads a request whose clients expect errors of `dialect`.
    ///
    /// # Errors
    /// The answer, where there is nothing to read.
    pub(super) async fn read(server: &Server, dialect: Dialect, request: HttpRequest) -> Result<Self, Response> {
        let (head, from) = request.into_parts();
        let codec = codec(dialect);
        let id = chat::id_of(server, &head);
        let body = match body::read(from, &head.headers, &server.0.options).await {
            Ok(body) => body,
            Err((error, rest)) => {
                return Err(early::answer(error::response(codec.as_ref(), &error, Some(&id)), rest));
            }
        };
        let caller: Caller = head.extensions.get().cloned().unwrap_or_default();
        let mut said = Request::default();
        let said = riders::read(&head.headers, &caller, &mut said).map(|()| said);
        let head = RequestHead {
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            method: head.method,
            headers: Arc::new(head.headers),
        };
        Ok(Self { codec, id, head, body, said, caller })
    }

    /// What headers and key say.
    ///
    /// # Errors
    /// `caller_invalid_request` for a header that cannot be read.
    pub(super) fn said(&self) -> Result<Request> {
        self.said.clone()
    }

    /// An op of the compatible APIs under this request's id.
    pub(super) fn op<R>(&self, ask: R) -> Op<R> {
        Op::new(ask, Door::CompatibleApi)
            .with_id(self.id.clone())
            .for_client(self.caller.name.clone())
            .of_team(self.caller.team.clone())
            .within(self.caller.holder.clone())
            .under(riders::context(&self.head.headers))
    }

    /// The answer: a JSON body with the record of how it came about, or the error.
    pub(super) fn answer(&self, made: Result<(Bytes, Option<&Trace>)>) -> Response {
        match made {
            Ok((written, trace)) => {
                let mut response = body::json(StatusCode::OK, written);
                if let Some(trace) = trace {
                    chat::describe_as(trace, response.headers_mut());
                    chat::name_dropped(trace.dropped.iter(), response.headers_mut());
                }
                response.headers_mut().insert(headers::CACHE, HeaderValue::from_static("bypass"));
                response
            }
            Err(error) => error::response(self.codec.as_ref(), &error, Some(&self.id)),
        }
    }
}
