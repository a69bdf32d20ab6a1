//! Asking OCSP responders in the background, for the certificates that are in memory: a handshake staples
//! what is there, and never waits.
//!
//! A customer's certificate says where its responder is, so that URL is a stranger's: only public addresses
//! are connected to, whatever a name leads to at that moment; no redirect is followed, no proxy known.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use http::header::{ACCEPT, CONTENT_TYPE};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::timeout;
use url::{Host, Url};

use super::tls::ocsp::{Holds, Said, Staples, Stapling, Unusable};
use crate::config::public::{is_public, unwrapped};
use crate::config::{Network, Ocsp};
use crate::domain::clock::{Clock, UnixTime};
use crate::telemetry::metrics::Metrics;

/// How often it is looked for what is due.
const LOOK: Duration = Duration::from_secs(5);
/// Questions at once.
const AT_ONCE: usize = 8;
/// Longest answer, in octets; one has about a thousand.
const LONGEST: usize = 64 * 1024;
/// First and longest pause after a question that gave nothing.
const RETRY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60 * 60));
/// Least and longest pause before a good answer is asked for again.
const REFRESH: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(4 * 24 * 60 * 60));

/// Why a responder gave no answer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("its URL cannot be used: it is no address that is public, nor in [ocsp] allow_private")]
    Url,
    #[error("the question could not be made")]
    Question(#[source] openssl::error::ErrorStack),
    #[error("it did not answer")]
    NoAnswer(#[source] reqwest::Error),
    #[error("it answered {0}")]
    Status(u16),
    #[error("its answer is longer than {LONGEST} octets")]
    TooLong,
    #[error("its answer cannot be used")]
    Unusable(#[from] Unusable),
}

/// Asks responders.
pub struct Stapler {
    staples: Arc<Staples>,
    permitted: Arc<Permitted>,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Stapler {
    /// One for `staples`.
    ///
    /// Fails where an HTTP client cannot be made.
    pub fn new(
        settings: &Ocsp,
        staples: Arc<Staples>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, super::StaplerError> {
        let permitted = Arc::new(Permitted { allowed: settings.allow_private.clone() });
        // Responders speak plain HTTP; their answers are signed. The TLS is never used.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .dns_resolver(PermittedOnly(permitted.clone()))
            .build()?;
        Ok(Self { staples, permitted, client, clock, metrics })
    }

    /// Asks whatever is due, for ever. What is over is taken away apart from that: a responder that
    /// hangs must not keep it.
    pub async fn run(&self) {
        tokio::join!(self.ask_for_ever(), self.expire_for_ever());
    }

    async fn expire_for_ever(&self) {
        loop {
            self.staples.expire(self.clock.now());
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn ask_for_ever(&self) {
        loop {
            let due = self.staples.due(self.clock.now());
            stream::iter(due).for_each_concurrent(AT_ONCE, |one| async move { self.ask(&one).await }).await;
            // However it ends, it is looked for what is due.
            let _either = timeout(LOOK, self.staples.another()).await;
        }
    }

    async fn ask(&self, one: &Stapling) {
        let asked = self.question(one).await;
        let now = self.clock.now();
        let (result, pause) = match asked {
            Ok((answer, Said::Good(holds))) => {
                one.staple(answer, holds);
                one.failures.store(0, Ordering::Relaxed);
                ("good", refresh(holds, now, rand::random()))
            }
            Ok((_, said)) => {
                one.unstaple();
                let (result, what) = match said {
                    Said::Revoked => ("revoked", "was revoked"),
                    _ => ("unknown", "is unknown to it"),
                };
                tracing::warn!(
                    name = one.name(),
                    responder = &*one.responder,
                    "the OCSP responder of a \
                    certificate says that it {what}; nothing is stapled"
                );
                (result, RETRY.1)
            }
            Err(fault) => {
                let failures = one.failures.fetch_add(1, Ordering::Relaxed);
                let error = &fault as &dyn std::error::Error;
                tracing::info!(
                    name = one.name(),
                    responder = &*one.responder,
                    error,
                    "no OCSP response could be had"
                );
                let result = if matches!(fault, Fault::Unusable(_)) { "invalid" } else { "failed" };
                (result, RETRY.0.saturating_mul(2_u32.saturating_pow(failures)).min(RETRY.1))
            }
        };
        self.metrics.ocsp_responses.with_label_values(&[result]).inc();
        let pause = pause.mul_f64(1.0 + rand::random::<f64>() / 10.0);
        one.due.store(now.plus(pause).0, Ordering::Relaxed);
    }

    /// The answer, and what it says.
    async fn question(&self, one: &Stapling) -> Result<(Vec<u8>, Said), Fault> {
        let url = self.permitted.url(&one.responder).ok_or(Fault::Url)?;
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/ocsp-request")
            .header(ACCEPT, "application/ocsp-response")
            .body(one.request().map_err(Fault::Question)?);
        let mut response = request.send().await.map_err(|error| Fault::NoAnswer(error.without_url()))?;
        if response.status() != http::StatusCode::OK {
            return Err(Fault::Status(response.status().as_u16()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| Fault::NoAnswer(error.without_url()))?
        {
            answer.extend_from_slice(&chunk);
            if answer.len() > LONGEST {
                return Err(Fault::TooLong);
            }
        }
        let said = one.judge(&answer, self.clock.now())?;
        Ok((answer, said))
    }
}

/// How long until it is asked again: half of the time that the answer holds from its beginning.
///
/// - `draw`: from 0 to 1, uniform; an answer that was old when it came is asked for again soon, and not
///   by all machines at once
fn refresh(holds: Holds, now: UnixTime, draw: f64) -> Duration {
    let half = holds.from.plus(holds.from.until(holds.until) / 2);
    let left = now.until(holds.until);
    let pause = match now < half {
        true => now.until(half),
        false => left.mul_f64(0.25 + draw.clamp(0.0, 1.0) / 4.0),
    };
    pause.clamp(REFRESH.0, REFRESH.1)
}

/// Which addresses responders may have.
struct Permitted {
    allowed: Vec<Network>,
}

impl Permitted {
    fn permits(&self, ip: IpAddr) -> bool {
        let reached = unwrapped(ip);
        is_public(reached)
            || self.allowed.iter().any(|network| network.contains(ip) || network.contains(reached))
    }

    /// `text` as a URL that may be asked; where its host is a name, what that leads to is seen later.
    fn url(&self, text: &str) -> Option<Url> {
        let url: Url = text.parse().ok()?;
        let permitted = match url.host()? {
            Host::Ipv4(ip) => self.permits(ip.into()),
            Host::Ipv6(ip) => self.permits(ip.into()),
            Host::Domain(_) => true,
        };
        (permitted && url.scheme() == "http" && url.username().is_empty() && url.password().is_none())
            .then_some(url)
    }
}

/// Gives the permitted addresses alone: what is connected to is what was judged.
struct PermittedOnly(Arc<Permitted>);

impl Resolve for PermittedOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let permitted = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found.filter(|found| permitted.permits(found.ip())).collect();
            if permitted.is_empty() {
                return Err("its name leads to no address that responders may have".into());
            }
            let permitted: Addrs = Box::new(permitted.into_iter());
            Ok(permitted)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_asked_for_again_at_half_of_its_time_and_soon_where_that_is_over() {
        let holds = Holds { from: UnixTime(0), until: UnixTime(100_000) };
        let pause = |now| refresh(holds, UnixTime(now), 0.0).as_secs();
        assert_eq!(pause(10_000), 40_000);
        assert_eq!(pause(60_000), 10_000);
        assert_eq!(pause(99_999), 30);
        let long = Holds { from: UnixTime(0), until: UnixTime(100_000_000) };
        assert_eq!(refresh(long, UnixTime(0), 0.0), REFRESH.1);
    }

    #[test]
    fn a_strangers_url_opens_nothing_that_is_not_public() {
        let permitted = Permitted { allowed: Vec::new() };
        for url in ["http://ocsp.example.com/", "http://1.1.1.1/x", "http://[2606:4700::1]/"] {
            assert!(permitted.url(url).is_some(), "{url}");
        }
        for url in [
            "http://127.0.0.1/",
            "http://169.254.169.254/latest",
            "http://[::1]/",
            "http://0x7f.1/",
            "http://10.0.0.1/",
            "https://ocsp.example.com/",
            "ftp://ocsp.example.com/",
            "http://a:b@ocsp.example.com/",
            "ocsp",
        ] {
            assert!(permitted.url(url).is_none(), "{url}");
        }
        let loopback = Network { address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), prefix: 8 };
        assert!(Permitted { allowed: vec![loopback] }.url("http://127.0.0.1:8080/").is_some());
    }
}
