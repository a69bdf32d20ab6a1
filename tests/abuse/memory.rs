//! The memory ceiling.

use crate::bed::approval::{ApprovalEndpoint, Behaviour};
use crate::bed::{eventually, hello};
use crate::honest::{KNOWN, Origin, edge, resident};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REFUSED_NAMES: &str = r#"unknown_names_refused_total{reason="memory"}"#;
const REFUSED_CONNECTIONS: &str = r#"connections_refused_total{reason="memory"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_names_are_refused_first_then_connections_and_running_ones_never() {
    let (origin, endpoint) = (Origin::start().await, ApprovalEndpoint::start().await);
    endpoint.says_to_all_others(Behaviour::Status(404));
    let on_demand = format!("[on_demand]\napproval = \"{}\"", endpoint.template());
    let usual = resident(&edge(&origin, "", &on_demand).await) / 1024;
    // Far enough above what a start takes, which differs a little each time.
    let limits = format!("memory = \"{}KiB\"\nconnections_per_client = 100000", usual + usual * 2 / 5);
    let edge = edge(&origin, &limits, &on_demand).await;
    eventually("memory is measured", async || edge.metric("memory_resident_bytes").await > 0.0).await;
    eventually("the names are known", async || edge.metric("certificates_known").await > 0.0).await;

    let mut running = edge.handshake(KNOWN).await.expect("below the ceiling connections are taken");
    let mut held = Vec::new();
    while edge.metric(REFUSED_NAMES).await == 0.0 {
        for _ in 0..20 {
            held.push(edge.handshake(KNOWN).await.expect("new names are refused before connections"));
        }
        hello::answer(edge.https, &hello::with_sni(format!("n{}.test", held.len()).as_bytes())).await;
        assert!(held.len() < 20_000, "new names are refused");
    }
    held.push(edge.handshake(KNOWN).await.expect("names with a certificate are served still"));
    while let Ok(served) = edge.handshake(KNOWN).await {
        held.push(served);
        assert!(held.len() < 20_000, "connections are refused");
    }
    eventually("a metric tells why", async || edge.metric(REFUSED_CONNECTIONS).await > 0.0).await;
    let request = format!("GET / HTTP/1.1\r\nHost: {KNOWN}\r\nConnection: close\r\n\r\n");
    running.stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _closed = running.stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "a connection that was there goes on");
}
