//! The listeners of the running edge: who the client is, how many there may be, how long they take.

mod bed;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bed::approval::{ApprovalEndpoint, Behaviour};
use bed::client::{Client, Refused, Served};
use bed::origin::Origin;
use bed::program::Edge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A header of version 1 as a load balancer at this machine sends it.
const VERSION_1: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n";

/// Version 2 for a client by IPv4, then one by IPv6 with a TLV (type 4, NOOP) behind.
fn version_2() -> [Vec<u8>; 2] {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21";
    let v4 = [&[0x11, 0, 12, 203, 0, 113, 8, 198, 51, 100, 1][..], &[0x9c, 0x40, 1, 0xbb]].concat();
    let (client, local): ([u8; 16], [u8; 16]) = (
        "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets(),
        "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets(),
    );
    let tlv = [4, 0, 2, 0, 0];
    let v6 = [&[0x21, 0, 41][..], &client, &local, &[0x9c, 0x40, 1, 0xbb], &tlv].concat();
    [[SIGNATURE, &v4].concat(), [SIGNATURE, &v6].concat()]
}

struct House {
    edge: Edge,
    endpoint: ApprovalEndpoint,
    origin: Origin,
}

/// `listen`: more lines of that table; `tables`: further ones.
async fn house(listen: &str, tables: &str) -> House {
    let (endpoint, origin) = (ApprovalEndpoint::start().await, Origin::start().await);
    let config = format!(
        r#"
[listen]
http = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
{listen}
{tables}
[[authority]]
name = "internal"
directory = "internal"
[on_demand]
approval = "{approval}"
[[site]]
name = "default"
hostnames = ["own.test"]
origins = ["{origin}"]
"#,
        approval = endpoint.template(),
        origin = origin.address,
    );
    let edge = Edge::start(&config).await;
    House { edge, endpoint, origin }
}

/// A handshake on a connection that begins with `header`.
async fn behind(header: &[u8], address: SocketAddr, sni: &str) -> Result<Served, Refused> {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(header).await.unwrap();
    Client::default().handshake_on(tcp, sni).await
}

/// Waits for the end of a connection on which nothing may come.
async fn closed(mut tcp: TcpStream) {
    let mut nothing = [0; 1];
    let end = tokio::time::timeout(bed::DEADLINE, tcp.read(&mut nothing)).await.expect("it is closed");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_trusted_load_balancer_tells_who_the_client_is() {
    let House { edge, endpoint, origin } = house(r#"proxy_protocol_from = ["127.0.0.0/8"]"#, "").await;
    let [v4, v6] = version_2();
    let headers = [(VERSION_1, "203.0.113.7"), (&v4[..], "203.0.113.8"), (&v6[..], "2001:db8::7")];
    for (number, (header, client)) in headers.into_iter().enumerate() {
        let name = format!("lb{number}.test");
        endpoint.says(&name, Behaviour::Yes);
        let served = behind(header, edge.https, &name).await.unwrap();
        assert!(served.get(&name, "/").await.starts_with("HTTP/1.1 200"));
        let seen = origin.requests().pop().unwrap();
        assert_eq!(seen.headers["x-forwarded-for"], client);
        let asked = endpoint.questions().pop().unwrap();
        assert_eq!(asked.client.as_deref(), Some(client), "{asked:?}");
    }

    let mut tcp = TcpStream::connect(edge.http).await.unwrap();
    tcp.write_all(&[VERSION_1, b"GET /x HTTP/1.0\r\nHost: lb0.test\r\n\r\n"].concat()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 301 "), "plain HTTP takes the header too: {answer}");
    let line = bed::appears("the line", async || {
        edge.log_lines().pop().filter(|line| line["fields"]["path"] == "/x")
    })
    .await;
    assert_eq!((&line["fields"]["client"], &line["fields"]["status"]), (&"203.0.113.7".into(), &301.into()));
}

#[tokio::test]
async fn a_load_balancers_own_connection_is_its_own() {
    let House { edge, origin: _origin, .. } = house(r#"proxy_protocol_from = ["127.0.0.1"]"#, "").await;
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
    for header in [&b"PROXY UNKNOWN\r\n"[..], local] {
        let served = behind(header, edge.https, "own.test").await.unwrap();
        assert!(served.get("own.test", "/health").await.starts_with("HTTP/1.1 200"));
        assert_eq!(edge.metric("connections_refused_total").await, 0.0);
        let line = bed::appears("the line", async || {
            edge.log_lines().pop().filter(|line| line["fields"]["path"] == "/health")
        })
        .await;
        assert_eq!(line["fields"]["client"], "127.0.0.1");
    }
}

#[tokio::test]
async fn nobody_else_can_pretend_to_be_another_client() {
    let House { edge, origin, .. } = house(r#"proxy_protocol_from = ["192.0.2.0/24"]"#, "").await;
    let [v4, _] = version_2();
    for header in [VERSION_1, &v4] {
        let outcome = behind(header, edge.https, "own.test").await;
        assert!(matches!(outcome, Err(Refused::Alert(_) | Refused::Otherwise(_))), "it is no ClientHello");
    }
    assert_eq!(edge.metric(r#"tls_handshakes_total{result="failed"}"#).await, 2.0);
    assert!(edge.get("own.test", "/").await.starts_with("HTTP/1.1 200"));
    assert_eq!(origin.requests().pop().unwrap().headers["x-forwarded-for"], "127.0.0.1");
}

#[tokio::test]
async fn a_trusted_peer_that_sends_no_header_is_closed_and_counted() {
    let trusted = r#"proxy_protocol_from = ["127.0.0.0/8"]"#;
    let House { edge, .. } = house(trusted, "[limits]\nhandshake = \"1s\"").await;
    assert!(edge.handshake("own.test").await.is_err());
    let mut plain = TcpStream::connect(edge.http).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: own.test\r\n\r\n").await.unwrap();
    closed(plain).await;
    closed(TcpStream::connect(edge.https).await.unwrap()).await;
    assert_eq!(edge.metric(r#"connections_refused_total{reason="proxy_protocol"}"#).await, 3.0);
    assert_eq!(edge.metric("tls_handshakes_total").await, 0.0);
}

#[tokio::test]
async fn beyond_the_limit_connections_are_closed_and_places_come_back() {
    let House { edge, .. } = house("", "[limits]\nconnections = 3").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(edge.handshake("own.test").await.unwrap());
    }
    closed(TcpStream::connect(edge.https).await.unwrap()).await;
    closed(TcpStream::connect(edge.http).await.unwrap()).await;
    assert_eq!(edge.metric(r#"connections_refused_total{reason="total"}"#).await, 2.0);
    assert_eq!(edge.metric(r#"connections{listener="https"}"#).await, 3.0);
    held.pop();
    bed::eventually("the place comes back", async || edge.handshake("own.test").await.is_ok()).await;
}

#[tokio::test]
async fn one_client_cannot_take_the_places_of_the_others() {
    let trusted = r#"proxy_protocol_from = ["127.0.0.0/8"]"#;
    let House { edge, .. } = house(trusted, "[limits]\nconnections_per_client = 2").await;
    let other = b"PROXY TCP4 203.0.113.99 198.51.100.1 40000 443\r\n";
    let connect = async |header: &[u8]| behind(header, edge.https, "own.test").await;
    let mut held = vec![connect(VERSION_1).await.unwrap(), connect(VERSION_1).await.unwrap()];
    assert!(connect(VERSION_1).await.is_err());
    assert_eq!(edge.metric(r#"connections_refused_total{reason="client"}"#).await, 1.0);
    connect(other).await.unwrap();
    held.pop();
    bed::eventually("the place comes back", async || connect(VERSION_1).await.is_ok()).await;
}

/// Sends one octet of an endless header now and then; how long the edge bore it.
async fn drip(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static) -> Duration {
    let begin = Instant::now();
    let (mut read, mut write) = tokio::io::split(stream);
    write.write_all(b"GET / HTTP/1.1\r\nHost: own.test\r\nX: ").await.unwrap();
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while write.write_all(b"x").await.is_ok() && write.flush().await.is_ok() {
            tick.tick().await;
        }
    });
    let mut answer = Vec::new();
    let end = tokio::time::timeout(bed::DEADLINE, read.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "a header without end is cut off");
    dripping.abort();
    begin.elapsed()
}

#[tokio::test]
async fn a_request_header_that_trickles_in_is_cut_off_on_both_listeners() {
    let House { edge, .. } = house("", "[limits]\nrequest_header = \"1s\"").await;
    let second = Duration::from_secs(1);
    let borne = drip(TcpStream::connect(edge.http).await.unwrap()).await;
    assert!(borne >= second && borne < 10 * second, "{borne:?}");
    let borne = drip(edge.handshake("own.test").await.unwrap().stream).await;
    assert!(borne >= second && borne < 10 * second, "{borne:?}");
}

#[tokio::test]
async fn an_http_1_0_client_gets_the_end_of_its_connection_unless_it_wants_to_keep_it() {
    let House { edge, origin: _origin, .. } = house("", "[limits]\nkeep_alive = \"1h\"").await;
    let request = b"GET / HTTP/1.0\r\nHost: own.test\r\n\r\n";
    let mut plain = TcpStream::connect(edge.http).await.unwrap();
    let mut secure = edge.handshake("own.test").await.unwrap().stream;
    for (stream, status) in [(&mut plain as &mut (dyn Both + Send + Unpin), " 301 "), (&mut secure, " 200 ")]
    {
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(bed::DEADLINE, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "it ends: {}", String::from_utf8_lossy(&answer));
        assert!(String::from_utf8(answer).unwrap().contains(status));
    }
    let mut kept = TcpStream::connect(edge.http).await.unwrap();
    for _ in 0..2 {
        kept.write_all(b"HEAD / HTTP/1.0\r\nHost: own.test\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(kept.read_u8().await.unwrap());
        }
    }
}

/// What is read and written.
trait Both: tokio::io::AsyncRead + tokio::io::AsyncWrite {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite> Both for S {}

#[tokio::test]
async fn a_handshake_that_trickles_in_is_cut_off() {
    let House { edge, .. } = house("", "[limits]\nhandshake = \"1s\"").await;
    let hello = bed::hello::in_records_of(&bed::hello::with_sni(b"own.test"), 1);
    let begin = Instant::now();
    let (mut read, mut write) = TcpStream::connect(edge.https).await.unwrap().into_split();
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        for octet in hello {
            tick.tick().await;
            if write.write_all(&[octet]).await.is_err() {
                return;
            }
        }
    });
    let mut nothing = Vec::new();
    let end = tokio::time::timeout(bed::DEADLINE, read.read_to_end(&mut nothing)).await;
    assert!(end.is_ok(), "it is cut off");
    assert!(begin.elapsed() >= Duration::from_secs(1) && begin.elapsed() < Duration::from_secs(8));
    dripping.abort();
    assert_eq!(edge.metric(r#"tls_handshakes_total{result="timeout"}"#).await, 1.0);
}

#[tokio::test]
async fn both_ports_are_served_by_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6, so there is nothing to see");
        return;
    }
    let origin = Origin::start().await;
    let config = format!(
        "[listen]\nhttp = [\"[::1]:0\"]\nhttps = [\"[::1]:0\", \"127.0.0.1:0\"]\nadmin = \"[::1]:0\"\n\
         [[authority]]\nname = \"internal\"\ndirectory = \"internal\"\n\
         [[site]]\nname = \"default\"\nhostnames = [\"own.test\"]\norigins = [\"{}\"]\n",
        origin.address
    );
    let edge = Edge::start(&config).await;
    assert!(edge.https.is_ipv6() && edge.http.is_ipv6() && edge.admin.is_ipv6());
    assert!(edge.get("own.test", "/six").await.ends_with("GET /six"));
    assert_eq!(origin.requests().pop().unwrap().headers["x-forwarded-for"], "::1");
    let forwarded = origin.requests().pop().unwrap().headers["forwarded"].to_str().unwrap().to_owned();
    assert!(forwarded.starts_with("for=\"[::1]\";"), "{forwarded}");
    assert!(bed::plain(edge.http, "own.test", "/").await.starts_with("HTTP/1.1 301"));
    let v4: SocketAddr = edge.listening()["https"][1].as_str().unwrap().parse().unwrap();
    assert!(v4.is_ipv4());
    edge.client.handshake(v4, "own.test").await.unwrap();
}
