//! The shared vectors, byte for byte: canonical form, digest and identifiers of each payload.
//!
//! DAG-CBOR is encoded here, because the router hashes such blocks but never makes one.

#![allow(clippy::unwrap_used)]

use llm_router::cache::{
    canonical::canonical,
    cid::{Base, Codec, Sha256Digest},
};
use serde_json::Value;

#[test]
fn the_shared_vectors_agree_byte_for_byte() {
    let file: Value = serde_json::from_str(include_str!("fixtures/cids.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 30);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let payload = vector["payload"].as_str().unwrap();
        let bytes = canonical(payload.as_bytes()).unwrap();
        assert_eq!(hex(&bytes), vector["canonical_hex"], "{name}: canonical bytes");
        let digest = Sha256Digest::of(&bytes);
        assert_eq!(digest.to_string(), vector["sha256"], "{name}: sha256");
        check_cids(name, digest, Codec::Raw, &vector["raw"]);
        check_cids(name, digest, Codec::DagJson, &vector["dag_json"]);
        match vector["dag_cbor_hex"].as_str() {
            Some(expected) => {
                let block = dag_cbor(&bytes).unwrap();
                assert_eq!(hex(&block), expected, "{name}: DAG-CBOR bytes");
                check_cids(name, Sha256Digest::of(&block), Codec::DagCbor, &vector["dag_cbor"]);
            }
            None => assert!(dag_cbor(&bytes).is_none(), "{name} has no DAG-CBOR form"),
        }
    }
}

fn check_cids(name: &str, digest: Sha256Digest, codec: Codec, expected: &Value) {
    for base in Base::ALL {
        assert_eq!(digest.cid(codec, base), expected[base.name()], "{name}: {codec:?} in {}", base.name());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Strict DAG-CBOR of canonical JSON, none where an integer does not fit 64 bits.
fn dag_cbor(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    encode(&mut out, std::str::from_utf8(json).unwrap())?;
    Some(out)
}

fn encode(out: &mut Vec<u8>, text: &str) -> Option<()> {
    type Raw = Box<serde_json::value::RawValue>;
    match text.as_bytes()[0] {
        b'n' => out.push(0xf6),
        b't' => out.push(0xf5),
        b'f' => out.push(0xf4),
        b'"' => {
            let text: String = serde_json::from_str(text).unwrap();
            head(out, 3, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        b'[' => {
            let items: Vec<Raw> = serde_json::from_str(text).unwrap();
            head(out, 4, items.len() as u64);
            items.iter().try_for_each(|item| encode(out, item.get()))?;
        }
        b'{' => {
            let map: std::collections::BTreeMap<String, Raw> = serde_json::from_str(text).unwrap();
            let mut members: Vec<_> = map.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| (a.len(), a).cmp(&(b.len(), b)));
            head(out, 5, members.len() as u64);
            for (name, value) in members {
                head(out, 3, name.len() as u64);
                out.extend_from_slice(name.as_bytes());
                encode(out, value.get())?;
            }
        }
        _ if text.contains(['.', 'e']) => {
            out.push(0xfb);
            out.extend_from_slice(&text.parse::<f64>().unwrap().to_be_bytes());
        }
        _ => {
            let value: i128 = text.parse().unwrap();
            let (major, magnitude) = if value < 0 { (1, -1 - value) } else { (0, value) };
            head(out, major, u64::try_from(magnitude).ok()?);
        }
    }
    Some(())
}

fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        0..24 => out.push(major | argument as u8),
        24..0x100 => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..0x1_0000 => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}
