//! The threads that serve. Each has a runtime of its own, so that a connection, its requests and
//! the connections to its origins stay on one processor.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use arc_swap::ArcSwap;
use pingora_core::apps::HttpServerApp;
use prometheus::IntGauge;
use tokio::sync::mpsc;

use super::admission::Place;
use super::connection::Listener;
use super::ending::Until;
use super::listener::Ports;

/// Tasks that run between two looks at the sockets: what becomes ready together is answered together.
const TASKS_A_LOOK: u32 = 200;

/// A connection that was accepted, on its way to the thread that serves it.
pub struct Arrival {
    pub(super) tcp: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) listener: Listener,
    pub(super) place: Place,
    pub(super) counted: Counted,
}

/// Counts a connection for as long as it lives.
pub struct Counted(IntGauge);

impl Counted {
    /// Counts one in `gauge`.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Running threads. They end, with what they still serve, when this is dropped.
pub struct Threads<S, P>(Vec<Thread<S, P>>);

struct Thread<S, P> {
    arrivals: mpsc::UnboundedSender<Arrival>,
    ports: Arc<ArcSwap<Ports<S, P>>>,
    /// Connections it has been given and not yet finished.
    load: Arc<AtomicUsize>,
}

impl<S: Send + Sync + 'static, P: Send + Sync + 'static> Threads<S, P> {
    /// Starts one thread for each of `ports`.
    ///
    /// - `until`: says when connections are to finish.
    pub fn start(ports: Vec<Ports<S, P>>, until: &Until) -> io::Result<Self>
    where
        S: HttpServerApp + Send + Sync + 'static,
        P: HttpServerApp + Send + Sync + 'static,
    {
        let start = |(number, ports)| Thread::start(number, ports, until.clone());
        ports.into_iter().enumerate().map(start).collect::<io::Result<_>>().map(Self)
    }

    /// Serves connections that arrive from now on by `ports`, one set for each thread; those that
    /// are there keep theirs.
    pub fn replace(&self, ports: Vec<Ports<S, P>>) {
        for (thread, ports) in self.0.iter().zip(ports) {
            thread.ports.store(Arc::new(ports));
        }
    }

    /// Gives `arrival` to the thread with the fewest connections.
    pub fn give(&self, arrival: Arrival) {
        let Some(thread) = self.0.iter().min_by_key(|thread| thread.load.load(Ordering::Relaxed)) else {
            return;
        };
        thread.load.fetch_add(1, Ordering::Relaxed);
        if thread.arrivals.send(arrival).is_err() {
            tracing::error!("a serving thread has ended; its connection is closed");
        }
    }
}

impl<S: Send + Sync + 'static, P: Send + Sync + 'static> Thread<S, P> {
    fn start(number: usize, ports: Ports<S, P>, until: Until) -> io::Result<Self>
    where
        S: HttpServerApp + Send + Sync + 'static,
        P: HttpServerApp + Send + Sync + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .event_interval(TASKS_A_LOOK)
            .enable_all()
            .build()?;
        let (arrivals, mut arriving) = mpsc::unbounded_channel::<Arrival>();
        let load = Arc::new(AtomicUsize::new(0));
        let unload = load.clone();
        let ports = Arc::new(ArcSwap::from_pointee(ports));
        let current = ports.clone();
        let work = async move {
            while let Some(arrival) = arriving.recv().await {
                let (ports, until, unload) = (current.load_full(), until.clone(), Unload(unload.clone()));
                tokio::spawn(async move {
                    let _unload = unload;
                    ports.serve(arrival, &until).await;
                });
            }
        };
        thread::Builder::new().name(format!("edge-{number}")).spawn(move || {
            runtime.block_on(work);
            // A name look-up that still blocks is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { arrivals, ports, load })
    }
}

/// Takes a connection off its thread's load, also where serving it panicked.
struct Unload(Arc<AtomicUsize>);

impl Drop for Unload {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
