//! Floods of names and of garbage.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::approval::{ApprovalEndpoint, Behaviour};
use crate::bed::eventually;
use crate::bed::hello;
use crate::bed::program::Edge;
use crate::honest::{Honest, KNOWN, Origin, edge, resident};

const UNKNOWN_NAMES: usize = 20_000;
const GARBAGE: usize = 5_000;
/// Connections of a flood at the same time.
const AT_ONCE: usize = 64;
/// What a flood may leave behind: caches that fill once, and the allocator's reserve.
const FLAT: u64 = 64 << 20;
/// New names a minute that the flooded edge may ask about.
const BUDGET: usize = 1_000;
/// Generous: the machine that runs this is busy with the flood itself.
const BEARABLE: Duration = Duration::from_secs(5);

const LOOK_UP: &str = r#"store_operations_total{operation="certificate",result="ok"}"#;

async fn flood(edge: &Edge, hellos: impl Iterator<Item = Vec<u8>>) {
    let address = edge.https;
    futures::stream::iter(hellos)
        .for_each_concurrent(AT_ONCE, |hello| async move { say(address, &hello).await })
        .await;
}

/// Sends `octets`, says no more, and hears the server out.
async fn say(address: SocketAddr, octets: &[u8]) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    // A server may close as soon as it has heard enough.
    let _closed = tcp.write_all(octets).await;
    let _closed = tcp.shutdown().await;
    let mut answer = Vec::new();
    let _reset = tcp.read_to_end(&mut answer).await;
}

fn unknown_name(number: usize) -> Vec<u8> {
    hello::with_sni(format!("h{:08x}.d{number}.test", rand::random::<u32>()).as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_names_costs_little_and_hurts_nobody() {
    let (origin, endpoint) = (Origin::start().await, ApprovalEndpoint::start().await);
    endpoint.says_to_all_others(Behaviour::Status(404));
    let on_demand = format!("[on_demand]\napproval = \"{}\"", endpoint.template());
    let limits = format!(
        "new_names = \"{BUDGET}/1m\"\nnew_names_per_client = \"100000/1m\"\nconnections_per_client = 100000"
    );
    let edge = edge(&origin, &limits, &on_demand).await;
    let alone = Honest::begin(&edge).end().await;
    flood(&edge, (0..2_000).map(unknown_name)).await;
    let (before, looked_up) = (resident(&edge), edge.metric(LOOK_UP).await);

    let honest = Honest::begin(&edge);
    let begin = Instant::now();
    flood(&edge, (0..UNKNOWN_NAMES).map(unknown_name)).await;
    let took = begin.elapsed();
    let beside = honest.end().await;

    let grown = resident(&edge).saturating_sub(before);
    println!(
        "{UNKNOWN_NAMES} unknown names in {took:?}; p99 of a known name {alone:?} alone, {beside:?} beside; {} KiB more",
        grown / 1024
    );
    assert!(grown < FLAT, "{grown} octets more");
    assert!(beside < BEARABLE, "{beside:?}");
    // Work in the background looks the known name's certificate up, now and then.
    assert!(edge.metric(LOOK_UP).await <= looked_up + 5.0, "the store is not asked about unknown names");
    // Full at first, and one more for each part of a minute since; one question is the canary's.
    let minutes = begin.elapsed().as_secs_f64() / 60.0 + 1.0;
    let bound = (BUDGET as f64 * (1.0 + minutes)) as usize + 1;
    assert!(endpoint.questions().len() <= bound, "{} questions", endpoint.questions().len());
    assert!(edge.metric(r#"unknown_names_refused_total{reason="new_names"}"#).await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_denied_costs_no_budget_again() {
    let (origin, endpoint) = (Origin::start().await, ApprovalEndpoint::start().await);
    endpoint.says_to_all_others(Behaviour::Status(404));
    let on_demand = format!("[on_demand]\napproval = \"{}\"", endpoint.template());
    let edge = edge(&origin, "new_names_per_client = \"2/1h\"\nlabel_depth = 2", &on_demand).await;
    let alert = async |name: &str| hello::answer(edge.https, &hello::with_sni(name.as_bytes())).await;
    // The names with a certificate are read in the background; before that all may have one.
    eventually("the names are known", async || edge.metric("certificates_known").await > 0.0).await;

    assert_eq!(alert("www.www.www.deep.test").await, Some(112), "too deep");
    for _ in 0..5 {
        assert_eq!(alert("one.test").await, Some(112), "denied");
    }
    assert_eq!(alert("two.test").await, Some(112), "denied");
    assert_eq!(alert("three.test").await, Some(80), "not asked about");
    assert_eq!(endpoint.questions_about("one.test"), 1);
    assert_eq!(endpoint.questions_about("three.test"), 0);
    assert_eq!(endpoint.questions_about("www.www.www.deep.test"), 0);
    assert!(edge.get(KNOWN, "/").await.starts_with("HTTP/1.1 200"));
    let refused = async |reason: &str| {
        edge.metric(&format!("unknown_names_refused_total{{reason=\"{reason}\"}}")).await
    };
    assert_eq!(refused("new_names_per_client").await, 1.0);
    assert_eq!(refused("label_depth").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_of_the_configuration_is_served_however_little_budget_there_is() {
    let origin = Origin::start().await;
    let more = format!(
        "[[site]]\nname = \"deep\"\nhostnames = [\"a.b.c.d.other.test\", \"second.test\"]\norigins = [\"{}\"]",
        origin.address
    );
    let edge =
        edge(&origin, "new_names = \"1/1h\"\nnew_names_per_client = \"1/1h\"\nlabel_depth = 1", &more).await;
    for name in ["a.b.c.d.other.test", "second.test"] {
        assert!(edge.get(name, "/").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_hellos_cost_little_and_hurt_nobody() {
    let origin = Origin::start().await;
    let edge = edge(&origin, "connections_per_client = 100000", "").await;
    flood(&edge, (0..500).map(malformed)).await;
    let before = resident(&edge);

    let honest = Honest::begin(&edge);
    flood(&edge, (0..GARBAGE).map(malformed)).await;
    let beside = honest.end().await;

    let grown = resident(&edge).saturating_sub(before);
    println!("{GARBAGE} malformed hellos: p99 of a known name {beside:?} beside; {} KiB more", grown / 1024);
    assert!(grown < FLAT, "{grown} octets more");
    assert!(beside < BEARABLE, "{beside:?}");
    eventually("all of them are closed", async || {
        edge.metric(r#"connections{listener="https"}"#).await == 0.0
    })
    .await;
}

/// A hello that is cut, changed in places, longer than it says, or none at all.
fn malformed(number: usize) -> Vec<u8> {
    let mut hello = hello::with_sni(KNOWN.as_bytes());
    let end = hello.len();
    let place = || rand::random_range(0..end);
    match number % 5 {
        0 => hello.truncate(place()),
        1 => (0..8).for_each(|_| hello[place()] = rand::random()),
        2 => hello.iter_mut().skip(5).for_each(|octet| *octet = rand::random()),
        3 => {
            let at = place();
            hello.splice(at..at, (0..300).map(|_| 0xff));
        }
        _ => hello.iter_mut().for_each(|octet| *octet = rand::random()),
    }
    hello
}
