//! What other machines changed, brought to whoever looks at it again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::acme::challenge::Challenges;
use crate::certs::find::Certificates;
use crate::certs::in_full;
use crate::certs::known::Others;
use crate::certs::tickets::Tickets;
use crate::domain::clock::Clock;
use crate::edge::tls::ready::Preparer;
use crate::store::Error;
use crate::store::changes::{Change, Changes, LOOK, News};
use crate::store::local::LocalTier;
use crate::store::mark::Mark;
use crate::store::steady::SteadyStore;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// Changes read at a time.
const PAGE: u32 = 1_000;
/// How far behind the mark of what was seen may be: so much is looked at twice after a crash.
const MARK: Duration = Duration::from_secs(5);

/// Who looks again.
pub(super) struct Newsreader {
    pub(super) store: Arc<SteadyStore>,
    pub(super) local: LocalTier,
    pub(super) certificates: Arc<Certificates<Preparer>>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) tickets: Arc<Tickets>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    /// The last change that was looked at.
    pub(super) seen: Arc<AtomicI64>,
}

/// How far the changes have been followed.
#[derive(Default)]
struct Course {
    /// The change behind which it goes on; `None`: that is to be found out.
    next: Option<i64>,
    /// Where it was the last time, in this process or the one before: at a change of a certificate, as soon
    /// as there was one.
    last: Option<Mark>,
    /// Changes up to this one are of before: what they tell of but certificates was read since.
    before: i64,
    /// What is kept of `last`, since when.
    kept: Option<(Mark, Instant)>,
}

impl Newsreader {
    /// Follows the changes, for ever. What cannot be looked at now is looked at until it can.
    pub(super) async fn follow(self) {
        static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
        let mut course = Course { last: self.mark().await, ..Course::default() };
        let mut stirred = 0;
        loop {
            match self.step(&mut course).await {
                Ok(true) => self.keep_mark(&mut course).await,
                Ok(false) => {
                    self.keep_mark(&mut course).await;
                    self.metrics.changes_seen_timestamp_seconds.set(self.clock.now().0);
                    stirred = self.store.stirred(stirred).await;
                }
                Err(error) => {
                    if let Some(unsaid) = COMPLAINTS.permit() {
                        let error = in_full(&error);
                        tracing::warn!(
                            error,
                            unsaid,
                            "what other machines changed could not be read; trying again"
                        );
                    }
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// One step; whether another one is due at once.
    async fn step(&self, course: &mut Course) -> Result<bool, Error> {
        let Some(after) = course.next else {
            self.begin(course).await?;
            return Ok(true);
        };
        let News::Next(changes) = self.store.news_after(after, PAGE).await? else {
            course.next = None;
            return Ok(true);
        };
        let Some((last, _)) = changes.last() else { return Ok(false) };
        let last = *last;
        let (mut certificates, mut newest) = (HashSet::new(), None);
        for (number, change) in changes {
            match change {
                Change::Certificate(name) => {
                    newest = Some(number);
                    certificates.insert(name);
                }
                _ if number <= course.before => {}
                Change::Challenge(kind, key) => self.challenges.look_again(kind, key).await?,
                Change::Revocation => self.certificates.recall_revoked().await,
                Change::TicketKeys => self.tickets.look_again().await,
                Change::Authority(name) => self.certificates.look_at_authority(&name).await?,
            }
        }
        self.certificates.look_again(certificates.into_iter().collect()).await?;
        if let (Some(mark), Some(newest)) = (&mut course.last, newest) {
            mark.change = newest;
        }
        course.next = Some(last);
        self.seen.store(last, Ordering::Relaxed);
        Ok(true)
    }

    /// Reads which names have a certificate, and finds out what was missed meanwhile.
    async fn begin(&self, course: &mut Course) -> Result<(), Error> {
        // Changes from here on may be looked at twice, never missed.
        let now = self.store.last_news().await?;
        let missed = match course.last {
            Some(mark) => self.store.news_after(mark.change, 1).await?,
            None => News::Elsewhere,
        };
        let (change, strays) = match (&missed, course.last) {
            (News::Next(_), Some(mark)) => (mark.change, mark.strays),
            (News::Forgotten, _) => (now, false),
            // What it does not have may be lost rather than deleted.
            _ => (now, true),
        };
        // Before it is known for every name whether the store has it.
        let strays = strays && self.certificates.know_copies().await;
        if missed == News::Forgotten {
            self.certificates.read_names(Others::Go).await;
            self.certificates.look_at_strays().await?;
        } else {
            self.certificates.read_names(Others::Stay).await;
        }
        (course.next, course.last, course.before) = (Some(change), Some(Mark { change, strays }), now);
        self.seen.store(change, Ordering::Relaxed);
        Ok(())
    }

    /// What the process before this one saw last; `None`: that is not known.
    async fn mark(&self) -> Option<Mark> {
        self.local.mark().await.unwrap_or_else(|error| {
            let error = in_full(&error);
            tracing::warn!(error, "which changes this machine saw last is not known");
            None
        })
    }

    async fn keep_mark(&self, course: &mut Course) {
        static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
        let Some(mark) = course.last.filter(|_| course.next.is_some()) else { return };
        if course.kept.is_some_and(|(kept, since)| kept == mark || since.elapsed() < MARK) {
            return;
        }
        course.kept = Some((mark, Instant::now()));
        if let Err(error) = self.local.keep_mark(mark).await
            && let Some(unsaid) = COMPLAINTS.permit()
        {
            let error = in_full(&error);
            tracing::warn!(error, unsaid, "which changes this machine saw last is not kept");
        }
    }
}
