//! A zone at a provider that takes whole sets of records, which all machines change.

use crate::bed::eventually;
use crate::bed::power::{API_KEY, PowerDns};
use crate::fleet::{Fleet, Plan};

const ZONE: &str = "platform.test";
const MACHINES: usize = 3;
const NAMES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn machines_change_a_zone_in_turn_so_that_none_undoes_anothers_record() {
    let power = PowerDns::serving(ZONE).await;
    let names: Vec<String> = (0..NAMES).map(|number| format!("n{number}.{ZONE}")).collect();
    for (number, name) in names.iter().enumerate() {
        // One set for a name of each machine. Larger ones the CA could not ask for by UDP.
        let shared = format!("acme{}.{ZONE}", number / MACHINES);
        power.alias(ZONE, &format!("_acme-challenge.{name}"), &shared).await;
    }
    let address = power.address();
    let before = format!(
        "[dns]\nresolvers = [\"{address}\"]\n[[dns_zone]]\nzone = \"{ZONE}\"\nprovider = \"powerdns\"\n\
         token = \"{API_KEY}\"\nendpoint = \"{}\"\nname_servers = [\"{address}\"]\n",
        power.endpoint(),
    );
    let challenges = r#"["dns-01"]"#;
    let fleet = Fleet::of(Plan { before, challenges, resolver: Some(address), ..Plan::default() }).await;
    for name in &names {
        fleet.approve(name);
    }

    let visits = names.iter().enumerate().map(|(number, name)| {
        let machine = fleet.machine(number % MACHINES);
        async move {
            machine.handshake(name).await.unwrap_or_else(|why| panic!("{name}: {why:?}\n{}", machine.log()))
        }
    });
    futures::future::join_all(visits).await;
    assert_eq!(fleet.ca.orders(), NAMES);
    let changes = async |change: &str, result: &str| {
        let line = format!("dns_records_total{{change=\"{change}\",result=\"{result}\"}}");
        fleet.metric(&line).await
    };
    eventually("all records are removed again", async || changes("remove", "ok").await == NAMES as f64).await;
    assert_eq!(changes("write", "ok").await, NAMES as f64);
    assert_eq!((changes("write", "error").await, changes("remove", "error").await), (0.0, 0.0));
    assert_eq!(fleet.number("SELECT count(*) FROM leases WHERE name LIKE 'zone %'").await, 0);
}
