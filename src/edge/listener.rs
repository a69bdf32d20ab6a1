//! The accept loop of both ports, and a connection's way from its socket to the request path.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::stream::Stream as L4;
use pingora_core::protocols::{GetSocketDigest, SocketDigest, Ssl};
use pingora_core::server::ShutdownWatch;
use prometheus::IntGauge;
use socket2::{Domain, Protocol, Socket, Type};
use std::os::fd::AsRawFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::admission::{Admission, Place};
use super::connection::{Connection, Listener};
use super::handshake::Handshakes;
use super::proxy_protocol;
use super::stream::ClientStream;
use crate::config::{ListenAddress, Network};
use crate::telemetry::metrics::Metrics;

/// Connections that the system holds ready for us to accept.
const BACKLOG: i32 = 4096;
/// Pause after an accept that failed, as it does while no file descriptor is free.
const AFTER_A_FAULT: Duration = Duration::from_millis(50);

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}; stop what uses the port, or choose another address")]
pub struct BindError {
    /// The address from the configuration.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Opens a listener. `None` where a defaulted IPv6 address meets a host without IPv6.
pub fn bind(listen: &ListenAddress) -> Result<Option<TcpListener>, BindError> {
    let ListenAddress { address, defaulted } = *listen;
    match open(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if defaulted && address.is_ipv6() && lacks_ipv6(&error) => {
            tracing::warn!(%address, "this host has no IPv6; listening on IPv4 only");
            Ok(None)
        }
        Err(source) => Err(BindError { address, source }),
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// EAFNOSUPPORT and EADDRNOTAVAIL.
fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(97)
}

/// Everything that connections of all listeners share.
pub struct Ports<S, P> {
    /// TLS.
    pub handshakes: Handshakes,
    /// Requests over TLS.
    pub https: Arc<S>,
    /// Requests in the clear.
    pub http: Arc<P>,
    /// Limits on connections.
    pub admission: Arc<Admission>,
    /// Peers whose connections begin with a PROXY header.
    pub proxy_protocol_from: Vec<Network>,
    /// Time for the first octet and a PROXY header.
    pub handshake: Duration,
    /// Time for a whole request header.
    pub request_header: Duration,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// Counts a connection for as long as it lives.
struct Counted(IntGauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl<S, P> Ports<S, P>
where
    S: ServerApp + Send + Sync + 'static,
    P: ServerApp + Send + Sync + 'static,
{
    /// Accepts connections until `shutdown` says stop.
    pub async fn accept(self: Arc<Self>, port: TcpListener, kind: Listener, mut shutdown: ShutdownWatch) {
        let gauge = self.metrics.connections.with_label_values(&[kind.label()]);
        let until = shutdown.clone();
        loop {
            let accepted = tokio::select! {
                accepted = port.accept() => accepted,
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    let Some(place) = self.enter() else { continue };
                    gauge.inc();
                    let counted = Counted(gauge.clone());
                    let (ports, until) = (self.clone(), until.clone());
                    tokio::spawn(async move {
                        let _counted = counted;
                        ports.serve(tcp, peer, kind, place, &until).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_A_FAULT).await;
                }
            }
        }
    }

    fn enter(&self) -> Option<Place> {
        self.admission.enter().inspect_err(|refused| self.refuse(refused.label())).ok()
    }

    fn refuse(&self, reason: &str) {
        self.metrics.connections_refused.with_label_values(&[reason]).inc();
    }

    async fn serve(
        self: Arc<Self>,
        mut tcp: TcpStream,
        peer: SocketAddr,
        kind: Listener,
        mut place: Place,
        shutdown: &ShutdownWatch,
    ) {
        let Ok(local) = tcp.local_addr() else { return };
        let begin = Instant::now();
        let trusted = self.proxy_protocol_from.iter().any(|network| network.contains(peer.ip()));
        let mut addresses = (peer, local);
        if trusted {
            if !self.speaks(&tcp, begin, shutdown).await {
                return;
            }
            match self.told_addresses(&mut tcp, begin).await {
                Ok(told) => addresses = told.unwrap_or(addresses),
                Err(_) => return self.refuse("proxy_protocol"),
            }
        }
        let (client, local) = addresses;
        if let Err(refused) = place.belongs_to(client.ip()) {
            return self.refuse(refused.label());
        }
        if kind == Listener::Https && !self.speaks(&tcp, begin, shutdown).await {
            return;
        }
        // Without it small answers wait for acknowledgements; a socket that refuses is closing.
        let _closing = tcp.set_nodelay(true);
        let l4 = with_addresses(tcp, client, local);
        match kind {
            Listener::Http => {
                let connection = Connection::new(kind, client, local, None, Arc::new([]));
                let stream = ClientStream::new(l4, Arc::new(connection), Some(self.request_header));
                self.http.process_new(Box::new(stream), shutdown).await;
            }
            Listener::Https => {
                let Some(accepted) = self.handshakes.accept(l4, client.ip(), begin.elapsed()).await else {
                    return;
                };
                let names = accepted.certificate.names.clone();
                let connection = Connection::new(kind, client, local, accepted.sni, names);
                let stream = accepted.stream;
                let header = header_deadline(&stream, self.request_header);
                let stream = ClientStream::new(stream, Arc::new(connection), header);
                self.https.process_new(Box::new(stream), shutdown).await;
            }
        }
        drop(place);
    }

    /// Waits for the next octet, for as long as a handshake may take. `false` where a stop comes
    /// before it: a connection on which nothing was said holds no stop up.
    ///
    /// - `begin`: when the connection began.
    async fn speaks(&self, tcp: &TcpStream, begin: Instant, shutdown: &ShutdownWatch) -> bool {
        let left = self.handshake.saturating_sub(begin.elapsed());
        let mut until = shutdown.clone();
        let mut octet = [0];
        tokio::select! {
            biased;
            _ = timeout(left, tcp.peek(&mut octet)) => true,
            _ = until.wait_for(|stop| *stop) => false,
        }
    }

    /// The client's address and ours, as a trusted peer's PROXY header tells them; `None` for a
    /// connection of its own.
    ///
    /// - `begin`: when the connection began.
    async fn told_addresses(
        &self,
        tcp: &mut TcpStream,
        begin: Instant,
    ) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        let left = self.handshake.saturating_sub(begin.elapsed());
        timeout(left, proxy_protocol::read(tcp)).await.map_err(io::Error::from).flatten()
    }
}

/// HTTP/2 has frames among frames; its own limits bound headers there.
fn header_deadline(stream: &impl Ssl, limit: Duration) -> Option<Duration> {
    let http2 = matches!(stream.selected_alpn_proto(), Some(pingora_core::protocols::ALPN::H2));
    (!http2).then_some(limit)
}

fn with_addresses(tcp: TcpStream, client: SocketAddr, local: SocketAddr) -> L4 {
    use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddress;
    let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
    // Both cells are new and empty, so setting them cannot fail.
    let _new = digest.peer_addr.set(Some(PingoraAddress::Inet(client)));
    let _new = digest.local_addr.set(Some(PingoraAddress::Inet(local)));
    let mut l4 = L4::from(tcp);
    l4.set_socket_digest(digest);
    l4
}
