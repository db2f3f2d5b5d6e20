//! Which slot a prompt should use, and how much of what slots already hold it can keep.
//!
//! Pure arithmetic over token lists; the scheduler carries the plan out. Next: [`super::scheduler`].

use crate::ffi::Token;

/// What the planner sees of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotView<'a> {
    /// The tokens whose state the slot holds, in order.
    pub(super) held: &'a [Token],
    /// How many of them, from the start, may be kept by another prompt.
    pub(super) keepable: usize,
    /// Whether an answer is being made in it.
    pub(super) busy: bool,
    /// When it was last used; smaller is longer ago.
    pub(super) used: u64,
}

/// Where a prompt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The slot to use.
    pub(super) slot: usize,
    /// How many tokens of the prompt need no computing.
    pub(super) keep: usize,
    /// The slot whose state is copied over first, if not its own.
    pub(super) copy_from: Option<usize>,
}

/// Picks a free slot for `prompt`; `None` where all are busy.
///
/// A copy moves a whole slot's memory, so it must save more than `copy_worth` tokens over the best free slot. Kept
/// lengths are multiples of `grain`.
pub(super) fn plan(slots: &[SlotView<'_>], prompt: &[Token], copy_worth: usize, grain: usize) -> Option<Plan> {
    // The last prompt token is always computed: its logits start the answer.
    let most = prompt.len().saturating_sub(1);
    let keep = |slot: &SlotView<'_>| {
        let shared = slot.held.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let keep = shared.min(slot.keepable).min(most);
        keep - keep % grain.max(1)
    };
    let free = || slots.iter().enumerate().filter(|(_, slot)| !slot.busy);
    // The slot whose loss hurts least: an empty one, else the one unused for longest; of equals the lowest, because
    // neighbours share a step best.
    let loss = |(at, slot): &(usize, &SlotView<'_>)| (!slot.held.is_empty(), slot.used, *at);
    let victim = free().min_by_key(loss)?;
    let own = free().max_by_key(|at| (keep(at.1), std::cmp::Reverse(loss(at))))?;
    let best = slots.iter().enumerate().max_by_key(|(_, slot)| keep(slot))?;
    // A short match is no reason to throw away another conversation's long state while a slot stands empty.
    let kept = keep(own.1);
    let (slot, kept) =
        if kept * 2 < own.1.held.len() && victim.1.held.is_empty() { (victim.0, 0) } else { (own.0, kept) };
    if keep(best.1) > kept + copy_worth {
        return Some(Plan { slot: victim.0, keep: keep(best.1), copy_from: Some(best.0) });
    }
    Some(Plan { slot, keep: kept, copy_from: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn slot(held: &[Token], busy: bool, used: u64) -> SlotView<'_> {
        SlotView { held, keepable: held.len(), busy, used }
    }

    const LONG: [Token; 100] = [7; 100];

    #[test]
    fn no_free_slot_no_plan() {
        assert_eq!(plan(&[slot(&[1], true, 0)], &[1, 2], 8, 1), None);
    }

    #[test]
    fn the_longest_match_wins_and_the_last_token_is_computed() {
        let slots = [slot(&[1, 2], false, 9), slot(&[1, 2, 3], false, 1), slot(&[], false, 0)];
        assert_eq!(plan(&slots, &[1, 2, 3], 8, 1), Some(Plan { slot: 1, keep: 2, copy_from: None }));
        assert_eq!(plan(&slots, &[1, 2, 3, 4], 8, 1), Some(Plan { slot: 1, keep: 3, copy_from: None }));
    }

    #[test]
    fn without_a_match_an_empty_slot_then_the_one_unused_for_longest() {
        let slots = [slot(&[1], false, 5), slot(&[], false, 9)];
        assert_eq!(plan(&slots, &[4, 5], 8, 1).unwrap().slot, 1);
        let slots = [slot(&[1], false, 5), slot(&[2], false, 3)];
        assert_eq!(plan(&slots, &[4, 5], 8, 1).unwrap().slot, 1);
        let slots = [slot(&[], false, 0), slot(&[], false, 0)];
        assert_eq!(plan(&slots, &[4, 5], 8, 1).unwrap().slot, 0, "neighbours share a step best");
    }

    #[test]
    fn a_busy_slots_prefix_is_copied_where_it_pays() {
        let slots = [slot(&LONG, true, 5), slot(&[], false, 0)];
        assert_eq!(plan(&slots, &LONG, 64, 1), Some(Plan { slot: 1, keep: 99, copy_from: Some(0) }));
        assert_eq!(plan(&slots, &LONG, 99, 1), Some(Plan { slot: 1, keep: 0, copy_from: None }));
    }

    #[test]
    fn a_copy_goes_where_the_loss_is_least() {
        let slots = [slot(&LONG, true, 5), slot(&LONG[..20], false, 1), slot(&[], false, 9)];
        assert_eq!(plan(&slots, &LONG, 64, 1), Some(Plan { slot: 2, keep: 99, copy_from: Some(0) }));
    }

    #[test]
    fn a_short_match_does_not_cost_another_conversation_its_state() {
        let slots = [slot(&LONG, false, 5), slot(&[], false, 0)];
        assert_eq!(plan(&slots, &[7, 7, 7, 1], 64, 1), Some(Plan { slot: 1, keep: 0, copy_from: None }));
    }

    #[test]
    fn kept_lengths_follow_the_grain_and_what_may_be_kept() {
        let slots = [slot(&LONG, false, 5)];
        assert_eq!(plan(&slots, &LONG, 8, 64).unwrap().keep, 64);
        let slots = [SlotView { keepable: 10, ..slot(&LONG, false, 5) }];
        assert_eq!(plan(&slots, &LONG, 8, 1).unwrap().keep, 10);
    }

    #[test]
    fn an_empty_prompt_keeps_nothing() {
        assert_eq!(plan(&[slot(&[1], false, 0)], &[], 8, 1).unwrap().keep, 0);
    }
}
