//! How fast a whole body must come once it has begun: one that drips keeps nobody waiting until the deadline of whole answers.
//!
//! Nothing is asked of it before its first byte that is not blank: some servers send blanks while they still compute. From then on so many bytes must come in each
//! window of time, a silent one included. The bytes themselves are `body.rs`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::{HttpBody, Seconds};
use crate::error::{Error, Result};

/// The least bytes that must come in each window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    bytes: u64,
    window: Duration,
}

impl Pace {
    /// So many bytes a second, over any window of this length; none where there is nothing to hold to.
    pub(crate) fn new(bytes_per_s: u32, window: Duration) -> Option<Self> {
        let bytes = (f64::from(bytes_per_s) * window.as_secs_f64()).ceil();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        (bytes >= 1.0).then_some(Self { bytes: bytes as u64, window })
    }
}

/// What came in the window under way.
struct Window {
    ends: Instant,
    came: u64,
}

impl HttpBody {
    /// What is left of the body, no slower than `pace`.
    ///
    /// # Errors
    /// As [`HttpBody::bytes`]; `provider_timeout` where it comes too slowly.
    pub(crate) async fn gather_at(&mut self, pace: Option<Pace>) -> Result<Bytes> {
        let Some(pace) = pace else { return self.gather().await };
        let mut whole = BytesMut::new();
        let mut first: Option<Bytes> = None;
        let mut window: Option<Window> = None;
        loop {
            let next = match &window {
                None => self.next().await,
                Some(Window { ends, came }) => match timeout_at(*ends, self.next()).await {
                    Ok(next) => next,
                    Err(_) if *came >= pace.bytes => {
                        window = Some(Window { ends: Instant::now() + pace.window, came: 0 });
                        continue;
                    }
                    Err(_) => return Err(too_slow(*came, pace)),
                },
            };
            let Some(piece) = next.transpose()? else { break };
            match &mut window {
                Some(window) => window.came = window.came.saturating_add(piece.len() as u64),
                None if piece.iter().all(u8::is_ascii_whitespace) => {}
                None => window = Some(Window { ends: Instant::now() + pace.window, came: piece.len() as u64 }),
            }
            // Most come in one piece, which is not copied.
            match first.take() {
                None if whole.is_empty() => first = Some(piece),
                None => whole.extend_from_slice(&piece),
                Some(before) => {
                    whole.reserve(2 * (before.len() + piece.len()));
                    whole.extend_from_slice(&before);
                    whole.extend_from_slice(&piece);
                }
            }
        }
        Ok(first.unwrap_or_else(|| whole.freeze()))
    }
}

fn too_slow(came: u64, pace: Pace) -> Error {
    let Pace { bytes, window } = pace;
    Error::timeout(format!("only {came} bytes of the answer in {}, where {bytes} are the least", Seconds(window)))
        .with_hint("allow less with `timeouts.min_bytes_per_s` of [router], of the provider or of the model in the config; 0 is any")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_of_nothing_is_none() {
        assert_eq!(Pace::new(0, Duration::from_secs(30)), None);
        assert_eq!(Pace::new(16, Duration::ZERO), None);
        let pace = Pace { bytes: 480, window: Duration::from_secs(30) };
        assert_eq!(Pace::new(16, Duration::from_secs(30)), Some(pace));
        assert_eq!(Pace::new(16, Duration::from_millis(10)).map(|pace| pace.bytes), Some(1), "rounded up");
    }
}
