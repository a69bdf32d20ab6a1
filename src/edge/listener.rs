//! The accept loop of all ports, and a connection's way from its socket to the request path.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::l4::stream::Stream as L4;
use pingora_core::protocols::{ALPN, GetSocketDigest, IO, SocketDigest, Ssl};
use pingora_core::server::ShutdownWatch;
use std::os::fd::AsRawFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::admission::{Admission, Handshaking};
use super::connection::{Connection, Listener};
use super::ending::Until;
use super::handshake::Handshakes;
use super::idle::Idle;
use super::redirects::{Ended, Redirects};
use super::stream::ClientStream;
use super::threads::{Arrival, Counted, Threads};
use super::{http1, proxy_protocol};
use crate::config::Network;
use crate::telemetry::metrics::Metrics;

/// Pause after an accept that failed, as it does while no file descriptor is free.
const AFTER_A_FAULT: Duration = Duration::from_millis(50);

/// Everything that the connections of one serving thread share.
pub struct Ports<S, P> {
    /// TLS.
    pub handshakes: Arc<Handshakes>,
    /// Requests over TLS.
    pub https: Arc<S>,
    /// Requests in the clear that only want to be redirected.
    pub redirects: Redirects,
    /// All other requests in the clear.
    pub http: Arc<P>,
    /// Peers whose connections begin with a PROXY header.
    pub proxy_protocol_from: Arc<[Network]>,
    /// Time for the first octet and a PROXY header.
    pub handshake: Duration,
    /// Time for a whole request header.
    pub request_header: Duration,
    /// A connection without a request is closed after this time.
    pub keep_alive: Duration,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// Lets connections in.
pub struct Entrance<S, P> {
    /// Limits on connections.
    pub admission: Arc<Admission>,
    /// Who serves them.
    pub threads: Arc<Threads<S, P>>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

impl<S, P> Clone for Entrance<S, P> {
    fn clone(&self) -> Self {
        let Self { admission, threads, metrics } = self;
        Self { admission: admission.clone(), threads: threads.clone(), metrics: metrics.clone() }
    }
}

impl<S: Send + Sync + 'static, P: Send + Sync + 'static> Entrance<S, P> {
    /// Accepts connections at `port` until `leave` is true.
    pub async fn accept(self, port: TcpListener, listener: Listener, mut leave: ShutdownWatch) {
        let gauge = self.metrics.connections.with_label_values(&[listener.label()]);
        loop {
            let accepted = tokio::select! {
                accepted = port.accept() => accepted.and_then(|(tcp, peer)| Ok((tcp.into_std()?, peer))),
                _ = leave.wait_for(|leave| *leave) => return,
            };
            match accepted {
                Ok((tcp, peer)) => match self.admission.enter() {
                    Ok(place) => {
                        let counted = Counted::new(&gauge);
                        self.threads.give(Arrival { tcp, peer, listener, place, counted });
                    }
                    Err(refused) => refuse(&self.metrics, refused.label()),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(AFTER_A_FAULT).await;
                }
            }
        }
    }
}

fn refuse(metrics: &Metrics, reason: &str) {
    metrics.connections_refused.with_label_values(&[reason]).inc();
}

impl<S, P> Ports<S, P>
where
    S: HttpServerApp + Send + Sync + 'static,
    P: HttpServerApp + Send + Sync + 'static,
{
    /// A connection's whole life, on this thread.
    pub(super) async fn serve(&self, arrival: Arrival, until: &Until) {
        let Arrival { tcp, peer, listener: kind, mut place, counted: _counted } = arrival;
        // A socket that fails here has been closed by its client.
        let Ok(mut tcp) = TcpStream::from_std(tcp) else { return };
        let Ok(local) = tcp.local_addr() else { return };
        let begin = Instant::now();
        let trusted = self.proxy_protocol_from.iter().any(|network| network.contains(peer.ip()));
        let mut addresses = (peer, local);
        if trusted {
            if !self.speaks(&tcp, begin, until).await {
                return;
            }
            match self.told_addresses(&mut tcp, begin).await {
                Ok(told) => addresses = told.unwrap_or(addresses),
                Err(_) => return refuse(&self.metrics, "proxy_protocol"),
            }
        }
        let (client, local) = addresses;
        if let Err(refused) = place.belongs_to(client.ip()) {
            return refuse(&self.metrics, refused.label());
        }
        if kind == Listener::Https && !self.speaks(&tcp, begin, until).await {
            return;
        }
        // Without it small answers wait for acknowledgements; a socket that refuses is closing.
        let _closing = tcp.set_nodelay(true);
        match kind {
            Listener::Http => self.serve_http(tcp, client, local, until).await,
            Listener::Https => match place.begins_handshake() {
                Ok(handshaking) => {
                    self.serve_https(tcp, (client, local), begin, handshaking, until).await;
                }
                Err(refused) => return refuse(&self.metrics, refused.label()),
            },
        }
        drop(place);
    }

    async fn serve_http(&self, mut tcp: TcpStream, client: SocketAddr, local: SocketAddr, until: &Until) {
        let Ended::GoesOn(read) = self.redirects.serve(&mut tcp, client, until).await else {
            return;
        };
        let mut l4 = with_addresses(tcp, client, local);
        l4.rewind(&read);
        let connection = Connection::new(Listener::Http, client, local, None, Arc::new([]));
        self.serve_http1(&self.http, l4, Arc::new(connection), until).await;
    }

    async fn serve_https(
        &self,
        tcp: TcpStream,
        (client, local): (SocketAddr, SocketAddr),
        begin: Instant,
        handshaking: Handshaking,
        until: &Until,
    ) {
        let l4 = with_addresses(tcp, client, local);
        let left = self.handshake.saturating_sub(begin.elapsed());
        let Some(accepted) = self.handshakes.accept(l4, client.ip(), left).await else {
            return;
        };
        drop(handshaking);
        let names = accepted.certificate.names.clone();
        let connection = Connection::new(Listener::Https, client, local, accepted.sni, names);
        let (stream, connection) = (accepted.stream, Arc::new(connection));
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            let floods = self.metrics.http2_floods.clone();
            let stream = ClientStream::of_frames(stream, connection, self.request_header, floods);
            self.https.process_new(Box::new(stream), &until.leave).await;
        } else {
            self.serve_http1(&self.https, stream, connection, until).await;
        }
    }

    async fn serve_http1<A: HttpServerApp + Send + Sync + 'static>(
        &self,
        app: &Arc<A>,
        stream: impl IO + 'static,
        connection: Arc<Connection>,
        until: &Until,
    ) {
        let stream = ClientStream::new(stream, connection.clone(), self.request_header);
        let idle = Idle::new(self.keep_alive, &until.stop);
        http1::serve(app, Box::new(stream), &connection, idle, &until.leave).await;
    }

    /// Waits for the next octet, for as long as a handshake may take. `false` where a stop comes
    /// before it: a connection on which nothing was said holds no stop up.
    ///
    /// - `begin`: when the connection began.
    async fn speaks(&self, tcp: &TcpStream, begin: Instant, until: &Until) -> bool {
        let left = self.handshake.saturating_sub(begin.elapsed());
        let mut stop = until.stop.clone();
        let mut octet = [0];
        tokio::select! {
            biased;
            _ = timeout(left, tcp.peek(&mut octet)) => true,
            _ = stop.wait_for(|stop| *stop) => false,
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
