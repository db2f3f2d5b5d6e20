//! The scripted upstream: OpenAI's and Anthropic's endpoint in one process, which answers the same to everybody, whole at once or streamed in a set time.
//!
//! It is no test double with faults: those are in `testing` of the core. What it says is in `answers.rs`.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::answers::Dialect;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the upstream is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The address to listen on; it is printed once it listens
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Milliseconds until the first chunk of a stream
    #[arg(long, default_value_t = 50)]
    first: u64,
    /// Milliseconds between chunks
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// Chunks of a stream
    #[arg(long, default_value_t = 64)]
    chunks: u32,
}

/// What is read of a request.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: StreamOptions,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Answers until the process is ended.
///
/// # Errors
/// The address cannot be bound.
pub(crate) fn serve(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(accept(Rc::new(options.clone()))))
}

async fn accept(options: Rc<Options>) -> Result<()> {
    let listener =
        TcpListener::bind(options.listen).await.with_context(|| format!("cannot listen on {}", options.listen))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    std::io::stdout().flush()?;
    loop {
        // Out of descriptors, most likely: those who were let in go on.
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let options = options.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(&options, request));
            // A client that goes away is none of the upstream's concern.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(options: &Options, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let dialect = [Dialect::OpenaiChat, Dialect::Anthropic].into_iter().find(|one| one.path() == request.uri().path());
    let Some(dialect) = dialect else { return Ok(refuse(StatusCode::NOT_FOUND)) };
    let Ok(body) = request.into_body().collect().await else { return Ok(refuse(StatusCode::BAD_REQUEST)) };
    let Ok(asked) = serde_json::from_slice::<Asked>(&body.to_bytes()) else {
        return Ok(refuse(StatusCode::BAD_REQUEST));
    };
    let (kind, body) = if asked.stream {
        ("text/event-stream", streamed(options, dialect, asked.stream_options.include_usage))
    } else {
        ("application/json", Full::new(dialect.whole()).boxed_unsync())
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Chunks at the times set, counted from now: one that is late makes none later.
fn streamed(options: &Options, dialect: Dialect, usage: bool) -> Body {
    let first = Instant::now() + Duration::from_millis(options.first);
    let (interval, chunks) = (Duration::from_millis(options.interval), options.chunks);
    let frames = stream::unfold(0_u32, move |sent| async move {
        if sent > chunks {
            return None;
        }
        // The end follows its last chunk at once.
        tokio::time::sleep_until(first + interval * sent.min(chunks.saturating_sub(1))).await;
        let piece = match sent {
            _ if sent == chunks => dialect.closing(usage),
            0 => dialect.opening() + &dialect.chunk(),
            _ => dialect.chunk(),
        };
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(piece))), sent + 1))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

fn refuse(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"{}")).boxed_unsync());
    *response.status_mut() = status;
    response
}
