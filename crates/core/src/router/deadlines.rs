//! How long a target may take: the defaults, then each layer of the configuration, then the door's and the request's own.
//!
//! Pure. Every target has two sets: the caller's own, and the one under which a call is made that several callers share, where no caller's hurry counts.
//! Who waits by them: `router/attempts.rs` and `provider/patience.rs`.

use std::time::Duration;

use super::resolve::Door;
use crate::config::Timeouts;
use crate::provider::Deadlines;
use crate::request::Request;

/// A person at a terminal has waited long enough by then, unless the config or the request says otherwise.
const COMMAND_TOTAL: Duration = Duration::from_secs(120);

/// The wait for a connection where nobody was named and the next target may do as well: one lost packet is sent again within it.
const AUTOMATIC_CONNECT: Duration = Duration::from_secs(3);

/// What deadlines are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layers<'a> {
    /// Of the configuration, the general ones first.
    pub(super) timeouts: &'a [Timeouts],
    /// Whether nobody was named, so that any target of the plan will do.
    pub(super) automatic: bool,
}

impl Layers<'_> {
    /// The deadlines of one caller.
    pub(super) fn own(self, request: &Request, door: Door) -> Deadlines {
        let mut deadlines = self.base();
        if door == Door::Command {
            deadlines.total = COMMAND_TOTAL;
            deadlines.whole = COMMAND_TOTAL;
        }
        let mut deadlines = self.over(deadlines);
        if let Some(total) = request.timeout {
            deadlines.total = total;
            deadlines.whole = deadlines.whole.min(total);
        }
        deadlines
    }

    /// The deadlines of a call that others may join: the configuration's, or what the request allows beyond them.
    pub(super) fn shared(self, request: &Request) -> Deadlines {
        let mut deadlines = self.over(self.base());
        deadlines.total = deadlines.total.max(request.timeout.unwrap_or_default());
        deadlines
    }

    fn base(self) -> Deadlines {
        let mut deadlines = Deadlines::default();
        if self.automatic {
            deadlines.connect = AUTOMATIC_CONNECT;
        }
        deadlines
    }

    fn over(self, mut deadlines: Deadlines) -> Deadlines {
        let set = |to: &mut Duration, from: Option<Duration>| *to = from.unwrap_or(*to);
        for layer in self.timeouts {
            set(&mut deadlines.connect, layer.connect);
            set(&mut deadlines.first_event, layer.first_event);
            set(&mut deadlines.idle, layer.idle);
            set(&mut deadlines.whole, layer.whole);
            set(&mut deadlines.total, layer.total);
        }
        deadlines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn hurried(timeout: u64) -> Request {
        Request { timeout: Some(seconds(timeout)), ..Request::new("a") }
    }

    #[test]
    fn a_callers_hurry_is_its_own_and_its_patience_everybodys() {
        let layers =
            Layers { timeouts: &[Timeouts { total: Some(seconds(60)), ..Timeouts::default() }], automatic: false };
        let own = layers.own(&hurried(5), Door::Library);
        assert_eq!((own.total, own.whole), (seconds(5), seconds(5)));
        let shared = layers.shared(&hurried(5));
        assert_eq!((shared.total, shared.whole), (seconds(60), seconds(300)));
        assert_eq!(layers.shared(&Request::new("a")), shared);
        assert_eq!(layers.shared(&hurried(90)).total, seconds(90));
    }

    #[test]
    fn the_command_and_automatic_plans_wait_less_unless_the_config_says_more() {
        let plain = Layers { timeouts: &[], automatic: true };
        let own = plain.own(&Request::new("a"), Door::Command);
        assert_eq!((own.total, own.whole, own.connect), (seconds(120), seconds(120), seconds(3)));
        let said = Timeouts { connect: Some(seconds(9)), whole: Some(seconds(200)), ..Timeouts::default() };
        let own = Layers { timeouts: &[said], automatic: true }.own(&Request::new("a"), Door::Command);
        assert_eq!((own.total, own.whole, own.connect), (seconds(120), seconds(200), seconds(9)));
    }
}
