//! The frame that is the one before it but for its text, as most of a stream are: told by comparing bytes, so that nothing of it is read a second time.
//!
//! Learned from a frame that said one piece of text and nothing else. It holds for the next frame alone: any other kind in between may open another block.

use memchr::memmem;

use crate::delta::{Delta, Part};

/// What a text stands behind.
const FIELD: &[u8] = b"\"content\":";

/// A frame, its text taken out.
#[derive(Debug)]
pub(super) struct Again {
    before: Box<[u8]>,
    after: Box<[u8]>,
    choice: u32,
    block: u32,
}

impl Again {
    /// What a frame like this one looks like, where `deltas` is all that it said.
    pub(super) fn learn(frame: &[u8], deltas: &[Delta]) -> Option<Self> {
        let [Delta::BlockDelta { choice, block, part: Part::Text(text) }] = deltas else { return None };
        let mut fields = memmem::find_iter(frame, FIELD);
        let (field, None) = (fields.next()?, fields.next()) else { return None };
        let value = frame.get(field + FIELD.len()..)?.trim_ascii_start().strip_prefix(b"\"")?;
        let after = value.strip_prefix(text.as_bytes()).filter(|after| after.starts_with(b"\""))?;
        let before = frame.get(..frame.len() - value.len())?;
        Some(Self { before: before.into(), after: after.into(), choice: *choice, block: *block })
    }

    /// What a frame says that is like it.
    pub(super) fn read(&self, frame: &[u8]) -> Option<Delta> {
        let text = frame.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        // What JSON writes as it is. An empty piece is none.
        let as_is = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
        let text =
            std::str::from_utf8(text).ok().filter(|text| !text.is_empty() && text.as_bytes().iter().all(as_is))?;
        Some(Delta::BlockDelta { choice: self.choice, block: self.block, part: Part::Text(text.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(text: &str) -> [Delta; 1] {
        [Delta::BlockDelta { choice: 1, block: 2, part: Part::Text(text.into()) }]
    }

    #[test]
    fn a_frame_is_learned_where_its_text_stands_once_and_as_it_is() {
        let frame = br#"{"choices":[{"delta":{"content": "a"},"logprobs":null}]}"#;
        let again = Again::learn(frame, &text("a")).unwrap();
        for (said, expected) in [("b", "b"), ("é{}:", "é{}:"), ("a", "a")] {
            let frame = format!(r#"{{"choices":[{{"delta":{{"content": "{said}"}},"logprobs":null}}]}}"#);
            assert_eq!(again.read(frame.as_bytes()).as_ref(), text(expected).first(), "{said}");
        }
        for (frame, deltas) in [
            (r#"{"choices":[{"delta":{"content":"\u0061"}}]}"#, &text("a")[..]),
            (r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#, &text("a")),
            (r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#, &text("a")),
            (r#"{"choices":[{"delta":{"content":"a"}}]}"#, &[]),
            (r#"{"choices":[{"delta":{"content":"a"}}]}"#, &[Delta::End]),
        ] {
            assert!(Again::learn(frame.as_bytes(), deltas).is_none(), "{frame}");
        }
    }

    #[test]
    fn another_frame_is_not_taken_for_it() {
        let again = Again::learn(br#"{"d":{"content":"a"},"end":null}"#, &text("a")).unwrap();
        for frame in [
            &br#"{"d":{"content":""},"end":null}"#[..],
            br#"{"d":{"content":"a\n"},"end":null}"#,
            br#"{"d":{"content":"a","content":"b"},"end":null}"#,
            br#"{"d":{"content":"a"},"end":"stop"}"#,
            br#"{"e":{"content":"a"},"end":null}"#,
            b"{\"d\":{\"content\":\"a\x01\"},\"end\":null}",
            b"{\"d\":{\"content\":\"a\xff\"},\"end\":null}",
            br#"{"d":{"content":"#,
            b"",
        ] {
            assert_eq!(again.read(frame), None, "{}", String::from_utf8_lossy(frame));
        }
    }
}
