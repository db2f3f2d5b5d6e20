//! The HTTP server: every dialect in, any provider out, and the native API.
//!
//! [`Server`] is a [`Router`](llm_router::router::Router) behind a socket. It knows no provider by name and holds no policy: whom to ask, what to retry and what to
//! store is the router's. Read `app.rs` for the list of routes, `chat.rs` for the one handler behind all dialects, `door.rs` for what every request must pass,
//! `handle.rs` for what stands around every request, `listen.rs` for sockets.
#![forbid(unsafe_code)]

mod access;
mod app;
mod body;
mod catalog;
mod chat;
mod connection;
mod current;
mod docs;
mod door;
mod early;
mod error;
mod exposed;
mod fetch;
mod handle;
mod headers;
mod kept;
mod keys;
mod listen;
mod mcp;
mod openapi;
mod options;
mod query;
mod rates;
mod relay;
mod replay;
mod riders;
mod routes;
mod tick;
mod tls;
mod ui;

pub use self::app::Server;
pub use self::current::Renewal;
pub use self::fetch::Net;
pub use self::listen::{Bound, Stop};
pub use self::mcp::serve_mcp;
pub use self::options::ServerOptions;
