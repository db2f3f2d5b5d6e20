//! Bytes come in pieces of any size and may stop anywhere: where they are split changes nothing, and where they stop too early is never an end.

use llm_router::dialect::Framing;
use llm_router::error::ErrorKind;

use crate::fixtures::answers;
use crate::support::{frame, frames, frames_of};

#[test]
fn however_a_stream_is_split_it_says_the_same() {
    for answer in answers().iter().filter(|answer| answer.framing == Framing::Stream) {
        let (name, frames) = (&answer.name, answer.frames());
        let events = answer.read(&answer.request(), frames.clone()).unwrap();
        for piece in [1, 2, 3, 7, 64] {
            let split = frames_of(answer.body.chunks(piece));
            assert_eq!(answer.read(&answer.request(), split).unwrap(), events, "{name} by {piece}");
        }
        // A piece of one byte ends everywhere; in two pieces a long stream is split at a sample of places.
        for at in (0..answer.body.len()).step_by(1 + answer.body.len() / 512) {
            let (before, after) = answer.body.split_at(at);
            assert!(frames_of([before, after]) == frames, "{name} split at {at}");
        }
    }
}

/// After each frame, around each end of a line and at a sample of places within the lines.
#[test]
fn cut_off_they_are_never_a_success() {
    for answer in answers() {
        let name = &answer.name;
        let whole = answer.frames();
        let end = match answer.framing {
            Framing::Whole => 0,
            Framing::Stream => (answer.customs().end)(&whole),
        };
        for kept in 0..=end {
            let error = answer.read(&answer.request(), whole[..kept].to_vec()).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{name} after {kept} frames: {error}");
        }
        let body = answer.body.trim_ascii_end();
        let sampled = 7 + body.len() / 256;
        for at in (0..body.len()).filter(|at| at % sampled == 0 || body[*at] == b'\n' || at + 1 == body.len()) {
            let cut = match answer.framing {
                Framing::Whole => vec![frame(body[..at].to_vec())],
                Framing::Stream => frames(&body[..at], Framing::Stream),
            };
            // What says that it is whole has come: the rest may be missing.
            if answer.framing == Framing::Stream && cut.get(end) == Some(&whole[end]) {
                break;
            }
            let error = answer.read(&answer.request(), cut).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{name} after {at} bytes: {error}");
        }
    }
}
