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
    // Between nine tenths of the ceiling and the ceiling.
    let limits = format!("memory = \"{}KiB\"\nconnections_per_client = 100000", usual + usual / 20);
    let edge = edge(&origin, &limits, &on_demand).await;
    eventually("memory is measured", async || edge.metric("memory_resident_bytes").await > 0.0).await;
    eventually("the names are known", async || edge.metric("certificates_known").await > 0.0).await;

    let mut running = edge.handshake(KNOWN).await.expect("below the ceiling connections are taken");
    eventually("new names are refused", async || {
        hello::answer(edge.https, &hello::with_sni(b"new.test")).await;
        edge.metric(REFUSED_NAMES).await > 0.0
    })
    .await;
    let mut held = Vec::new();
    while held.len() < 5_000 {
        let Ok(served) = edge.handshake(KNOWN).await else { break };
        held.push(served);
    }

    assert!(!held.is_empty(), "names with a certificate were served while new ones were refused");
    eventually("a metric tells why", async || edge.metric(REFUSED_CONNECTIONS).await > 0.0).await;
    let request = format!("GET / HTTP/1.1\r\nHost: {KNOWN}\r\nConnection: close\r\n\r\n");
    running.stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _closed = running.stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "a connection that was there goes on");
}
