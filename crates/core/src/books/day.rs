//! A day of UTC, as the books are kept by it: a number that orders, and the text `2026-11-23`.

use std::fmt;
use std::time::{Duration, SystemTime};

const SECONDS: u64 = 86_400;

/// A day of UTC, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    /// The day that a time is in.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self(u32::try_from(seconds / SECONDS).unwrap_or(u32::MAX))
    }

    /// The day of a time in seconds since 1970.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn at(seconds: f64) -> Self {
        // Whole seconds of a time that is not before 1970, and a number that is too large stays the largest.
        Self(u32::try_from(seconds as u64 / SECONDS).unwrap_or(u32::MAX))
    }

    /// Reads `YYYY-MM-DD`; none for what is no day of the calendar, or one before 1970.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let plain = |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        if parts.next().is_some() || !plain(year, 4) || !plain(month, 2) || !plain(day, 2) {
            return None;
        }
        let (year, month, day): (u64, u64, u64) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
        if year < 1970 || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        // Days before a year and a month, in years that begin in March, as in Howard Hinnant's days-from-civil.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
        let found = Self(u32::try_from(days.checked_sub(719_468)?).ok()?);
        // A thirty-first of a shorter month is another day.
        (found.to_string() == text).then_some(found)
    }

    /// So many days earlier, not before 1970.
    #[must_use]
    pub fn before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// The moment at which so many days after it are over.
    pub(super) fn end_of(self, days_after: u32) -> SystemTime {
        let seconds = (u64::from(self.0) + u64::from(days_after) + 1) * SECONDS;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Howard Hinnant's civil-from-days, for days that are not before 1970: years begin in March.
        let shifted = u64::from(self.0) + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        write!(f, "{:04}-{month:02}-{day:02}", year + era * 400 + u64::from(month <= 2))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (number, text) in
            [(0, "1970-01-01"), (11_016, "2000-02-29"), (20_780, "2026-11-23"), (20_818, "2026-12-31")]
        {
            assert_eq!(Day(number).to_string(), text);
            assert_eq!(Day::parse(text), Some(Day(number)));
        }
        for number in (0..80_000).step_by(17) {
            assert_eq!(Day::parse(&Day(number).to_string()), Some(Day(number)));
        }
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "2026-00-10",
            "1969-12-31",
            "2026-1-01",
            "2026-01-01-",
            "+026-01-01",
        ] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
        assert_eq!(Day::of(SystemTime::UNIX_EPOCH + Duration::from_secs(20_780 * SECONDS + 86_399)), Day(20_780));
    }
}
