//! Any bytes as what peers sign, and any body behind a good signature: refused, or within its bounds and the same when it is signed again. Any text as a ticket or a receipt.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use libp2p_core::SignedEnvelope;
use libp2p_identity::Keypair;
use llm_router_peers::grant::Grant;
use llm_router_peers::receipt::Receipt;
use llm_router_peers::record::{LONGEST_TTL, MOST_BYTES, Record};
use llm_router_peers::ticket::Ticket;

static KEY: LazyLock<Keypair> = LazyLock::new(|| Keypair::ed25519_from_bytes([7; 32]).expect("32 bytes"));

fn signed(domain: &str, body: &[u8]) -> Vec<u8> {
    let kind = domain.as_bytes().to_vec();
    SignedEnvelope::new(&KEY, domain.to_owned(), kind, body.to_vec()).expect("a signature").into_protobuf_encoding()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    for envelope in [bytes.to_vec(), signed("llm-router-caps-v1", bytes)] {
        if let Ok(heard) = Record::open(&envelope, now) {
            assert!(envelope.len() <= MOST_BYTES && heard.left() <= LONGEST_TTL);
            // What was left out is written, and may not fit any more.
            match heard.record().seal(&KEY) {
                Ok(again) => assert_eq!(Record::open(&again, now).expect("and read again").record(), heard.record()),
                Err(refused) => assert_eq!(refused.label(), "too_large"),
            }
        }
    }
    for envelope in [bytes.to_vec(), signed("llm-router-receipt-v1", bytes)] {
        if let Ok(receipt) = Receipt::verify(&envelope) {
            let again = receipt.seal(&KEY).expect("a receipt that was read can be signed");
            assert_eq!(Receipt::verify(&again).expect("and read again"), receipt);
        }
    }
    if let Ok(grant) = Grant::from_bytes(bytes) {
        let _ = grant.open(now);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        for text in [text.to_owned(), format!("llmr_ticket1_{text}")] {
            if let Ok(ticket) = text.parse::<Ticket>() {
                let again: Ticket = ticket.to_string().parse().expect("a ticket that was read can be written");
                assert_eq!(again, ticket);
                let _ = ticket.open(now);
            }
            let _ = Receipt::verify_word(&text);
        }
    }
});
