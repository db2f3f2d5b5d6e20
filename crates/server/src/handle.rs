//! What stands around every request, whichever route answers it: the door, the idempotency key, the count, the access log.
//!
//! Each costs nothing to speak of where it is not asked for. Read `door.rs` for who is let in, `app.rs` for the routes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use llm_router::dialect::Dialect;
use llm_router::error::{Error, ErrorKind};
use tower_service::Service;

use crate::access::Line;
use crate::app::{Inner, conversation};
use crate::current::Generation;
use crate::door::Caller;
use crate::replay::KEY;
use crate::{chat, early, error, headers, rates};

/// Which socket a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The clients'.
    Clients,
    /// The administration's.
    Admin {
        /// Whether only this machine reaches it.
        from_here: bool,
    },
}

/// Answers a request.
pub(crate) fn handle(
    now: Arc<Generation>,
    side: Side,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response, Infallible>> + Send {
    // The head in a box from here on: every connection keeps room for the future of its request.
    let (head, body) = request.into_parts();
    let (head, body) = (Box::new(head), Body::new(body));
    async move {
        match side {
            Side::Clients => Ok(served(&now, head, body).await),
            Side::Admin { from_here } => Ok(Box::pin(administer(&now, head, body, from_here)).await),
        }
    }
}

async fn served(now: &Generation, mut head: Box<Parts>, body: Body) -> Response {
    let server = &now.server;
    let line = server.0.log.is_some().then(|| {
        let line = Line::begin(server, &head);
        head.extensions.insert(line.id().clone());
        Box::new(line)
    });
    let anthropic = error::dialect_of(head.uri.path()) == Dialect::Anthropic;
    let mut response = admitted(now, head, body, line.as_deref(), anthropic).await;
    if !response.headers().contains_key(headers::REQUEST_ID) {
        let id = line.as_ref().map_or_else(|| server.0.router.new_id(), |line| line.id().clone());
        headers::set(response.headers_mut(), headers::REQUEST_ID, id.as_str());
    }
    if let (true, Some(id)) = (anthropic, response.headers().get(headers::REQUEST_ID).cloned()) {
        response.headers_mut().insert(headers::ANTHROPIC_ID, id);
    }
    server.0.counts.answered(response.status());
    match line {
        None => response,
        Some(line) => line.follow(response),
    }
}

async fn admitted(
    now: &Generation,
    mut head: Box<Parts>,
    body: Body,
    line: Option<&Line>,
    anthropic: bool,
) -> Response {
    let server = &now.server;
    let caller = match server.0.door.admit(&mut head) {
        Ok(caller) => caller,
        Err(error) => return refused(&server.0, &head, &error, body),
    };
    // Where nothing is limited, nothing is copied.
    let holder = caller.holder.clone();
    if let Some(line) = line {
        line.called_by(&caller);
    }
    if head.method == Method::POST
        && let Some(error) = too_many(&server.0)
    {
        return refused(&server.0, &head, &error, body);
    }
    let once = head.method == Method::POST && head.headers.contains_key(KEY);
    let spoken = conversation(&head).filter(|_| !once);
    let mut response = match spoken {
        Some(dialect) => chat::answer(server, dialect, caller, head, body).await,
        None => {
            head.extensions.insert(caller);
            let request = Request::from_parts(*head, body);
            match once {
                true => Box::pin(server.0.replays.answer(&server.0, now.clients.clone(), request)).await,
                false => Box::pin(pass(now.clients.clone(), request)).await,
            }
        }
    };
    if let Some(holder) = holder.filter(|_| response.status() == StatusCode::TOO_MANY_REQUESTS) {
        rates::tell(&server.0, &holder, anthropic, response.headers_mut());
    }
    response
}

/// Refuses what would make everything slower for everybody: soon is better than late.
fn too_many(server: &Inner) -> Option<Error> {
    let (now, most) = (server.router.deps().ledger.in_flight(), server.options.in_flight);
    (now >= u64::try_from(most).unwrap_or(u64::MAX)).then(|| {
        Error::new(
            ErrorKind::RouterOverloaded,
            format!("{most} requests are being answered already, its max_in_flight"),
        )
        .with_hint("ask again in a moment")
        .with_retry_after(Duration::from_secs(1))
    })
}

async fn administer(now: &Generation, mut head: Box<Parts>, body: Body, from_here: bool) -> Response {
    let server = &now.server.0;
    let admitted = server.door.admit_admin(&mut head, from_here);
    match admitted {
        Ok(caller) => {
            head.extensions.insert::<Caller>(caller);
            pass(now.admins.clone(), Request::from_parts(*head, body)).await
        }
        Err(error) => refused(server, &head, &error, body),
    }
}

fn refused(server: &Inner, head: &Parts, error: &Error, body: Body) -> Response {
    let id = head.extensions.get().cloned().unwrap_or_else(|| server.router.new_id());
    early::answer(error::at_path(head.uri.path(), error, Some(&id)), body)
}

/// Gives a request to the routes.
pub(crate) async fn pass(mut routes: axum::Router, request: Request<Body>) -> Response {
    match routes.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// How long something took, in whole milliseconds.
pub(crate) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
