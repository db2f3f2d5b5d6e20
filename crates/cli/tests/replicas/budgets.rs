//! Money that all replicas spend together.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_router::dialect::Dialect;
use llm_router::testing::faults::{Act, Faults};
use llm_router::testing::voice::Voice;
use tokio::sync::Semaphore;

use crate::service::conversation;
use crate::{Replicas, ask_all, count, key_header, known, status, status_of};

/// A tenth of a cent for each token of an answer, and nothing for a prompt.
pub(crate) const PRICED: &str = "[prices.\"echo/x\"]\ninput = 0\noutput = 1000\n[limits]\nmax_tokens = 16\n";

/// What scripted providers speak.
const VOICE: Voice = Voice(Dialect::OpenaiChat);

/// Set aside for a request: sixteen tokens of an answer.
pub(crate) const SET_ASIDE: u64 = 16_000;

/// What the books say of the key's budget, in micro-dollars.
pub(crate) fn drawn(all: &Replicas, name: &str) -> u64 {
    let listed = all.says(&["keys", "ls", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let keys = listed["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["about"]["name"] == name).unwrap_or_else(|| panic!("{listed}"));
    key["drawn"]["ever"].as_u64().unwrap_or_else(|| panic!("{listed}"))
}

/// Waits until the books say so: settling waits for nobody, and nobody for it.
pub(crate) fn settled(all: &Replicas, name: &str, wanted: u64) {
    let began = Instant::now();
    loop {
        let found = drawn(all, name);
        if found == wanted {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "the books say {found}, the ledger {wanted}");
    }
}

/// What one answer costs.
pub(crate) fn each(all: &Replicas) -> u64 {
    let probe = all.says(&["keys", "create", "probe", "--budget", "1"]);
    known(&all.services[..1], &probe);
    while status(&all.services[0], &probe) != 200 {}
    let began = Instant::now();
    loop {
        match drawn(all, "probe") {
            // What is set aside, until the answer is settled.
            0 | SET_ASIDE => assert!(began.elapsed() < Duration::from_secs(10)),
            cost => return cost,
        }
    }
}

#[test]
fn a_dollar_is_never_overspent_by_two_hundred_at_once_and_the_ledger_is_the_counter() {
    let all = Replicas::start(3, PRICED);
    let each = each(&all);
    for run in 0..3 {
        let name = format!("spender{run}");
        let key = all.says(&["keys", "create", &name, "--budget", "1"]);
        known(&all.services, &key);
        let answers = ask_all(&all.services, 200, 600, &key);
        let answered = count(&answers, 200) as u64;
        assert_eq!(
            answered as usize + count(&answers, 429),
            600,
            "{:?}",
            answers.iter().find(|a| !a.contains(" 200 ") && !a.contains(" 429 "))
        );
        let ledger = answered * each;
        assert!(ledger <= 1_000_000, "{answered} answers of {each}");
        settled(&all, &name, ledger);
        println!("run {run}: {answered} answers, {ledger} of 1000000 micro-dollars spent, the counter says the same");
        // What is left is spent one after the other, to the last answer that fits.
        let mut more = 0;
        while status(&all.services[0], &key) == 200 {
            more += each;
            assert!(ledger + more <= 1_000_000);
        }
        settled(&all, &name, ledger + more);
        assert!(ledger + more + SET_ASIDE > 1_000_000, "nothing is held for nothing");
    }
}

/// A route whose first targets cost more than the key has; each program is one target.
const DEAR: &str = "[providers.dear]\ncommand = \"/bin/echo {model}\"\n[providers.dearer]\ncommand = \"/usr/bin/printf {model}\"\n\
                    [prices.\"dear/m\"]\ninput = 0\noutput = 100000\n[prices.\"dearer/m\"]\ninput = 0\noutput = 200000\n\
                    [prices.\"slow/x\"]\ninput = 0\noutput = 1000\n\
                    [routes.r]\ngroups = [[\"dear/m\"], [\"dearer/m\"], [\"slow/x\"]]\n";

#[test]
fn whose_money_is_not_enough_for_the_first_targets_is_answered_by_the_next_after_one_script() {
    // A provider that answers when it is told to.
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let slow = format!(
        "[providers.slow]\ncommand = \"/usr/bin/nice /usr/bin/env MODEL={{model}} /bin/cat {}\"\n",
        gate.display()
    );
    let all = Replicas::start(2, &format!("{PRICED}{slow}{DEAR}"));
    let key = all.says(&["keys", "create", "spender", "--budget", "1"]);
    known(&all.services, &key);
    let mut ledger = 0;
    for round in 0..6 {
        let before = all.scripts();
        std::thread::scope(|scope| {
            let service = &all.services[round % 2];
            let asked = scope.spawn(|| service.ask(&conversation("r", &key_header(&key))));
            // It can be opened as soon as the provider reads it.
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
            let mut open = loop {
                match rustix::fs::open(&gate, flags, rustix::fs::Mode::empty()) {
                    Ok(open) => break std::fs::File::from(open),
                    Err(_) if asked.is_finished() => panic!("{}", asked.join().unwrap()),
                    Err(_) => std::thread::yield_now(),
                }
            };
            assert_eq!(all.scripts() - before, 1, "whoever counts is asked once, and nobody puts anything right yet");
            assert_eq!(drawn(&all, "spender"), ledger + SET_ASIDE, "for the target that is asked");
            open.write_all(b"at last").unwrap();
            drop(open);
            let answer = asked.join().unwrap().to_ascii_lowercase();
            assert_eq!(status_of(&answer), 200, "{answer}");
            assert!(answer.contains("x-llm-router-provider: slow"), "{answer}");
            let cost = answer.lines().find_map(|line| line.strip_prefix("x-llm-router-cost: "));
            let cost: f64 = cost.unwrap_or_else(|| panic!("{answer}")).parse().unwrap();
            ledger += (cost * 1e6).round() as u64;
        });
        settled(&all, "spender", ledger);
    }
    assert!(ledger > 0);
}

/// Two targets, of which the first is cheap and takes one call at a time.
fn narrow(faults: &Faults) -> String {
    let provider = |name: &str, more: &str, price: u64| {
        let url = faults.url(name, VOICE);
        format!(
            "[providers.{name}]\nbase_url = {url:?}\napi_key = \"k\"\ndialect = \"openai_chat\"\nmodels = [\"m\"]\n{more}[prices.\"{name}/m\"]\ninput = 0\noutput = {price}\n"
        )
    };
    let (cheap, dear) = (provider("cheap", "max_in_flight = 1\n", 1000), provider("dear", "", 2000));
    format!("{PRICED}{cheap}{dear}[routes.r]\ngroups = [[\"cheap/m\"], [\"dear/m\"]]\n")
}

#[test]
fn whoever_finds_the_cheap_target_full_is_answered_by_the_dear_one_after_one_script() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let gates = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
    let [cheap, dear] = gates.each_ref().map(|gate| vec![Act::Gated(Arc::clone(gate))]);
    let faults = runtime.block_on(Faults::serve(vec![("cheap", cheap), ("dear", dear)]));
    let all = Replicas::start(1, &narrow(&faults));
    let service = &all.services[0];
    // Of much money enough is set aside for the dear one; of little, for the one that has room.
    for (round, (budget, first)) in [("10", 2 * SET_ASIDE), ("0.2", SET_ASIDE)].into_iter().enumerate() {
        let name = format!("spender{round}");
        let key = all.says(&["keys", "create", &name, "--budget", budget]);
        known(&all.services, &key);
        let before = all.scripts();
        std::thread::scope(|scope| {
            let ask = || service.ask(&conversation("r", &key_header(&key))).to_ascii_lowercase();
            let called = |name: &str| runtime.block_on(faults.until(name, VOICE, |asked| asked.requests > round));
            let one = scope.spawn(ask);
            called("cheap");
            assert_eq!((all.scripts() - before, drawn(&all, &name)), (1, first));
            let other = scope.spawn(ask);
            called("dear");
            assert_eq!((all.scripts() - before, drawn(&all, &name)), (2, first + 2 * SET_ASIDE));
            for (asked, provider, gate) in [(one, "cheap", &gates[0]), (other, "dear", &gates[1])] {
                gate.add_permits(1);
                let answer = asked.join().unwrap();
                let by = format!("x-llm-router-provider: {provider}");
                assert!(answer.starts_with("http/1.1 200") && answer.contains(&by), "{answer}");
            }
        });
    }
}
