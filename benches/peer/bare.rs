//! A bare Pingora proxy, for the peer benchmark: Pingora's own listeners and runtime, one hook
//! that picks a certificate, one that names the origin, and redirects on plain HTTP. What
//! Nameplate costs beyond Pingora is the distance to it.
//!
//! `bare CERTS_DIR HTTP_PORT HTTPS_PORT ORIGIN_PORT THREADS`; each file in `CERTS_DIR` is
//! HOSTNAME.pem with leaf, chain and key.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fs;

use async_trait::async_trait;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{NameType, SslRef};
use openssl::x509::X509;
use pingora_core::listeners::TlsAccept;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

struct Certificate {
    chain: Vec<X509>,
    key: PKey<Private>,
}

struct Certificates(HashMap<String, Certificate>);

#[async_trait]
impl TlsAccept for Certificates {
    async fn certificate_callback(&self, ssl: &mut SslRef) {
        let Some(found) = ssl.servername(NameType::HOST_NAME).and_then(|name| self.0.get(name)) else {
            return;
        };
        let set = |ssl: &mut SslRef| {
            ssl.set_certificate(&found.chain[0])?;
            ssl.set_private_key(&found.key)?;
            found.chain[1..].iter().try_for_each(|above| ssl.add_chain_cert(above.clone()))
        };
        if let Err(error) = set(ssl) {
            eprintln!("a certificate could not be set: {error}");
        }
    }
}

struct Proxy {
    origin: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_error::Result<Box<HttpPeer>> {
        Ok(Box::new(self.origin.clone()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        (): &mut (),
    ) -> pingora_error::Result<()> {
        let client = session.client_addr().and_then(|address| address.as_inet());
        if let Some(client) = client {
            head.insert_header("X-Forwarded-For", client.ip().to_string())?;
        }
        head.insert_header("X-Forwarded-Proto", "https")
    }
}

struct Redirect;

#[async_trait]
impl ProxyHttp for Redirect {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> pingora_error::Result<bool> {
        let head = session.req_header();
        let host = head.headers.get("Host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        let location = format!("https://{host}{}", head.uri);
        let mut answer = ResponseHeader::build(308, Some(2))?;
        answer.insert_header("Location", location)?;
        answer.insert_header("Content-Length", "0")?;
        session.write_response_header(Box::new(answer), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_error::Result<Box<HttpPeer>> {
        Err(pingora_error::Error::new_str("every request is redirected"))
    }
}

fn certificates(folder: &str) -> Result<Certificates, Box<dyn Error>> {
    let mut certificates = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        let pem = fs::read(&path)?;
        let certificate =
            Certificate { chain: X509::stack_from_pem(&pem)?, key: PKey::private_key_from_pem(&pem)? };
        certificates.insert(name.to_owned(), certificate);
    }
    Ok(Certificates(certificates))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [folder, http, https, origin, threads] = arguments.as_slice() else {
        return Err("usage: bare CERTS_DIR HTTP_PORT HTTPS_PORT ORIGIN_PORT THREADS".into());
    };
    let conf = ServerConf {
        threads: threads.parse()?,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut proxy = http_proxy_service(
        &server.configuration,
        Proxy { origin: HttpPeer::new(format!("127.0.0.1:{origin}"), false, String::new()) },
    );
    let callbacks: Box<dyn TlsAccept + Send + Sync> = Box::new(certificates(folder)?);
    let mut tls = TlsSettings::with_callbacks(callbacks)?;
    tls.enable_h2();
    proxy.add_tls_with_settings(&format!("127.0.0.1:{https}"), None, tls);
    let mut redirect = http_proxy_service(&server.configuration, Redirect);
    redirect.add_tcp(&format!("127.0.0.1:{http}"));
    server.add_service(proxy);
    server.add_service(redirect);
    server.run_forever();
}
