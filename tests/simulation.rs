//! The simulation of a fleet, with few names: nothing expires in an outage shorter than the margin, and no
//! limit is exceeded at any moment.

#![allow(dead_code, reason = "the program shows more than is held here")]

#[path = "../examples/fleet_simulation/authority.rs"]
mod authority;
#[path = "../examples/fleet_simulation/scenario.rs"]
mod scenario;
#[path = "../examples/fleet_simulation/world.rs"]
mod world;

use scenario::{Scenario, all};
use world::World;

const NAMES: u32 = 20_000;

fn run(title: &str) -> (Scenario, World) {
    let scenario = all(NAMES).into_iter().find(|scenario| scenario.title == title);
    let scenario = scenario.unwrap_or_else(|| panic!("there is no {title}"));
    let mut world = World::new(&scenario);
    world.run(&scenario);
    (scenario, world)
}

/// The largest number of orders in any time as long as the limit counts, by a count of its own.
fn most_within(orders: &[u32], minutes: usize) -> u64 {
    let sums = orders.windows(minutes.min(orders.len().max(1)));
    sums.map(|window| window.iter().map(|&count| u64::from(count)).sum()).max().unwrap_or(0)
}

#[test]
fn nothing_expires_and_no_limit_is_exceeded_in_outages_shorter_than_the_margin() {
    let titles = [
        "90 days",
        "90, 45 and 6 days",
        "90 days, ten accounts",
        "90 days, all came in one day, limited",
        "90 days, 3 days outage",
        "6 days, 1 day outage",
        "6 days, 1 day outage, two authorities",
    ];
    for title in titles {
        let (_, world) = run(title);
        assert_eq!(world.expired, 0, "{title}");
        let orders: u64 = world.hours.iter().map(|hour| hour.orders).sum();
        assert!(orders > u64::from(NAMES) / 2, "{title}: {orders} orders");
        for authority in &world.authorities {
            assert_eq!(authority.exceeded(), 0, "{title}");
            for (bound, orders) in authority.ordered() {
                let most = most_within(orders, bound.per.as_secs() as usize / 60);
                assert!(most <= u64::from(bound.count), "{title}: {most} of {}", bound.count);
            }
        }
    }
}

#[test]
fn an_outage_longer_than_the_margin_is_one_that_names_expire_in() {
    let (_, world) = run("6 days, 4 days outage: longer than the margin");
    assert!(world.expired > 0);
}

#[test]
fn new_names_do_not_wait_behind_the_renewals_that_an_outage_left() {
    let (scenario, world) = run("6 days, 1 day outage");
    let backlog = world.hours.iter().map(|hour| hour.backlog).max().unwrap_or(0);
    assert!(backlog > u64::from(NAMES) / 10, "{backlog} waited");
    let beyond = world.longest_wait - scenario.outage.1;
    assert!(beyond < 60, "a new name waited for {beyond} minutes after the outage");
    // Another authority steps in at once.
    let (_, world) = run("6 days, 1 day outage, two authorities");
    assert!(world.longest_wait < 60, "{} minutes", world.longest_wait);
}
