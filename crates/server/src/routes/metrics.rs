//! `/metrics`: what was counted, as Prometheus reads it. The router's counters are the ledger's; those of HTTP are here.

use std::time::SystemTime;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use llm_router::telemetry::{Counters, Family, Point, Value, labels, prometheus};

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

    /// What the server counted itself.
    fn families(&self, lost_lines: Option<u64>) -> Vec<Family> {
        let codes = CODES.iter().map(u16::to_string).chain(["other".to_owned()]).enumerate();
        let codes = codes.map(|(at, code)| Point::count(labels([("code", code.as_str())]), self.statuses.sum(at)));
        let codes = codes.filter(|point| point.value != Value::Count(0));
        let mut families = vec![Family::counter(RESPONSES, "Answers by HTTP status.", codes)];
        let alone = |count| [Point::count(Vec::new(), count)];
        if let Some(lost) = lost_lines {
            families.push(Family::counter(LOST_LINES, "Lines that the access log had no room for.", alone(lost)));
        }
        let began = self.began.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let began = [Point::number(Vec::new(), (began * 1000.0).round() / 1000.0)];
        families.push(Family::gauge(STARTED, "When the server began, in seconds since 1970.", began));
        if let Some(bytes) = resident() {
            families.push(Family::gauge(MEMORY, "Memory of the process that is in use, in bytes.", alone(bytes)));
        }
        families
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
    let mut families = inner.router.families();
    families.extend(inner.counts.families(inner.log.as_ref().map(|log| log.lost())));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], prometheus(&families)).into_response()
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
