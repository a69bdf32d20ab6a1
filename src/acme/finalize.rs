//! The end of an order: the certificate is asked for and fetched (RFC 8555 §7.4).
//!
//! Before it is asked for, the order is kept with the certificate's key. So an answer that is lost
//! on the way, or a process that ends meanwhile, costs no second order: whoever comes next takes
//! it up.

use std::time::Duration;

use instant_acme::{Order, OrderStatus};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls_pki_types::PrivatePkcs8KeyDer;
use url::Url;

use super::http::{NONCE_TRIES, is_bad_nonce, signed};
use super::order::{Orders, Pace, Watched};
use super::{Cause, Step, check, key};
use crate::config::Directory;
use crate::domain::certificate::{Certificate, PrivateKey, Source};
use crate::domain::hostname::CertificateName;
use crate::store::UnfinishedOrder;

/// How often an answer that was lost on the way is asked for again, and after which pause.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

impl Orders {
    /// Asks for the certificate of an order that is ready.
    ///
    /// - `account`: by which it was placed
    pub(super) async fn finalize(
        &self,
        order: Order,
        account: u32,
        name: &CertificateName,
        progress: &Watched,
    ) -> Result<Certificate, Cause> {
        let key_type = self.authority.key_type;
        let fresh = key::fresh(key_type).await?;
        let unfinished = UnfinishedOrder {
            authority: self.authority.name.to_string(),
            account,
            url: order.url().to_owned(),
            key: PrivateKey::from_der(fresh.serialize_der()),
            key_type,
            placed_at: self.clock.now(),
        };
        self.store.keep_order(name, &unfinished).await?;
        self.end(order, name, &unfinished, &fresh, progress).await
    }

    /// The certificate of an order that was kept and is not through, where there is one that
    /// still can be finished. What is kept of others is forgotten.
    pub(super) async fn take_up(
        &self,
        name: &CertificateName,
        progress: &Watched,
    ) -> Result<Option<Certificate>, Cause> {
        let kept = match self.store.kept_order(name).await {
            Ok(Some(kept)) if kept.authority == *self.authority.name => kept,
            Ok(_) => return Ok(None),
            // Its key is lost, and the order with it.
            Err(error @ (crate::store::Error::Record { .. } | crate::store::Error::Seal(_))) => {
                tracing::warn!(%name, error = &error as &dyn std::error::Error, "an unfinished order is given up");
                self.store.forget_order(name).await?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let der = PrivatePkcs8KeyDer::from(kept.key.der());
        let key = KeyPair::try_from(&der);
        // The configuration may have changed meanwhile.
        let fits = kept.key_type == self.authority.key_type && self.is_ours(&kept.url);
        let (Some(key), Some(accounts)) = (key.ok().filter(|_| fits), self.account(kept.account)) else {
            self.store.forget_order(name).await?;
            return Ok(None);
        };
        let held = accounts.open().await?;
        progress.lock().step = Step::Certificate;
        let mut order = match signed!(held.account.order(kept.url.clone()).await).map_err(Cause::from) {
            Ok(order) => order,
            Err(cause @ (Cause::Unreachable(_) | Cause::RateLimited { .. })) => return Err(cause),
            // The authority does not know it any more.
            Err(_) => {
                self.store.forget_order(name).await?;
                return Ok(None);
            }
        };
        if !matches!(order.state().status, OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid)
        {
            self.store.forget_order(name).await?;
            return Ok(None);
        }
        tracing::info!(%name, authority = kept.authority, "taking up an order that was not finished");
        match self.end(order, name, &kept, &key, progress).await {
            Ok(certificate) => Ok(Some(certificate)),
            Err(cause @ (Cause::Unreachable(_) | Cause::RateLimited { .. } | Cause::Store(_))) => Err(cause),
            Err(cause) => {
                tracing::info!(%name, %cause, "the unfinished order came to nothing; placing a new one");
                Ok(None)
            }
        }
    }

    /// Whether `url` lies where the authority's directory does.
    fn is_ours(&self, url: &str) -> bool {
        let Directory::Acme(directory) = &self.authority.directory else { return false };
        url.parse::<Url>().is_ok_and(|url| url.origin() == directory.origin())
    }

    /// Asks and fetches until it is there. The order is forgotten where it came to nothing; else with
    /// the saving of its certificate.
    async fn end(
        &self,
        mut order: Order,
        name: &CertificateName,
        unfinished: &UnfinishedOrder,
        key: &KeyPair,
        progress: &Watched,
    ) -> Result<Certificate, Cause> {
        let csr = request(name, key)?;
        let mut tries = 1;
        let fetched = loop {
            match fetch(&mut order, &csr, progress).await {
                Err(Cause::Unreachable(why)) if tries < TRIES => {
                    tracing::debug!(%name, why, tries, "an answer was lost; asking again");
                    tokio::time::sleep(PAUSE * 2_u32.pow(tries)).await;
                    tries += 1;
                }
                ended => break ended,
            }
        };
        let lost = matches!(fetched, Err(Cause::Unreachable(_) | Cause::RateLimited { .. }));
        let checked = match fetched.and_then(|pem| Ok(check::check(&pem, name, key, self.clock.now())?)) {
            Ok(checked) => checked,
            Err(cause) => {
                if !lost {
                    self.store.forget_order(name).await?;
                }
                return Err(cause);
            }
        };
        Ok(Certificate {
            name: name.clone(),
            chain: checked.chain,
            key: unfinished.key.clone(),
            key_type: unfinished.key_type,
            validity: checked.validity,
            source: Source::Authority(self.authority.name.to_string()),
        })
    }
}

/// Takes the order from where it stands to its certificate, in PEM.
async fn fetch(order: &mut Order, csr: &[u8], progress: &Watched) -> Result<String, Cause> {
    // After an answer that was lost, the state that is known may be an old one.
    if progress.lock().step == Step::Certificate {
        signed!(order.refresh().await.map(drop))?;
    }
    if order.state().status == OrderStatus::Ready {
        progress.lock().step = Step::Finalize;
        let asked = signed!(order.finalize_csr(csr).await);
        progress.lock().step = Step::Certificate;
        asked?;
    }
    wait_certificate(order).await
}

/// Waits until the order has its certificate, in PEM.
async fn wait_certificate(order: &mut Order) -> Result<String, Cause> {
    let (mut pace, mut tries) = (Pace::quick(), 1);
    loop {
        if order.state().status == OrderStatus::Valid {
            let there = signed!(order.certificate().await)?;
            return there.ok_or_else(|| Cause::Answer("a finished order without a certificate".into()));
        }
        match order.poll_certificate(&pace.0).await {
            Err(instant_acme::Error::Timeout(next)) => pace.over(next).await,
            // Not by `signed!`: where the order was seen finished, only the download is left.
            Err(error) if is_bad_nonce(&error) && tries < NONCE_TRIES => tries += 1,
            ended => return Ok(ended?),
        }
    }
}

fn request(name: &CertificateName, key: &KeyPair) -> Result<Vec<u8>, Cause> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::DnsName(name.as_str().try_into()?)];
    Ok(params.serialize_request(key)?.der().to_vec())
}
