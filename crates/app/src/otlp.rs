//! Spans and metrics for an OpenTelemetry collector, over OTLP/HTTP in JSON; made only where one is configured.
//!
//! A request's record becomes its spans when it ends; until then nothing is done for them. What waits is bounded and what finds no room is counted and dropped: a collector that is slow or
//! gone costs a line in the log and nothing else. One thread of its own sends, so that no runtime of the server has to. Prompts, answers and keys are in no record, and so in no span.
//! Read next: `otlp/spans.rs`, `otlp/metrics.rs` (what is sent), `otlp/send.rs` (how). Why it is written here: `docs/decisions/telemetry.md`.

mod metrics;
mod send;
mod spans;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use llm_router::config::Settings;
use llm_router::deps::Watch;
use llm_router::error::{Error, Result};
use llm_router::provider::http::{HttpClient, HttpOptions};
use llm_router::telemetry::{Family, Ledger};
use llm_router::trace::Trace;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use self::send::Sender;

/// The most records that wait to be sent.
const WAITING: usize = 2048;
/// The most records that are sent together.
const TOGETHER: usize = 256;
/// How long the first record of many waits for the others.
const SOON: Duration = Duration::from_secs(1);
/// How long the end of the process is held up for what still waits.
const AT_END: Duration = Duration::from_secs(2);

/// What is counted, for as long as somebody counts.
type Counted = Box<dyn Fn() -> Option<Vec<Family>> + Send + Sync>;

/// The way to a collector.
pub(crate) struct Otlp {
    ledger: Ledger,
    sample: u32,
    counted: Arc<Mutex<Option<Counted>>>,
    /// What the thread is made of, until the first record comes.
    unstarted: Mutex<Option<(Sender, Duration)>>,
    started: OnceLock<Option<Started>>,
}

struct Started {
    queue: mpsc::Sender<Arc<Trace>>,
    /// Asked to end, the thread says when it has.
    end: Mutex<Option<oneshot::Sender<oneshot::Sender<()>>>>,
}

impl Otlp {
    /// The way to the collector of these settings, if there is one.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the setting that cannot be used.
    pub(crate) fn of(settings: &Settings, ledger: &Ledger) -> Result<Option<Arc<Self>>> {
        let telemetry = &settings.telemetry;
        let Some(endpoint) = telemetry.otlp.as_deref().filter(|_| !telemetry.disabled) else { return Ok(None) };
        let headers = telemetry.otlp_headers.as_ref().map_or("", |headers| headers.expose());
        let http = HttpClient::with_options(&HttpOptions::from(settings))?;
        let sender = Sender::new(http, endpoint, headers, resource(settings)?)?;
        Ok(Some(Arc::new(Self {
            ledger: ledger.clone(),
            sample: telemetry.sample,
            counted: Arc::default(),
            unstarted: Mutex::new(Some((sender, telemetry.metrics_every))),
            started: OnceLock::new(),
        })))
    }

    /// Sends this, too, now and then, in place of what was followed before.
    pub(crate) fn follow(&self, counted: impl Fn() -> Option<Vec<Family>> + Send + Sync + 'static) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(counted));
    }

    fn start(&self) -> Option<Started> {
        let (sender, every) = self.unstarted.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let (queue, records) = mpsc::channel(WAITING);
        let (end, ended) = oneshot::channel();
        let work = Work { sender, records, ledger: self.ledger.clone(), counted: Arc::clone(&self.counted) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let run = move || match runtime {
            Ok(runtime) => runtime.block_on(work.run(every, ended)),
            Err(error) => tracing::warn!("no OpenTelemetry data is sent: {error}"),
        };
        match std::thread::Builder::new().name("otlp".to_owned()).spawn(run) {
            // Whoever ends it waits for its word, and only so long.
            Ok(_) => Some(Started { queue, end: Mutex::new(Some(end)) }),
            Err(error) => {
                tracing::warn!("no OpenTelemetry data is sent: {error}");
                None
            }
        }
    }

    /// Sends what waits, for as long as the end of a process may take.
    pub(crate) async fn close(&self) {
        let Some(Some(started)) = self.started.get() else { return };
        let end = started.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (done, heard) = oneshot::channel();
        if end.is_some_and(|end| end.send(done).is_ok()) && tokio::time::timeout(AT_END, heard).await.is_err() {
            tracing::warn!("the end did not wait for all OpenTelemetry data to be sent");
        }
    }
}

impl Watch for Otlp {
    fn samples(&self) -> bool {
        self.sample >= 100 || fastrand::u32(..100) < self.sample
    }

    fn finished(&self, trace: &Arc<Trace>) {
        let started = self.started.get_or_init(|| self.start());
        if started.as_ref().is_none_or(|started| started.queue.try_send(Arc::clone(trace)).is_err()) {
            self.ledger.lost_spans(1);
        }
    }
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Otlp(…)")
    }
}

/// What the thread does.
struct Work {
    sender: Sender,
    records: mpsc::Receiver<Arc<Trace>>,
    ledger: Ledger,
    counted: Arc<Mutex<Option<Counted>>>,
}

impl Work {
    async fn run(mut self, every: Duration, mut ended: oneshot::Receiver<oneshot::Sender<()>>) {
        let began = SystemTime::now();
        let mut metrics = tokio::time::interval(every);
        metrics.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // At once there is nothing to tell.
        metrics.tick().await;
        let mut batch = Vec::with_capacity(TOGETHER);
        let done = loop {
            tokio::select! {
                biased;
                done = &mut ended => break done,
                _ = metrics.tick() => self.send_metrics(began, true).await,
                count = self.records.recv_many(&mut batch, TOGETHER) => {
                    if count == 0 {
                        break ended.await;
                    }
                    let more = async {
                        while batch.len() < TOGETHER {
                            let room = TOGETHER - batch.len();
                            if self.records.recv_many(&mut batch, room).await == 0 {
                                break;
                            }
                        }
                    };
                    tokio::select! {
                        biased;
                        done = &mut ended => {
                            self.send_spans(&mut batch, false).await;
                            break done;
                        }
                        _ = tokio::time::timeout(SOON, more) => {}
                    }
                    self.send_spans(&mut batch, true).await;
                }
            }
        };
        self.records.close();
        while self.records.recv_many(&mut batch, TOGETHER).await > 0 {
            self.send_spans(&mut batch, false).await;
        }
        self.send_metrics(began, false).await;
        if let Ok(done) = done {
            // Nobody may wait any more.
            let _ = done.send(());
        }
    }

    async fn send_spans(&mut self, batch: &mut Vec<Arc<Trace>>, patient: bool) {
        let spans: Vec<Value> = batch.iter().flat_map(|trace| spans::of(trace)).collect();
        let count = spans.len();
        batch.clear();
        if count > 0 && !self.sender.send("v1/traces", |resource| spans::wrapped(resource, spans), patient).await {
            self.ledger.lost_spans(count as u64);
        }
    }

    async fn send_metrics(&mut self, began: SystemTime, patient: bool) {
        let families = {
            let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            counted.as_ref().and_then(|counted| counted())
        };
        let Some(families) = families else { return };
        // Sums are of all that was counted: what is lost now is in the next ones.
        self.sender.send("v1/metrics", |resource| metrics::of(resource, &families, began), patient).await;
    }
}

/// What the data is about: this program, and what its owner says of it.
fn resource(settings: &Settings) -> Result<Value> {
    let telemetry = &settings.telemetry;
    let mut attributes = vec![
        attribute("service.name", &telemetry.service_name),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
        attribute("telemetry.sdk.name", "llm-router"),
        attribute("telemetry.sdk.language", "rust"),
    ];
    for (name, value) in send::pairs(telemetry.resource.as_deref().unwrap_or_default(), "telemetry.resource")? {
        let own = attributes.iter().any(|attribute| attribute["key"] == *name);
        if !own {
            attributes.push(attribute(&name, &value));
        }
    }
    Ok(json!({ "attributes": attributes }))
}

/// An attribute that is a text.
fn attribute(key: &str, text: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": text } })
}

/// Who made the data.
fn scope() -> Value {
    json!({ "name": "llm_router", "version": env!("CARGO_PKG_VERSION") })
}

/// A time as the format has it.
fn nanos(time: SystemTime) -> String {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos()).to_string()
}

/// A setting that cannot be used.
fn unusable(setting: &str, why: &str) -> Error {
    Error::invalid(format!("{setting}: {why}"))
        .with_hint("write name=value, several with commas between, other signs as %XX")
}

#[cfg(test)]
mod tests;
