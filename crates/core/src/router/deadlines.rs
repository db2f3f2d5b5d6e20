//! How long a target may take: the defaults, then each layer of the configuration, general ones first (router, provider, model, route), then the door's and the
//! request's own.
//!
//! Pure. Every target has two sets: the caller's own, and the one under which a call is made that several callers share, where no caller's hurry counts.
//! Who waits by them: `router/attempts.rs` and `provider/patience.rs`.

use std::time::Duration;

use super::resolve::Door;
use crate::config::{ModelSettings, Settings, Timeouts};
use crate::provider::{Deadlines, Target};
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
            // Else the first target could take all of it.
            deadlines.first_event = deadlines.first_event.min(total);
        }
        set(&mut deadlines, &request.timeouts);
        deadlines
    }

    /// The deadlines of a call that others may join: the configuration's, or what the request allows beyond them.
    pub(super) fn shared(self, request: &Request) -> Deadlines {
        let mut deadlines = self.over(self.base());
        deadlines.total = deadlines.total.max(request.timeout.unwrap_or_default());
        let mut own = deadlines;
        set(&mut own, &request.timeouts);
        deadlines.connect = deadlines.connect.max(own.connect);
        deadlines.first_event = deadlines.first_event.max(own.first_event);
        deadlines.idle = deadlines.idle.max(own.idle);
        deadlines.whole = deadlines.whole.max(own.whole);
        deadlines.total = deadlines.total.max(own.total);
        deadlines.min_bytes_per_s = deadlines.min_bytes_per_s.min(own.min_bytes_per_s);
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
        self.timeouts.iter().for_each(|layer| set(&mut deadlines, layer));
        deadlines
    }
}

/// Puts one layer over those before it.
fn set(deadlines: &mut Deadlines, layer: &Timeouts) {
    let set = |to: &mut Duration, from: Option<Duration>| *to = from.unwrap_or(*to);
    set(&mut deadlines.connect, layer.connect);
    set(&mut deadlines.first_event, layer.first_event);
    set(&mut deadlines.idle, layer.idle);
    set(&mut deadlines.whole, layer.whole);
    set(&mut deadlines.total, layer.total);
    deadlines.min_bytes_per_s = layer.min_bytes_per_s.unwrap_or(deadlines.min_bytes_per_s);
}

/// The shortest of the limits that a caller has below everybody's: who runs into one says nothing of the target.
pub(super) fn haste(own: &Deadlines, everybodys: &Deadlines) -> Option<Duration> {
    let limits = |of: &Deadlines| [of.connect, of.idle, of.whole, of.total];
    let shorter = limits(own).into_iter().zip(limits(everybodys)).filter(|(own, all)| own < all);
    shorter.map(|(own, _)| own).min()
}

/// What is set of a model at a provider: of its plain name, too, where a digest stands behind it.
pub(super) fn of_model(settings: &Settings, target: &Target) -> Timeouts {
    model_settings(settings, target).map(|model| model.timeouts).unwrap_or_default()
}

/// What is set of the model of a target.
pub(super) fn model_settings<'a>(settings: &'a Settings, target: &Target) -> Option<&'a ModelSettings> {
    let model = target.model.as_ref().filter(|_| !settings.models.is_empty())?;
    let named = |model: &str| settings.models.get(&format!("{}/{model}", target.provider));
    named(model.as_str()).or_else(|| named(model.as_str().rsplit_once('@')?.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
    fn a_request_sets_single_deadlines_over_everything_and_its_timeout_bounds_the_first_event() {
        let said = Timeouts { first_event: Some(seconds(40)), min_bytes_per_s: Some(0), ..Timeouts::default() };
        let layers =
            Layers { timeouts: &[said, Timeouts { idle: Some(seconds(9)), ..Timeouts::default() }], automatic: false };
        assert_eq!(layers.own(&hurried(5), Door::Library).first_event, seconds(5));
        let mut request = Request::new("a");
        request.timeouts = Timeouts { first_event: Some(seconds(2)), idle: Some(seconds(20)), ..Timeouts::default() };
        let own = layers.own(&request, Door::Library);
        assert_eq!((own.first_event, own.idle, own.min_bytes_per_s), (seconds(2), seconds(20), 0));
        let shared = layers.shared(&request);
        assert_eq!(
            (shared.first_event, shared.idle),
            (seconds(40), seconds(20)),
            "hurry is its own, patience everybody's"
        );
    }

    #[test]
    fn a_model_is_found_by_its_plain_name_too() {
        let mut settings = Settings::default();
        let timeouts = Timeouts { idle: Some(seconds(7)), ..Timeouts::default() };
        settings.models.entry("local/smol".into()).or_default().timeouts = timeouts;
        let of = |id: &str, model: &str| {
            of_model(&settings, &Target::new(id.parse().unwrap(), Some(model.parse().unwrap())))
        };
        assert_eq!((of("local", "smol"), of("local", "smol@0123456789abcdef")), (timeouts, timeouts));
        assert_eq!((of("lab", "smol"), of("local", "other")), (Timeouts::default(), Timeouts::default()));
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
