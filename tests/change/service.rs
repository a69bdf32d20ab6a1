//! What systemd gives a process, and what it is told.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::bed::origin::Origin;
use crate::bed::program::{Edge, command, run};
use crate::bed::{DEADLINE, free_port};
use crate::{Ends, config};

/// The program behind a shell that passes `sockets` on as systemd does (sd_listen_fds(3)).
fn activated(folder: &TempDir, sockets: &[impl AsFd]) -> Command {
    let own = command(folder.path());
    let mut script = String::new();
    for (place, socket) in sockets.iter().enumerate() {
        fcntl_setfd(socket, FdFlags::empty()).unwrap();
        let given = socket.as_fd().as_raw_fd();
        script.push_str(&format!("exec {}<&{given}; ", place + 3));
    }
    script.push_str("export LISTEN_PID=$$; exec \"$@\"");
    let mut shell = Command::new("bash");
    shell.args(["-c", &script, "bash"]).arg(own.as_std().get_program()).args(own.as_std().get_args());
    let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    shell.env("LISTEN_FDS", sockets.len().to_string()).stderr(log).kill_on_drop(true);
    shell
}

fn written(text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data").display().to_string();
    std::fs::write(folder.path().join("nameplate.toml"), format!("data_dir = {data:?}\n{text}")).unwrap();
    folder
}

#[tokio::test]
async fn sockets_that_systemd_opened_are_served() {
    let origin = Origin::start().await;
    let sockets: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let [http, https]: [SocketAddr; 2] =
        sockets.iter().map(|socket| socket.local_addr().unwrap()).collect::<Vec<_>>().try_into().unwrap();
    let listen = format!("[listen]\nhttp = [\"{http}\"]\nhttps = [\"{https}\"]\nadmin = \"127.0.0.1:0\"\n");
    let folder = written(&config(&["own.test"], origin.address, &listen));
    // A client that comes before the process does waits, and is served.
    let early = tokio::net::TcpStream::connect(https).await.unwrap();
    let command = activated(&folder, &sockets);
    let edge = Edge::spawn_by(folder, command).await;
    assert_eq!((edge.http, edge.https), (http, https));
    let served = edge.client.handshake_on(early, "own.test").await.unwrap();
    assert!(served.get("own.test", "/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn datagrams_and_connections_for_dns_come_by_systemds_sockets() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (udp, tcp) = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
    let listen = format!(
        "[listen]\nhttps = [\"127.0.0.1:0\"]\nhttp = []\nadmin = \"127.0.0.1:0\"\n\
         [dns_server]\nlisten = [\"{address}\"]\nzone = \"acme.plat.test\"\n\
         name_servers = [\"ns.plat.test\"]\n"
    );
    let folder = written(&listen);
    // One that is asked before the process is there waits.
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let question = b"\x07\x07\0\0\0\x01\0\0\0\0\0\0\x04acme\x04plat\x04test\0\0\x06\0\x01";
    client.send_to(question, address).await.unwrap();
    let sockets = [OwnedFd::from(tcp), OwnedFd::from(udp)];
    let command = activated(&folder, &sockets);
    let edge = Edge::spawn_by(folder, command).await;
    assert_eq!(edge.listening()["dns"][0], address.to_string());
    let mut answer = [0; 512];
    let received =
        tokio::time::timeout(DEADLINE, client.recv(&mut answer)).await.expect("an answer").unwrap();
    assert!(received > question.len() && answer[..2] == [7, 7], "{:?}", &answer[..received]);
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(&[&[0, 32], &question[..]].concat()).await.unwrap();
    assert!(stream.read_u16().await.unwrap() > 32);
}

#[tokio::test]
async fn a_socket_that_nobody_would_answer_ends_the_start() {
    let origin = Origin::start().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listen = "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n";
    let folder = written(&config(&["own.test"], origin.address, listen));
    let mut process = activated(&folder, &[socket]).spawn().unwrap();
    let status = tokio::time::timeout(DEADLINE, process.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(1));
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let why =
        format!("systemd handed over a socket at {address}, which the configuration does not listen on");
    assert!(log.contains(&why), "{log}");
}

#[tokio::test]
async fn systemd_is_told_how_the_process_is() {
    let origin = Origin::start().await;
    let listen = "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n";
    let folder = written(&config(&["own.test"], origin.address, listen));
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || loop {
        let mut message = [0; 256];
        match socket.recv(&mut message) {
            Ok(octets) => break String::from_utf8_lossy(&message[..octets]).into_owned(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "systemd is not told: {error}"),
        }
    };
    let mut command = command(folder.path());
    command.env("NOTIFY_SOCKET", &path);
    let edge = Edge::spawn_by(folder, command).await;
    assert_eq!(told(), "READY=1\n");
    let ran = run(&["reload", "--config", edge.config_file().to_str().unwrap()]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(), "READY=1\n");
    let ran = run(&["upgrade", "--config", edge.config_file().to_str().unwrap()]).await;
    let new = Ends::told_by(&ran);
    let mut both = [told(), told()];
    both.sort();
    assert_eq!(both, [format!("MAINPID={}\n", new.0), "READY=1\n".to_owned()]);
    let _folder = edge.ended().await;
    new.signal("TERM");
    assert_eq!(told(), "STOPPING=1\n", "of the new process, and only of that");
}

#[tokio::test]
async fn an_aborted_process_leaves_no_core_file() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: maximum, maximum }).unwrap();
    let origin = Origin::start().await;
    let folder = written(&config(
        &["own.test"],
        origin.address,
        "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n",
    ));
    let mut process = command(folder.path()).current_dir(folder.path()).spawn().unwrap();
    let listening = folder.path().join("data/listening.json");
    crate::bed::eventually("it listens", async || listening.exists()).await;
    let pid = process.id().unwrap().to_string();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().rev().nth(1), Some("0"), "{core}");
    assert!(std::process::Command::new("kill").args(["-s", "ABRT", &pid]).status().unwrap().success());
    let status = tokio::time::timeout(DEADLINE, process.wait()).await.expect("it ends").unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}
