//! A provider that is down for a minute: nobody notices, it is hardly asked meanwhile, and it is in use again soon after.

use llm_router::testing::faults::Act;
use llm_router::testing::voice::{Refusal, Voice};
use tokio::time::{Duration, Instant, interval};

use crate::cases::{Case, Outcome};
use crate::client::ask;
use crate::{Stage, id, scaled};

/// How long it is down, in full.
const OUTAGE: f64 = 60.0;
/// How many requests come meanwhile.
const REQUESTS: u32 = 20;
/// How often it may be asked meanwhile: by the first request, and by one that tries after each pause.
const MOST_ASKED: usize = 30;
/// How soon it answers again, at two requests a second.
const BACK_IN_USE: Duration = Duration::from_secs(5);

/// What goes wrong with an outage.
async fn outage(client: Voice, streamed: bool, settings: &str) -> Result<Duration, String> {
    let down = || vec![Act::Until(scaled(OUTAGE), Box::new(Act::Refuse(Refusal::Unavailable, None)))];
    let case = Case::new("down", down, Outcome::Answer, [1, 0]);
    let scene = Stage::of(&[&case], &[client], settings).await.real();
    let (id, route) = (id(&case, client), format!("route-{}", id(&case, client)));
    let mut pace = interval(scaled(OUTAGE) / REQUESTS);
    for at in 0..REQUESTS {
        pace.tick().await;
        let heard = ask(scene.address, client, streamed, &route).await;
        if !heard.whole || heard.error.is_some() {
            return Err(format!("request {at}: {heard:?}"));
        }
    }
    let asked = scene.faults.asked(case.name, client);
    let back = asked.first.ok_or("it was never asked")? + scaled(OUTAGE);
    tokio::time::sleep_until(back).await;
    let asked = scene.faults.asked(case.name, client).requests;
    if asked > MOST_ASKED {
        return Err(format!("asked {asked} times while it was down"));
    }
    let mut pace = interval(Duration::from_millis(500));
    loop {
        pace.tick().await;
        let heard = ask(scene.address, client, streamed, &route).await;
        if !heard.whole {
            return Err(format!("after it: {heard:?}"));
        }
        let took = Instant::now() - back;
        if took > BACK_IN_USE {
            return Err(format!("not in use after {took:?}"));
        }
        if heard.header("x-llm-router-provider") == id {
            return Ok(took);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_down_for_a_minute_is_missed_by_nobody_and_soon_back() {
    let [one, two, three, four] = Voice::ALL;
    let took =
        tokio::join!(outage(one, true, ""), outage(two, false, ""), outage(three, true, ""), outage(four, false, ""),);
    for took in [took.0, took.1, took.2, took.3] {
        println!("in use again after {:?}", took.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_breakers_it_is_asked_again_and_again() {
    let error = outage(Voice::ALL[0], true, "breaker = false\n").await.unwrap_err();
    assert!(error.contains("while it was down"), "{error}");
}
