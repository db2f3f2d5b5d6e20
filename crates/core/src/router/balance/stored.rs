//! Stored answers of a whole group: what one member answered, the others are not asked again.
//!
//! An answer is stored under the target that gave it, and looked for target by target in the order in which a plan asks. Where the members of a group share the load that order is
//! another one each time, so equal requests find an answer only once each member gave one. With `cache.group` the members are one in this: the first that has an answer takes the
//! place of the one whose turn it is. A call under way is joined at its own target only.

use std::sync::Arc;

use crate::provider::Target;
use crate::request::Request;
use crate::router::Router;
use crate::router::resolve::Planned;

/// The groups that were looked through for one request.
#[derive(Debug, Default)]
pub(in crate::router) struct Shelves(Option<usize>);

impl Shelves {
    /// Brings up the member of the next target's group that has a stored answer, and says whom it stands before. The next target is the last one; `meant` is the target that the request
    /// names.
    pub(in crate::router) async fn bring_up(
        &mut self,
        router: &Router,
        targets: &mut Vec<Planned>,
        request: &Arc<Request>,
        meant: Option<&Target>,
    ) -> Option<Target> {
        let cache = router.deps().cache.as_ref().filter(|cache| cache.covers(request))?;
        // A stored answer may be one to a part of the request.
        if request.riders.strict {
            return None;
        }
        let group_of = |planned: &Planned| planned.seats.first().map(|seat| seat.group);
        let next = targets.last()?;
        let (group, turn) = (group_of(next)?, next.target.clone());
        if self.0.replace(group) == Some(group) {
            return None;
        }
        let mut looked = Vec::new();
        for (at, planned) in targets.iter().enumerate().rev().take_while(|(_, other)| group_of(other) == Some(group)) {
            // Several keys of one provider are one place.
            if looked.contains(&&planned.target) {
                continue;
            }
            let (seen, _) = router.0.makers.for_target(request, planned, meant == Some(&planned.target));
            let Ok(key) = cache.key(&seen, &planned.target) else { continue };
            if Box::pin(cache.get(&key, &seen)).await.is_some() {
                let stored = targets.remove(at);
                let moved = stored.target != turn;
                targets.push(stored);
                return moved.then_some(turn);
            }
            looked.push(&planned.target);
        }
        None
    }
}
