//! How a key stands with its limits, in the headers of an answer that refuses it: as OpenAI's clients read them, and on Anthropic's paths also as Anthropic's do.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use llm_router::limits::Holder;
use llm_router::limits::rate::Standing;

use crate::app::Inner;
use crate::headers;

/// OpenAI's names of limit, remainder and reset, then Anthropic's.
type Names = [HeaderName; 6];

const REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
    HeaderName::from_static("anthropic-ratelimit-requests-limit"),
    HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
    HeaderName::from_static("anthropic-ratelimit-requests-reset"),
];
const TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
    HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
];

/// Says how the holder stands; of those above each other, the one with the least room.
pub(crate) fn tell(server: &Inner, holder: &Arc<Holder>, anthropic: bool, headers: &mut HeaderMap) {
    let clock = &server.router.deps().clock;
    let standings = holder.standings(clock.instant());
    for (standing, names) in [(standings.requests, REQUESTS), (standings.tokens, TOKENS)] {
        let Some(standing) = standing else { continue };
        let values = values(&standing, clock.now());
        let count = if anthropic { names.len() } else { 3 };
        for (name, value) in names.into_iter().zip(values).take(count) {
            headers::set(headers, name, &value);
        }
    }
}

fn values(standing: &Standing, now: SystemTime) -> [String; 6] {
    let (limit, remaining) = (standing.limit.to_string(), standing.remaining.to_string());
    let reset = format!("{:.3}s", standing.reset.as_secs_f64());
    [limit.clone(), remaining.clone(), reset, limit, remaining, date(now + standing.reset)]
}

/// A time as RFC 3339 writes it, to the second and not before it.
fn date(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = (since + Duration::from_nanos(999_999_999)).as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil-from-days, for days that are not before 1970: years begin in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_millis(1)), "1970-01-01T00:00:01Z");
    }
}
