//! The program killed under load, twenty times: no key, revocation or cap is lost, and its store opens each time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;

use crate::{ECHO, key_header, says, serve, state_folder, status, status_of, try_chat, until};

const ROUNDS: usize = 20;

/// A dollar for each token of an answer; four are set aside for each request, and two are what it costs.
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
    for round in 0..ROUNDS {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (service, over, answered, asked) = (&service, &over, &answered, &asked);
                let key = if thread == 0 { &spender } else { &load };
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        asked.fetch_add(1, Ordering::Relaxed);
                        let Some(answer) = try_chat(service, key) else { return };
                        if thread == 0 && status_of(&answer) == 200 {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
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
            service.tell(Signal::KILL);
            over.store(true, Ordering::Relaxed);
        });
        let found: Vec<_> = std::fs::read_dir(state_folder(home)).unwrap().flatten().collect();
        let damaged = found.iter().any(|file| file.file_name().to_string_lossy().contains("corrupt"));
        assert!(!damaged, "round {round}: the store was set aside");
        service = serve(home, &config);
        for key in &holding {
            assert_eq!(status(&service, key), 200, "round {round}: a key is lost");
        }
        for key in &revoked {
            assert_eq!(status(&service, key), 401, "round {round}: a revocation is lost");
        }
        let limited = service.chat_with(&key_header(&load));
        assert_eq!(status_of(&limited), 200, "round {round}: {limited}");
    }
    // An answer costs two dollars: a cap of 300 allows 150, and what a killed server held is forfeited.
    let more = std::iter::from_fn(|| (status(&service, &spender) == 200).then_some(())).take(200).count() as u64;
    let all = answered.load(Ordering::Relaxed) + more;
    assert!(all <= 150, "{all} answers of two dollars for $300");
    assert_eq!(status(&service, &spender), 429, "no cap is lost");
    drop(service);
    let service = serve(home, &config);
    assert_eq!(status(&service, &spender), 429);
    let listed = says(home, &["keys", "ls"], "");
    assert!(listed.contains("of $300.00 in all"), "{listed}");
    println!("{ROUNDS} kills under {} requests: {all} answers of two dollars for $300", asked.load(Ordering::Relaxed));
}
