//! How one process gives what it listens on to the next: open files by a Unix socket (SCM_RIGHTS,
//! unix(7)), told apart by one line of JSON.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use listenfd::ListenFd;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::edge::sockets::{Inherited, Opened, Role};

/// Files in one message at most (SCM_MAX_FD).
const MOST: usize = 253;
/// Octets read at once.
const OCTETS: usize = 4096;
/// What the process that takes over says when it serves.
const SERVING: &str = "serving\n";

/// What a process leaves to the one that follows it, or systemd to the first one.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Sockets that listen.
    pub sockets: Vec<Inherited>,
    /// The lock of the embedded store, which stays taken from one process to the next.
    pub lock: Option<File>,
}

/// What the files of a message are, in their order; the lock is the last one.
#[derive(Serialize, Deserialize)]
struct Told {
    sockets: Vec<(Option<Role>, SocketAddr)>,
    lock: bool,
}

/// Gives `inheritance` by `stream`.
pub fn send(stream: &UnixStream, inheritance: &Inheritance) -> io::Result<()> {
    let Inheritance { sockets, lock } = inheritance;
    let told = Told {
        sockets: sockets.iter().map(|socket| (socket.role, socket.address)).collect(),
        lock: lock.is_some(),
    };
    let line = serde_json::to_string(&told)? + "\n";
    let files: Vec<BorrowedFd<'_>> =
        sockets.iter().map(|socket| socket.socket.as_fd()).chain(lock.as_ref().map(AsFd::as_fd)).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if files.len() > MOST || !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other(format!("more than {MOST} sockets cannot be handed over")));
    }
    let sent = sendmsg(stream, &[IoSlice::new(line.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    (&mut &*stream).write_all(&line.as_bytes()[sent..])
}

/// Waits for what [`send`] gives.
pub fn receive(stream: &UnixStream) -> io::Result<Inheritance> {
    let mut files: Vec<OwnedFd> = Vec::new();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut octets = [0; OCTETS];
        let buffers = &mut [IoSliceMut::new(&mut octets)];
        let received = recvmsg(stream, buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        if received.bytes == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the process ended before it gave anything",
            ));
        }
        line.extend_from_slice(&octets[..received.bytes]);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                files.extend(received);
            }
        }
    }
    let Told { sockets, lock } = serde_json::from_slice(&line)?;
    if files.len() != sockets.len() + usize::from(lock) {
        let (given, told) = (files.len(), sockets.len());
        return Err(io::Error::other(format!("it gave {given} open files for {told} sockets and a lock")));
    }
    let lock = lock.then(|| files.pop()).flatten().map(File::from);
    let socket = |((role, address), file)| {
        let socket = match role {
            Some(Role::DnsUdp) => Opened::Datagrams(UdpSocket::from(file)),
            _ => Opened::Connections(TcpListener::from(file)),
        };
        Inherited { role, address, socket }
    };
    Ok(Inheritance { sockets: sockets.into_iter().zip(files).map(socket).collect(), lock })
}

/// Tells the process at the other end of `stream` that this one serves.
pub fn say_that_we_serve(mut stream: &UnixStream) -> io::Result<()> {
    stream.write_all(SERVING.as_bytes())
}

/// Waits until the process at the other end of `stream` serves; `false` where it ended instead.
pub fn serves(stream: &UnixStream) -> bool {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line == SERVING
}

/// The sockets that systemd opened for this process (sd_listen_fds(3)).
pub fn of_systemd() -> io::Result<Inheritance> {
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for place in 0..given.len() {
        // One that is of another kind is left in its place.
        let datagrams = given.take_udp_socket(place).ok().flatten().map(Opened::Datagrams);
        let connections = || Ok(given.take_tcp_listener(place)?.map(Opened::Connections));
        let socket = datagrams.map_or_else(connections, |socket| io::Result::Ok(Some(socket)))?;
        let Some(socket) = socket else { continue };
        // The copy is closed in programs that this one starts; the one given is not.
        let socket = socket.try_clone()?;
        sockets.push(Inherited { role: None, address: socket.local_addr()?, socket });
    }
    Ok(Inheritance { sockets, lock: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_the_lock_arrive_as_what_they_were() {
        let socket = |role| {
            let socket = match role {
                Role::DnsUdp => Opened::Datagrams(UdpSocket::bind("127.0.0.1:0").unwrap()),
                _ => Opened::Connections(TcpListener::bind("127.0.0.1:0").unwrap()),
            };
            Inherited { role: Some(role), address: "127.0.0.1:0".parse().unwrap(), socket }
        };
        let lock = tempfile::tempfile().unwrap();
        lock.lock().unwrap();
        // As many as fit: their description is longer than one read.
        let roles = [Role::DnsUdp, Role::DnsTcp].into_iter().chain(std::iter::repeat(Role::Https));
        let sockets: Vec<_> = roles.take(MOST - 1).map(socket).collect();
        let mut given = Inheritance { sockets, lock: Some(lock) };
        let (ours, theirs) = UnixStream::pair().unwrap();
        let receiver = std::thread::spawn(move || receive(&theirs).unwrap());
        send(&ours, &given).unwrap();
        let taken = receiver.join().unwrap();
        let addresses = |inheritance: &Inheritance| -> Vec<_> {
            inheritance.sockets.iter().map(|s| (s.role, s.address, s.socket.local_addr().unwrap())).collect()
        };
        assert_eq!(addresses(&taken), addresses(&given));
        assert!(taken.lock.is_some());

        given.sockets.push(socket(Role::Http));
        assert!(send(&ours, &given).unwrap_err().to_string().contains("more than 253"));
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert_eq!(receive(&theirs).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
