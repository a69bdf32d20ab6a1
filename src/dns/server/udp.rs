//! Datagrams.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::Transport;
use super::service::{Heard, NameServer};
use crate::telemetry::seldom::Seldom;

/// Longest datagram that is read whole; no question is as long.
const OCTETS: usize = 4_096;
/// Pause after a fault of the socket.
const AFTER_A_FAULT: Duration = Duration::from_millis(50);

/// Answers what comes, until it is dropped.
pub async fn serve(server: Arc<NameServer>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut octets = [0; OCTETS];
    loop {
        let (length, peer) = match socket.recv_from(&mut octets).await {
            Ok(received) => received,
            Err(error) => {
                static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
                if let Some(unsaid) = COMPLAINTS.permit() {
                    tracing::warn!(%error, unsaid, "a question by DNS could not be received");
                }
                tokio::time::sleep(AFTER_A_FAULT).await;
                continue;
            }
        };
        // An answer that cannot be sent is lost as any datagram may be: whoever asked asks again.
        match server.hear(&octets[..length], peer, Transport::Udp) {
            Heard::Nothing => {}
            // At once where the system takes it: one that ends this task here loses no answer.
            Heard::Answer(answer) => match socket.try_send_to(&answer, peer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drop(socket.send_to(&answer, peer).await)
                }
                _sent_or_lost => {}
            },
            Heard::Later(pending) => {
                let socket = socket.clone();
                tokio::spawn(async move {
                    let answer = pending.answer().await;
                    let _lost = socket.send_to(&answer.octets, peer).await;
                });
            }
        }
    }
}
