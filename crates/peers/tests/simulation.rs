//! Table and picker among a thousand servers in simulated time: what the choice brings beside simple ones, and what happens to servers that die. Larger ones are the bench `simulation`.

#![allow(clippy::unwrap_used)]

#[path = "simulation/policy.rs"]
mod policy;
#[path = "simulation/world.rs"]
mod world;

use policy::Policy;
use world::{Plan, Report, World};

fn run(plan: Plan, policy: Policy) -> Report {
    World::new(plan, policy).run()
}

#[test]
fn the_busiest_of_a_thousand_is_not_much_busier_than_the_rest() {
    let plan = Plan { seconds: 8.0, warm: 5.0, ..Plan::new(1000, 1) };
    let [random, picker, homes] =
        [Policy::Random, Policy::Picker, Policy::PickerWithHomes].map(|policy| run(plan, policy));
    for ours in [&picker, &homes] {
        assert!(ours.max_to_mean <= 1.6 && ours.failed == 0, "{ours:?}");
        assert!(ours.p99 * 2.0 < random.p99 && ours.p50 < random.p50, "{ours:?} {random:?}");
    }
    assert!(homes.known > 2.0 * random.known, "{homes:?} {random:?}");
}

#[test]
fn routers_that_know_nothing_of_each_other_do_not_run_to_the_same_peer() {
    let plan = Plan { seconds: 20.0, warm: 16.0, ..Plan::new(150, 6) };
    let [random, least, picker, homes] =
        [Policy::Random, Policy::LeastAdvertised, Policy::Picker, Policy::PickerWithHomes]
            .map(|policy| run(plan, policy));
    for ours in [&picker, &homes] {
        for simple in [&random, &least] {
            assert!(ours.max_to_mean < simple.max_to_mean && ours.p99 < simple.p99, "{ours:?} {simple:?}");
        }
        assert_eq!(ours.failed, 0, "{ours:?}");
    }
    assert!(homes.known > 1.5 * random.known, "{homes:?} {random:?}");
}

#[test]
fn who_died_is_asked_once_by_each_and_loses_nobody_a_request() {
    let plan = Plan { seconds: 20.0, lifetime: Some(60.0), utilisation: 0.5, ..Plan::new(200, 4) };
    for policy in [Policy::Picker, Policy::PickerWithHomes] {
        let report = run(plan, policy);
        assert!(report.at_dead > 50, "servers died: {report:?}");
        assert_eq!(report.repeated, 0, "{report:?}");
        assert!(report.failed * 1000 <= report.requests, "{report:?}");
    }
}

#[test]
fn a_run_is_the_same_every_time() {
    let plan = Plan { seconds: 4.0, warm: 1.0, lifetime: Some(10.0), ..Plan::new(50, 4) };
    let [one, other] = [run(plan, Policy::PickerWithHomes), run(plan, Policy::PickerWithHomes)];
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}
