//! A cable that can be cut without a word, and an address that leads to one machine after the other, as an
//! anycast address does for an authority that validates from many places.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on; ends with the value, and its connections with it.
pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    targets: Mutex<Vec<SocketAddr>>,
    next: AtomicUsize,
    passes: watch::Sender<bool>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
        self.shared.targets.lock().clear();
    }
}

impl Relay {
    /// At this port of 127.0.0.1; 0: a free one. Each connection goes to the next one of `targets`.
    pub async fn start(port: u16, targets: Vec<SocketAddr>) -> Self {
        Self::start_at(([127, 0, 0, 1], port).into(), targets).await
    }

    /// The same at an address of the caller's.
    pub async fn start_at(address: SocketAddr, targets: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let passes = watch::Sender::new(true);
        let shared = Arc::new(Shared { targets: Mutex::new(targets), next: AtomicUsize::new(0), passes });
        let taking = shared.clone();
        let server = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(pass(taking.clone(), stream));
            }
        });
        Self { address, shared, server }
    }

    /// Where connections lead from now on.
    pub fn lead_to(&self, targets: Vec<SocketAddr>) {
        *self.shared.targets.lock() = targets;
    }

    /// From now on nothing that is sent arrives, and nobody is told.
    pub fn cut(&self) {
        self.shared.passes.send_replace(false);
    }

    /// What was sent meanwhile arrives, as if it had been sent again and again.
    pub fn mend(&self) {
        self.shared.passes.send_replace(true);
    }

    /// How many connections it has taken.
    pub fn taken(&self) -> usize {
        self.shared.next.load(Ordering::SeqCst)
    }
}

async fn pass(shared: Arc<Shared>, near: TcpStream) {
    let mut passes = shared.passes.subscribe();
    if passes.wait_for(|passes| *passes).await.is_err() {
        return;
    }
    let target = {
        let targets = shared.targets.lock();
        if targets.is_empty() {
            return;
        }
        targets[shared.next.fetch_add(1, Ordering::SeqCst) % targets.len()]
    };
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = copy(near_in, far_out, shared.passes.subscribe());
    let back = copy(far_in, near_out, shared.passes.subscribe());
    tokio::join!(there, back);
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut passes: watch::Receiver<bool>) {
    let mut octets = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut octets).await.unwrap_or(0);
        if passes.wait_for(|passes| *passes).await.is_err() {
            return;
        }
        if count == 0 {
            // The other side may have ended first.
            let _ended = to.shutdown().await;
            return;
        }
        if to.write_all(&octets[..count]).await.is_err() {
            return;
        }
    }
}
