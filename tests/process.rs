//! The running process: starting, telling how it is, logging, stopping.

mod bed;

use std::net::TcpListener as Taken;
use std::time::{Duration, Instant};

use bed::client::{Client, Served};
use bed::origin::Origin;
use bed::program::{Edge, run};
use bed::{eventually, plain};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One site for `own.test` at `origin`; `more`: lines before it.
fn config(origin: std::net::SocketAddr, more: &str) -> String {
    format!(
        "{more}\n[[authority]]\nname = \"internal\"\ndirectory = \"internal\"\n\
         [[site]]\nname = \"default\"\nhostnames = [\"own.test\"]\norigins = [\"{origin}\"]\n"
    )
}

/// An origin that has read a request and answers when it is told to.
struct Held {
    listener: TcpListener,
}

impl Held {
    async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    async fn request(&self) -> TcpStream {
        let (mut tcp, _) = self.listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        tcp
    }
}

async fn ask(edge: &Edge) -> Served {
    let mut served = edge.handshake("own.test").await.unwrap();
    served.stream.write_all(b"GET /held HTTP/1.1\r\nHost: own.test\r\n\r\n").await.unwrap();
    served
}

async fn readyz(edge: &Edge) -> String {
    plain(edge.admin, "admin.test", "/readyz").await
}

/// A configuration with `text` in a folder of its own.
fn written(text: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("nameplate.toml");
    let data = folder.path().join("data").display().to_string();
    std::fs::write(&path, format!("data_dir = {data:?}\n{text}")).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

#[tokio::test]
async fn a_taken_port_is_told_of_and_ends_the_start() {
    let taken = Taken::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["http", "https", "admin", "metrics"] {
        let mut lines = vec![
            ("http", r#"["127.0.0.1:0"]"#.to_owned()),
            ("https", r#"["127.0.0.1:0"]"#.to_owned()),
            ("admin", r#""127.0.0.1:0""#.to_owned()),
        ];
        lines.retain(|(other, _)| *other != key);
        let value =
            if key.starts_with("http") { format!("[\"{address}\"]") } else { format!("\"{address}\"") };
        lines.push((key, value));
        let listen: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let text = config(([127, 0, 0, 1], 9).into(), &format!("[listen]\n{listen}"));
        let (_folder, path) = written(&text);
        let ran = run(&["run", "--config", &path]).await;
        assert_eq!(ran.code, 1, "{key}: {}", ran.err);
        let why = format!("cannot listen on {address}; stop what uses the port, or choose another address");
        assert!(ran.err.contains(&why) && ran.err.contains("in use"), "{key}: {}", ran.err);
    }
}

#[tokio::test]
async fn a_bad_configuration_is_told_of_with_every_place_and_ends_the_start() {
    let text = "[limits]\nhandshake = \"10 secondz\"\n[listen]\nhttps = [\"nonsense\"]\n";
    let (_folder, path) = written(text);
    for command in ["run", "check", "health"] {
        let ran = run(&[command, "--config", &path]).await;
        assert_eq!(ran.code, 1, "{command}");
        for place in [format!("{path}:3:13: limits.handshake: "), format!("{path}:5:10: listen.https")] {
            assert!(ran.err.contains(&place), "{command}: {place} in {}", ran.err);
        }
    }
    let missing = run(&["run", "--config", "/nonexistent/nameplate.toml"]).await;
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("/nonexistent/nameplate.toml"), "{}", missing.err);
    assert_eq!(run(&["run", "--no-such-option"]).await.code, 2);
}

#[tokio::test]
async fn two_processes_do_not_serve_from_one_data_dir() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(origin.address, "")).await;
    let path = edge.config_file().display().to_string();
    let second = run(&["run", "--config", &path]).await;
    assert_eq!(second.code, 1);
    assert!(second.err.contains("another process already serves"), "{}", second.err);
    assert!(edge.get("own.test", "/").await.starts_with("HTTP/1.1 200"), "the first one serves on");
}

#[tokio::test]
async fn the_admin_listener_tells_how_it_is() {
    let origin = Origin::start().await;
    let listen = "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\
                  metrics = \"127.0.0.1:0\"\n";
    let edge = Edge::start(&config(origin.address, listen)).await;
    edge.get("own.test", "/").await;
    let metrics = edge.listening()["metrics"].as_str().unwrap().parse().unwrap();
    for address in [edge.admin, metrics] {
        let healthy = plain(address, "admin.test", "/healthz").await;
        assert!(healthy.starts_with("HTTP/1.1 200") && healthy.ends_with("ok\n"), "{healthy}");
        let ready = plain(address, "admin.test", "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("ready\n"), "{ready}");
        assert!(plain(address, "admin.test", "/nowhere").await.starts_with("HTTP/1.1 404"));
        let text = plain(address, "admin.test", "/metrics").await;
        assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
        let version = env!("CARGO_PKG_VERSION");
        for sample in [
            &format!("nameplate_build_info{{version=\"{version}\"}} 1\n") as &str,
            "# HELP nameplate_tls_handshakes_total ",
            "# TYPE nameplate_tls_handshake_seconds histogram\n",
            "nameplate_tls_handshakes_total{result=\"full\"} 1\n",
            "nameplate_http_requests_total{listener=\"https\",site=\"default\",status_class=\"2xx\"} 1\n",
        ] {
            assert!(text.contains(sample), "{sample} in {text}");
        }
        assert!(!text.contains("own.test"), "a hostname is never a label");
    }
}

#[tokio::test]
async fn log_lines_are_json_where_nobody_watches_and_the_access_log_can_be_turned_off() {
    let origin = Origin::start().await;
    for (log, lines) in [("", 1), ("[log]\naccess = false\n", 0)] {
        let edge = Edge::start(&config(origin.address, log)).await;
        edge.get("own.test", "/a?b=c").await;
        let access = |edge: &Edge| {
            let mut lines = edge.log_lines();
            lines.retain(|line| line["target"] == "nameplate::access");
            lines
        };
        if lines > 0 {
            eventually("the line", async || !access(&edge).is_empty()).await;
            let line = access(&edge).remove(0);
            let fields = &line["fields"];
            assert_eq!((&fields["host"], &fields["site"]), (&"own.test".into(), &"default".into()));
            assert_eq!((&fields["path"], &fields["status"]), (&"/a?b=c".into(), &200.into()));
            assert_eq!(fields["origin"], origin.address.to_string());
        }
        let folder = edge.folder();
        let _kept = edge.stop().await;
        let log = std::fs::read_to_string(folder.join("log")).unwrap();
        assert_eq!(log.matches("nameplate::access").count(), lines, "{log}");
    }
}

#[tokio::test]
async fn what_a_client_sends_cannot_forge_a_log_line() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(origin.address, "")).await;
    for (path, host) in [("/", "own\u{1b}[31m.test"), ("/\u{1b}[31m", "own.test"), ("/\u{9b}31m", "own.test")]
    {
        let mut tcp = TcpStream::connect(edge.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.unwrap();
    }
    edge.get("own.test", "/done").await;
    eventually("the last request's line", async || edge.log().contains("/done")).await;
    edge.log_lines();
    let log = edge.log().to_lowercase();
    for control in ["\u{1b}", "\\u001b", "\u{9b}", "\\u009b"] {
        assert!(!log.contains(control), "{control:?} in {log}");
    }
}

#[tokio::test]
async fn health_asks_the_running_process() {
    let origin = Origin::start().await;
    let listen = format!(
        "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:{}\"\n",
        bed::free_port()
    );
    let edge = Edge::start(&config(origin.address, &listen)).await;
    let path = edge.config_file().display().to_string();
    let health = async || run(&["health", "--config", &path]).await;
    let well = health().await;
    assert_eq!((well.code, well.out.as_str()), (0, "ready\n"));
    let _folder = edge.stop().await;
    let gone = health().await;
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("does not answer"), "{}", gone.err);
}

#[tokio::test]
async fn a_stop_lets_running_requests_finish_and_is_told_of_meanwhile() {
    let origin = Held::start().await;
    let listen = format!(
        "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:{}\"\n",
        bed::free_port()
    );
    let edge = Edge::start(&config(origin.listener.local_addr().unwrap(), &listen)).await;
    let mut client = ask(&edge).await;
    let mut request = origin.request().await;
    edge.signal("TERM");
    eventually("it says no", async || readyz(&edge).await.starts_with("HTTP/1.1 503")).await;
    let path = edge.config_file().display().to_string();
    let health = run(&["health", "--config", &path]).await;
    assert!(health.code == 1 && health.err.contains("503"), "{}", health.err);
    eventually("no new connection is taken", async || edge.handshake("own.test").await.is_err()).await;
    request.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.unwrap();
    let mut answer = Vec::new();
    let _closed = client.stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    let begin = Instant::now();
    edge.ended().await;
    assert!(begin.elapsed() < Duration::from_secs(5), "nothing is left to wait for");
}

#[tokio::test]
async fn a_stop_closes_idle_connections_at_once() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(origin.address, "")).await;
    let mut fresh = edge.handshake("own.test").await.unwrap();
    let mut kept = edge.handshake("own.test").await.unwrap();
    kept.stream.write_all(b"GET / HTTP/1.1\r\nHost: own.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"GET /") {
        answer.push(kept.stream.read_u8().await.unwrap());
    }
    let mut silent = TcpStream::connect(edge.https).await.unwrap();
    let mut in_the_clear = TcpStream::connect(edge.http).await.unwrap();
    let h2 = Client { alpn: Some(b"\x02h2"), ..Client::default() };
    let (mut send, connection) = h2.handshake(edge.https, "own.test").await.unwrap().http2().await;
    let request = http::Request::get("https://own.test/").body(axum::body::Body::empty()).unwrap();
    assert_eq!(send.send_request(request).await.unwrap().status(), 200);

    let begin = Instant::now();
    edge.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(5), "idle connections hold nothing up");
    let mut rest = Vec::new();
    let _closed = fresh.stream.read_to_end(&mut rest).await;
    let _closed = kept.stream.read_to_end(&mut rest).await;
    let _closed = in_the_clear.read_to_end(&mut rest).await;
    let _closed = silent.read_to_end(&mut rest).await;
    let _closed = tokio::time::timeout(bed::DEADLINE, connection).await.expect("it is closed");
    assert_eq!(rest, b"", "nothing was sent to them");
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_the_drain_time_and_a_second_signal_ends_it_at_once() {
    let origin = Held::start().await;
    let address = origin.listener.local_addr().unwrap();
    let edge = Edge::start(&config(address, "[limits]\ndrain = \"1s\"")).await;
    let _client = ask(&edge).await;
    let _request = origin.request().await;
    let folder = edge.folder();
    let begin = Instant::now();
    let kept = edge.stop().await;
    assert!(begin.elapsed() >= Duration::from_secs(1), "it waited");
    assert!(begin.elapsed() < Duration::from_secs(10));
    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    assert!(
        log.contains("not everything finished within the limit") && log.contains("limits.drain"),
        "{log}"
    );
    drop(kept);

    let edge = Edge::start(&config(address, "[limits]\ndrain = \"1h\"")).await;
    let _client = ask(&edge).await;
    let _request = origin.request().await;
    edge.signal("TERM");
    eventually("it stops", async || readyz(&edge).await.starts_with("HTTP/1.1 503")).await;
    edge.stop().await;
}
