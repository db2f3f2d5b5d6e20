//! Turns token bytes into text that may be shown: whole characters only, and never a part of a stop string.
//!
//! It knows nothing of tokens or models; bytes go in, text comes out. Next: [`super::scheduler`], which feeds it.

/// Holds back what must not be shown yet.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    stops: Vec<String>,
    /// Bytes of a character that is not complete.
    bytes: Vec<u8>,
    /// Text that could be the beginning of a stop string.
    held: String,
}

/// What [`Gate::push`] lets out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// Text to show, maybe empty; the answer goes on.
    Text(String),
    /// The last text to show, and the stop string that came after it.
    Stopped {
        /// Text before the stop string.
        text: String,
        /// The stop string that ended the answer.
        stop: String,
    },
}

impl Gate {
    /// A gate that closes at the first of `stops`; empty ones are ignored.
    pub(crate) fn new(mut stops: Vec<String>) -> Self {
        stops.retain(|stop| !stop.is_empty());
        Self { stops, ..Self::default() }
    }

    /// Takes one token's bytes. After `Stopped`, nothing more may be pushed.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Passed {
        self.bytes.extend_from_slice(bytes);
        take_characters(&mut self.bytes, &mut self.held);
        self.pass()
    }

    /// The answer is over without a stop string: what is held, with U+FFFD for a character cut short.
    pub(crate) fn finish(&mut self) -> Passed {
        if !self.bytes.is_empty() {
            self.bytes.clear();
            self.held.push(char::REPLACEMENT_CHARACTER);
        }
        match self.pass() {
            Passed::Text(mut text) => {
                text.push_str(&std::mem::take(&mut self.held));
                Passed::Text(text)
            }
            stopped @ Passed::Stopped { .. } => stopped,
        }
    }

    fn pass(&mut self) -> Passed {
        let found =
            self.stops.iter().filter_map(|stop| Some((self.held.find(stop)?, stop))).min_by_key(|(at, stop)| {
                // Of two at the same place, the longer one was meant.
                (*at, usize::MAX - stop.len())
            });
        if let Some((at, stop)) = found {
            let stop = stop.clone();
            self.held.truncate(at);
            return Passed::Stopped { text: std::mem::take(&mut self.held), stop };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Passed::Text(std::mem::replace(&mut self.held, rest))
    }
}

/// The length of the longest end of `text` that begins `stop` without being all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|&length| {
            let tail = text.len() - length;
            text.as_bytes().get(tail..) == stop.as_bytes().get(..length)
        })
        .unwrap_or(0)
}

/// Moves every complete character from `bytes` to `text`; bytes that can never become one turn into U+FFFD.
fn take_characters(bytes: &mut Vec<u8>, text: &mut String) {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(whole) => {
                text.push_str(whole);
                bytes.clear();
                return;
            }
            Err(error) => {
                let (good, rest) = bytes.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(good));
                let Some(bad) = error.error_len() else {
                    *bytes = rest.to_vec();
                    return;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                *bytes = rest.get(bad..).unwrap_or_default().to_vec();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Pushes `pieces` and returns what was shown and the stop string met, if any.
    fn show(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
        let mut gate = Gate::new(stops.iter().map(ToString::to_string).collect());
        let mut shown = Vec::new();
        for piece in pieces {
            match gate.push(piece) {
                Passed::Text(text) => shown.push(text),
                Passed::Stopped { text, stop } => {
                    shown.push(text);
                    return (shown, Some(stop));
                }
            }
        }
        match gate.finish() {
            Passed::Text(text) => {
                shown.push(text);
                (shown, None)
            }
            Passed::Stopped { text, stop } => {
                shown.push(text);
                (shown, Some(stop))
            }
        }
    }

    #[test]
    fn a_character_split_over_tokens_comes_out_whole() {
        let crab = "🦀".as_bytes();
        let (shown, _) = show(&[], &[b"a", &crab[..1], &crab[1..3], &crab[3..], b"b"]);
        assert_eq!(shown, ["a", "", "", "🦀", "b", ""]);
    }

    #[test]
    fn bytes_that_are_no_character_become_replacements() {
        let (shown, _) = show(&[], &[b"a\xff", b"b", &"é".as_bytes()[..1]]);
        assert_eq!(shown.concat(), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn a_stop_split_over_tokens_is_never_shown_in_part() {
        let (shown, stop) = show(&["</end>"], &[b"one <", b"/e", b"nd", b"> two"]);
        assert_eq!(shown, ["one ", "", "", ""]);
        assert_eq!(stop.as_deref(), Some("</end>"));
    }

    #[test]
    fn text_that_only_began_like_a_stop_is_shown_later() {
        let (shown, stop) = show(&["</end>"], &[b"one </e", b"lse"]);
        assert_eq!(shown, ["one ", "</else", ""]);
        assert_eq!(stop, None);
    }

    #[test]
    fn what_is_held_at_the_end_is_shown() {
        assert_eq!(show(&["\n\n"], &[b"one\n"]).0, ["one", "\n"]);
    }

    #[test]
    fn the_earliest_stop_wins_and_at_one_place_the_longest() {
        assert_eq!(show(&["c", "b"], &[b"abc"]), (vec!["a".into()], Some("b".into())));
        assert_eq!(show(&["b", "bc"], &[b"abc"]), (vec!["a".into()], Some("bc".into())));
    }

    #[test]
    fn a_stop_may_start_inside_another_ones_beginning() {
        let (shown, stop) = show(&["aab"], &[b"a", b"a", b"a", b"b"]);
        assert_eq!((shown.concat().as_str(), stop.as_deref()), ("a", Some("aab")));
    }

    #[test]
    fn stops_may_hold_characters_of_several_bytes() {
        let (shown, stop) = show(&["é!"], &[b"x\xc3", b"\xa9", b"!"]);
        assert_eq!((shown.concat().as_str(), stop.as_deref()), ("x", Some("é!")));
    }
}
