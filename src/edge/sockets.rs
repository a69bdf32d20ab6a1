//! Listening sockets: opened here, or open already when this process began.

use std::io;
use std::net::{SocketAddr, TcpListener};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::ListenAddress;

/// Connections that the system holds ready for us to accept.
const BACKLOG: i32 = 4096;
/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}; stop what uses the port, or choose another address")]
pub struct BindError {
    /// The address from the configuration.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Plain HTTP.
    Http,
    /// HTTPS.
    Https,
    /// The admin listener.
    Admin,
    /// Metrics alone.
    Metrics,
}

/// A socket that was open before this process, which listens.
#[derive(Debug)]
pub struct Inherited {
    /// What it was for; `None`: whatever the configuration has its address for.
    pub role: Option<Role>,
    /// The address that the configuration calls it by, which may have port 0.
    pub address: SocketAddr,
    /// The socket.
    pub socket: TcpListener,
}

/// Takes the socket of `address` out of those that were `inherited`, else opens it. `None` where a
/// defaulted IPv6 address meets a host without IPv6.
pub fn open(
    role: Role,
    listen: &ListenAddress,
    inherited: &mut Vec<Inherited>,
) -> Result<Option<TcpListener>, BindError> {
    let is_it =
        |socket: &Inherited| socket.address == listen.address && socket.role.is_none_or(|its| its == role);
    if let Some(place) = inherited.iter().position(is_it) {
        let socket = inherited.remove(place).socket;
        let ready = socket.set_nonblocking(true);
        return ready.map(|()| Some(socket)).map_err(|source| BindError { address: listen.address, source });
    }
    bind(listen)
}

fn bind(listen: &ListenAddress) -> Result<Option<TcpListener>, BindError> {
    let ListenAddress { address, defaulted } = *listen;
    match self::listen(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if defaulted && address.is_ipv6() && lacks_ipv6(&error) => {
            tracing::warn!(%address, "this host has no IPv6; listening on IPv4 only");
            Ok(None)
        }
        Err(source) => Err(BindError { address, source }),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// EAFNOSUPPORT and EADDRNOTAVAIL.
fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(97)
}
