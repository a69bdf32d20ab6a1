//! The certificates of platform domains, which are there before anybody visits: loaded at the start,
//! obtained where they are missing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::find::Certificates;
use super::{Prepare, Refusal};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;

/// How often they are looked after.
const LOOK: Duration = Duration::from_secs(5);

impl<P: Prepare> Certificates<P> {
    /// Sees to it that every platform has its certificates in memory, for ever.
    pub async fn keep_platforms(self: &Arc<Self>) {
        let mut told = Vec::new();
        loop {
            let rules = self.rules();
            let names: Vec<_> =
                rules.platforms.iter().flat_map(|platform| platform.names()).cloned().collect();
            drop(rules);
            // At once, as the records of both names stand beside each other.
            let kept = names.iter().map(|name| async move { (name, self.keep_platform(name).await) });
            let outcomes = futures::future::join_all(kept).await;
            told.retain(|(name, _)| {
                outcomes.iter().any(|(known, outcome)| *known == name && outcome.is_err())
            });
            for (name, outcome) in outcomes {
                let Err(refusal) = outcome else { continue };
                let next = next_of(&refusal);
                let said = (name.clone(), next);
                if !told.contains(&said) {
                    let next = next.map(tracing::field::display);
                    tracing::error!(%name, %refusal, next, "a platform has no certificate for its names");
                    told.retain(|(known, _)| known != name);
                    told.push(said);
                }
            }
            sleep(LOOK).await;
        }
    }

    async fn keep_platform(self: &Arc<Self>, name: &CertificateName) -> Result<(), Refusal> {
        if self.index.holds_valid(name, self.clock.now()) {
            return Ok(());
        }
        self.take_off_for(name)?.wait().await.map(drop)
    }
}

/// When the next try is, where there was one.
fn next_of(refusal: &Refusal) -> Option<UnixTime> {
    match refusal {
        Refusal::Failed(attempt) => attempt.next,
        _ => None,
    }
}
