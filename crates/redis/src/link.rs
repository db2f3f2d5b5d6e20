//! The connection to the server: one for all commands, kept by a thread of its own and made anew when it breaks.
//!
//! Requests are answered on several runtimes that come and go; the connection lives on one that does not. Each caller waits for its answer as long as it wants to and no longer: a
//! server that is known to be gone refuses at once, and one that did not answer in time is asked for a sign of life. What is said over it is `store.rs` and `shared.rs`.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use llm_router::store::StoreError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, Script};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::FORMAT;
use crate::names::Names;

/// How long a connection may take to be made.
const CONNECTING: Duration = Duration::from_secs(2);
/// How long a server that did not answer may take to show a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_millis(100);
/// The waits between attempts to connect: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The connection's keeper. Dropping it closes the connection.
pub(crate) struct Link {
    state: watch::Receiver<State>,
    suspect: Arc<Notify>,
    handle: Handle,
    end: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
enum State {
    Starting,
    Up(MultiplexedConnection),
    Down(StoreError),
}

impl Link {
    /// Starts the thread, which begins to connect.
    pub(crate) fn start(client: Client, names: &Names, shown: &str) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| StoreError::Other(format!("no thread for the connection: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (to, state) = watch::channel(State::Starting);
        let (suspect, end) = (Arc::new(Notify::new()), CancellationToken::new());
        let handle = runtime.handle().clone();
        let keeping = keep(client, names.format(), shown.to_owned(), to, Arc::clone(&suspect));
        let ended = end.clone();
        let thread = thread::Builder::new()
            .name("redis".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = keeping => {}
                        () = ended.cancelled() => {}
                    }
                });
            })
            .map_err(failed)?;
        Ok(Self { state, suspect, handle, end, thread: Some(thread) })
    }

    /// The runtime that the connection lives on.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// A way to say things over the connection.
    pub(crate) fn line(&self) -> Line {
        Line { state: self.state.clone(), suspect: Arc::clone(&self.suspect) }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A way to say things over the connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Line {
    state: watch::Receiver<State>,
    suspect: Arc<Notify>,
}

impl Line {
    /// Says something, and waits for the answer for so long at most.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] at once where the server is known to be gone; [`StoreError::Newer`] where its state is not for this version; what the server refuses with.
    pub(crate) async fn say<T, F>(
        &self,
        within: Duration,
        say: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let said = async {
            let connection = self.connection().await?;
            let said = say(connection).await;
            said.map_err(|error| {
                // A server that became a replica answers on, and takes nothing.
                if error.is_unrecoverable_error() || matches!(error.code(), Some("READONLY" | "MASTERDOWN")) {
                    self.suspect.notify_one();
                }
                described(&error)
            })
        };
        timeout(within, said).await.unwrap_or_else(|_| {
            self.suspect.notify_one();
            Err(StoreError::Unreachable(format!("no answer within {} ms", within.as_millis())))
        })
    }

    /// Somebody got no answer in time.
    pub(crate) fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// The connection; at the very beginning it is waited for.
    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Starting)).await;
        match known.as_deref() {
            Ok(State::Up(connection)) => Ok(connection.clone()),
            Ok(State::Down(error)) => Err(error.clone()),
            Ok(State::Starting) | Err(_) => Err(StoreError::Closed),
        }
    }
}

/// Keeps a connection for ever.
async fn keep(client: Client, format: String, shown: String, to: watch::Sender<State>, suspect: Arc<Notify>) {
    let mut pause = PAUSES.0;
    loop {
        let connecting = timeout(CONNECTING, connect(&client, &format, &shown));
        match connecting.await.unwrap_or_else(|_| Err(StoreError::Unreachable(format!("{shown} does not answer")))) {
            Ok(connection) => {
                pause = PAUSES.0;
                let _ = to.send(State::Up(connection.clone()));
                watch_over(connection, &suspect, &format!("{format}:alive")).await;
                let _ = to.send(State::Down(StoreError::Unreachable(format!("{shown} went away"))));
            }
            Err(error) => {
                let _ = to.send(State::Down(error));
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

/// Returns when a connection is of no use any more: when it cannot write this key.
async fn watch_over(mut connection: MultiplexedConnection, suspect: &Notify, key: &str) {
    let mut write = redis::cmd("SET");
    write.arg(key).arg(1).arg("PX").arg(60_000);
    loop {
        suspect.notified().await;
        let alive = timeout(SIGN_OF_LIFE, write.query_async::<String>(&mut connection)).await;
        if !matches!(alive, Ok(Ok(_))) {
            return;
        }
    }
}

async fn connect(client: &Client, format: &str, shown: &str) -> Result<MultiplexedConnection, StoreError> {
    // Each caller has a time of its own; the connection's would only cut it short.
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECTING)).set_response_timeout(None);
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = connected.map_err(|error| described(&error))?;
    check_format(&mut connection, format, shown).await?;
    // A script that the server does not know yet would be said twice.
    for script in scripts() {
        script.load_async(&mut connection).await.map_err(|error| described(&error))?;
    }
    Ok(connection)
}

/// All that is ever run.
fn scripts() -> [&'static Script; 5] {
    [&crate::shared::ENTER, &crate::settle::SETTLE, &crate::store::CHANGE, &crate::store::ADD, &crate::store::SCAN]
}

/// Notes the format where nothing is noted, and refuses a newer one.
async fn check_format(connection: &mut MultiplexedConnection, key: &str, shown: &str) -> Result<(), StoreError> {
    let mut pipe = redis::pipe();
    pipe.cmd("SET").arg(key).arg(FORMAT).arg("NX").ignore().cmd("GET").arg(key);
    let (found,): (String,) = pipe.query_async(connection).await.map_err(|error| described(&error))?;
    match found.parse::<i32>() {
        Ok(found) if found > FORMAT => {
            Err(StoreError::Newer { path: PathBuf::from(format!("{shown} ({key})")), found, known: FORMAT })
        }
        Ok(_) => Ok(()),
        Err(_) => Err(StoreError::Corrupt(format!("{key} at {shown} is not this program's"))),
    }
}

/// An error of the server's or of the way there.
fn described(error: &RedisError) -> StoreError {
    let text = error.to_string();
    match error.code() {
        Some("OOM") => StoreError::Full,
        Some("READONLY") => StoreError::Unwritable(format!("to a replica: {text}")),
        Some("LOADING" | "BUSY" | "MASTERDOWN") => StoreError::Busy,
        Some(_) => StoreError::Other(text),
        None if error.is_io_error() || error.is_unrecoverable_error() => StoreError::Unreachable(text),
        None => StoreError::Other(text),
    }
}
