//! `nameplate fleet`: the machines that share the store. Works on the store itself, so that it also tells
//! while no process serves here.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::table::{print, say, table};
use super::{configuration, failure, open_beside};
use crate::certs::in_full;
use crate::config::Config;
use crate::domain::clock::UnixTime;
use crate::store::Error;
use crate::store::fleet::{SILENT, Seen, Work};
use crate::store::records::Records;

/// In which times orders are counted, in hours.
const HOURS: [u64; 3] = [1, 3, 7 * 24];

/// Arguments of `nameplate fleet`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show every machine: its version, whether it is there, how far it is behind; and what the fleet is
    /// at: leases, authorities, orders.
    Status {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Exit code 1 where a machine is silent, as one that was shut down signs off.
pub async fn run(args: Args) -> ExitCode {
    let What::Status { config, json } = args.what;
    let config = match configuration(config.as_deref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match status(&config, json).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failure(&in_full(&error)),
    }
}

async fn status(config: &Config, json: bool) -> Result<bool, Error> {
    let store = open_beside(config).await?;
    let records = store.records();
    let (machines, work) = (records.machines().await?, records.work().await?);
    let authorities = authorities(config, records, &work).await?;
    store.close().await;
    let all_are_there = machines.iter().all(|seen| is_there(seen, work.now));
    if json {
        let machines: Vec<Value> = machines.iter().map(|seen| machine(seen, work.now)).collect();
        print(&json!({ "machines": machines, "leases": work.leases, "authorities": authorities }));
        return Ok(all_are_there);
    }
    show(&machines, &work, &authorities);
    Ok(all_are_there)
}

fn is_there(seen: &Seen, now: UnixTime) -> bool {
    seen.at.until(now) < SILENT
}

fn state(seen: &Seen, now: UnixTime) -> &'static str {
    match (is_there(seen, now), seen.machine.leaving) {
        (false, _) => "silent",
        (true, true) => "leaving",
        (true, false) => "there",
    }
}

fn machine(seen: &Seen, now: UnixTime) -> Value {
    let machine = &seen.machine;
    json!({
        "id": machine.id,
        "name": machine.name,
        "version": machine.version,
        "state": state(seen, now),
        "seen_at": seen.at.to_string(),
        "started_at": machine.started_at.to_string(),
        "changes_behind": seen.behind,
        "clock_ahead_seconds": clock_ahead(seen),
        "certificates_hot": machine.hot,
        "hostnames": machine.hostnames,
        "sealing_keys": machine.keys,
    })
}

/// By how many seconds its clock is ahead of the store's.
fn clock_ahead(seen: &Seen) -> i64 {
    seen.machine.clock.0 - seen.at.0
}

async fn authorities(config: &Config, records: &dyn Records, work: &Work) -> Result<Vec<Value>, Error> {
    let mut authorities = Vec::new();
    for authority in &config.authorities {
        let mut orders = serde_json::Map::new();
        for hours in HOURS {
            let since = work.now.minus(Duration::from_secs(hours * 3600));
            let count = records.orders_since(&authority.name, since).await?;
            orders.insert(format!("{hours}h"), count.into());
        }
        let health = work.authorities.iter().find(|(name, _)| **name == *authority.name);
        let closed = health.filter(|(_, health)| health.closed_until > work.now);
        authorities.push(json!({
            "name": &*authority.name,
            "orders": orders,
            "failures": health.map_or(0, |(_, health)| health.failures),
            "closed_until": closed.map(|(_, health)| health.closed_until.to_string()),
            "reason": closed.map(|(_, health)| &health.reason),
        }));
    }
    Ok(authorities)
}

fn show(machines: &[Seen], work: &Work, authorities: &[Value]) {
    let rows: Vec<Vec<String>> = machines
        .iter()
        .map(|seen| {
            let machine = &seen.machine;
            let ahead = clock_ahead(seen);
            vec![
                machine.name.clone(),
                machine.id.clone(),
                machine.version.clone(),
                state(seen, work.now).to_owned(),
                format!("{} s ago", seen.at.until(work.now).as_secs()),
                seen.behind.to_string(),
                if ahead.abs() < 2 { "right".to_owned() } else { format!("{ahead:+} s") },
                machine.hot.to_string(),
                machine.hostnames.to_string(),
                machine.keys.join(" "),
            ]
        })
        .collect();
    let heads =
        ["MACHINE", "ID", "VERSION", "STATE", "SEEN", "BEHIND", "CLOCK", "HOT", "HOSTNAMES", "SEALING KEYS"];
    table(&heads, &rows, "");
    say(&format!("\nLeases: {}\n", work.leases));
    let rows: Vec<Vec<String>> = authorities
        .iter()
        .map(|authority| {
            let orders = HOURS.map(|hours| authority["orders"][format!("{hours}h")].to_string());
            let text = |key: &str| authority[key].as_str().unwrap_or("-").to_owned();
            [vec![text("name")], orders.to_vec(), vec![text("closed_until"), text("reason")]].concat()
        })
        .collect();
    table(&["AUTHORITY", "ORDERS 1H", "3H", "7D", "CLOSED UNTIL", "REASON"], &rows, "");
}
