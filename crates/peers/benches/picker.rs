//! Times a pick among many peers, and weighs the table: `cargo bench -p llm-router-peers --bench picker`.
//!
//! All peers serve one model, which is the dearest case for the picker. A request is at a peer until sixty-four others were picked. One line a figure, the bound where there is one; nothing is judged here.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use libp2p_identity::PeerId;
use llm_router_peers::picker::Need;
use llm_router_peers::record::{Heard, Load, Model, Record};
use llm_router_peers::table::{Bounds, Outcome, Source, Table};

const PICKS: usize = 20_000;
const UNDER_WAY: usize = 64;

fn main() {
    println!("{:<58} {:>9} {:>9} {:>9}", "", "p50", "p99", "bound p99");
    for (peers, bound) in [(100, None), (10_000, Some("10 µs")), (1_000_000, Some("20 µs"))] {
        measured(peers, bound);
    }
}

fn measured(peers: usize, bound: Option<&str>) {
    let before = resident();
    let (began, mut rng) = (tokio::time::Instant::now(), Rng::with_seed(1));
    let mut table = Table::new(Bounds::default(), 1, began);
    let mut heard = Vec::with_capacity(peers);
    for number in 0..peers {
        let record = Heard::unsigned(record(number, &mut rng));
        let at = Instant::now();
        let _ = black_box(table.hear(&record, Source::hearsay(), began));
        heard.push(at.elapsed());
    }
    let known: Vec<PeerId> = table.views(began).map(|view| view.id).collect();
    known.iter().for_each(|peer| table.saw_rtt(peer, Duration::from_micros(rng.u64(500..200_000))));
    drop(known);
    let (kept, after) = (table.len(), resident());
    row(&format!("{peers} peers heard of, {kept} kept: taking in a record"), &mut heard, None);
    for (what, prefixes, explore) in [("cheaper of two", false, false), ("with homes and exploration", true, true)] {
        let mut under_way = VecDeque::new();
        let mut times = Vec::with_capacity(PICKS);
        for step in 0..PICKS {
            let now = began + Duration::from_millis(step as u64 / 8);
            let mut need = Need::new("model", 800, 200);
            (need.strangers, need.explore) = (true, explore);
            need.prefix = prefixes.then(|| rng.u64(..5000));
            let at = Instant::now();
            let pick = black_box(table.pick(&need, now)).unwrap();
            times.push(at.elapsed());
            under_way.push_back(pick.lease);
            if under_way.len() > UNDER_WAY {
                let mut lease = under_way.pop_front().unwrap();
                table.first_token(&mut lease, now);
                table.end(lease, Outcome::Answered { further: 199, took: Duration::from_secs(4) }, now);
            }
        }
        under_way.into_iter().for_each(|lease| table.end(lease, Outcome::Cancelled, began));
        row(&format!("{peers} peers: a pick, {what}"), &mut times, bound);
    }
    // Pages of the list of times come and go with the allocator; the table is what stays.
    println!(
        "{:<58} {:>9}",
        format!("{peers} peers: memory of each that is kept"),
        format!("{} B", (after - before) / kept.max(1))
    );
}

fn record(number: usize, rng: &mut Rng) -> Record {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    let id = PeerId::from_multihash(multihash::Multihash::wrap(0x12, &digest).unwrap()).unwrap();
    let mut record = Record::new(id, 1, 1, SystemTime::UNIX_EPOCH);
    record.ttl = 300;
    let ip = format!("{}.{}.{}.{}", 1 + (number >> 16) % 200, (number >> 8) & 255, number & 255, rng.u8(1..));
    record.addresses =
        vec![format!("/ip4/{ip}/udp/4101/quic-v1").parse().unwrap(), format!("/ip4/{ip}/tcp/4101").parse().unwrap()];
    let mut model = Model::new("model", 32_768, rng.u16(1..32));
    (model.first_token_ms, model.tokens_per_second) = (Some(rng.u32(100..3000)), Some(rng.u32(10..120)));
    (model.price_in, model.price_out) = (Some(rng.u64(..1_000_000)), Some(rng.u64(..4_000_000)));
    record.models = vec![model];
    record.load = Load::new(rng.u32(..16), 0);
    record
}

fn row(what: &str, times: &mut [Duration], bound: Option<&str>) {
    times.sort_unstable();
    let part = |part: f64| times[(times.len() as f64 * part) as usize];
    let micros = |time: Duration| format!("{:.2} µs", time.as_secs_f64() * 1e6);
    println!("{what:<58} {:>9} {:>9} {:>9}", micros(part(0.5)), micros(part(0.99)), bound.unwrap_or(""));
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
