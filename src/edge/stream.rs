//! A client's connection as Pingora sees it: the facts known of it, and the deadline of a header.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{SslDigest, TlsRef};
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use prometheus::IntCounterVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::connection::{Connection, Phase};
use super::frames::Frames;

/// An accepted connection, plain or TLS, with its [`Connection`] attached, where
/// [`Connection::of`] finds it.
///
/// Pingora bounds each read of a request header, but not the header: a client that sends an
/// octet now and then stays for ever. Here the whole header has one deadline, from its first
/// octet on. A header that comes in one piece costs neither a timer nor an allocation.
#[derive(Debug)]
pub struct ClientStream<S> {
    inner: S,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    request_header: Duration,
    /// On HTTP/2, whose headers are frames among other frames.
    frames: Option<Box<(Frames, IntCounterVec)>>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Small writes that wait for a flush, and how many octets of them are sent.
    pending: Vec<u8>,
    sent: usize,
    /// How many octets waited when the last flush was put off.
    put_off: usize,
}

/// Writes up to this many octets in all wait for a flush, so that an answer's header and its
/// small body leave as one TLS record and one packet.
const COALESCE: usize = 4096;
/// The same on HTTP/2, where they are of several answers: what one TLS record holds.
const COALESCE_FRAMES: usize = 16 * 1024;

impl<S: IO> ClientStream<S> {
    /// HTTP/2.
    ///
    /// - `request_header`: the deadline of the preface, and of each whole header block.
    /// - `floods`: where floods of frames are counted.
    pub fn of_frames(
        inner: S,
        connection: Arc<Connection>,
        request_header: Duration,
        floods: IntCounterVec,
    ) -> Self {
        let mut stream = Self::new(inner, connection, request_header);
        stream.frames = Some(Box::new((Frames::new(Instant::now()), floods)));
        stream
    }

    /// HTTP/1.1.
    ///
    /// - `request_header`: the deadline of a whole header.
    pub fn new(inner: S, connection: Arc<Connection>, request_header: Duration) -> Self {
        // Pingora knows this digest as a CONNECT proxy's answer; the header in it is never read.
        let header = ResponseHeader::build(http::StatusCode::OK, Some(0)).unwrap_or_else(|_| {
            unreachable!("200 is a valid status, and no header is added that could be refused")
        });
        let facts: Box<dyn std::any::Any + Send + Sync> = Box::new(connection.clone());
        let digest = Arc::new(ProxyDigest::new(Box::new(header), Some(facts)));
        Self {
            inner,
            connection,
            digest,
            request_header,
            frames: None,
            timer: None,
            pending: Vec::new(),
            sent: 0,
            put_off: 0,
        }
    }

    /// Sends what waits; gives its memory back, as most connections are idle most of the time.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.pending.len() {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.pending[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.pending = Vec::new();
        self.sent = 0;
        self.put_off = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limit = self.request_header;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the request header took longer than its deadline",
            ))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// What HTTP/2's frames are held to. `octets` came with `read`.
    fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
        read: Poll<io::Result<()>>,
        octets: &[u8],
    ) -> Poll<io::Result<()>> {
        let Some((frames, floods)) = self.frames.as_deref_mut() else { return read };
        if let Err(flood) = frames.read(octets) {
            floods.with_label_values(&[flood.label()]).inc();
            let why = "a flood of HTTP/2 frames that carry nothing";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        if !frames.owes() {
            self.timer = None;
        } else if (read.is_pending() || self.timer.is_some())
            && let Poll::Ready(late) = self.poll_header(cx)
        {
            // A block that goes on and on has the same deadline as one that stops.
            return Poll::Ready(late);
        }
        read
    }
}

impl<S: IO> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.frames.is_some() {
            return self.poll_frames(cx, read, &buf.filled()[before..]);
        }
        self.connection.has_read(buf.filled().len() - before);
        match self.connection.phase() {
            Phase::Idle => {
                self.timer = None;
                if read.is_ready() && buf.filled().len() > before {
                    self.connection.enter(Phase::Header);
                }
            }
            Phase::Header if read.is_pending() => return self.poll_header(cx),
            Phase::Header => {}
            Phase::Request => self.timer = None,
        }
        read
    }
}

impl<S: IO> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some((frames, _)) = self.frames.as_deref_mut() {
            frames.sent(buf.len());
        }
        let most = if self.frames.is_some() { COALESCE_FRAMES } else { COALESCE };
        let large = buf.len() > COALESCE;
        // What waits goes first, also before what does not wait.
        if large || self.pending.len() + buf.len() > most {
            ready!(self.poll_drain(cx))?;
        }
        if large {
            return Pin::new(&mut self.inner).poll_write(cx, buf);
        }
        if self.pending.len() + buf.len() > self.pending.capacity() {
            let room = if self.pending.is_empty() { COALESCE } else { most - self.pending.len() };
            self.pending.reserve_exact(room);
        }
        self.pending.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.frames.is_some() && self.pending.len() > self.put_off {
            // Other streams of this connection that are ready now add their answers first.
            self.put_off = self.pending.len();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl<S: IO> Shutdown for ClientStream<S> {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut self.inner).await;
    }
}

impl<S: IO> UniqueID for ClientStream<S> {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl<S: IO> Ssl for ClientStream<S> {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl<S: IO> GetTimingDigest for ClientStream<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl<S: IO> GetProxyDigest for ClientStream<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}

impl<S: IO> GetSocketDigest for ClientStream<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[async_trait]
impl<S: IO> Peek for ClientStream<S> {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buf).await
    }
}
