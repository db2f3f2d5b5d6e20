//! A network that swallows packets: what an automatic plan does once a connection attempt has met silence.
//!
//! Without this every key left over in the environment would cost a connection's whole deadline before the local floor has its turn. After the first silence
//! all targets that remain are tried at once, by connecting alone: nothing of a request is sent, what connects is used, and the others are asked for stored
//! answers only. No target is given up untried.

use std::time::Duration;

use futures_util::future::join_all;

use super::resolve::{Plan, Planned};
use crate::error::{Error, ErrorKind};
use crate::provider::Context;

/// How long the targets that remain have to let themselves be connected to, all of them together.
const LIMIT: Duration = Duration::from_secs(1);

/// Whether nothing answered at all: no connection, and no refusal either.
pub(super) fn was_silent(error: &Error) -> bool {
    error.is_unsent() && error.kind() == ErrorKind::ProviderTimeout
}

/// Finds out which of the plan's remaining targets can be reached, and marks the others.
pub(super) async fn look_ahead(plan: &mut Plan, cx: &Context) {
    let tried = |planned: &Planned| {
        let (provider, limit) = (planned.provider.clone(), planned.deadlines.connect.min(LIMIT));
        async move { provider.reach(cx, limit).await.err().filter(was_silent) }
    };
    let silent = join_all(plan.targets.iter().map(tried)).await;
    for (planned, error) in plan.targets.iter_mut().zip(silent) {
        planned.unreached = error;
    }
}
