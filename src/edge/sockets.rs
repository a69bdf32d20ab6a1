//! Listening sockets: opened here, or open already when this process began.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::ListenAddress;

/// Connections that the system holds ready for us to accept.
const BACKLOG: i32 = 4096;
/// Octets of datagrams that the system holds ready for us, if it may.
const RECEIVED: usize = 4 * 1024 * 1024;

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
    /// The name server's datagrams.
    DnsUdp,
    /// The name server's connections.
    DnsTcp,
}

impl Role {
    fn is_for(self, socket: &Opened) -> bool {
        matches!(socket, Opened::Datagrams(_)) == (self == Self::DnsUdp)
    }
}

/// A socket that is open.
#[derive(Debug)]
pub enum Opened {
    /// It takes connections.
    Connections(TcpListener),
    /// It takes datagrams.
    Datagrams(UdpSocket),
}

impl Opened {
    /// Where it is.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Connections(socket) => socket.local_addr(),
            Self::Datagrams(socket) => socket.local_addr(),
        }
    }

    /// The same socket once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Connections(socket) => Self::Connections(socket.try_clone()?),
            Self::Datagrams(socket) => Self::Datagrams(socket.try_clone()?),
        })
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Connections(socket) => socket.set_nonblocking(true),
            Self::Datagrams(socket) => socket.set_nonblocking(true),
        }
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Connections(socket) => socket.as_fd(),
            Self::Datagrams(socket) => socket.as_fd(),
        }
    }
}

/// A socket that was open before this process, which listens.
#[derive(Debug)]
pub struct Inherited {
    /// What it was for; `None`: whatever the configuration has its address for.
    pub role: Option<Role>,
    /// The address that the configuration calls it by, which may have port 0.
    pub address: SocketAddr,
    /// The socket.
    pub socket: Opened,
}

/// Takes the socket of `address` out of those that were `inherited`, else opens it. `None` where a
/// defaulted IPv6 address meets a host without IPv6.
pub fn open(
    role: Role,
    listen: &ListenAddress,
    inherited: &mut Vec<Inherited>,
) -> Result<Option<Opened>, BindError> {
    let is_it = |inherited: &Inherited| {
        inherited.address == listen.address
            && inherited.role.is_none_or(|its| its == role)
            && role.is_for(&inherited.socket)
    };
    if let Some(place) = inherited.iter().position(is_it) {
        let socket = inherited.remove(place).socket;
        let ready = socket.set_nonblocking();
        return ready.map(|()| Some(socket)).map_err(|source| BindError { address: listen.address, source });
    }
    bind(role, listen)
}

fn bind(role: Role, listen: &ListenAddress) -> Result<Option<Opened>, BindError> {
    let ListenAddress { address, defaulted } = *listen;
    let opened = match role {
        Role::DnsUdp => self::datagrams(address).map(Opened::Datagrams),
        _ => self::connections(address).map(Opened::Connections),
    };
    match opened {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if defaulted && address.is_ipv6() && lacks_ipv6(&error) => {
            tracing::warn!(%address, "this host has no IPv6; listening on IPv4 only");
            Ok(None)
        }
        Err(source) => Err(BindError { address, source }),
    }
}

fn connections(address: SocketAddr) -> io::Result<TcpListener> {
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

fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // What the system does not give of it is done without.
    let _as_much_as_there_is = socket.set_recv_buffer_size(RECEIVED);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// EAFNOSUPPORT and EADDRNOTAVAIL.
fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(97)
}
