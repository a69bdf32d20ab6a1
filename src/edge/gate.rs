//! Which certificate a handshake is answered with: from memory at once, else after I/O.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use prometheus::IntCounter;

use super::tls::Alert;
use super::tls::decision::{Decision, Gate};
use super::tls::hello::{Hello, ServerName};
use super::tls::ready::{Preparer, ReadyCertificate};

use crate::acme::challenge::{self, Challenges};
use crate::certs::find::Certificates;
use crate::certs::{Refusal, Spent};
use crate::domain::certificate::{Certificate, KeyType, PrivateKey, Source, Validity};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::Hostname;
use crate::telemetry::metrics::Metrics;

/// Decides on handshakes for one process.
pub struct EdgeGate {
    certificates: Arc<Certificates<Preparer>>,
    challenges: Arc<Challenges>,
    /// For clients without SNI.
    default: ArcSwapOption<ReadyCertificate>,
    metrics: Arc<Metrics>,
    hits: IntCounter,
    refusals: IntCounter,
}

impl EdgeGate {
    /// Puts the parts together; there is no default certificate yet.
    pub fn new(
        certificates: Arc<Certificates<Preparer>>,
        challenges: Arc<Challenges>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            certificates,
            challenges,
            default: ArcSwapOption::empty(),
            hits: metrics.certificate_lookups.with_label_values(&["hit"]),
            refusals: metrics.certificate_lookups.with_label_values(&["refused"]),
            metrics,
        })
    }

    /// Sets what clients without SNI are shown.
    pub fn set_default(&self, certificate: Option<Arc<ReadyCertificate>>) {
        self.default.store(certificate);
    }

    /// Decides what memory could not: may read the disk and the store, and obtain. Bounded by
    /// the wait that the configuration gives handshakes.
    pub async fn decide_slowly(&self, hello: &Hello, client: IpAddr) -> Decision {
        let ServerName::Hostname(hostname) = &hello.name else {
            return self.refuse("invalid", Alert::UnrecognizedName);
        };
        if hello.challenge {
            return self.answer_challenge(hostname).await;
        }
        match self.certificates.find(hostname, client).await {
            Ok(ready) => Decision::Present(ready),
            Err(refusal) => self.refuse_by(&refusal),
        }
    }

    async fn answer_challenge(&self, hostname: &Hostname) -> Decision {
        let Some(authorization) = self.challenges.tls_alpn01(hostname).await else {
            return self.refuse("challenge", Alert::UnrecognizedName);
        };
        let made = challenge::alpn_certificate(hostname, &authorization)
            .map_err(|error| error.to_string())
            .and_then(|(certificate, key)| {
                self.certificates
                    .ready(&challenge_record(hostname, certificate, key))
                    .map_err(|refusal| refusal.to_string())
            });
        match made {
            Ok(ready) => Decision::Challenge(ready),
            Err(why) => {
                tracing::error!(%hostname, why, "the certificate that answers tls-alpn-01 could not be made");
                self.refuse("fault", Alert::InternalError)
            }
        }
    }

    fn refuse_by(&self, refusal: &Refusal) -> Decision {
        let alert = match refusal {
            Refusal::Invalid(_) | Refusal::Denied(_) | Refusal::Failed(_) | Refusal::Budget(Spent::Depth) => {
                Alert::UnrecognizedName
            }
            Refusal::CouldNotAsk(_)
            | Refusal::Pending
            | Refusal::NoRoom(_)
            | Refusal::Busy
            | Refusal::Budget(_)
            | Refusal::Fault(_) => Alert::InternalError,
        };
        self.refuse(refusal.label(), alert)
    }

    fn refuse(&self, reason: &'static str, alert: Alert) -> Decision {
        self.refusals.inc();
        self.metrics.unknown_names_refused.with_label_values(&[reason]).inc();
        Decision::Refuse(alert)
    }
}

impl Gate for EdgeGate {
    fn decide(&self, hello: &Hello) -> Option<Decision> {
        let hostname = match &hello.name {
            ServerName::Hostname(hostname) => hostname,
            ServerName::Invalid(_) => return Some(self.refuse("invalid", Alert::UnrecognizedName)),
            ServerName::Absent => {
                return Some(match self.default.load_full() {
                    Some(ready) if !hello.challenge => Decision::Present(ready),
                    _ => self.refuse("no_sni", Alert::UnrecognizedName),
                });
            }
        };
        if hello.challenge {
            // A validation seldom comes; what answers it costs a signature, and no unknown name
            // may cause one.
            return None;
        }
        if let Some(ready) = self.certificates.hot(hostname) {
            self.hits.inc();
            return Some(Decision::Present(ready));
        }
        self.certificates.refused(hostname).map(|refusal| self.refuse_by(&refusal))
    }
}

fn challenge_record(hostname: &Hostname, certificate: Vec<u8>, key: PrivateKey) -> Certificate {
    Certificate {
        name: hostname.into(),
        chain: vec![certificate],
        key,
        key_type: KeyType::P256,
        validity: Validity { not_before: UnixTime(0), not_after: UnixTime(i64::MAX) },
        source: Source::File,
    }
}
