//! In which order the members of a group are asked: one small function for each strategy. Pure: what was observed, the turn and the chance are handed in.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

/// What is known of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Member {
    /// Its place in the group, as written.
    pub(super) place: usize,
    pub(super) weight: u64,
    /// Calls under way.
    pub(super) in_flight: u32,
    /// The time to its first content lately, in seconds.
    pub(super) peak: Option<f64>,
    /// What the request would cost there.
    pub(super) cost: Option<u64>,
    /// Its mark among those for the request's own key: the highest is its home.
    pub(super) rank: u64,
}

/// A member that was never asked and is being asked counts as if it took so many seconds, so that not everybody tries it at once.
const UNKNOWN: f64 = 10.0;

impl Member {
    /// What asking it would take: its time, for each call that is before us and for ours.
    pub(super) fn load(&self) -> f64 {
        let waiting = f64::from(self.in_flight);
        match self.peak {
            Some(peak) => peak * (waiting + 1.0),
            None if self.in_flight == 0 => 0.0,
            None => UNKNOWN + waiting,
        }
    }
}

/// Anyone first, and anyone after that. `chance` gives random numbers from 0 to 1.
pub(super) fn random(members: &mut [Member], mut chance: impl FnMut() -> f64) {
    for end in (1..members.len()).rev() {
        members.swap(pick(end + 1, &mut chance), end);
    }
}

/// A number below `of`.
fn pick(of: usize, chance: &mut impl FnMut() -> f64) -> usize {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let picked = (chance().clamp(0.0, 1.0) * of as f64) as usize;
    picked.min(of.saturating_sub(1))
}

/// Each in turn.
pub(super) fn round_robin(members: &mut [Member], turn: usize) {
    if !members.is_empty() {
        members.rotate_left(turn % members.len());
    }
}

/// The one with the fewest calls first; among equals each in turn.
pub(super) fn least_busy(members: &mut [Member], turn: usize) {
    round_robin(members, turn);
    members.sort_by_key(|member| member.in_flight);
}

/// The quicker of two first, whoever they are: the best of all would be everybody's first at once. The others follow, the quickest first.
pub(super) fn latency(members: &mut [Member], mut chance: impl FnMut() -> f64) {
    let quicker = |a: &Member, b: &Member| a.load().total_cmp(&b.load());
    let count = members.len();
    if count > 2 {
        members.swap(0, pick(count, &mut chance));
        let other = 1 + pick(count - 1, &mut chance);
        members.swap(1, other);
    } else if count == 2 && chance() < 0.5 {
        // Where both are alike, each has its turn.
        members.swap(0, 1);
    }
    let two = count.min(2);
    if let Some(two) = members.get_mut(..two) {
        two.sort_by(quicker);
    }
    if let Some(rest) = members.get_mut(1..) {
        rest.sort_by(quicker);
    }
}

/// The cheapest first; unknown is not nothing, and comes last.
pub(super) fn cost(members: &mut [Member]) {
    members.sort_by_key(|member| (member.cost.is_none(), member.cost));
}

/// The home of the request's key first, then those that would be its home without it.
pub(super) fn sticky(members: &mut [Member]) {
    members.sort_by(|a, b| b.rank.cmp(&a.rank).then(a.place.cmp(&b.place)));
}

/// As [`sticky`], but a member that has a quarter more to do than its share is passed over.
pub(super) fn prefix(members: &mut [Member]) {
    sticky(members);
    let calls: u64 = members.iter().map(|member| u64::from(member.in_flight)).sum::<u64>() + 1;
    let share = 4 * u64::try_from(members.len()).unwrap_or(u64::MAX).max(1);
    let most = (calls * 5).div_ceil(share);
    // Stable: within the two halves the order stays.
    members.sort_by_key(|member| u64::from(member.in_flight) >= most);
}

/// Turns by weight, spread evenly: each member gains its weight with every turn, and the one that has most pays for all.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Vec<i64>>);

impl Turns {
    /// The order of the next turn, which it is then unless somebody only looks.
    pub(super) fn next(&self, members: &mut [Member], take: bool) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = members.iter().map(|member| member.place + 1).max().unwrap_or_default();
        if held.len() < most {
            held.resize(most, 0);
        }
        let weight = |member: &Member| i64::try_from(member.weight).unwrap_or(i64::MAX >> 16);
        let after = |member: &Member| held.get(member.place).copied().unwrap_or_default() + weight(member);
        let more = |a: &Member, b: &Member| -> Ordering {
            // Who has no weight stands behind all who have one.
            (a.weight == 0).cmp(&(b.weight == 0)).then(after(b).cmp(&after(a))).then(a.place.cmp(&b.place))
        };
        members.sort_by(more);
        if !take {
            return;
        }
        let all: i64 = members.iter().map(weight).sum();
        for (at, member) in members.iter().enumerate() {
            if let Some(held) = held.get_mut(member.place) {
                *held += weight(member) - if at == 0 { all } else { 0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn members(count: usize) -> Vec<Member> {
        (0..count).map(|place| Member { place, weight: 1, ..Member::default() }).collect()
    }

    fn places(members: &[Member]) -> Vec<usize> {
        members.iter().map(|member| member.place).collect()
    }

    #[test]
    fn turns_are_as_many_as_weights_say_and_spread() {
        let turns = Turns::default();
        let weights = [5, 1, 1, 0];
        let firsts: Vec<usize> = (0..7)
            .map(|_| {
                let mut members = members(4);
                members.iter_mut().for_each(|member| member.weight = weights[member.place]);
                let mut looked = members.clone();
                turns.next(&mut looked, false);
                turns.next(&mut members, true);
                assert_eq!(looked, members, "a look changes nothing");
                assert_eq!(members[3].place, 3, "no weight is last");
                members[0].place
            })
            .collect();
        assert_eq!(firsts, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn who_is_not_there_loses_no_turn() {
        let turns = Turns::default();
        for _ in 0..100 {
            turns.next(&mut members(2)[1..], true);
        }
        let mut both = members(2);
        turns.next(&mut both, true);
        let mut again = members(2);
        turns.next(&mut again, true);
        assert_ne!(both[0].place, again[0].place);
    }

    #[test]
    fn the_least_busy_is_first_and_equals_take_turns() {
        let mut some = members(3);
        some[0].in_flight = 2;
        least_busy(&mut some, 0);
        assert_eq!(places(&some), [1, 2, 0]);
        let mut some = members(3);
        some[0].in_flight = 2;
        least_busy(&mut some, 2);
        assert_eq!(places(&some), [2, 1, 0]);
    }

    #[test]
    fn of_two_the_quicker_one_is_asked_and_the_slowest_never_first() {
        let mut firsts = [0; 3];
        for step in 0..300u32 {
            let mut some = members(3);
            some[0].peak = Some(0.1);
            some[1].peak = Some(0.2);
            some[2].peak = Some(2.0);
            let mut chances = [f64::from(step % 17) / 17.0, f64::from(step % 13) / 13.0].into_iter().cycle();
            latency(&mut some, || chances.next().unwrap());
            firsts[some[0].place] += 1;
            assert!(some[1].load() <= some[2].load());
        }
        assert!(firsts[0] > firsts[1] && firsts[1] > 50 && firsts[2] == 0, "{firsts:?}");
    }

    #[test]
    fn calls_under_way_make_a_quick_one_slow_and_the_unknown_is_tried_by_one() {
        let mut two = members(2);
        two[0].peak = Some(0.1);
        two[0].in_flight = 9;
        two[1].peak = Some(0.5);
        latency(&mut two, || 0.9);
        assert_eq!(places(&two), [1, 0]);
        let mut two = members(2);
        two[0].peak = Some(0.1);
        latency(&mut two, || 0.9);
        assert_eq!(places(&two), [1, 0]);
        two.iter_mut().filter(|member| member.place == 1).for_each(|member| member.in_flight = 1);
        latency(&mut two, || 0.9);
        assert_eq!(places(&two), [0, 1]);
    }

    #[test]
    fn the_cheapest_is_first_and_the_unknown_last() {
        let mut some = members(4);
        (some[1].cost, some[2].cost, some[3].cost) = (Some(5), Some(0), Some(5));
        cost(&mut some);
        assert_eq!(places(&some), [2, 1, 3, 0]);
    }

    #[test]
    fn a_home_is_left_only_while_it_is_overrun() {
        let mut some = members(3);
        (some[0].rank, some[1].rank, some[2].rank) = (3, 9, 5);
        prefix(&mut some);
        assert_eq!(places(&some), [1, 2, 0]);
        some[0].in_flight = 3;
        prefix(&mut some);
        assert_eq!(places(&some), [2, 0, 1]);
        sticky(&mut some);
        assert_eq!(places(&some), [1, 2, 0], "sticky stays at home");
        // Alike busy, all at home.
        some.iter_mut().for_each(|member| member.in_flight = 40);
        prefix(&mut some);
        assert_eq!(places(&some), [1, 2, 0]);
    }

    #[test]
    fn anyone_is_each_as_often() {
        let mut firsts = [0; 3];
        for a in 0..30u32 {
            for b in 0..30u32 {
                let mut some = members(3);
                let mut chances = [(f64::from(a) + 0.5) / 30.0, (f64::from(b) + 0.5) / 30.0].into_iter();
                random(&mut some, || chances.next().unwrap());
                firsts[some[0].place] += 1;
            }
        }
        assert_eq!(firsts, [300, 300, 300]);
    }
}
