//! Days and months of UTC, in which money is counted. Pure.

use std::time::SystemTime;

use super::key::{at, seconds};

/// For how long a cap holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Period {
    /// A day of UTC.
    Day,
    /// A month of UTC.
    Month,
    /// For ever.
    Ever,
}

/// Seconds of a day.
pub(super) const DAY: u64 = 86_400;

impl Period {
    /// The number of the period that a time is in, and when the next one begins.
    pub(super) fn of(self, now: SystemTime) -> (u64, Option<SystemTime>) {
        let day = seconds(now) / DAY;
        match self {
            Self::Day => (day, Some(at((day + 1) * DAY))),
            Self::Month => {
                let month = month_of(day);
                // At most 31 days away: the first day of another month.
                let next = (day + 1..day + 32).find(|day| month_of(*day) != month);
                (month, next.map(|day| at(day * DAY)))
            }
            Self::Ever => (0, None),
        }
    }

    /// Its name: `day`, `month`, `ever`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Ever => "ever",
        }
    }

    /// As it stands behind an amount.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Day => "a day",
            Self::Month => "a month",
            Self::Ever => "in all",
        }
    }
}

/// Months since the year 0 of the calendar, for a day since 1970.
fn month_of(day: u64) -> u64 {
    // Years that begin in March, as in Howard Hinnant's civil-from-days.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    (era * 400 + year) * 12 + (5 * of_year + 2) / 153 + 2
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: u64 = 1_767_225_600;

    #[test]
    fn days_and_months_are_those_of_the_calendar() {
        // 2026-01-31 23:59:59, and a second later.
        let last = at(NOW + 31 * DAY - 1);
        let (month, next) = Period::Month.of(last);
        assert_eq!(next, Some(at(NOW + 31 * DAY)));
        assert_eq!(Period::Month.of(next.unwrap()).0, month + 1);
        assert_eq!(Period::Month.of(next.unwrap()).1, Some(at(NOW + 59 * DAY)), "28 days of February");
        assert_eq!(Period::Day.of(last).1, Some(at(NOW + 31 * DAY)));
        let months: std::collections::BTreeSet<_> = (0..366 * 30).map(month_of).collect();
        assert_eq!(months.len(), 361, "thirty years from 1970 and a little more");
        assert_eq!(month_of(0), 1970 * 12);
    }
}
