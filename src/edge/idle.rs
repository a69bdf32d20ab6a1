//! How long a connection may be without a request.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pingora_core::server::ShutdownWatch;
use tokio::time::Sleep;

/// The clock of a connection that waits for its next request, for as long as it may wait, and
/// until the process is to stop.
pub struct Idle {
    limit: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Idle {
    /// A connection that begins now.
    pub fn new(limit: Duration, shutdown: &ShutdownWatch) -> Self {
        let mut shutdown = shutdown.clone();
        let stop = async move {
            // Who could say stop is gone: that is one.
            let _gone = shutdown.wait_for(|stop| *stop).await;
        };
        let timer = Box::pin(tokio::time::sleep(limit));
        Self { limit, since: Instant::now(), timer, stop: Box::pin(stop) }
    }

    /// Notes that the wait begins anew.
    pub fn begin(&mut self, now: Instant) {
        self.since = now;
    }

    /// Ready when the wait is over without a request.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // The timer is set anew when it rings, not with each request.
        while self.timer.as_mut().poll(cx).is_ready() {
            let until = self.since + self.limit;
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until.into());
        }
        Poll::Pending
    }
}
