//! A fleet on a virtual clock: what the schedule and the budgets do with millions of names over months, and
//! through an authority's outages. It drives the same code as the edge does; only the store's rows are
//! stood in for, in memory. docs/simulation.md explains what it prints and draws.
//!
//! ```text
//! cargo run --release --example fleet_simulation [NAMES] [FOLDER]
//! ```

mod authority;
mod plot;
mod scenario;
mod world;

use std::error::Error;
use std::path::PathBuf;

use scenario::{Scenario, all};
use world::World;

/// Names in each scenario unless told otherwise.
const NAMES: u32 = 10_000_000;

#[allow(clippy::print_stdout, reason = "its output is the terminal")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let names = arguments.next().map_or(Ok(NAMES), |number| number.parse())?;
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "docs/simulation".into()));
    println!("| {} |", scenario::HEADS.join(" | "));
    println!("|{}", "---|".repeat(scenario::HEADS.len()));
    let mut worlds: Vec<(Scenario, World)> = Vec::new();
    for scenario in all(names) {
        let mut world = World::new(&scenario);
        world.run(&scenario);
        println!("| {} |", scenario.row(&world).join(" | "));
        worlds.push((scenario, world.without_names()));
    }
    plot::all(&worlds, &folder)
}
