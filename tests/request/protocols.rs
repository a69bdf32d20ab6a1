//! HTTP/2, WebSocket and gRPC through the edge.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use axum::body::Body;
use futures::future::BoxFuture;
use futures::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use nameplate::domain::site::{Origin, Scheme};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_tungstenite::tungstenite::Message;
use tonic::codegen::{Service, http as tonic_http};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::bed::{Bed, Edge, Scripted, field, origin, site, soon};

type Http2 = hyper::client::conn::http2::SendRequest<Body>;

async fn http2(edge: &Edge) -> Http2 {
    let tcp = TcpStream::connect(edge.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(tcp);
    let (send, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    send
}

#[tokio::test]
async fn http2_requests_reach_an_http1_origin() {
    let origin = Scripted::ok().await;
    let mut bed = Bed::shop(&[origin.address]);
    bed.http2 = true;
    let edge = bed.start().await;
    let mut client = http2(&edge).await;
    for host in ["shop.test", "shop.test:8443"] {
        let request = http::Request::get(format!("https://{host}/p?q")).body(Body::empty()).unwrap();
        let answer = soon("an answer", client.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-request-id"].len(), 32);
        assert!(answer.headers().get("connection").is_none());
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
        let sent = origin.seen().pop().unwrap();
        assert!(sent.starts_with("GET /p?q HTTP/1.1\r\n"), "{sent}");
        assert_eq!((field(&sent, "Host"), field(&sent, "X-Forwarded-Host")), (Some(host), Some(host)));
    }
}

#[tokio::test]
async fn http2_requests_for_another_host_are_421() {
    let origin = Scripted::ok().await;
    let mut bed = Bed::shop(&[origin.address]);
    bed.http2 = true;
    let edge = bed.start().await;
    let mut client = http2(&edge).await;
    for (host, status) in [("other.test", 421), ("shop.test", 200)] {
        let request = http::Request::get(format!("https://{host}/")).body(Body::empty()).unwrap();
        let answer = soon("an answer", client.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
    }
}

#[tokio::test]
async fn at_most_a_hundred_http2_streams_are_open() {
    let mut bed = Bed::shop(&[]);
    bed.http2 = true;
    let edge = bed.start().await;
    let tcp = TcpStream::connect(edge.address).await.unwrap();
    let (client, mut connection) = h2::client::handshake(tcp).await.unwrap();
    let mut ping = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    // The answer to a ping comes after the server's settings.
    soon("a pong", ping.ping(h2::Ping::opaque())).await.unwrap();
    let client = soon("settings", client.ready()).await.unwrap();
    assert_eq!(client.current_max_send_streams(), 100);
}

#[tokio::test]
async fn a_websocket_echoes_through_the_edge() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = Bed::shop(&[socket.local_addr().unwrap()]).start().await;
    tokio::spawn(async move {
        let (tcp, _) = socket.accept().await.unwrap();
        let mut echo = tokio_tungstenite::accept_async(tcp).await.unwrap();
        while let Some(Ok(message)) = echo.next().await {
            if message.is_text() || message.is_binary() {
                echo.send(message).await.unwrap();
            }
        }
    });
    let tcp = TcpStream::connect(edge.address).await.unwrap();
    let (mut client, _) =
        soon("the upgrade", tokio_tungstenite::client_async("ws://shop.test/chat", tcp)).await.unwrap();
    for text in ["one".to_owned(), "x".repeat(200_000)] {
        client.send(Message::text(text.clone())).await.unwrap();
        let echoed = soon("an echo", client.next()).await.unwrap().unwrap();
        assert_eq!(echoed.into_text().unwrap().as_str(), text);
    }
    client.close(None).await.unwrap();
    while let Some(Ok(_)) = soon("the end", client.next()).await {}
}

#[derive(Clone, PartialEq, prost::Message)]
struct Word {
    #[prost(string, tag = "1")]
    text: String,
}

/// Answers `echo` with the same word, and everything else with a status in its trailers.
#[derive(Clone)]
struct Echo;

impl tonic::server::UnaryService<Word> for Echo {
    type Response = Word;
    type Future = BoxFuture<'static, Result<Response<Word>, Status>>;

    fn call(&mut self, request: Request<Word>) -> Self::Future {
        Box::pin(async move {
            match request.get_ref().text.as_str() {
                "fail" => Err(Status::with_details(Code::ResourceExhausted, "no more words", "why".into())),
                _ => Ok(Response::new(request.into_inner())),
            }
        })
    }
}

/// Sends three words, then a status: what comes after the body is in the trailers.
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
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Word, Word>::default());
            Ok(match request.uri().path() {
                "/words.Echo/Many" => grpc.server_streaming(echo, request).await,
                _ => grpc.unary(echo, request).await,
            })
        })
    }
}

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "words.Echo";
}

async fn grpc_origin() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(Echo);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(socket)));
    address
}

#[tokio::test]
async fn grpc_passes_with_its_trailers() {
    let target = Origin { scheme: Scheme::H2c, ..origin(grpc_origin().await) };
    let mut bed = Bed::of(vec![site("words", &["words.test"], vec![target])]);
    bed.http2 = true;
    let edge = bed.start().await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", edge.address))
        .unwrap()
        .origin("http://words.test".parse().unwrap());
    let mut client = tonic::client::Grpc::new(soon("a channel", channel.connect()).await.unwrap());
    let word = |text: &str| Request::new(Word { text: text.to_owned() });
    let codec = ProstCodec::<Word, Word>::default;
    let path = |path| tonic_http::uri::PathAndQuery::from_static(path);

    client.ready().await.unwrap();
    let said = soon("a word", client.unary(word("hello"), path("/words.Echo/Say"), codec())).await;
    assert_eq!(said.unwrap().into_inner().text, "hello");

    client.ready().await.unwrap();
    let failed = soon("a failure", client.unary(word("fail"), path("/words.Echo/Say"), codec())).await;
    let failed = failed.unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::ResourceExhausted, "no more words"));
    assert_eq!(failed.details(), b"why");

    client.ready().await.unwrap();
    let many = client.server_streaming(word("again"), path("/words.Echo/Many"), codec());
    let mut many = soon("many words", many).await.unwrap().into_inner();
    for _ in 0..3 {
        assert_eq!(soon("a word", many.message()).await.unwrap().unwrap().text, "again");
    }
    let end = soon("the trailers", many.message()).await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Aborted, "enough"));
}
