//! An HTTP/1.1 connection's requests, one after the other.
//!
//! Pingora sets up a request's whole state before it waits for the first octet of it, 13 KiB that
//! most connections would hold most of the time. Here they wait without it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::BytesMut;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncRead, ReadBuf};

use super::connection::{Connection, Phase};
use super::idle::Idle;

/// Octets read at once, and the room a request header begins with.
const OCTETS: usize = 4096;
/// What Pingora waits for the rest of requests that came together, in seconds.
const TOGETHER: u64 = 60;

/// Lets `app` answer the requests of `stream` until one side ends it, or one is answered while
/// `leave` is true.
pub async fn serve<A>(
    app: &Arc<A>,
    mut stream: Stream,
    connection: &Connection,
    mut idle: Idle,
    leave: &ShutdownWatch,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut settings: Option<HttpPersistentSettings> = None;
    loop {
        connection.enter(Phase::Idle);
        // Where some octets of the next request were read already, `settings` holds them.
        let begun = if connection.may_have_more() {
            None
        } else {
            match first_octets(&mut stream, &mut idle).await {
                Some(octets) => Some(octets),
                None => return stream.shutdown().await,
            }
        };
        let mut session = ServerSession::new_http1(stream);
        match settings {
            Some(kept) => kept.apply_to_session(&mut session),
            None => session.set_keepalive(Some(TOGETHER)),
        }
        if let Some(octets) = begun {
            session.set_pipelined_prefix(octets);
        }
        let Some(reused) = app.process_new_http(session, leave).await else { return };
        (stream, settings) = reused.consume();
    }
}

/// Waits for a request. `None` where the client closed the connection or the wait took too long.
async fn first_octets(stream: &mut Stream, idle: &mut Idle) -> Option<BytesMut> {
    idle.begin(Instant::now());
    poll_fn(|cx| {
        let mut space = [std::mem::MaybeUninit::uninit(); OCTETS];
        let mut buffer = ReadBuf::uninit(&mut space);
        match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Pending => idle.poll(cx).map(|()| None),
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                let mut octets = BytesMut::with_capacity(OCTETS);
                octets.extend_from_slice(buffer.filled());
                Poll::Ready(Some(octets))
            }
            Poll::Ready(_) => Poll::Ready(None),
        }
    })
    .await
}
