//! `/metrics`: what was counted, as Prometheus reads it. The router's counters are the ledger's; those of HTTP are here.

use std::fmt::Write;
use std::time::SystemTime;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use llm_router::telemetry::{Counters, head};

use crate::app::Server;
use crate::door::Caller;
use crate::error;

/// Answers by status.
const RESPONSES: &str = "llm_router_http_responses_total";
/// Lines that the access log had no room for.
const LOST_LINES: &str = "llm_router_access_log_lost_lines_total";
/// When the server began, in seconds since 1970.
const STARTED: &str = "process_start_time_seconds";
/// Memory of the process that is in use, in bytes.
const MEMORY: &str = "process_resident_memory_bytes";

/// The statuses with counters of their own; the last place is for all others.
const CODES: [u16; 16] = [200, 400, 401, 403, 404, 405, 408, 413, 422, 426, 429, 499, 500, 502, 503, 504];

/// What the server counts itself.
#[derive(Debug)]
pub(crate) struct Counts {
    statuses: Counters<17>,
    began: SystemTime,
}

impl Counts {
    pub(crate) fn new(began: SystemTime) -> Self {
        Self { statuses: Counters::default(), began }
    }

    /// Counts an answer's head.
    pub(crate) fn answered(&self, status: StatusCode) {
        let at = CODES.iter().position(|code| *code == status.as_u16()).unwrap_or(CODES.len());
        self.statuses.add(at, 1);
    }
}

/// `GET /metrics` at the administration's address.
pub(crate) async fn all(State(server): State<Server>) -> Response {
    let inner = &server.0;
    let mut out = inner.router.prometheus();
    head(&mut out, RESPONSES, "counter", "Answers by HTTP status.");
    let codes = CODES.iter().map(u16::to_string).chain(["other".to_owned()]);
    for (at, code) in codes.enumerate() {
        let count = inner.counts.statuses.sum(at);
        if count > 0 {
            let _ = writeln!(out, "{RESPONSES}{{code=\"{code}\"}} {count}");
        }
    }
    if let Some(log) = &inner.log {
        head(&mut out, LOST_LINES, "counter", "Lines that the access log had no room for.");
        let _ = writeln!(out, "{LOST_LINES} {}", log.lost());
    }
    head(&mut out, STARTED, "gauge", "When the server began, in seconds since 1970.");
    let began = inner.counts.began.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let _ = writeln!(out, "{STARTED} {began:.3}");
    if let Some(bytes) = resident() {
        head(&mut out, MEMORY, "gauge", "Memory of the process that is in use, in bytes.");
        let _ = writeln!(out, "{MEMORY} {bytes}");
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out).into_response()
}

/// `GET /metrics` at the clients' address: for a key with `admin = true`.
pub(crate) async fn for_admins(State(server): State<Server>, request: Request) -> Response {
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    match server.0.door.check_admin(&caller) {
        Ok(()) => all(State(server)).await,
        Err(error) => error::at_path("/metrics", &error, None),
    }
}

/// Where the system tells it: memory in use, in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}
