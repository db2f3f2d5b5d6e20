//! What the parts of a service have in common: node, book, table, and who is being got to know.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use llm_router::Result;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Profile;
use super::counts::Counts;
use super::strikes::{BLOCKED, Offence, Strikes};
use crate::book::{Book, Known};
use crate::caps;
use crate::node::NodeHandle;
use crate::serve::Served;
use crate::share::Share;
use crate::table::{Bounds, Table, Trust};

/// How long whoever asks waits for peers that were not met yet, at most.
const FIRST_MEETING: Duration = Duration::from_secs(6);
/// How long for peers that must be found first.
const FINDING: Duration = Duration::from_secs(3);

/// What the parts of a service have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) key: Keypair,
    pub(crate) node: NodeHandle,
    pub(crate) profile: Profile,
    pub(crate) book: Arc<Book>,
    pub(crate) share: Share,
    pub(crate) stop: CancellationToken,
    /// Streams that are being opened.
    pub(crate) opening: Counts,
    /// Streams that others opened to meet us.
    pub(crate) meeting: Counts,
    table: Mutex<Table>,
    served: RwLock<Option<Arc<Served>>>,
    strikes: Mutex<Strikes>,
    tasks: TaskTracker,
    /// How many peers are being got to know, and how often that came to an end.
    contacts: watch::Sender<(usize, u64)>,
    began: Instant,
    /// Whether peers may be found that were not named.
    looks: bool,
    /// Which run of the program this is, and how many records it made.
    pub(crate) incarnation: u64,
    sequence: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        key: Keypair,
        node: NodeHandle,
        (profile, looks): (Profile, bool),
        book: Arc<Book>,
        share: Share,
    ) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Instant::now();
        let mut table = Table::new(Bounds::default(), fastrand::u64(..), now);
        book.all().iter().for_each(|known| table.trust(known.peer, trust(known)));
        Self {
            key,
            node,
            profile,
            book,
            share,
            stop: CancellationToken::new(),
            opening: Counts::default(),
            meeting: Counts::default(),
            table: Mutex::new(table),
            served: RwLock::default(),
            strikes: Mutex::default(),
            tasks: TaskTracker::new(),
            contacts: watch::Sender::new((0, 0)),
            began: now,
            looks,
            incarnation: u64::try_from(since.as_millis()).unwrap_or(0),
            sequence: AtomicU64::new(0),
        }
    }

    /// The table. Held for microseconds, and never at an await.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What answers others, where anything does.
    pub(crate) fn served(&self) -> Option<Arc<Served>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has others answered by this from now on; whether nobody was before.
    pub(crate) fn set_served(&self, served: Arc<Served>) -> bool {
        self.served.write().unwrap_or_else(PoisonError::into_inner).replace(served).is_none()
    }

    /// The number of the next record.
    pub(crate) fn next_record(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Starts what ends with the service.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled_owned(work).await;
        });
    }

    /// Ends what was started, and waits for it.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Notes what a peer did wrong; one that does it too often is blocked for a while.
    pub(crate) fn strike(self: &Arc<Self>, peer: PeerId, offence: Offence) {
        let enough = self.strikes.lock().unwrap_or_else(PoisonError::into_inner).note(peer, offence, Instant::now());
        if !enough {
            return;
        }
        tracing::warn!(%peer, "a peer is blocked for {} s: it does not keep to the protocol", BLOCKED.as_secs());
        self.table().forget(&peer);
        let shared = Arc::clone(self);
        self.spawn(async move {
            let _ = shared.node.block(peer).await;
            tokio::time::sleep(BLOCKED).await;
            let _ = shared.node.unblock(peer).await;
        });
    }

    /// Connects with a peer and hears what it serves: the names of its models.
    ///
    /// # Errors
    /// Where it is not there, or does not want to be asked by us.
    pub(crate) async fn meet(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<Vec<String>> {
        let _contact = Contact::begin(&self.contacts);
        self.node.connect(peer, addresses).await?;
        caps::exchange(self, peer).await
    }

    /// Waits for those who are being got to know, where somebody is; whether it is worth another look.
    pub(crate) async fn wait_for_contacts(&self) -> bool {
        let mut contacts = self.contacts.subscribe();
        let (pending, _) = *contacts.borrow_and_update();
        let limit = match pending {
            // Those of the book are dialled a moment after the start, and others are yet to be found.
            0 if self.looks => self.began + FINDING,
            0 => self.began + Duration::from_millis(500),
            _ => self.began + FIRST_MEETING,
        };
        let left = limit.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let changed = timeout(left, contacts.changed()).await.is_ok_and(|changed| changed.is_ok());
        // Whom nobody waited for yet may have been begun with meanwhile.
        changed || (pending == 0 && contacts.borrow().0 > 0)
    }

    /// Whether strangers may be asked at all.
    pub(crate) fn asks_strangers(&self) -> bool {
        self.profile != Profile::Private
    }
}

/// How far a peer of the book is trusted.
pub(crate) fn trust(known: &Known) -> Trust {
    if known.tools { Trust::WithTools } else { Trust::Trusted }
}

/// Somebody who is being got to know.
struct Contact<'a>(&'a watch::Sender<(usize, u64)>);

impl<'a> Contact<'a> {
    fn begin(contacts: &'a watch::Sender<(usize, u64)>) -> Self {
        contacts.send_if_modified(|(pending, _)| {
            *pending += 1;
            false
        });
        Self(contacts)
    }
}

impl Drop for Contact<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|(pending, ended)| (*pending, *ended) = (pending.saturating_sub(1), ended.wrapping_add(1)));
    }
}
