//! Frames survive the wire, and nothing else does.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

fn one_by_one<T>(mut bytes: BytesMut, decode: impl Fn(&[u8]) -> Result<T, Breach>) -> Vec<T> {
    std::iter::from_fn(|| frame::take(&mut bytes).unwrap()).map(|frame| decode(&frame).unwrap()).collect()
}

/// A frame's payload with this first element and this map, as bytes.
fn raw(kind: &str, map: &[u8]) -> Vec<u8> {
    let mut out = vec![0x82, 0x60 | u8::try_from(kind.len()).unwrap()];
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(map);
    out
}

fn open() -> Open {
    Open {
        v: VERSION,
        rid: Bytes::from_static(&[7; 16]),
        attempt: 2,
        model: Some("qwen3".into()),
        endpoint: "generate".into(),
        stream: true,
        body_len: 11,
        deadline_ms: Some(120_000),
        max_out: Some(256),
        budget: Some(5_000),
        tenant_tag: Some("lab".into()),
        grant: Some(Bytes::from_static(b"signed")),
        hops: vec!["12D3KooW".into()],
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        features: vec!["later".into()],
        crit: vec!["model".into()],
    }
}

#[test]
fn what_is_written_is_read_whole() {
    let said =
        vec![ClientFrame::Open(Box::new(open())), ClientFrame::Body(Bytes::from_static(b"{}")), ClientFrame::End];
    let mut out = BytesMut::new();
    said.iter().for_each(|frame| frame.encode(&mut out).unwrap());
    assert_eq!(one_by_one(out, ClientFrame::decode), said);

    let answered = vec![
        ServerFrame::Reject(Reject { retry_after_ms: Some(10), load: Some(90), ..Reject::default() }),
        ServerFrame::Accepted(Accepted { queue_pos: Some(1), est_ttft_ms: Some(9), ..Accepted::default() }),
        ServerFrame::Head(Head { model: Some("m".into()), cached: true, ..Head::default() }),
        ServerFrame::Data(Data { seq: 3, bytes: Bytes::from_static(b"line"), more: true, crit: Vec::new() }),
        ServerFrame::Tick(Tick::default()),
        ServerFrame::Done(Done { frames: 4, receipt: Some(Bytes::from_static(b"sig")), ..Done::default() }),
        ServerFrame::Err(Failure::of(&llm_router::Error::timeout("the model is slow"), true)),
    ];
    let mut out = BytesMut::new();
    answered.iter().for_each(|frame| frame.encode(&mut out).unwrap());
    assert_eq!(one_by_one(out, ServerFrame::decode), answered);
}

/// What another language writes: the example of the documentation.
#[test]
fn the_form_on_the_wire_is_the_documented_one() {
    let mut out = BytesMut::new();
    ClientFrame::Body(Bytes::from_static(b"hi")).encode(&mut out).unwrap();
    assert_eq!(&out[..], b"\x10\x82\x64body\xa1\x65bytes\x42hi");
    out.clear();
    ClientFrame::End.encode(&mut out).unwrap();
    assert_eq!(&out[..], b"\x06\x82\x63end\xa0");
}

#[test]
fn every_key_that_is_written_counts_as_known() {
    let mut out = BytesMut::new();
    let crit = Open::KNOWN.iter().map(|key| (*key).to_owned()).collect();
    ClientFrame::Open(Box::new(Open { crit, ..open() })).encode(&mut out).unwrap();
    let text = String::from_utf8_lossy(&out).into_owned();
    assert!(Open::KNOWN.iter().all(|key| text.contains(key)), "{text}");
}

#[test]
fn unknown_keys_are_ignored_and_critical_ones_are_not() {
    // {"z": {"y": [1, link]}, "bytes": h'61'}
    let link = b"\xa2\x61z\xa1\x61y\x82\x01\xd8\x2a\x41\x00\x65bytes\x41a";
    assert_eq!(ClientFrame::decode(&raw("body", link)).unwrap(), ClientFrame::Body(Bytes::from_static(b"a")));
    // {"crit": ["new"], "frames": 1, "new": 1} in the order of DAG-CBOR
    let crit = b"\xa3\x63new\x01\x64crit\x81\x63new\x66frames\x01";
    assert_eq!(ServerFrame::decode(&raw("done", crit)), Err(Breach::Critical));
}

#[test]
fn each_malformed_frame_is_refused_by_name() {
    let deep = |levels: usize| [vec![0x81; levels], vec![0x00]].concat();
    let cases: &[(&str, Vec<u8>, Breach)] = &[
        ("nothing", vec![], Breach::Truncated),
        ("a number", vec![0x01], Breach::Shape),
        ("an unknown type", raw("nope", b"\xa0"), Breach::Shape),
        ("no map", vec![0x81, 0x63, b'e', b'n', b'd'], Breach::Shape),
        ("a list for a map", raw("body", b"\x81\x00"), Breach::Shape),
        ("a missing field", raw("body", b"\xa0"), Breach::Shape),
        ("a text for bytes", raw("body", b"\xa1\x65bytes\x61a"), Breach::Shape),
        ("two values", [raw("end", b"\xa0"), vec![0]].concat(), Breach::Trailing),
        ("a cut value", raw("body", b"\xa1\x65bytes\x42a"), Breach::Truncated),
        ("a string of 2^63 bytes", raw("body", b"\xa1\x65bytes\x5b\x80\0\0\0\0\0\0\0"), Breach::Truncated),
        ("a list of 2^63 values", vec![0x9b, 0x80, 0, 0, 0, 0, 0, 0, 0], Breach::Truncated),
        ("a map of 2^63 values", vec![0xbb, 0x80, 0, 0, 0, 0, 0, 0, 0], Breach::Truncated),
        ("an indefinite list", vec![0x9f, 0x00, 0xff], Breach::Value),
        ("an indefinite string", vec![0x5f, 0x41, 0x00, 0xff], Breach::Value),
        ("another tag", vec![0xc1, 0x00], Breach::Value),
        ("a short float", vec![0xf9, 0x00, 0x00], Breach::Value),
        ("undefined", vec![0xf7], Breach::Value),
        ("a key twice", raw("end", b"\xa2\x61a\x00\x61a\x00"), Breach::Key),
        ("keys out of order", raw("end", b"\xa2\x61b\x00\x61a\x00"), Breach::Key),
        ("a number for a key", raw("end", b"\xa1\x00\x00"), Breach::Key),
        ("deep nesting", deep(MAX_DEPTH + 1), Breach::TooDeep),
        ("very deep nesting", deep(MAX_FRAME - 1), Breach::TooDeep),
        ("as deep as may be, and no frame", deep(MAX_DEPTH), Breach::Shape),
    ];
    for (name, bytes, breach) in cases {
        assert_eq!(ClientFrame::decode(bytes), Err(*breach), "{name}");
    }
}

#[test]
fn fields_keep_to_their_bounds() {
    let mut out = BytesMut::new();
    let mut too_large = |frame: ClientFrame| frame.encode(&mut out);
    let large = |length: usize| "x".repeat(length);
    assert_eq!(too_large(ClientFrame::Body(vec![0; MAX_CHUNK + 1].into())), Err(Breach::Field("bytes")));
    for (name, open) in [
        ("rid", Open { rid: Bytes::from_static(b"short"), ..open() }),
        ("body_len", Open { body_len: u64::MAX, ..open() }),
        ("model", Open { model: Some(large(MAX_TEXT + 1)), ..open() }),
        ("endpoint", Open { endpoint: large(MAX_TEXT + 1), ..open() }),
        ("hops", Open { hops: vec![String::new(); MAX_HOPS + 1], ..open() }),
        ("grant", Open { grant: Some(vec![0; MAX_GRANT + 1].into()), ..open() }),
    ] {
        assert_eq!(too_large(ClientFrame::Open(Box::new(open))), Err(Breach::Field(name)));
    }
    assert!(out.is_empty(), "what is refused is not begun either");
}

#[test]
fn lengths_are_believed_only_within_the_limit() {
    let breach = |bytes: &[u8]| frame::take(&mut BytesMut::from(bytes)).unwrap_err();
    assert_eq!(breach(b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), Breach::TooLong, "2^63");
    assert_eq!(breach(b"\x81\x80\x10"), Breach::TooLong, "256 KiB and one");
    assert_eq!(breach(b"\x00"), Breach::Length, "no frame is empty");
    assert_eq!(breach(b"\x81\x00"), Breach::Length, "one, in two bytes");
    let mut longest = BytesMut::new();
    frame::put(&vec![0; MAX_FRAME], &mut longest).unwrap();
    assert_eq!(frame::take(&mut longest).unwrap().unwrap().len(), MAX_FRAME);
    assert_eq!(frame::put(&vec![0; MAX_FRAME + 1], &mut longest), Err(Breach::TooLong));
    for begun in [&b""[..], b"\x80", b"\x80\x80", b"\x02\x82"] {
        assert_eq!(frame::take(&mut BytesMut::from(begun)), Ok(None), "{begun:?}");
    }
}

#[test]
fn every_kind_becomes_one_that_lets_the_router_that_asked_go_on() {
    use llm_router::error::{Fault, NextTarget};
    for &kind in llm_router::ErrorKind::ALL {
        let failure = Failure::of(&llm_router::Error::new(kind, "/secret/model.gguf sk-upstream said no"), false);
        assert!(!failure.message.contains("secret") && !failure.message.contains("said"), "{kind}");
        assert!(kind.name().starts_with(&failure.fault), "{kind}");
        for seen in [failure.error().kind(), Code::of(kind).kind()] {
            let row = seen.row();
            assert!(row.next != NextTarget::No, "{kind} seen as {seen} ends a plan");
            assert!(matches!(row.fault, Fault::Caller | Fault::Provider), "{kind} seen as {seen}");
        }
    }
    let unknown = raw("reject", b"\xa1\x64code\x69SOMETHING");
    let ServerFrame::Reject(reject) = ServerFrame::decode(&unknown).unwrap() else { unreachable!() };
    assert_eq!(reject.code, Code::Internal);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let mut read = BytesMut::from(&bytes[..]);
        while let Ok(Some(frame)) = frame::take(&mut read) {
            let _ = (ClientFrame::decode(&frame), ServerFrame::decode(&frame));
        }
        let _ = (ClientFrame::decode(&bytes), ServerFrame::decode(&bytes));
    }

    #[test]
    fn a_damaged_frame_is_refused_or_read(at in 0usize..400, bit in 0u8..8, cut in 0usize..400) {
        let mut out = BytesMut::new();
        ClientFrame::Open(Box::new(open())).encode(&mut out).unwrap();
        let frame = frame::take(&mut out).unwrap().unwrap();
        let mut bytes = frame.to_vec();
        let length = bytes.len();
        bytes[at % length] ^= 1 << bit;
        let _ = ClientFrame::decode(&bytes);
        prop_assert!(ClientFrame::decode(&frame[..cut % length]).is_err(), "a cut frame was read");
    }

    #[test]
    fn bodies_and_pieces_come_back(bytes in prop::collection::vec(any::<u8>(), 0..MAX_CHUNK), seq: u64, more: bool) {
        let bytes = Bytes::from(bytes);
        let body = ClientFrame::Body(bytes.clone());
        let data = ServerFrame::Data(Data { seq, bytes, more, crit: Vec::new() });
        let mut out = BytesMut::new();
        body.encode(&mut out).unwrap();
        prop_assert_eq!(one_by_one(out, ClientFrame::decode), vec![body]);
        let mut out = BytesMut::new();
        data.encode(&mut out).unwrap();
        prop_assert_eq!(one_by_one(out, ServerFrame::decode), vec![data]);
    }

    #[test]
    fn frames_come_out_however_they_arrive(cuts in prop::collection::vec(1usize..40, 1..40)) {
        let said = [ClientFrame::Open(Box::new(open())), ClientFrame::Body(vec![1; 300].into()), ClientFrame::End];
        let mut all = BytesMut::new();
        said.iter().for_each(|frame| frame.encode(&mut all).unwrap());
        let (mut read, mut out, mut cuts) = (BytesMut::new(), Vec::new(), cuts.into_iter().cycle());
        while !all.is_empty() {
            let next = cuts.next().unwrap().min(all.len());
            read.extend_from_slice(&all.split_to(next));
            while let Some(frame) = frame::take(&mut read).unwrap() {
                out.push(ClientFrame::decode(&frame).unwrap());
            }
        }
        prop_assert_eq!(&out[..], &said[..]);
    }
}
