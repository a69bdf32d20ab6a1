//! OCSP (RFC 6960): what is asked, and what of an answer is good enough to be stapled to a certificate.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspRequest, OcspResponse, OcspResponseStatus};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Ref};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::ffi;
use crate::domain::clock::UnixTime;

/// How far a responder's clock may be ahead.
const SKEW: Duration = Duration::from_secs(300);
/// An answer is not used in the last moments of its time.
const MARGIN: Duration = Duration::from_secs(60);
/// How long an answer holds that does not say so: newer information is there at any time.
const WITHOUT_END: Duration = Duration::from_secs(60 * 60);

/// A certificate that names a responder, and what that said last.
pub struct Stapling {
    leaf: X509,
    issuer: X509,
    /// Where it is asked.
    pub responder: Box<str>,
    response: ArcSwapOption<Vec<u8>>,
    /// Until when the response may be used.
    until: AtomicI64,
    /// When it is asked next; 0 at first.
    pub due: AtomicI64,
    /// Questions in a row that gave nothing.
    pub failures: AtomicU32,
}

/// What a responder said of a certificate.
#[derive(Debug, Eq, PartialEq)]
pub enum Said {
    /// It is good.
    Good(Holds),
    /// It was revoked.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

/// From when to when an answer holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Holds {
    /// When it was known to be so.
    pub from: UnixTime,
    /// When newer information is there.
    pub until: UnixTime,
}

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is none, or OpenSSL does not read it.
    #[error("it is no OCSP response")]
    Unreadable(#[from] ErrorStack),
    /// The responder says that it cannot answer.
    #[error("the responder says that it cannot answer (status {0})")]
    Refused(i32),
    /// Neither the issuer nor a responder that it named signed it.
    #[error("its signature is not that of the issuer, or of a responder that the issuer named")]
    Signature(#[source] ErrorStack),
    /// It is about other certificates.
    #[error("it says nothing of this certificate")]
    OtherCertificate,
    /// It is of the past or the future.
    #[error("it holds from {} to {}, not now", .0.from, .0.until)]
    OutOfTime(Holds),
}

impl Stapling {
    /// The response to staple, where one is at hand.
    pub fn response(&self) -> Option<Arc<Vec<u8>>> {
        self.response.load_full()
    }

    /// A DNS name of the certificate, for the log.
    pub fn name(&self) -> String {
        let names = self.leaf.subject_alt_names();
        let first = names.iter().flatten().find_map(|name| name.dnsname().map(str::to_owned));
        first.unwrap_or_else(|| "a certificate without names".to_owned())
    }

    // SHA-1 is no signature here, and the one digest that every responder takes (RFC 5019 §2.1.1).
    fn id(&self) -> Result<OcspCertId, ErrorStack> {
        OcspCertId::from_cert(MessageDigest::sha1(), &self.leaf, &self.issuer)
    }

    /// What the responder is asked.
    pub fn request(&self) -> Result<Vec<u8>, ErrorStack> {
        let mut request = OcspRequest::new()?;
        request.add_id(self.id()?)?;
        request.to_der()
    }

    /// Reads an answer and holds it against the certificate and its issuer.
    pub fn judge(&self, answer: &[u8], now: UnixTime) -> Result<Said, Unusable> {
        let response = OcspResponse::from_der(answer)?;
        if response.status() != OcspResponseStatus::SUCCESSFUL {
            return Err(Unusable::Refused(response.status().as_raw()));
        }
        let basic = response.basic()?;
        let mut trusted = X509StoreBuilder::new()?;
        trusted.add_cert(self.issuer.clone())?;
        // The issuer is trusted as it is here, whoever signed it.
        trusted.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        let mut signers = Stack::new()?;
        signers.push(self.issuer.clone())?;
        basic.verify(&signers, &trusted.build(), OcspFlag::empty()).map_err(Unusable::Signature)?;
        let id = self.id()?;
        let status = basic.find_status(&id).ok_or(Unusable::OtherCertificate)?;
        let from = UnixTime(ffi::unix_time(status.this_update)?);
        let until = match status.next_update() {
            Some(next) => UnixTime(ffi::unix_time(next)?),
            None => from.plus(WITHOUT_END),
        };
        let holds = Holds { from, until };
        if now.plus(SKEW) < from || until <= now {
            return Err(Unusable::OutOfTime(holds));
        }
        Ok(match status.status {
            OcspCertStatus::GOOD => Said::Good(holds),
            OcspCertStatus::REVOKED => Said::Revoked,
            _ => Said::Unknown,
        })
    }

    /// Has `answer` stapled from now on.
    pub fn staple(&self, answer: Vec<u8>, holds: Holds) {
        self.until.store(holds.until.minus(MARGIN).0, Ordering::Relaxed);
        self.response.store(Some(Arc::new(answer)));
    }

    /// Has nothing stapled.
    pub fn unstaple(&self) {
        self.response.store(None);
    }

    /// Has nothing stapled whose time is over at `now`.
    pub fn expire(&self, now: UnixTime) {
        if self.until.load(Ordering::Relaxed) <= now.0 {
            self.unstaple();
        }
    }
}

/// The certificates in memory that name a responder, each once, however many names it serves.
#[derive(Default)]
pub struct Staples {
    all: Mutex<HashMap<Vec<u8>, Weak<Stapling>>>,
    more: Notify,
}

impl Staples {
    /// That of a certificate; `None` where it names no responder, or its issuer is not at hand.
    pub fn of(&self, leaf: &X509Ref, issuer: Option<&X509Ref>) -> Option<Arc<Stapling>> {
        let issuer = issuer?;
        let responders = leaf.ocsp_responders().ok()?;
        let responder = responders.iter().find(|url| url.starts_with("http://"))?.to_string();
        let fingerprint = leaf.digest(MessageDigest::sha256()).ok()?.to_vec();
        let mut all = self.all.lock();
        if let Some(known) = all.get(&fingerprint).and_then(Weak::upgrade) {
            return Some(known);
        }
        let stapling = Arc::new(Stapling {
            leaf: leaf.to_owned(),
            issuer: issuer.to_owned(),
            responder: responder.into(),
            response: ArcSwapOption::empty(),
            until: AtomicI64::new(0),
            due: AtomicI64::new(0),
            failures: AtomicU32::new(0),
        });
        all.insert(fingerprint, Arc::downgrade(&stapling));
        self.more.notify_one();
        Some(stapling)
    }

    /// Those whose responder is to be asked at `now`.
    pub fn due(&self, now: UnixTime) -> Vec<Arc<Stapling>> {
        let all = self.all.lock();
        let known = all.values().filter_map(Weak::upgrade);
        known.filter(|stapling| stapling.due.load(Ordering::Relaxed) <= now.0).collect()
    }

    /// Forgets what is no longer in memory, and has nothing stapled whose time is over at `now`.
    pub fn expire(&self, now: UnixTime) {
        self.all.lock().retain(|_, kept| {
            let Some(stapling) = kept.upgrade() else { return false };
            stapling.expire(now);
            true
        });
    }

    /// Waits until another certificate is there.
    pub async fn another(&self) {
        self.more.notified().await;
    }
}
