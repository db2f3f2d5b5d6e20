//! The program killed under load, twenty times: no key, revocation or cap is lost, no usage older than a second, and its store opens each time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{ECHO, key_header, says, serve, state_folder, status, status_of, try_chat, until};

const ROUNDS: usize = 20;

/// Usage that is older must survive.
const SECOND: Duration = Duration::from_secs(1);

/// For how long it is used before it is killed.
const LOAD: Duration = Duration::from_millis(1_300);

/// What one answer costs, in micro-dollars: three tokens of a dollar each.
const COST: u64 = 3_000_000;

/// A dollar for each token of an answer; four are set aside for each request, and three are what it costs.
const PRICED: &str = "[prices.\"echo/x\"]\ninput = 0\noutput = 1000000\n[limits]\nmax_tokens = 4\n";

#[test]
fn no_key_revocation_or_cap_is_lost_when_the_server_is_killed_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = format!("{ECHO}{PRICED}");
    let mut service = serve(home, &config);
    let load = says(home, &["keys", "create", "load"], "");
    says(home, &["keys", "update", "load", "--rpm", "1000000"], "");
    let spender = says(home, &["keys", "create", "spender", "--budget", "300"], "");
    until(std::slice::from_ref(&service), &load, 200);
    let (mut holding, mut revoked) = (Vec::new(), Vec::new());
    let (answered, asked) = (AtomicU64::new(0), AtomicU64::new(0));
    // Of who spends and of who is load: what is in the books, answers and their cost, and since then what must come into them and what may.
    let (mut kept, mut must, mut may, mut lost) = ([[0_u64; 2]; 2], [0_u64; 2], [0, 1], 0);
    for round in 0..ROUNDS {
        let over = AtomicBool::new(false);
        let (tell, told) = mpsc::channel();
        let (killed, answers) = std::thread::scope(|scope| {
            for thread in 0..4 {
                let (service, over, answered, asked) = (&service, &over, &answered, &asked);
                let (key, tell) = (if thread == 0 { &spender } else { &load }, tell.clone());
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        asked.fetch_add(1, Ordering::Relaxed);
                        let answer = try_chat(service, key);
                        let passed = answer.as_ref().map(|answer| status_of(answer) == 200);
                        tell.send((thread, passed, Instant::now())).unwrap();
                        if passed.is_none() {
                            return;
                        }
                        if thread == 0 && passed == Some(true) {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            drop(tell);
            let mut answers: Vec<(usize, Option<bool>, Instant)> = Vec::new();
            while answers.first().is_none_or(|(_, _, first)| first.elapsed() < LOAD) {
                answers.push(told.recv().unwrap());
            }
            // While it works: a key is made, one is revoked, and the moment after that the server is gone.
            let name = format!("key{round}");
            let key = says(home, &["keys", "create", &name], "");
            if round % 2 == 1 {
                says(home, &["keys", "revoke", &name], "");
                revoked.push(key);
            } else {
                holding.push(key);
            }
            let killed = Instant::now();
            service.tell(Signal::KILL);
            over.store(true, Ordering::Relaxed);
            answers.extend(&told);
            (killed, answers)
        });
        for (thread, passed, at) in answers {
            let who = usize::from(thread > 0);
            // Whoever heard nothing may have been answered in the moment of its end.
            may[who] += u64::from(passed != Some(false));
            must[who] += u64::from(passed == Some(true) && at + SECOND < killed);
        }
        let found: Vec<_> = std::fs::read_dir(state_folder(home)).unwrap().flatten().collect();
        let damaged = found.iter().any(|file| file.file_name().to_string_lossy().contains("corrupt"));
        assert!(!damaged, "round {round}: the store was set aside");
        service = serve(home, &config);
        let books = [books(home, "spender"), books(home, "load")];
        for (who, found) in books.into_iter().enumerate() {
            for (of, (found, kept)) in found.into_iter().zip(kept[who]).enumerate() {
                let each = if of == 0 { 1 } else { COST };
                let range = kept + must[who] * each..=kept + may[who] * each;
                assert!(range.contains(&found), "round {round}: {found} in the books, and not {range:?}: {books:?}");
            }
            lost += kept[who][0] + may[who] - found[0];
            (kept[who], must[who], may[who]) = (found, 0, 0);
        }
        for key in &holding {
            assert_eq!(status(&service, key), 200, "round {round}: a key is lost");
        }
        for key in &revoked {
            assert_eq!(status(&service, key), 401, "round {round}: a revocation is lost");
        }
        let limited = service.chat_with(&key_header(&load));
        assert_eq!(status_of(&limited), 200, "round {round}: {limited}");
        may[1] += 1;
    }
    // An answer costs three dollars: a cap of 300 allows 100, and what a killed server held is forfeited.
    let more = std::iter::from_fn(|| (status(&service, &spender) == 200).then_some(())).take(200).count() as u64;
    let all = answered.load(Ordering::Relaxed) + more;
    assert!(all <= 100, "{all} answers of three dollars for $300");
    assert_eq!(status(&service, &spender), 429, "no cap is lost");
    drop(service);
    let service = serve(home, &config);
    assert_eq!(status(&service, &spender), 429);
    let listed = says(home, &["keys", "ls"], "");
    assert!(listed.contains("of $300.00 in all"), "{listed}");
    let asked = asked.into_inner();
    println!(
        "{ROUNDS} kills under {asked} requests: {all} answers of three dollars for $300; {lost} answers of the last second are in no books"
    );
}

/// How many answers of a key are in the books, and what they cost.
fn books(home: &Path, name: &str) -> [u64; 2] {
    let report = says(home, &["usage", "--by", "key", "--json"], "");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let of_key = |row: &&serde_json::Value| row["key"].as_str().is_some_and(|key| key.split('#').next() == Some(name));
    let Some(row) = rows.iter().find(of_key) else { return [0, 0] };
    let number = |field: &str| row[field].as_u64().unwrap();
    [number("requests") - number("failed"), number("cost_micros")]
}
