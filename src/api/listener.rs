//! Connections to the admin listener: plain, or over TLS where a certificate is configured.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::CertificateFiles;

/// A client's time for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at once.
const HANDSHAKES: usize = 128;
/// Pause after an accept that failed.
const AFTER_A_FAULT: Duration = Duration::from_millis(50);

/// The TLS of the admin listener; `None`: it speaks plain HTTP. Changed while it serves.
pub type Tls = Arc<ArcSwapOption<ServerConfig>>;

/// Why the certificate of the admin listener cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be used for the admin listener: {why}", .path.display())]
pub struct TlsError {
    path: PathBuf,
    why: String,
}

/// The TLS of `files`.
pub fn tls(files: &CertificateFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let failed =
        |path: &Path, why: &dyn std::fmt::Display| TlsError { path: path.to_owned(), why: why.to_string() };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| failed(&files.certificate, &why))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|why| failed(&files.key, &why))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|why| failed(&files.certificate, &why))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A listener that axum serves from.
pub struct Listener {
    arrivals: mpsc::Receiver<(Stream, SocketAddr)>,
    local: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener {
    /// Accepts at `tcp`.
    pub fn new(tcp: TcpListener, tls: Tls) -> io::Result<Self> {
        let local = tcp.local_addr()?;
        let (arrive, arrivals) = mpsc::channel(HANDSHAKES);
        Ok(Self { arrivals, local, accepting: tokio::spawn(accept(tcp, tls, arrive)) })
    }
}

async fn accept(tcp: TcpListener, tls: Tls, arrive: mpsc::Sender<(Stream, SocketAddr)>) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let (stream, peer) = match tcp.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin listener could not be accepted");
                sleep(AFTER_A_FAULT).await;
                continue;
            }
        };
        // Without it small answers wait for acknowledgements; a socket that refuses is closing.
        let _closing = stream.set_nodelay(true);
        let Some(config) = tls.load_full() else {
            if arrive.send((Stream::Plain(stream), peer)).await.is_err() {
                return;
            }
            continue;
        };
        // Whoever comes beyond the bound is let go: waiting here would keep everybody out.
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let arrive = arrive.clone();
        tokio::spawn(async move {
            let _slot = slot;
            let handshake = TlsAcceptor::from(config).accept(stream);
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, handshake).await {
                // Nobody serves any more where this fails.
                let _ended = arrive.send((Stream::Tls(Box::new(stream)), peer)).await;
            }
        });
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.arrivals.recv().await {
            Some(arrival) => arrival,
            // The accepting task has ended, as it does with the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// A connection.
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
