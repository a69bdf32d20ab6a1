//! What the request path asks of those who obtain certificates.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::plain::Reachable;
use super::tls::ready::Preparer;
use super::well_known::ChallengeAnswers;
use crate::acme::challenge::Challenges;
use crate::certs::Refusal;
use crate::certs::find::Certificates;
use crate::domain::hostname::Hostname;

#[async_trait]
impl Reachable for Arc<Certificates<Preparer>> {
    async fn reach(&self, hostname: &Hostname, client: IpAddr) -> Result<(), Refusal> {
        self.find(hostname, client).await.map(drop)
    }

    fn is_reachable(&self, hostname: &Hostname) -> bool {
        self.hot(hostname).is_some()
    }
}

#[async_trait]
impl ChallengeAnswers for Challenges {
    async fn http01(&self, hostname: &Hostname, token: &str) -> Option<String> {
        Self::http01(self, hostname, token).await
    }
}
