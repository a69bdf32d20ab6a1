//! HTTP/2, gRPC and WebSocket through the running edge's TLS, and what binds a request to its
//! connection.

mod bed;

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bed::client::{Client, Served};
use bed::origin::Origin;
use bed::program::Edge;
use futures::future::BoxFuture;
use futures::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use pingora_core::tls::tokio_ssl::SslStream;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_tungstenite::tungstenite::Message;
use tonic::codegen::{Service, http as tonic_http};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

/// One site for `own.test` and `other.test`; `origin` as a configuration writes it.
async fn edge(origin: &str, site: &str) -> Edge {
    let config = format!(
        "[[authority]]\nname = \"internal\"\ndirectory = \"internal\"\n[[site]]\nname = \"default\"\n\
         hostnames = [\"own.test\", \"other.test\"]\norigins = [\"{origin}\"]\n{site}"
    );
    Edge::start(&config).await
}

async fn connect(edge: &Edge, alpn: &'static [u8]) -> Served {
    let client = Client { alpn: Some(alpn), ..Client::default() };
    client.handshake(edge.https, "own.test").await.unwrap()
}

fn get(url: &str) -> http::Request<Body> {
    http::Request::get(url).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn an_http2_request_reaches_an_http1_origin() {
    let origin = Origin::start().await;
    let edge = edge(&origin.address.to_string(), "").await;
    let (mut send, _connection) = connect(&edge, b"\x02h2\x08http/1.1").await.http2().await;
    let posted = http::Request::post("https://own.test/p?q").body(Body::from("body")).unwrap();
    let answer = send.send_request(posted).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (http::StatusCode::OK, http::Version::HTTP_2));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "POST /p?q");
    let seen = origin.requests().pop().unwrap();
    assert_eq!(
        (&seen.headers["host"], &seen.headers["x-forwarded-proto"]),
        (&"own.test".parse().unwrap(), &"https".parse().unwrap())
    );
}

#[tokio::test]
async fn a_request_for_a_host_that_the_certificate_does_not_cover_is_misdirected() {
    let origin = Origin::start().await;
    let edge = edge(&origin.address.to_string(), "").await;
    let (mut send, _connection) = connect(&edge, b"\x02h2").await.http2().await;
    for (host, status) in [("other.test", 421), ("own.test", 200), ("stranger.test", 421), ("own.test", 200)]
    {
        let answer = send.send_request(get(&format!("https://{host}/"))).await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
    }
    let answer = connect(&edge, b"\x08http/1.1").await.get("other.test", "/").await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert!(edge.get("other.test", "/").await.starts_with("HTTP/1.1 200"), "on a connection of its own");
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn hsts_is_sent_over_https_where_the_site_wants_it_and_never_in_the_clear() {
    let origin = Origin::start().await;
    let address = origin.address.to_string();
    for (site, value) in [
        ("", None),
        ("hsts = true\n", Some("max-age=")),
        (
            "hsts = { max_age = \"1d\", include_subdomains = true }\n",
            Some("max-age=86400; includeSubDomains\r\n"),
        ),
    ] {
        let edge = edge(&address, site).await;
        let answer =
            edge.get("own.test", "/").await.replace("Strict-Transport-Security", "strict-transport-security");
        match value {
            Some(value) => {
                assert!(answer.contains(&format!("strict-transport-security: {value}")), "{answer}")
            }
            None => assert!(!answer.contains("strict-transport-security"), "{answer}"),
        }
        let redirect = bed::plain(edge.http, "own.test", "/").await.to_lowercase();
        assert!(redirect.starts_with("http/1.1 301") && !redirect.contains("strict-transport"), "{redirect}");
    }
}

/// Accepts WebSockets and sends back what comes.
async fn echo(socket: TcpListener) {
    while let Ok((tcp, _)) = socket.accept().await {
        let Ok(mut echo) = tokio_tungstenite::accept_async(tcp).await else { continue };
        while let Some(Ok(message)) = echo.next().await {
            if (message.is_text() || message.is_binary()) && echo.send(message).await.is_err() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_websocket_echoes_through_tls() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = edge(&socket.local_addr().unwrap().to_string(), "").await;
    tokio::spawn(echo(socket));
    // Pingora ends the tunnel where it reads the origin's 101 before it has noted the end of the
    // request's empty body, as it may on a machine that pauses it in between; clients open a
    // WebSocket that ends at once again.
    let mut tries = 0;
    bed::eventually("a WebSocket stands and echoes", async || {
        tries += 1;
        assert!(tries <= 3, "a WebSocket that ends at once is rare");
        let stream = connect(&edge, b"\x08http/1.1").await.stream;
        let (mut client, answer) =
            tokio_tungstenite::client_async("wss://own.test/socket", stream).await.unwrap();
        assert_eq!(answer.status(), 101);
        for text in ["hello".to_owned(), "long ".repeat(100_000)] {
            if client.send(Message::text(text.clone())).await.is_err() {
                return false;
            }
            let Some(Ok(echoed)) = client.next().await else { return false };
            assert_eq!(echoed.into_text().unwrap().as_str(), text);
        }
        client.close(None).await.unwrap();
        true
    })
    .await;
}

#[derive(Clone, PartialEq, prost::Message)]
struct Word {
    #[prost(string, tag = "1")]
    text: String,
}

/// Says a word three times, then why it is enough: what comes after the body is in the trailers.
#[derive(Clone)]
struct Echo;

impl tonic::server::ServerStreamingService<Word> for Echo {
    type Response = Word;
    type ResponseStream = tokio_stream::Iter<std::vec::IntoIter<Result<Word, Status>>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Word>) -> Self::Future {
        let word = request.into_inner();
        let words = vec![Ok(word.clone()), Ok(word.clone()), Ok(word), Err(Status::aborted("enough"))];
        Box::pin(async move { Ok(Response::new(tokio_stream::iter(words))) })
    }
}

impl Service<tonic_http::Request<tonic::body::Body>> for Echo {
    type Response = tonic_http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic_http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Word, Word>::default());
            Ok(grpc.server_streaming(Echo, request).await)
        })
    }
}

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "words.Echo";
}

/// Connects a gRPC client to the edge, by TLS with `h2` in ALPN.
#[derive(Clone)]
struct Connector(SocketAddr);

impl Service<tonic_http::Uri> for Connector {
    type Response = TokioIo<SslStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: tonic_http::Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move {
            let client = Client { alpn: Some(b"\x02h2"), ..Client::default() };
            let served = client.handshake(address, uri.host().unwrap()).await;
            Ok(TokioIo::new(served.map_err(|why| std::io::Error::other(format!("{why:?}")))?.stream))
        })
    }
}

#[tokio::test]
async fn grpc_passes_through_tls_to_an_origin_without_it() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = edge(&format!("h2c://{}", socket.local_addr().unwrap()), "").await;
    let server = tonic::transport::Server::builder().add_service(Echo);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(socket)));

    // The scheme is the edge's business here: tonic's own TLS would want to do the handshake.
    let endpoint = tonic::transport::Endpoint::from_static("http://own.test");
    let channel = endpoint.connect_with_connector(Connector(edge.https)).await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    for _ in 0..3 {
        client.ready().await.unwrap();
        let path = tonic_http::uri::PathAndQuery::from_static("/words.Echo/Say");
        let word = Request::new(Word { text: "again".to_owned() });
        let said = client.server_streaming(word, path, ProstCodec::<Word, Word>::default()).await;
        let mut words = said.unwrap().into_inner();
        for _ in 0..3 {
            assert_eq!(words.message().await.unwrap().unwrap().text, "again");
        }
        let end = words.message().await.unwrap_err();
        assert_eq!((end.code(), end.message()), (Code::Aborted, "enough"));
    }
    assert_eq!(edge.metric(r#"tls_handshakes_total{result="full"}"#).await, 1.0, "one connection");
}
