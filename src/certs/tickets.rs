//! Keys of session tickets over time: the fleet's from the store, one of this machine's own where the
//! store gives none, and this machine's copy of all of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::in_full;
use crate::domain::clock::{Clock, UnixTime};
use crate::domain::ticket::{DRAWN_OCTETS, Life, Ring, TicketKey};
use crate::store::Error;
use crate::store::local::LocalTier;
use crate::store::tickets::TicketKeys;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// How often the store is looked at.
pub const LOOK: Duration = Duration::from_secs(10);
/// Longest that the store may take: a machine that it leaves waiting has keys all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the keys of one machine come from.
pub struct Parts {
    /// The fleet's.
    pub store: Arc<dyn TicketKeys>,
    /// Where this machine's copy lies.
    pub local: LocalTier,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// How long a key encrypts.
    pub period: Duration,
}

/// The keys of session tickets of one machine.
pub struct Tickets {
    ring: Arc<ArcSwap<Ring>>,
    store: Arc<dyn TicketKeys>,
    local: LocalTier,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// In seconds.
    period: AtomicU64,
    /// Whether this machine's copy is not what the ring is.
    uncopied: AtomicBool,
    /// One look at a time.
    turn: Mutex<()>,
}

/// What came of a rotation that an operator asked for.
#[derive(Debug)]
pub struct Rotated {
    /// Whether all keys of before were ended.
    pub discard: bool,
    /// Why only this machine has the new key, where that is so.
    pub store: Option<Error>,
    /// Why this machine's copy still has the keys of before, where that is so.
    pub copy: Option<Error>,
}

impl Rotated {
    /// Whether all was done.
    pub fn is_through(&self) -> bool {
        self.store.is_none() && self.copy.is_none()
    }
}

impl fmt::Display for Rotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a new key encrypts session tickets here from now on")?;
        match &self.store {
            None => write!(f, ", and on every other machine within {} seconds", LOOK.as_secs())?,
            Some(error) => write!(
                f,
                ", but on no other machine, as the store has not got it: {}; do it again once the store is well",
                in_full(error)
            )?,
        }
        if self.discard {
            f.write_str("; sessions of before are not resumed any more")?;
        }
        match &self.copy {
            None => Ok(()),
            Some(error) => write!(
                f,
                "; this machine's copy of its keys is still the one of before: {}; mend that and do it again",
                in_full(error)
            ),
        }
    }
}

impl Tickets {
    /// Begins with this machine's copy of the keys, or with a key of its own: there is one that encrypts
    /// from the start, whatever the store does.
    pub async fn begin(parts: Parts) -> Arc<Self> {
        let Parts { store, local, clock, metrics, period } = parts;
        let now = clock.now();
        let copied = local.ticket_keys(now).await.unwrap_or_else(|error| {
            tracing::warn!(
                error = in_full(&error),
                "this machine's copy of the keys of session tickets cannot be used; sessions of before are not resumed by it"
            );
            Ring::default()
        });
        let tickets = Self {
            ring: Arc::new(ArcSwap::from_pointee(copied)),
            store,
            local,
            clock,
            metrics,
            period: AtomicU64::new(period.as_secs()),
            uncopied: AtomicBool::new(false),
            turn: Mutex::default(),
        };
        let ring = Ring::clone(&tickets.ring.load());
        tickets.settle(ring).await;
        Arc::new(tickets)
    }

    /// The keys, as handshakes use them.
    pub fn ring(&self) -> Arc<ArcSwap<Ring>> {
        self.ring.clone()
    }

    /// Lets keys that are made from now on encrypt for `period`.
    pub fn set_period(&self, period: Duration) {
        self.period.store(period.as_secs(), Ordering::Relaxed);
    }

    /// Looks at the store again and again. Never ends.
    pub async fn follow(&self) {
        loop {
            self.look_again().await;
            sleep(LOOK).await;
        }
    }

    /// Takes over what the store has, and makes the fleet's next key where it is time.
    pub async fn look_again(&self) {
        static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
        let _turn = self.turn.lock().await;
        let ring = self.agree(|ring, now, period| {
            let begins = ring.wanted(now, period)?;
            Some(TicketKey::new(drawn(), Life::new(ring.made(now, false), begins, period), false))
        });
        let ring = match ring.await {
            Ok(ring) => ring,
            Err(error) => {
                if let Some(unsaid) = COMPLAINTS.permit() {
                    tracing::warn!(
                        error = in_full(&error),
                        unsaid,
                        "the fleet's keys of session tickets could not be agreed on; this machine goes on with those it has"
                    );
                }
                Ring::clone(&self.ring.load())
            }
        };
        if let Some(error) = self.settle(ring).await
            && let Some(unsaid) = COMPLAINTS.permit()
        {
            tracing::warn!(
                error = in_full(&error),
                unsaid,
                "the keys of session tickets are not copied on this machine; after a restart without the store sessions are not resumed"
            );
        }
    }

    /// Makes a key that encrypts from now on.
    ///
    /// - `discard`: no key of before is used any more, for none of the fleet's sessions
    pub async fn rotate(&self, discard: bool) -> Rotated {
        let _turn = self.turn.lock().await;
        let key = |ring: &Ring, now: UnixTime, period: Duration| {
            TicketKey::new(drawn(), Life::new(ring.made(now, true), now, period), discard)
        };
        let (ring, store) = match self.agree(|ring, now, period| Some(key(ring, now, period))).await {
            Ok(ring) => (ring, None),
            Err(error) => {
                let (ring, now) = (self.ring.load(), self.clock.now());
                // The fleet's key would go before this machine's own.
                let ring = ring.agreed(Vec::new(), now);
                (ring.with(key(&ring, now, self.period()), false, now), Some(error))
            }
        };
        let copy = self.settle(ring).await;
        Rotated { discard, store, copy }
    }

    fn period(&self) -> Duration {
        Duration::from_secs(self.period.load(Ordering::Relaxed))
    }

    /// The keys as the store has them, with the one that `next` makes.
    async fn agree(
        &self,
        mut next: impl FnMut(&Ring, UnixTime, Duration) -> Option<TicketKey>,
    ) -> Result<Ring, Error> {
        let exchange = async {
            loop {
                let fleet = self.store.ticket_keys().await?;
                let now = self.clock.now();
                let ring = self.ring.load().agreed(fleet.keys, now);
                let Some(key) = next(&ring, now, self.period()) else { return Ok(ring) };
                if self.store.add_ticket_key(&key, fleet.serial).await? {
                    return Ok(ring.with(key, true, now));
                }
                // Another machine was faster.
            }
        };
        timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(late("it")))
    }

    /// Puts `ring` in force, with a key of this machine's own where none encrypts, or will not until the
    /// next look. Why it could not be copied, where that is so.
    async fn settle(&self, ring: Ring) -> Option<Error> {
        let now = self.clock.now();
        let mut ring = Ring::new(ring.held().to_vec(), now);
        if [now, now.plus(LOOK)].iter().any(|moment| ring.encrypting(*moment).is_none()) {
            let life = Life::new(ring.made(now, false), now, self.period());
            ring = ring.with(TicketKey::new(drawn(), life, false), false, now);
        }
        let encrypting = ring.encrypting(now);
        self.metrics.ticket_key_shared.set(i64::from(encrypting.is_some_and(|held| held.shared)));
        let age = encrypting.map_or(0, |held| now.0 - held.key.life.begins.0);
        self.metrics.ticket_key_age_seconds.set(age);
        self.metrics.ticket_keys.set(i64::try_from(ring.held().len()).unwrap_or(i64::MAX));
        if **self.ring.load() != ring {
            self.uncopied.store(true, Ordering::Relaxed);
            self.ring.store(Arc::new(ring));
        }
        if !self.uncopied.load(Ordering::Relaxed) {
            return None;
        }
        let ring = self.ring.load_full();
        let copied = timeout(PATIENCE, self.local.keep_ticket_keys(&ring)).await;
        let copied = copied.unwrap_or_else(|_| Err(late("the disk")));
        self.uncopied.store(copied.is_err(), Ordering::Relaxed);
        copied.err()
    }
}

fn late(who: &str) -> Error {
    Error::Absent { why: format!("{who} did not answer within {} seconds", PATIENCE.as_secs()).into() }
}

fn drawn() -> Zeroizing<[u8; DRAWN_OCTETS]> {
    let mut drawn = Zeroizing::new([0; DRAWN_OCTETS]);
    rand::fill(drawn.as_mut_slice());
    drawn
}
