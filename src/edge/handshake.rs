//! One TLS handshake, from the first octet to a stream that requests come by.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use openssl::ssl::SslAcceptor;
use pingora_core::protocols::l4::stream::Stream as L4;
use pingora_core::protocols::tls::SslStream;
use prometheus::{Histogram, IntCounter};
use tokio::time::{Instant, timeout};

use super::gate::EdgeGate;
use super::tls::Error;
use super::tls::acceptor;
use super::tls::decision::Decision;
use super::tls::hello::ServerName;
use super::tls::ready::ReadyCertificate;
use super::tls::tickets::TicketUse;

use crate::domain::hostname::Hostname;
use crate::telemetry::metrics::Metrics;

/// Performs handshakes; one for all listeners.
pub struct Handshakes {
    acceptor: SslAcceptor,
    gate: Arc<EdgeGate>,
    full: IntCounter,
    resumed: IntCounter,
    challenge: IntCounter,
    refused: IntCounter,
    timed_out: IntCounter,
    failed: IntCounter,
    seconds: Histogram,
}

/// A client that was let in.
pub struct Accepted {
    /// Decrypted octets.
    pub stream: SslStream<L4>,
    /// The name it asked for.
    pub sni: Option<Hostname>,
    /// What it was shown, now or when the session began.
    pub certificate: Arc<ReadyCertificate>,
}

impl Handshakes {
    /// Makes the TLS context.
    pub fn new(gate: Arc<EdgeGate>, tickets: TicketUse, metrics: &Metrics) -> Result<Self, Error> {
        let counter = |result: &str| metrics.tls_handshakes.with_label_values(&[result]);
        Ok(Self {
            acceptor: acceptor::acceptor(gate.clone(), tickets)?,
            gate,
            full: counter("full"),
            resumed: counter("resumed"),
            challenge: counter("challenge"),
            refused: counter("refused"),
            timed_out: counter("timeout"),
            failed: counter("failed"),
            seconds: metrics.tls_handshake_seconds.clone(),
        })
    }

    /// Performs one; `None` where the client is not to be served, which costs a counter and no
    /// log line. The wait for a certificate does not count against the client's time.
    ///
    /// - `left`: the client's time for its part.
    pub async fn accept(&self, tcp: L4, client: IpAddr, mut left: Duration) -> Option<Accepted> {
        let begin = Instant::now();
        let ssl = acceptor::handshake(&self.acceptor).ok()?;
        let mut stream = SslStream::new(ssl, tcp).ok()?;
        loop {
            let step = Instant::now();
            let Ok(outcome) = timeout(left, stream.accept()).await else {
                self.timed_out.inc();
                return None;
            };
            match outcome {
                Ok(()) => break,
                Err(error) if acceptor::is_suspended(&error) => {
                    left = left.saturating_sub(step.elapsed());
                    let hello = acceptor::undecided(stream.ssl())?;
                    let decision = self.gate.decide_slowly(&hello, client).await;
                    acceptor::decide(stream.ssl(), decision);
                }
                Err(_) => {
                    let refused = matches!(acceptor::outcome(stream.ssl()), Some((_, Decision::Refuse(_))));
                    if refused { &self.refused } else { &self.failed }.inc();
                    return None;
                }
            }
        }
        self.seconds.observe(begin.elapsed().as_secs_f64());
        self.admit(stream)
    }

    fn admit(&self, stream: SslStream<L4>) -> Option<Accepted> {
        let (hello, decision) = acceptor::outcome(stream.ssl())?;
        match decision {
            Decision::Present(ready) => {
                if stream.ssl().session_reused() { &self.resumed } else { &self.full }.inc();
                let sni = match &hello.name {
                    ServerName::Hostname(hostname) => Some(hostname.clone()),
                    ServerName::Absent | ServerName::Invalid(_) => None,
                };
                let certificate = ready.clone();
                Some(Accepted { stream, sni, certificate })
            }
            Decision::Challenge(_) => {
                self.challenge.inc();
                None
            }
            Decision::Refuse(_) => None,
        }
    }
}
