//! The sockets that are listened on, each with the work that answers it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::Bound;
use crate::api::admin::{self, Admin};
use crate::config::{Listen, ListenAddress};
use crate::edge::connection::Listener;
use crate::edge::ending::Until;
use crate::edge::listener::Entrance;
use crate::edge::sockets::{self, BindError, Inherited, Role};

/// A listening socket; closed when dropped.
pub(super) struct Door {
    role: Role,
    /// As the configuration has it.
    address: ListenAddress,
    /// As the system has it.
    bound: SocketAddr,
    socket: TcpListener,
    state: Mutex<State>,
}

enum State {
    /// Open; what comes waits.
    Waiting(tokio::net::TcpListener),
    Served(JoinHandle<()>),
    Closed,
}

impl Drop for Door {
    fn drop(&mut self) {
        if let State::Served(task) = &*self.state.lock() {
            task.abort();
        }
    }
}

/// The doors that `listen` wants, in its order: those of `current` that fit, then those that were
/// `inherited`, the others opened now.
pub(super) fn plan(
    listen: &Listen,
    current: &[Arc<Door>],
    inherited: &mut Vec<Inherited>,
) -> Result<Vec<Arc<Door>>, BindError> {
    let mut kept: Vec<&Arc<Door>> = current.iter().collect();
    let mut doors = Vec::new();
    for (role, address) in wanted(listen) {
        let fits = |door: &&Arc<Door>| door.role == role && door.address.address == address.address;
        if let Some(place) = kept.iter().position(fits) {
            doors.push(kept.remove(place).clone());
        } else if let Some(socket) = sockets::open(role, &address, inherited)? {
            let door = Door::new(role, address, socket);
            doors.push(Arc::new(door.map_err(|source| BindError { address: address.address, source })?));
        }
    }
    Ok(doors)
}

fn wanted(listen: &Listen) -> impl Iterator<Item = (Role, ListenAddress)> {
    let given = |address| ListenAddress { address, defaulted: false };
    let http = listen.http.iter().map(|address| (Role::Http, *address));
    let https = listen.https.iter().map(|address| (Role::Https, *address));
    let metrics = listen.metrics.map(|address| (Role::Metrics, given(address)));
    http.chain(https).chain([(Role::Admin, given(listen.admin))]).chain(metrics)
}

/// Where `doors` are.
pub(super) fn bound(doors: &[Arc<Door>]) -> Bound {
    let all = |role| doors.iter().filter(move |door| door.role == role).map(|door| door.bound);
    Bound {
        http: all(Role::Http).collect(),
        https: all(Role::Https).collect(),
        admin: all(Role::Admin).next().unwrap_or(([127, 0, 0, 1], 0).into()),
        metrics: all(Role::Metrics).next(),
    }
}

impl Door {
    fn new(role: Role, address: ListenAddress, socket: TcpListener) -> io::Result<Self> {
        let waiting = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
        let bound = socket.local_addr()?;
        Ok(Self { role, address, bound, socket, state: Mutex::new(State::Waiting(waiting)) })
    }

    /// Whether it tells how this process is.
    pub(super) fn is_admin(&self) -> bool {
        matches!(self.role, Role::Admin | Role::Metrics)
    }

    /// Answers what comes, unless that is done already.
    pub(super) fn serve<S, P>(&self, entrance: &Entrance<S, P>, admin: &Admin, until: &Until)
    where
        S: Send + Sync + 'static,
        P: Send + Sync + 'static,
    {
        let mut state = self.state.lock();
        let socket = match std::mem::replace(&mut *state, State::Closed) {
            State::Waiting(socket) => socket,
            served => {
                *state = served;
                return;
            }
        };
        let leave = until.leave.clone();
        *state = State::Served(match self.role {
            Role::Http => tokio::spawn(entrance.clone().accept(socket, Listener::Http, leave)),
            Role::Https => tokio::spawn(entrance.clone().accept(socket, Listener::Https, leave)),
            // It tells `/readyz` to the end: it goes with the process.
            Role::Admin => tokio::spawn(admin::serve(socket, admin.clone(), std::future::pending())),
            Role::Metrics => tokio::spawn(admin::serve(socket, admin.for_scrapers(), std::future::pending())),
        });
    }

    /// The socket once more, for the process that follows this one.
    pub(super) fn hand_over(&self) -> io::Result<Inherited> {
        let address = self.address.address;
        Ok(Inherited { role: Some(self.role), address, socket: self.socket.try_clone()? })
    }
}
