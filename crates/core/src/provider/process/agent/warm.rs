//! Servers of an agent that stay up between requests: started when needed, kept while they are of use, never shared by two requests at once.
//!
//! A request takes a place among programs first and then a server: the one that rested last, or a new one. So there are never more servers than places,
//! and one that rests holds none: other providers of the same program do not wait for it. While a server rests a task of its own listens to it: it notices
//! its end at once, throws away what it says, and ends it when it has rested too long. One is ended also when the login, the program's file or the path to
//! it is another than when it was started, and with the pool. `talk.rs` says when a server comes back at all.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::answer::Answer;
use super::home::{Home, Logins, Seen};
use super::rpc::{Heard, Rpc};
use super::talk::{TIDY, Talk, hear};
use super::{AgentSettings, Served, outdated};
use crate::error::{Error, Result};
use crate::provider::process::{Keep, Place, Runner};

/// How many servers rest for long.
const KEPT: usize = 2;

/// How long they do.
const REST: Duration = Duration::from_secs(300);

/// How long one more rests: bursts follow each other.
const SHORT_REST: Duration = Duration::from_secs(10);

/// How long a server may take from its start to its answer to a greeting.
const START: Duration = Duration::from_secs(30);

/// How long a server that closed its output may take to end, before it is ended.
const LINGER: Duration = Duration::from_secs(1);

/// Requests that one server answers; then a new one takes its place. Codex keeps about a megabyte of each.
const TURNS: u32 = 50;

/// The servers of one provider.
#[derive(Debug)]
pub(super) struct Pool {
    settings: Arc<AgentSettings>,
    served: &'static Served,
    runner: Runner,
    resting: Mutex<Vec<Resting>>,
}

/// A running server with its home.
#[derive(Debug)]
pub(super) struct Server {
    rpc: Rpc,
    /// Its group keeps it, and it goes with the group.
    home: Weak<Home>,
    /// The empty folder that it works in.
    work: PathBuf,
    logins: Logins,
    seat: Seat,
    mark: Mark,
    turns: u32,
}

/// The place of a server while it works; its group has it too, for the place is free again when the group is gone.
type Seat = Arc<Mutex<Option<Place>>>;

#[derive(Debug)]
struct Resting {
    mark: Mark,
    take: oneshot::Sender<()>,
    back: AbortOnDropHandle<Option<Server>>,
}

/// What a server was started from. Another one means that it speaks for another user, or is another program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    program: PathBuf,
    /// Its time of change tells: package managers set the time of writing to what they like.
    file: Option<Seen>,
    logins: Vec<Option<Seen>>,
}

impl Server {
    /// The empty folder that it works in; nothing where it has ended.
    pub(super) fn work(&self) -> Option<&Path> {
        (self.home.strong_count() > 0).then_some(&*self.work)
    }

    /// Its messages.
    pub(super) fn rpc(&mut self) -> &mut Rpc {
        &mut self.rpc
    }

    /// Whether it has answered before.
    pub(super) fn was_used(&self) -> bool {
        self.turns > 0
    }

    /// What it prints is counted anew, for a request of so many bytes.
    pub(super) fn begin_turn(&mut self, asked: usize) {
        self.turns += 1;
        self.rpc.process().begin_anew(asked);
    }

    /// Ends it. Its place is for the next one.
    pub(super) fn leave(self) -> Place {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    /// The error of one that closed its output, with how it ended.
    pub(super) async fn died(&mut self, prompt: &str) -> Error {
        let process = self.rpc.process();
        let name = process.name().to_owned();
        let error = match timeout(LINGER, process.exit_of(prompt, "")).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => Error::protocol(format!("{name} ended before its answer was whole")),
            Err(_) => Error::protocol(format!("{name} closed its output before its answer was whole")),
        };
        process.hiding(error)
    }
}

impl Pool {
    pub(super) fn new(settings: Arc<AgentSettings>, served: &'static Served, runner: Runner) -> Self {
        Self { settings, served, runner, resting: Mutex::default() }
    }

    /// How they are talked to.
    pub(super) fn served(&self) -> &'static Served {
        self.served
    }

    /// The program's name.
    pub(super) fn name(&self) -> &'static str {
        self.settings.program
    }

    /// Waits for a place among the programs.
    pub(super) async fn place(&self, program: &Path) -> Place {
        self.runner.place(program).await
    }

    /// A server that is ready for a request, one that rests where there is one.
    ///
    /// # Errors
    /// Those of [`Pool::start`].
    pub(super) async fn take(&self, program: &Path, place: Place) -> Result<Server> {
        let mark = self.mark(program);
        while let Some(Resting { take, back, .. }) = self.last(&mark) {
            // The other end is gone where the server is: then there is nothing to wait for.
            if take.send(()).is_ok()
                && let Ok(Some(server)) = back.await
            {
                *server.seat.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
                return Ok(server);
            }
        }
        self.start(program, place).await
    }

    /// The one that rested last; those of another mark go.
    fn last(&self, mark: &Mark) -> Option<Resting> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|resting| resting.mark == *mark && !resting.back.is_finished());
        resting.pop()
    }

    fn mark(&self, program: &Path) -> Mark {
        let logins = self.settings.driver.layout.logins(&self.settings.environment);
        Mark { program: program.to_owned(), file: Seen::of(program), logins }
    }

    /// Starts a server and greets it.
    ///
    /// # Errors
    /// As a program that is not there, ends or is silent fails; what it says to the greeting.
    pub(super) async fn start(&self, program: &Path, place: Place) -> Result<Server> {
        let settings = &*self.settings;
        let tools = settings.tools.as_ref();
        let setup = settings.setup();
        let (mark, served) = (self.mark(program), self.served);
        let made =
            self.settings.home(&self.runner, !setup.has_key, |settings, home| (served.start)(&settings.setup(), home));
        let (home, launch) = made.await?;
        let mut job = settings.job(program.to_owned(), launch, &home, tools);
        let seat: Seat = Arc::new(Mutex::new(Some(place)));
        let (kept, work, logins) = (Arc::downgrade(&home), home.work(), home.logins());
        job.keep = Some(Keep::new((home, seat.clone())));
        let rpc = Rpc::new(self.runner.start(job, Place::default())?, self.served.framing)?;
        let mut server = Server { rpc, home: kept, work, logins, seat, mark, turns: 0 };
        let mut talk = (self.served.greet)(&setup);
        let greeted = async {
            talk.begin(server.rpc.says())?;
            server.rpc.send()?;
            loop {
                match hear(&mut server.rpc, &mut *talk, &mut Answer::default()).await? {
                    Some(flow) if flow.is_break() => return Ok(()),
                    Some(_) => {}
                    None => return Err(outdated(server.died("").await, settings.install)),
                }
            }
        };
        match timeout(START, greeted).await {
            Ok(Ok(())) => Ok(server),
            Ok(Err(error)) => Err(server.rpc.process().hiding(error)),
            Err(_) => {
                let message = format!("{} did not answer to a greeting in {} s", self.name(), START.as_secs());
                Err(Error::timeout(message).with_hint(format!(
                    "ask again when this machine has less to do; where it goes on, {}",
                    settings.install
                )))
            }
        }
    }

    /// Keeps a server for the next request. Where its talk is not over, it gets a moment to end it.
    pub(super) fn park(&self, server: Server, talk: Option<Box<dyn Talk>>) {
        if server.turns >= TURNS {
            return;
        }
        // The home's end gives back as well: nothing is lost where nobody waits for this.
        let logins = server.logins.clone();
        tokio::task::spawn_blocking(move || logins.give_back());
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|resting| !resting.back.is_finished());
        let until = Instant::now() + if resting.len() < KEPT { REST } else { SHORT_REST };
        let (take, taken) = oneshot::channel();
        let (mark, seat) = (server.mark.clone(), server.seat.clone());
        let back = AbortOnDropHandle::new(tokio::spawn(rest(server, talk, until, taken)));
        resting.push(Resting { mark, take, back });
        drop(resting);
        // Not before it can be found: whoever waits for a place looks for a server next.
        seat.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Listens to a server until it is taken. Nothing comes back of one that ended, rested too long or was not ready in time.
async fn rest(
    mut server: Server,
    talk: Option<Box<dyn Talk>>,
    until: Instant,
    mut taken: oneshot::Receiver<()>,
) -> Option<Server> {
    if let Some(mut talk) = talk {
        timeout(TIDY, tidy(&mut server.rpc, &mut *talk)).await.ok()??;
    }
    server.rpc.process().begin_anew(0);
    loop {
        let heard = tokio::select! {
            biased;
            heard = server.rpc.hear() => heard.ok()??,
            asked = &mut taken => return asked.ok().map(|()| server),
            () = sleep_until(until) => return None,
        };
        if let Heard::Asked(id, method, _) = heard {
            server.rpc.says().answer(&id, &method, None).ok()?;
            server.rpc.send().ok()?;
        }
    }
}

/// Hears the end of a talk.
async fn tidy(rpc: &mut Rpc, talk: &mut dyn Talk) -> Option<()> {
    let mut rest = Answer::default();
    while hear(rpc, talk, &mut rest).await.ok()??.is_continue() {
        rest.take();
    }
    Some(())
}
