//! A time zone's offset at a moment, by the system's database (TZif, RFC 9636; rules behind its last transition as POSIX writes them in `TZ`).
//!
//! No calendar: `reset.rs` has what little is needed of one.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest file of a zone that is read: the largest has four kilobytes.
const LONGEST: u64 = 64 << 10;

const DAY: i64 = 86_400;

/// A time zone.
#[derive(Clone, Debug, Default)]
pub(super) struct Zone {
    /// Moments from which on another offset holds, and which.
    transitions: Vec<(i64, i64)>,
    /// The offset before the first of them.
    first: i64,
    /// What holds after the last of them.
    rule: Option<Rule>,
}

/// A standard time, and summer time from one moment of each year to another.
#[derive(Clone, Debug)]
struct Rule {
    standard: i64,
    summer: Option<(i64, Turn, Turn)>,
}

/// The `week`th `day` of a `month`, 0 being Sunday and week 5 the last one, so many seconds after its midnight.
#[derive(Clone, Copy, Debug)]
struct Turn {
    month: i64,
    week: i64,
    day: i64,
    time: i64,
}

impl Zone {
    /// The zone in this file.
    pub(super) fn read(file: &Path) -> Option<Self> {
        let mut bytes = Vec::new();
        File::open(file).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        // The first block has 32 bits for a moment; the one behind it has 64, where there is one.
        let (block, size, wide) = match *bytes.get(4)? {
            b'2'.. => (bytes.get(44 + Counts::of(bytes)?.length(4)..)?, 8, true),
            _ => (bytes, 4, false),
        };
        let counts = Counts::of(block)?;
        let body = block.get(44..)?;
        let (moments, rest) = body.split_at_checked(counts.times * size)?;
        let (kinds, rest) = rest.split_at_checked(counts.times)?;
        let types = rest.get(..counts.types * 6)?;
        let offset =
            |kind: usize| Some(i64::from(i32::from_be_bytes(types.get(kind * 6..kind * 6 + 4)?.try_into().ok()?)));
        let moment = |bytes: &[u8]| {
            Some(if wide {
                i64::from_be_bytes(bytes.try_into().ok()?)
            } else {
                i64::from(i32::from_be_bytes(bytes.try_into().ok()?))
            })
        };
        let pairs = moments.chunks(size).zip(kinds);
        let transitions =
            pairs.map(|(at, kind)| Some((moment(at)?, offset(usize::from(*kind))?))).collect::<Option<_>>()?;
        let footer = if wide { block.get(44 + counts.length(8)..)? } else { &[] };
        let footer = std::str::from_utf8(footer).ok()?.trim();
        Some(Self { transitions, first: offset(0)?, rule: rule(footer) })
    }

    /// Seconds that its clocks are ahead of UTC at a moment (seconds since 1970).
    pub(super) fn offset(&self, at: i64) -> i64 {
        let passed = self.transitions.partition_point(|(from, _)| *from <= at);
        let known =
            passed.checked_sub(1).and_then(|last| self.transitions.get(last)).map_or(self.first, |(_, offset)| *offset);
        match &self.rule {
            Some(rule) if passed == self.transitions.len() => rule.offset(at),
            _ => known,
        }
    }
}

/// What a block of the file has of each, in the order of its head.
struct Counts {
    ut: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    chars: usize,
}

impl Counts {
    fn of(block: &[u8]) -> Option<Self> {
        let count = |at: usize| Some(u32::from_be_bytes(block.get(at..at + 4)?.try_into().ok()?) as usize);
        let counts = Self {
            ut: count(20)?,
            standard: count(24)?,
            leaps: count(28)?,
            times: count(32)?,
            types: count(36)?,
            chars: count(40)?,
        };
        let sane = [counts.ut, counts.standard, counts.leaps, counts.times, counts.types, counts.chars];
        (block.starts_with(b"TZif") && sane.iter().all(|count| *count as u64 <= LONGEST)).then_some(counts)
    }

    /// The bytes behind its head, with so many for a moment.
    fn length(&self, moment: usize) -> usize {
        self.times * (moment + 1) + self.types * 6 + self.chars + self.leaps * (moment + 4) + self.standard + self.ut
    }
}

impl Rule {
    fn offset(&self, at: i64) -> i64 {
        let Some((summer, begins, ends)) = &self.summer else { return self.standard };
        let (year, ..) = date((at + self.standard).div_euclid(DAY));
        // Each turn is on the clock that holds before it.
        let (begins, ends) = (begins.moment(year) - self.standard, ends.moment(year) - summer);
        let warm = if begins < ends { (begins..ends).contains(&at) } else { !(ends..begins).contains(&at) };
        if warm { *summer } else { self.standard }
    }
}

impl Turn {
    fn moment(self, year: i64) -> i64 {
        let first = days(year, self.month, 1);
        // 1970 began on a Thursday.
        let to = (self.day - (first + 4)).rem_euclid(7) + (self.week - 1) * 7;
        let next = if self.month == 12 { days(year + 1, 1, 1) } else { days(year, self.month + 1, 1) };
        let day = if first + to >= next { first + to - 7 } else { first + to };
        day * DAY + self.time
    }
}

/// `CET-1CEST,M3.5.0,M10.5.0/3`; nothing for rules that count days otherwise, which no zone has today.
fn rule(text: &str) -> Option<Rule> {
    let mut parts = text.split(',');
    let (standard, rest) = time(name(parts.next()?)?)?;
    if rest.is_empty() {
        return Some(Rule { standard: -standard, summer: None });
    }
    let rest = name(rest)?;
    let summer = if rest.is_empty() { -standard + 3600 } else { -time(rest)?.0 };
    let mut turn = || {
        let (day, at) = parts.next()?.strip_prefix('M').map(|turn| turn.split_once('/').unwrap_or((turn, "2")))?;
        let mut numbers = day.split('.').map(|number| number.parse::<i64>().ok());
        let (month, week, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let sane = (1..=12).contains(&month) && (1..=5).contains(&week) && (0..=6).contains(&day);
        Some(Turn { month, week, day, time: time(at)?.0 }).filter(|_| sane)
    };
    Some(Rule { standard: -standard, summer: Some((summer, turn()?, turn()?)) })
}

/// What follows the name of a zone: letters, or anything in angles.
fn name(text: &str) -> Option<&str> {
    match text.strip_prefix('<') {
        Some(rest) => rest.split_once('>').map(|(_, rest)| rest),
        None => Some(text.trim_start_matches(|c: char| c.is_ascii_alphabetic())),
    }
}

/// `-5:30` in seconds, and what follows it.
fn time(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || "+-:".contains(c))).unwrap_or(text.len());
    let (own, rest) = text.split_at(end);
    let (sign, digits) = own.strip_prefix('-').map_or((1, own.strip_prefix('+').unwrap_or(own)), |digits| (-1, digits));
    let mut seconds = 0;
    for (part, unit) in digits.split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok().filter(|part| (0..=167).contains(part))? * unit;
    }
    Some((sign * seconds, rest))
}

/// Days from 1970 to a date of the Gregorian calendar.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March, so that the leap day is the last of one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day
        - 719_469
}

/// The date so many days after 1970: year, month, day.
pub(super) fn date(after: i64) -> (i64, i64, i64) {
    let near = 1970 + after.div_euclid(366);
    let year = (near..).take_while(|year| days(*year, 1, 1) <= after).last().unwrap_or(near);
    let month = (1..=12).take_while(|month| days(year, *month, 1) <= after).last().unwrap_or(1);
    (year, month, after - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_way_back() {
        for (year, month, day, after) in
            [(1970, 1, 1, 0), (2000, 2, 29, 11_016), (2026, 11, 22, 20_779), (1969, 12, 31, -1)]
        {
            assert_eq!((days(year, month, day), date(after)), (after, (year, month, day)));
        }
        assert!((-1000..60_000).all(|after| {
            let (y, m, d) = date(after);
            days(y, m, d) == after
        }));
    }

    #[test]
    fn rules_hold_after_the_last_transition() {
        // 2026-03-08T10:00:00Z and 2026-11-01T09:00:00Z are the turns in Los Angeles, 2026-03-29T01:00:00Z and 2026-10-25T01:00:00Z in Rome.
        for (text, turns, standard, summer) in [
            ("PST8PDT,M3.2.0,M11.1.0", [1_772_964_000, 1_793_523_600], -28_800, -25_200),
            ("CET-1CEST,M3.5.0,M10.5.0/3", [1_774_746_000, 1_792_890_000], 3_600, 7_200),
        ] {
            let zone = Zone { rule: rule(text), ..Zone::default() };
            for (turn, (before, after)) in turns.into_iter().zip([(standard, summer), (summer, standard)]) {
                assert_eq!((zone.offset(turn - 1), zone.offset(turn)), (before, after), "{text} {turn}");
            }
        }
        // The summer of Sydney goes over the new year.
        let sydney = Zone { rule: rule("AEST-10AEDT,M10.1.0,M4.1.0/3"), ..Zone::default() };
        assert_eq!((sydney.offset(1_767_225_600), sydney.offset(1_782_864_000)), (39_600, 36_000));
        let offset = |text: &str| rule(text).map(|rule| rule.offset(0));
        assert_eq!((offset("IST-5:30"), offset("<-03>3"), offset("UTC0")), (Some(19_800), Some(-10_800), Some(0)));
        for bad in ["", "X", "PST8PDT", "PST8PDT,J60,J300", "PST8PDT,M13.1.0,M1.1.0", "é"] {
            assert!(rule(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn files_are_read_with_their_transitions_and_their_rule() {
        let head = |version: u8, times: u32, types: u32| {
            let counts = [0, 0, 0, times, types, 4].map(u32::to_be_bytes).concat();
            [b"TZif".as_slice(), &[version], &[0; 15], &counts].concat()
        };
        let types = [3600_i32, 7200].map(|offset| [&offset.to_be_bytes()[..], &[0, 0]].concat()).concat();
        let first = [head(b'2', 0, 1), types[..6].to_vec(), b"CET\0".to_vec()].concat();
        let second = [head(b'2', 1, 2), 1000_i64.to_be_bytes().to_vec(), vec![1], types, b"CET\0".to_vec()].concat();
        let whole = [&first[..], &second, b"\nIST-5:30\n"].concat();
        let zone = Zone::parse(&whole).unwrap();
        assert_eq!([999, 1000].map(|at| zone.offset(at)), [3600, 19_800]);
        let plain = Zone::parse(&[&first[..], &second, b"\n\n"].concat()).unwrap();
        assert_eq!([999, 1000].map(|at| plain.offset(at)), [3600, 7200]);
        for end in 0..whole.len() - 11 {
            assert!(Zone::parse(&whole[..end]).is_none(), "{end}");
        }
    }
}
