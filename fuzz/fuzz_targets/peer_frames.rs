//! Any bytes of a peer are refused or are frames, and what was read can be written again to the same meaning.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use llm_router_peers::wire::{ClientFrame, MAX_FRAME, ServerFrame, check, frame};

fuzz_target!(|bytes: &[u8]| {
    one(bytes);
    let mut read = BytesMut::from(bytes);
    while let Ok(Some(frame)) = frame::take(&mut read) {
        assert!(frame.len() <= MAX_FRAME, "a frame over the limit");
        one(&frame);
    }
});

fn one(bytes: &[u8]) {
    let sound = check::check(bytes).is_ok();
    if let Ok(read) = ClientFrame::decode(bytes) {
        assert!(sound, "read without being sound");
        let mut out = BytesMut::new();
        read.encode(&mut out).expect("what was read can be written");
        let again = frame::take(&mut out).expect("its length is right").expect("it is whole");
        assert_eq!(ClientFrame::decode(&again).expect("and read again"), read);
    }
    if let Ok(read) = ServerFrame::decode(bytes) {
        assert!(sound, "read without being sound");
        let mut out = BytesMut::new();
        read.encode(&mut out).expect("what was read can be written");
        let again = frame::take(&mut out).expect("its length is right").expect("it is whole");
        assert_eq!(ServerFrame::decode(&again).expect("and read again"), read);
    }
}
