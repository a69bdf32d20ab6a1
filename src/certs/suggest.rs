//! What authorities suggest about renewals (RFC 9773), asked for in the background.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::sleep;

use super::find::Certificates;
use super::renew::complain;
use super::{Prepare, in_full};
use crate::acme::information::Suggestion;
use crate::domain::certificate::Certificate;
use crate::domain::hostname::CertificateName;
use crate::domain::renewal;
use crate::store::{Error, RenewalState};

/// How often the index is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Names taken from the index at a time.
const BATCH: u32 = 1000;
/// Questions under way at most.
const AT_ONCE: usize = 8;
/// After this time an authority without renewal information is asked whether it has some now.
const NOT_OFFERED: Duration = Duration::from_secs(24 * 60 * 60);
/// After this time a question that found no answer is asked again.
const UNANSWERED: Duration = Duration::from_secs(60 * 60);

impl<P: Prepare> Certificates<P> {
    /// Asks about every certificate, whenever the authority's last answer has run out, for ever.
    pub async fn follow_suggestions(self: &Arc<Self>) {
        loop {
            match self.store.due_for_asking(self.clock.now(), BATCH).await {
                Ok(due) => {
                    futures::stream::iter(due)
                        .for_each_concurrent(AT_ONCE, |name| async move {
                            if let Err(error) = self.ask(&name).await {
                                complain(&error, "a suggestion to renew could not be kept");
                            }
                        })
                        .await;
                }
                Err(error) => complain(&error, "whose renewal to ask about could not be read"),
            }
            sleep(LOOK).await;
        }
    }

    async fn ask(&self, name: &CertificateName) -> Result<(), Error> {
        let now = self.clock.now();
        let certificate = match self.store.certificate(name).await {
            Ok(certificate) => certificate,
            // It alone is damaged: that shows where it is wanted, and must not be met every time.
            Err(Error::Record { .. } | Error::Seal(_)) => None,
            Err(error) => return Err(error),
        };
        let state = self.store.renewal_state(name).await?;
        let (Some(certificate), Some(state)) = (certificate, state) else {
            return self.store.note_window(name, None, now.plus(NOT_OFFERED), None).await;
        };
        let (result, ask) = match self.rules().obtain.authorities.suggestion(&certificate).await {
            Ok(Suggestion::Window { window, again, why }) => {
                let due = self.due_by(name, &certificate, &state, window, why.as_deref());
                self.store.note_window(name, Some(window), now.plus(again), due).await?;
                self.metrics.renewal_information.with_label_values(&["window"]).inc();
                return Ok(());
            }
            Ok(Suggestion::Broken { again }) => {
                tracing::warn!(%name, "the authority suggests to renew in a time that ends before it begins; \
                    it is renewed as if nothing was suggested");
                ("broken", now.plus(again))
            }
            Ok(Suggestion::NotOffered) => ("not_offered", now.plus(NOT_OFFERED)),
            Err(cause) => {
                tracing::debug!(%name, cause = in_full(&cause), "the authority gave no renewal information");
                ("failed", now.plus(UNANSWERED))
            }
        };
        self.metrics.renewal_information.with_label_values(&[result]).inc();
        self.store.note_window(name, state.window, ask, None).await
    }

    /// When it is due by a window; `None` where it is the one that is known, so that a moment that
    /// was drawn stands.
    fn due_by(
        &self,
        name: &CertificateName,
        certificate: &Certificate,
        state: &RenewalState,
        window: renewal::Window,
        why: Option<&str>,
    ) -> Option<crate::domain::clock::UnixTime> {
        if state.window == Some(window) {
            return None;
        }
        let otherwise =
            renewal::due(&certificate.source, certificate.validity, state.saved_at, rand::random());
        let due = renewal::due_by(window, state.saved_at, state.early, otherwise, rand::random());
        if due < otherwise {
            tracing::info!(%name, %due, why, "the authority suggests to renew early");
        }
        Some(due)
    }
}
