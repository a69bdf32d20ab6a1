//! The sockets that are listened on, each with the work that answers it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::Bound;
use crate::api::admin::{self, Admin};
use crate::config::{Config, ListenAddress};
use crate::dns::server::service::NameServer;
use crate::dns::server::{tcp, udp};
use crate::edge::connection::Listener;
use crate::edge::ending::Until;
use crate::edge::listener::Entrance;
use crate::edge::sockets::{self, BindError, Inherited, Opened, Role};

/// A listening socket; closed when dropped.
pub(super) struct Door {
    role: Role,
    /// As the configuration has it.
    address: ListenAddress,
    /// As the system has it.
    bound: SocketAddr,
    socket: Opened,
    state: Mutex<State>,
}

/// Who answers what comes.
pub(super) struct Serves<'a, S, P> {
    pub(super) entrance: &'a Entrance<S, P>,
    pub(super) admin: &'a Admin,
    pub(super) dns: &'a Arc<NameServer>,
    pub(super) until: &'a Until,
}

enum State {
    /// Open; what comes waits.
    Waiting(Waiting),
    Served(JoinHandle<()>),
    Closed,
}

enum Waiting {
    Connections(tokio::net::TcpListener),
    Datagrams(tokio::net::UdpSocket),
}

impl Drop for Door {
    fn drop(&mut self) {
        if let State::Served(task) = &*self.state.lock() {
            task.abort();
        }
    }
}

/// The doors that `config` wants, in its order: those of `current` that fit, then those that were
/// `inherited`, the others opened now.
pub(super) fn plan(
    config: &Config,
    current: &[Arc<Door>],
    inherited: &mut Vec<Inherited>,
) -> Result<Vec<Arc<Door>>, BindError> {
    let mut kept: Vec<&Arc<Door>> = current.iter().collect();
    let mut doors = Vec::new();
    for (role, address) in wanted(config) {
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

fn wanted(config: &Config) -> impl Iterator<Item = (Role, ListenAddress)> {
    let listen = &config.listen;
    let given = |address| ListenAddress { address, defaulted: false };
    let http = listen.http.iter().map(|address| (Role::Http, *address));
    let https = listen.https.iter().map(|address| (Role::Https, *address));
    let metrics = listen.metrics.map(|address| (Role::Metrics, given(address)));
    let dns = config.dns_server.iter().flat_map(|server| &server.listen);
    let dns = dns.flat_map(move |at| [(Role::DnsUdp, given(*at)), (Role::DnsTcp, given(*at))]);
    http.chain(https).chain([(Role::Admin, given(listen.admin))]).chain(metrics).chain(dns)
}

/// Where `doors` are.
pub(super) fn bound(doors: &[Arc<Door>]) -> Bound {
    let all = |role| doors.iter().filter(move |door| door.role == role).map(|door| door.bound);
    Bound {
        http: all(Role::Http).collect(),
        https: all(Role::Https).collect(),
        admin: all(Role::Admin).next().unwrap_or(([127, 0, 0, 1], 0).into()),
        metrics: all(Role::Metrics).next(),
        dns: all(Role::DnsUdp).collect(),
    }
}

impl Door {
    fn new(role: Role, address: ListenAddress, socket: Opened) -> io::Result<Self> {
        let waiting = match socket.try_clone()? {
            Opened::Connections(socket) => Waiting::Connections(tokio::net::TcpListener::from_std(socket)?),
            Opened::Datagrams(socket) => Waiting::Datagrams(tokio::net::UdpSocket::from_std(socket)?),
        };
        let bound = socket.local_addr()?;
        Ok(Self { role, address, bound, socket, state: Mutex::new(State::Waiting(waiting)) })
    }

    /// Whether it is answered until the process ends: it tells how this process is, or what an
    /// authority asks for an order that is not through.
    pub(super) fn is_last(&self) -> bool {
        matches!(self.role, Role::Admin | Role::Metrics | Role::DnsUdp | Role::DnsTcp)
    }

    /// Answers what comes, unless that is done already.
    pub(super) fn serve<S, P>(&self, serves: &Serves<'_, S, P>)
    where
        S: Send + Sync + 'static,
        P: Send + Sync + 'static,
    {
        let Serves { entrance, admin, dns, until } = *serves;
        let mut state = self.state.lock();
        let socket = match std::mem::replace(&mut *state, State::Closed) {
            State::Waiting(socket) => socket,
            served => {
                *state = served;
                return;
            }
        };
        let leave = until.leave.clone();
        *state = State::Served(match (self.role, socket) {
            (_, Waiting::Datagrams(socket)) => tokio::spawn(udp::serve(dns.clone(), socket)),
            (Role::DnsTcp | Role::DnsUdp, Waiting::Connections(socket)) => {
                tokio::spawn(tcp::accept(dns.clone(), socket, leave))
            }
            (Role::Http, Waiting::Connections(socket)) => {
                tokio::spawn(entrance.clone().accept(socket, Listener::Http, leave))
            }
            (Role::Https, Waiting::Connections(socket)) => {
                tokio::spawn(entrance.clone().accept(socket, Listener::Https, leave))
            }
            // It tells `/readyz` to the end: it goes with the process.
            (Role::Admin, Waiting::Connections(socket)) => {
                tokio::spawn(admin::serve(socket, admin.clone(), std::future::pending()))
            }
            (Role::Metrics, Waiting::Connections(socket)) => {
                tokio::spawn(admin::serve(socket, admin.for_scrapers(), std::future::pending()))
            }
        });
    }

    /// Closes it. When this returns, what was taken in before has its answer, or whoever sees to that: a task
    /// that was told to end may still be at it.
    pub(super) async fn close(&self) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Closed);
        if let State::Served(task) = before {
            task.abort();
            // Told to end, it ends so.
            let _ended = task.await;
        }
    }

    /// The socket once more, for the process that follows this one.
    pub(super) fn hand_over(&self) -> io::Result<Inherited> {
        let address = self.address.address;
        Ok(Inherited { role: Some(self.role), address, socket: self.socket.try_clone()? })
    }
}
