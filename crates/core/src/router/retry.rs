//! What follows a failed attempt: the same target again, the next one, or the caller. The error table's columns, as decisions.
//!
//! Pure: no clock and no sleep here. Backoff is full jitter: a random share of a cap that doubles. How many retries there may be in all is `retry/budget.rs`.

mod budget;

use std::time::Duration;

pub(super) use self::budget::Budget;
use crate::error::{Error, NextTarget, SameTarget};

/// The most attempts at one target.
pub const MAX_ATTEMPTS: u32 = 3;

const FIRST_CAP: Duration = Duration::from_millis(250);
const LARGEST_CAP: Duration = Duration::from_secs(4);
/// The longest an upstream's own `Retry-After` is waited for; past it the caller is better served by hearing so.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Ask the same target again after this time.
    Again(Duration),
    /// Ask the next target.
    Next,
    /// Tell the caller.
    Stop,
}

/// Where in its plan an attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Attempts at this target so far, from 1.
    pub attempt: u32,
    /// Whether another target remains.
    pub others: bool,
    /// A random number from 0 to 1.
    pub jitter: f64,
}

/// What to do after `error`. Asking with another credential is the provider's business; by the time its error comes here, it has none left.
pub fn decide(error: &Error, place: Place) -> Decision {
    let row = error.kind().row();
    // After the two conditional columns this target is done with; who is next is `onward.rs`'s business.
    let onward = if place.others && row.next == NextTarget::Yes { Decision::Next } else { Decision::Stop };
    if place.attempt >= MAX_ATTEMPTS {
        return onward;
    }
    match row.same {
        SameTarget::Never | SameTarget::NextCredential | SameTarget::AfterReset => onward,
        // While somebody else can answer now, nobody waits for a limit to pass.
        SameTarget::AfterDelay if onward == Decision::Next => onward,
        // A host that cannot be reached is not reached a moment later: without a network every key would cost its share of backoff.
        SameTarget::Retry if error.is_unsent() && onward == Decision::Next => onward,
        SameTarget::AfterDelay | SameTarget::Retry => match error.retry_after() {
            Some(wait) if wait > LONGEST_WAIT => onward,
            Some(wait) => Decision::Again(wait),
            None => Decision::Again(backoff(place)),
        },
    }
}

fn backoff(place: Place) -> Duration {
    let cap = FIRST_CAP.saturating_mul(1 << place.attempt.saturating_sub(1).min(8)).min(LARGEST_CAP);
    cap.mul_f64(place.jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn place(attempt: u32, others: bool) -> Place {
        Place { attempt, others, jitter: 1.0 }
    }

    #[test]
    fn a_callers_error_is_the_callers() {
        for kind in [ErrorKind::CallerInvalidRequest, ErrorKind::PolicyForbidden, ErrorKind::RouterInternal] {
            assert_eq!(decide(&Error::new(kind, ""), place(1, true)), Decision::Stop, "{kind}");
        }
    }

    #[test]
    fn a_server_error_is_tried_three_times_then_left() {
        let error = Error::new(ErrorKind::ProviderServerError, "");
        assert_eq!(decide(&error, place(1, true)), Decision::Again(Duration::from_millis(250)));
        assert_eq!(decide(&error, place(2, true)), Decision::Again(Duration::from_millis(500)));
        assert_eq!(decide(&error, place(3, true)), Decision::Next);
        assert_eq!(decide(&error, place(3, false)), Decision::Stop);
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_tried_again_only_where_nobody_else_is() {
        let error = Error::new(ErrorKind::ProviderConnection, "");
        assert!(matches!(decide(&error, place(1, true)), Decision::Again(_)));
        let error = error.unsent();
        assert_eq!(decide(&error, place(1, true)), Decision::Next);
        assert!(matches!(decide(&error, place(1, false)), Decision::Again(_)));
    }

    #[test]
    fn a_rate_limit_is_waited_for_only_where_nobody_else_is() {
        let error = Error::new(ErrorKind::ProviderRateLimited, "").with_retry_after(Duration::from_secs(1));
        assert_eq!(decide(&error, place(1, true)), Decision::Next);
        assert_eq!(decide(&error, place(1, false)), Decision::Again(Duration::from_secs(1)));
        let long = error.with_retry_after(Duration::from_secs(60));
        assert_eq!(decide(&long, place(1, false)), Decision::Stop);
    }
}
