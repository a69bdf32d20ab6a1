//! How the end of this process's service reaches its connections.

use pingora_core::server::ShutdownWatch;
use tokio::sync::watch;

/// Says when service ends, in one step or two.
pub struct Ending {
    leave: watch::Sender<bool>,
    stop: watch::Sender<bool>,
}

/// What connections watch.
#[derive(Clone)]
pub struct Until {
    /// True once another process serves in our place, or none: no new connection is taken, HTTP/2
    /// goes away (GOAWAY, RFC 9113 §6.8), an answer by HTTP/1.1 says `Connection: close`.
    pub leave: ShutdownWatch,
    /// True once idle connections are closed too.
    ///
    /// A client may have sent a request by the time it hears of that, which is then lost. So this
    /// is only for an end at which nobody else would take it either.
    pub stop: ShutdownWatch,
}

impl Ending {
    /// One that is not in sight yet.
    pub fn new() -> (Self, Until) {
        let (leave, left) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        (Self { leave, stop }, Until { leave: left, stop: stopped })
    }

    /// Lets connections end by themselves, each after its next answer.
    pub fn leave(&self) {
        self.leave.send_replace(true);
    }

    /// Closes idle connections, and the others after the answer under way.
    pub fn stop(&self) {
        self.leave();
        self.stop.send_replace(true);
    }
}
