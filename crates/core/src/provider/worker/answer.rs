//! What a worker gives to one call, part by part, for as long as its deadlines allow. Where the parts come from is `worker/session.rs`'s business.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::lost;
use super::session::{Item, Part, Session};
use super::wire::{CREDIT, Order};
use crate::error::Result;
use crate::provider::Call;
use crate::provider::patience::Patience;

/// An answer under way. Dropping it cancels the call in the worker.
pub(super) struct Answer {
    session: Arc<Session>,
    id: u64,
    events: mpsc::Receiver<Item>,
    patience: Patience,
    call: Arc<Call>,
    taken: usize,
    over: bool,
}

impl Answer {
    pub(super) fn new(
        session: Arc<Session>,
        id: u64,
        events: mpsc::Receiver<Item>,
        patience: Patience,
        call: Arc<Call>,
    ) -> Self {
        Self { session, id, events, patience, call, taken: 0, over: false }
    }

    /// The next part, `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Part>> {
        let Self { events, patience, .. } = self;
        let item = patience.wait("the worker's answer", async { Ok(events.recv().await) }).await?;
        let (part, dropped) = match item {
            Some(Item::Part(part, dropped)) => (Some(part), dropped),
            Some(Item::End(dropped)) => (None, dropped),
            Some(Item::Failed(error)) => {
                self.over = true;
                self.call.cx.wait_for_place(false);
                return Err(error);
            }
            None => {
                self.over = true;
                return Err(lost("of this call", "the router shut it down"));
            }
        };
        self.call.note_dropped(dropped)?;
        self.over = part.is_none();
        let waits = matches!(part, Some(Part::Event(_, true)));
        self.call.cx.wait_for_place(waits);
        if !waits {
            self.patience.begun();
        }
        self.taken += 1;
        if !self.over && self.taken >= CREDIT / 2 {
            self.session.order(&Order { id: Some(self.id), credit: Some(self.taken), ..Order::default() });
            self.taken = 0;
        }
        Ok(part)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.over {
            self.session.cancel(self.id);
        }
    }
}
