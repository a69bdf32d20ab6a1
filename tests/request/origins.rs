//! Which origin is asked, and what happens when it fails.

use std::sync::Arc;
use std::time::Duration;

use nameplate::domain::site::{Origin, Scheme};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::bed::{Bed, Scripted, dead, field, origin, site, status};

#[tokio::test]
async fn origins_are_asked_in_turn() {
    let (one, two) = (Scripted::ok().await, Scripted::ok().await);
    let edge = Bed::shop(&[one.address, two.address]).start().await;
    for _ in 0..6 {
        assert_eq!(status(&edge.get("shop.test", "/").await), 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (3, 3));
}

#[tokio::test]
async fn an_origin_that_refuses_a_connection_costs_no_request_of_any_method() {
    let origin = Scripted::ok().await;
    let edge = Bed::shop(&[dead().await, origin.address, dead().await]).start().await;
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
        );
        let answer = edge.exchange(request).await;
        assert_eq!(status(&answer), 200, "{method}: {answer}");
    }
    assert_eq!(origin.seen().len(), 4);
    assert!(origin.seen().iter().all(|request| request.ends_with("body")), "{:#?}", origin.seen());
}

#[tokio::test]
async fn an_unsafe_request_that_was_sent_is_not_sent_again() {
    let (hangs_up, other) = (Scripted::answering("").await, Scripted::ok().await);
    let edge = Bed::shop(&[hangs_up.address, other.address]).start().await;
    let post = "POST /order HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1";
    let answers = [edge.exchange(post).await, edge.exchange(post).await];
    let statuses = answers.map(|answer| status(&answer));
    assert_eq!(statuses, [502, 200]);
    assert_eq!((hangs_up.seen().len(), other.seen().len()), (1, 1));
}

#[tokio::test]
async fn no_reachable_origin_is_502_and_says_so_without_its_address() {
    let gone = dead().await;
    let edge = Bed::shop(&[gone]).start().await;
    let answer = edge.get("shop.test", "/").await;
    assert_eq!(status(&answer), 502, "{answer}");
    assert!(answer.contains("can be reached") && !answer.contains(&gone.port().to_string()), "{answer}");
    assert_eq!(field(&answer, "Cache-Control"), Some("no-store"));
}

#[tokio::test]
async fn an_origin_that_does_not_answer_in_its_time_is_504() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bed = Bed::shop(&[silent.local_addr().unwrap()]);
    bed.shop_site().timeouts.read = Duration::from_millis(200);
    let edge = bed.start().await;
    let answer = edge.get("shop.test", "/").await;
    assert_eq!(status(&answer), 504, "{answer}");
    assert!(answer.contains("too long"), "{answer}");
}

#[tokio::test]
async fn an_origin_that_speaks_no_http_is_502() {
    let origin = Scripted::answering("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    let edge = Bed::shop(&[origin.address]).start().await;
    assert_eq!(status(&edge.get("shop.test", "/").await), 502);
}

#[tokio::test]
async fn an_origin_of_http_1_0_is_answered_for_in_http_1_1() {
    for answer in
        ["HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nok"]
    {
        let origin = Scripted::answering(answer).await;
        let edge = Bed::shop(&[origin.address]).start().await;
        let answer = edge.get("shop.test", "/").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("ok"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for (answer, connection) in [
        (chunks, ""),
        (chunks, "Connection: keep-alive\r\n"),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok", ""),
    ] {
        let origin = Scripted::answering(answer).await;
        let edge = Bed::shop(&[origin.address]).start().await;
        let request = format!("GET / HTTP/1.0\r\nHost: shop.test\r\n{connection}\r\n");
        let answer = edge.exchange(request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body == "ok" && !head.to_lowercase().contains("transfer-encoding"), "{answer}");
        assert!(head.to_lowercase().contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn half_an_answer_is_not_made_whole_by_an_error_page() {
    let origin = Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\nhalf").await;
    let edge = Bed::shop(&[origin.address]).start().await;
    let answer = edge.exchange("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.ends_with("\r\n\r\nhalf"), "{answer}");

    let origin =
        Scripted::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    let edge = Bed::shop(&[origin.address]).start().await;
    let answer = edge.exchange("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    assert!(answer.contains("half") && !answer.contains("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_connection_to_an_origin_is_kept_and_used_again() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = Bed::shop(&[socket.local_addr().unwrap()]).start().await;
    let one_connection = tokio::spawn(async move {
        let (mut tcp, _) = socket.accept().await.unwrap();
        let mut piece = [0; 4096];
        for _ in 0..3 {
            assert_ne!(tcp.read(&mut piece).await.unwrap(), 0);
            tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    });
    for _ in 0..3 {
        assert_eq!(status(&edge.get("shop.test", "/").await), 200);
    }
    one_connection.await.unwrap();
}

#[tokio::test]
async fn an_origin_may_have_a_name() {
    let target = Scripted::ok().await;
    let named = Origin { host: "localhost".into(), ..origin(target.address) };
    let unknown = Origin { host: "no-such-name.invalid".into(), ..origin(target.address) };
    let edge = Bed::of(vec![
        site("named", &["named.test"], vec![named.clone()]),
        site("both", &["both.test"], vec![unknown.clone(), named]),
        site("unknown", &["unknown.test"], vec![unknown]),
    ])
    .start()
    .await;
    assert_eq!(status(&edge.get("named.test", "/").await), 200);
    assert_eq!(status(&edge.get("both.test", "/").await), 200);
    assert_eq!(status(&edge.get("unknown.test", "/").await), 502);
}

/// An origin with TLS for `name`; returns it and a file with its root.
fn tls_origin(name: &str, folder: &std::path::Path) -> (Origin, String) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut root = CertificateParams::new(vec![]).unwrap();
    // A leaf of the same name as its issuer would be taken for a self-signed one.
    root.distinguished_name.push(rcgen::DnType::CommonName, "root of the test");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let root_certificate = root.self_signed(&root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&root, &root_key);
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let file = folder.join("root.pem");
    std::fs::write(&file, root_certificate.pem()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            answer_tls(rustls::StreamOwned::new(session, tcp));
        }
    });
    (Origin { scheme: Scheme::Https, host: "localhost".into(), port }, file.display().to_string())
}

/// Answers one request with the name the client asked for.
fn answer_tls(mut tls: rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>) {
    use std::io::{Read, Write};
    let mut piece = [0; 4096];
    if tls.read(&mut piece).is_ok_and(|count| count > 0) {
        let sni = tls.conn.server_name().unwrap_or_default().to_owned();
        let length = sni.len();
        let _gone =
            write!(tls, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{sni}");
        tls.conn.send_close_notify();
        let _gone = tls.flush();
    }
}

#[tokio::test]
async fn an_https_origin_is_asked_by_its_name_and_must_prove_it() {
    let folder = tempfile::tempdir().unwrap();
    let (right, root) = tls_origin("localhost", folder.path());
    let mut bed = Bed::of(vec![site("shop", &["shop.test"], vec![right])]);
    bed.settings.origin_ca_file = Some(root);
    let edge = bed.start().await;
    let answer = edge.get("shop.test", "/").await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.ends_with("\r\n\r\nlocalhost"), "{answer}");

    let (wrong, root) = tls_origin("other.test", folder.path());
    let mut bed = Bed::of(vec![site("shop", &["shop.test"], vec![wrong])]);
    bed.settings.origin_ca_file = Some(root);
    assert_eq!(status(&bed.start().await.get("shop.test", "/").await), 502);
}
