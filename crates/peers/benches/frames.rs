//! Times the frames of the inference protocol: `cargo bench -p llm-router-peers --bench frames`.
//!
//! One thread writes an answer of short `data` frames, as a model's tokens make them, and reads it back. Figures are medians over rounds; one line a figure, the bound
//! where there is one; nothing is judged here.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use llm_router::delta::{Delta, Part};
use llm_router::dialect::native;
use llm_router_peers::wire::{ClientFrame, Data, MAX_CHUNK, ServerFrame, frame};

const ROUNDS: usize = 50;
const FRAMES: u64 = 2_000;

fn main() {
    let token = Delta::BlockDelta { choice: 0, block: 0, part: Part::Text(" token".into()) };
    let line = native::write_line(std::slice::from_ref(&token)).unwrap();
    let (mut wrote, mut read, mut native) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut out = BytesMut::new();
        for seq in 0..FRAMES {
            let data = Data { seq, bytes: line.clone(), ..Data::default() };
            ServerFrame::Data(data).encode(&mut out).unwrap();
        }
        wrote.push(began.elapsed());
        let began = Instant::now();
        while let Some(frame) = frame::take(&mut out).unwrap() {
            black_box(ServerFrame::decode(&frame).unwrap());
        }
        read.push(began.elapsed());
        let began = Instant::now();
        for _ in 0..FRAMES {
            let line = native::write_line(std::slice::from_ref(black_box(&token))).unwrap();
            black_box(native::read_line(&line).unwrap());
        }
        native.push(began.elapsed());
    }
    let [wrote, read, native] = [wrote, read, native].map(middle);
    println!("data frames written: {:.0} a second", rate(wrote));
    println!("data frames read: {:.0} a second", rate(read));
    println!("written and read: {:.0} a second (bound 20000)", rate(wrote + read));
    println!("with their lines made and understood: {:.0} a second (bound 20000)", rate(wrote + read + native));

    let piece = Bytes::from(vec![b'x'; MAX_CHUNK]);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut out = BytesMut::new();
        for _ in 0..16 {
            ClientFrame::Body(piece.clone()).encode(&mut out).unwrap();
        }
        while let Some(frame) = frame::take(&mut out).unwrap() {
            black_box(ClientFrame::decode(&frame).unwrap());
        }
        times.push(began.elapsed());
    }
    println!("a body of 1 MiB, written and read: {:.2?}", middle(times));
}

#[allow(clippy::cast_precision_loss)]
fn rate(took: Duration) -> f64 {
    FRAMES as f64 / took.as_secs_f64()
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
