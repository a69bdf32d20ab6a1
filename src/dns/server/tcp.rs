//! Connections: messages with their length before them (RFC 1035 §4.2.2), one after the other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::service::{Heard, NameServer};
use super::{Outcome, Transport};
use crate::telemetry::seldom::Seldom;

/// How long a connection may be idle (RFC 7766 §6.2.3 wants seconds), and how long a message may take
/// from its first octet, or an answer to be taken.
const IDLE: Duration = Duration::from_secs(10);
const MESSAGE: Duration = Duration::from_secs(5);
/// Longest message that is read, in octets; no question is as long.
const LONGEST: u16 = 4_096;
/// Pause after an accept that failed, as it does while no file descriptor is free.
const AFTER_A_FAULT: Duration = Duration::from_millis(50);

/// Lets connections in, until it is dropped; each ends by itself.
pub async fn accept(server: Arc<NameServer>, listener: TcpListener, leave: watch::Receiver<bool>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match server.connections.enter(peer.ip()) {
                Some(place) => {
                    let (server, leave) = (server.clone(), leave.clone());
                    tokio::spawn(async move {
                        // A client that goes away is no fault of anybody's.
                        let _gone = serve(&server, stream, peer, leave).await;
                        drop(place);
                    });
                }
                None => server.count(Outcome::Limited),
            },
            Err(error) => {
                static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
                if let Some(unsaid) = COMPLAINTS.permit() {
                    tracing::warn!(%error, unsaid, "a connection for DNS could not be accepted");
                }
                tokio::time::sleep(AFTER_A_FAULT).await;
            }
        }
    }
}

async fn serve(
    server: &Arc<NameServer>,
    mut stream: TcpStream,
    peer: SocketAddr,
    mut leave: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let first = tokio::select! {
            biased;
            first = timeout(IDLE, stream.read_u8()) => first??,
            // Nobody is at the other end of this process: what is there is answered.
            _ = leave.wait_for(|leave| *leave) => return Ok(()),
        };
        let octets = timeout(MESSAGE, message(&mut stream, first)).await??;
        let answer = match server.hear(&octets, peer, Transport::Tcp) {
            Heard::Nothing => return Ok(()),
            Heard::Answer(octets) => {
                timeout(MESSAGE, send(&mut stream, &octets)).await??;
                continue;
            }
            Heard::Later(pending) => pending.answer().await,
        };
        timeout(MESSAGE, send(&mut stream, &answer.octets)).await??;
    }
}

/// The rest of a message whose length begins with the octet `first`.
async fn message(stream: &mut TcpStream, first: u8) -> io::Result<Vec<u8>> {
    let length = u16::from_be_bytes([first, stream.read_u8().await?]);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut octets = vec![0; usize::from(length)];
    stream.read_exact(&mut octets).await?;
    Ok(octets)
}

async fn send(stream: &mut TcpStream, octets: &[u8]) -> io::Result<()> {
    let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
    // In one segment, as some clients expect (RFC 7766 §8).
    stream.write_all(&[&length.to_be_bytes(), octets].concat()).await
}
