//! The HTTP client that messages are sent by.
//!
//! Its URLs are strangers': it connects only to addresses that are permitted, whatever a name leads
//! to at that moment, follows no redirect, knows no proxy, and bounds time and answer.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::ClientError;
use super::address::Addresses;
use super::sign::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature};
use crate::config::Webhooks;
use crate::domain::clock::UnixTime;
use crate::store::webhooks::{Delivery, Webhook};

/// Most of an answer's body that is read; what it says does not matter.
const MAX_BODY: usize = 16 * 1024;
/// Longest report, in characters.
const MAX_REPORT: usize = 300;
const AGENT: &str = concat!("nameplate/", env!("CARGO_PKG_VERSION"));

/// Speaks to receivers.
pub struct Client {
    addresses: Arc<Addresses>,
    timeout: Duration,
    /// By HTTPS; else why this machine cannot.
    secure: Result<reqwest::Client, String>,
    /// By plain HTTP.
    plain: reqwest::Client,
}

impl Client {
    /// A client for what `settings` permit. On a machine without root certificates it speaks plain
    /// HTTP alone, and says so in its reports.
    ///
    /// Fails where an HTTP client cannot be made.
    pub fn new(settings: &Webhooks) -> Result<Self, ClientError> {
        let addresses = Arc::new(Addresses::new(&settings.allow_private));
        let made = |tls, plain| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .tcp_nodelay(true)
                .connect_timeout(settings.timeout)
                .timeout(settings.timeout)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .dns_resolver(PermittedOnly { addresses: addresses.clone(), plain })
                .user_agent(AGENT)
                .build()
        };
        let secure = match tls(true) {
            Ok(tls) => Ok(made(tls, false)?),
            Err(error) => Err(format!("this machine cannot speak HTTPS: {error}")),
        };
        // Its TLS is never used, so no root is looked for.
        let plain = made(tls(false)?, true)?;
        Ok(Self { addresses, timeout: settings.timeout, secure, plain })
    }

    /// The addresses that it connects to.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Sends `delivery` to `webhook`; the status of the answer, and how long it asks to be left alone
    /// (`Retry-After` in seconds, RFC 9110 §10.2.3).
    ///
    /// - `now`: the moment that is signed
    ///
    /// Fails with why there is no answer, in a sentence without the URL, which may hold a token.
    pub async fn send(
        &self,
        webhook: &Webhook,
        delivery: &Delivery,
        now: UnixTime,
    ) -> Result<(u16, Option<Duration>), String> {
        self.addresses.check(&webhook.url).map_err(|why| why.to_string())?;
        let client = match (webhook.url.scheme(), &self.secure) {
            ("http", _) => &self.plain,
            (_, Ok(secure)) => secure,
            (_, Err(why)) => return Err(why.clone()),
        };
        let request = client
            .post(webhook.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ID_HEADER, &delivery.message)
            .header(TIMESTAMP_HEADER, now.0)
            .header(SIGNATURE_HEADER, signature(&webhook.secret, &delivery.message, now, &delivery.body))
            .body(delivery.body.clone());
        let response = request.send().await.map_err(|error| self.told(&error))?;
        let status = response.status().as_u16();
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        drain(response).await;
        Ok((status, asked.map(Duration::from_secs)))
    }

    /// What went wrong, without the URL.
    fn told(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("it did not answer within {} s", self.timeout.as_secs_f32());
        }
        let mut text = "no connection".to_owned();
        let mut source = error.source();
        while let Some(inner) = source {
            let said = inner.to_string();
            // reqwest, hyper and the resolver often say the same, one around the other.
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            source = inner.source();
        }
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REPORT).collect()
    }
}

/// Reads the body to its end, up to [`MAX_BODY`] and the time-out, so that the connection can be
/// used again.
async fn drain(mut response: reqwest::Response) {
    let mut octets = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        octets += chunk.len();
        if octets > MAX_BODY {
            return;
        }
    }
}

fn tls(secure: bool) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    if !secure {
        return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    }
    let verifier = rustls_platform_verifier::Verifier::new(provider)?;
    let mut tls = builder
        .dangerous() // the verifier is the platform's own
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// Asks the system, and gives the permitted addresses alone: what is connected to is what was
/// judged, however often a name changes. Addresses within a URL are judged before.
struct PermittedOnly {
    addresses: Arc<Addresses>,
    plain: bool,
}

/// A name leads to nothing that is permitted. Which address it is would tell strangers of names
/// that only this machine's resolver knows.
#[derive(Debug, thiserror::Error)]
#[error("its name leads to no address that webhooks may lead to")]
struct NotPermitted;

impl Resolve for PermittedOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let (addresses, plain) = (self.addresses.clone(), self.plain);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> =
                found.filter(|found| addresses.permit(found.ip(), plain)).collect();
            if permitted.is_empty() {
                return Err(NotPermitted.into());
            }
            let permitted: Addrs = Box::new(permitted.into_iter());
            Ok(permitted)
        })
    }
}
