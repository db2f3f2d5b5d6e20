//! Bodies that are broken on purpose: what `hostile.rs` sends.

use proptest::prelude::*;
use proptest::{sample::Index, sample::select};

/// One change to a body.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Byte(Index, u8),
    Cut(Index),
    Repeat(Index, Index),
    Insert(Index, &'static str),
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let words = &[
        "null",
        "[]",
        "{}",
        "\"\"",
        "-1",
        "1e9",
        "true",
        ",",
        "\"x\":",
        "\\u0000",
        "[[[[",
        "\"index\":7,",
        "\"thought\":true,",
    ][..];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        any::<Index>().prop_map(Change::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (any::<Index>(), select(words)).prop_map(|(at, word)| Change::Insert(at, word)),
    ]
}

pub(crate) fn changed(mut body: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if body.is_empty() {
            break;
        }
        let len = body.len();
        match change {
            Change::Byte(at, byte) => body[at.index(len)] = *byte,
            Change::Cut(at) => body.truncate(at.index(len)),
            Change::Repeat(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                let piece = body[from.min(to)..from.max(to)].to_vec();
                body.splice(from..from, piece);
            }
            Change::Insert(at, word) => {
                let at = at.index(len);
                body.splice(at..at, word.bytes());
            }
        }
    }
    body
}
