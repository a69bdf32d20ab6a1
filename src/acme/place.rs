//! Placing an order: within the authority's limits, by an account that has room (RFC 8555 §7.4).

use std::sync::atomic::{AtomicBool, Ordering};

use instant_acme::{Account, CertificateIdentifier, Identifier, NewOrder, Order};
use parking_lot::Mutex;

use super::account::{self, Accounts, Held};
use super::http::signed;
use super::order::{Orders, Watched};
use super::{Cause, Error, Problem, Step, information};
use crate::domain::budget::Purpose;
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::{LEASE_TTL, Lease, Placed, Scope};

/// What an order is for.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// Which says how much of the authority's limits it may use.
    pub purpose: Purpose,
    /// The certificate that it takes the place of (RFC 9773 §5).
    pub replaced: Option<&'a Certificate>,
    /// The lease on the name, prolonged before an order is placed: a machine that was paused may have lost
    /// it.
    pub lease: Option<&'a Lease>,
}

impl Occasion<'_> {
    /// A name that has no certificate.
    pub const NEW_NAME: Self = Self { purpose: Purpose::NewName, replaced: None, lease: None };
}

/// An order that was placed.
pub(super) struct NewlyPlaced {
    pub(super) order: Order,
    /// By which of our accounts, counted from 0.
    pub(super) account: u32,
}

/// Orders that each account has left, as far as this machine has seen.
pub(super) struct Left(Mutex<Vec<u32>>);

impl Left {
    /// - `most`: what an account may order
    pub(super) fn new(accounts: u32, most: u32) -> Self {
        Self(Mutex::new(vec![most; accounts as usize]))
    }

    /// Notes what the account has left; what all of them have.
    fn note(&self, account: u32, noted: impl FnOnce(u32) -> u32) -> u32 {
        let mut left = self.0.lock();
        if let Some(left) = left.get_mut(account as usize) {
            *left = noted(*left);
        }
        left.iter().fold(0, |all, one| all.saturating_add(*one))
    }
}

impl Error {
    /// Where no authority was asked, and none has room for any name: from when on one may have.
    pub fn no_room_until(&self) -> Option<UnixTime> {
        let Self::Failed { failures, .. } = self else { return None };
        let mut soonest = None;
        for failure in failures {
            let until = match failure.cause {
                Cause::LeftAlone { until, .. } | Cause::LimitReached { for_any: Some(until), .. } => until,
                _ => return None,
            };
            soonest = Some(soonest.map_or(until, |known: UnixTime| known.min(until)));
        }
        soonest
    }
}

/// Until when no account has room.
struct Full {
    until: UnixTime,
    for_any: Option<UnixTime>,
}

impl Full {
    /// The sooner of both, with another account that is full too.
    fn or(before: Option<Self>, until: UnixTime, for_any: Option<UnixTime>) -> Self {
        match before {
            None => Self { until, for_any },
            Some(before) => Self {
                until: before.until.min(until),
                for_any: before.for_any.zip(for_any).map(|(one, other)| one.min(other)),
            },
        }
    }
}

impl Orders {
    /// The account with this number; `None` where there are fewer now.
    pub(super) fn account(&self, number: u32) -> Option<&Accounts> {
        self.accounts.get(number as usize)
    }

    /// All accounts with their numbers, beginning with the one of `name`.
    fn in_turn(&self, name: &CertificateName) -> impl Iterator<Item = (u32, &Accounts)> {
        let count = self.accounts.len();
        let first = account::of(name, count);
        (0..count).map(move |step| (first + step) % count).map(|at| (at as u32, &self.accounts[at]))
    }

    /// Places the order, in the place of the certificate of before where the authority takes that: such
    /// an order is outside of its limits (RFC 9773 §5).
    pub(super) async fn new_order(
        &self,
        name: &CertificateName,
        occasion: Occasion<'_>,
        progress: &Watched,
    ) -> Result<NewlyPlaced, Cause> {
        if let Some(lease) = occasion.lease {
            self.store.renew_lease(lease, LEASE_TTL).await?;
        }
        if let Some(replaced) = occasion.replaced.and_then(information::identifier)
            && !self.ignores_replaced.load(Ordering::Relaxed)
            && let Some(placed) = self.order_in_place(name, &replaced, progress).await?
        {
            return Ok(placed);
        }
        let bounds: Vec<_> = self.bounds.iter().map(|bound| bound.for_purpose(occasion.purpose)).collect();
        let mut full = None;
        for (account, accounts) in self.in_turn(name) {
            progress.lock().step = Step::Account;
            let held = accounts.open().await?;
            progress.lock().step = Step::NewOrder;
            let placed = match bounds.as_slice() {
                [] => Placed::Noted { left: None },
                bounds => self.store.place_order(&self.authority.name, account, name, bounds).await?,
            };
            self.tell_left(account, placed, occasion.purpose);
            match placed {
                Placed::Noted { .. } => {
                    let order = self.order_by(accounts, held, name, progress).await?;
                    return Ok(NewlyPlaced { order, account });
                }
                Placed::Full { until, for_any } => {
                    full = Some(Full::or(full, until, for_any));
                    // What its name or its domain may have is the same by every account.
                    if for_any.is_none() {
                        break;
                    }
                }
            }
        }
        let Some(Full { until, for_any }) = full else {
            return Err(Cause::NotConfigured);
        };
        Err(Cause::LimitReached { until, wait: self.clock.now().until(until), for_any })
    }

    /// Places it by this account; by another one in its place where the authority has forgotten it.
    async fn order_by(
        &self,
        accounts: &Accounts,
        held: Held,
        name: &CertificateName,
        progress: &Watched,
    ) -> Result<Order, Cause> {
        match self.new_order_as(&held.account, name, None).await.map_err(Cause::from) {
            Err(Cause::Refused(problem)) if problem.kind == "accountDoesNotExist" => {
                progress.lock().step = Step::Account;
                let held = accounts.replace(&held).await?;
                progress.lock().step = Step::NewOrder;
                Ok(self.new_order_as(&held.account, name, None).await?)
            }
            placed => placed,
        }
    }

    /// Places the order in the place of a certificate, by the account that got it; `None` where the
    /// authority does not take that.
    async fn order_in_place(
        &self,
        name: &CertificateName,
        replaced: &CertificateIdentifier<'static>,
        progress: &Watched,
    ) -> Result<Option<NewlyPlaced>, Cause> {
        for (account, accounts) in self.in_turn(name) {
            progress.lock().step = Step::Account;
            let Some(held) = accounts.known().await? else { continue };
            progress.lock().step = Step::NewOrder;
            let error = match self.new_order_as(&held.account, name, Some(replaced)).await {
                Ok(order) => return Ok(Some(NewlyPlaced { order, account })),
                // It has no renewal information, so nothing was sent.
                Err(instant_acme::Error::Unsupported(_)) => return Ok(None),
                Err(error) => error,
            };
            let ignored = matches!(&error, instant_acme::Error::Other(inner) if !inner.is::<Cause>());
            match Cause::from(error) {
                // Another account got the certificate.
                Cause::Refused(problem) if problem.kind == "unauthorized" => {}
                // It took it for replaced already.
                Cause::Refused(_) => return Ok(None),
                // It may have taken the order, and does not say that it took the field: so the order counts.
                Cause::Answer(why) => {
                    tracing::debug!(authority = %self.authority.name, why, "it does not take that an order replaces one");
                    self.ignores_replaced.fetch_or(ignored, Ordering::Relaxed);
                    if !self.bounds.is_empty() {
                        self.store.place_order(&self.authority.name, account, name, &[]).await?;
                    }
                    return Ok(None);
                }
                cause => return Err(cause),
            }
        }
        Ok(None)
    }

    /// Places the order, with the configured profile if the authority has it.
    async fn new_order_as(
        &self,
        account: &Account,
        name: &CertificateName,
        replaced: Option<&CertificateIdentifier<'static>>,
    ) -> Result<Order, instant_acme::Error> {
        let identifiers = [Identifier::Dns(name.as_str().to_owned())];
        let wanted = || match replaced {
            Some(replaced) => NewOrder::new(&identifiers).replaces(replaced.clone()),
            None => NewOrder::new(&identifiers),
        };
        if let Some(profile) = &self.authority.profile {
            let without = |why: &str| {
                tracing::warn!(authority = %self.authority.name, profile, why, "ordering without the profile");
            };
            if account.profiles().any(|offered| offered.name == profile) {
                let wanted = wanted().profile(profile);
                match signed!(account.new_order(&wanted).await) {
                    Err(instant_acme::Error::Api(problem))
                        if Problem::from(&problem).kind == "invalidProfile" =>
                    {
                        without(&Problem::from(&problem).detail);
                    }
                    placed => return placed,
                }
            } else {
                without("its directory does not list it");
            }
        }
        let wanted = wanted();
        signed!(account.new_order(&wanted).await)
    }

    /// Tells how many orders are left by what was said to one.
    fn tell_left(&self, account: u32, placed: Placed, purpose: Purpose) {
        let Some(bound) = self.bounds.iter().find(|bound| bound.scope == Scope::Authority) else { return };
        let kept_free = bound.count - bound.for_purpose(purpose).count;
        let left = match placed {
            Placed::Noted { left: None } | Placed::Full { for_any: None, .. } => return,
            Placed::Noted { left: Some(left) } => self.left.note(account, |_| left + kept_free),
            Placed::Full { for_any: Some(_), .. } => self.left.note(account, |before| before.min(kept_free)),
        };
        let gauge = self.metrics.authority_orders_left.with_label_values(&[&*self.authority.name]);
        gauge.set(i64::from(left));
    }
}

/// Whether an authority was seen to ignore that an order replaces a certificate.
pub(super) type Ignores = AtomicBool;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::acme::Failure;

    #[test]
    fn what_is_left_is_what_all_accounts_have() {
        let left = Left::new(2, 300);
        assert_eq!(left.note(0, |_| 299), 599);
        assert_eq!(left.note(1, |before| before.min(75)), 374);
        assert_eq!(left.note(7, |_| 0), 374, "there is no such account");
    }

    #[test]
    fn all_are_full_until_the_first_has_room() {
        let full = Full::or(None, UnixTime(9), Some(UnixTime(9)));
        let full = Full::or(Some(full), UnixTime(5), Some(UnixTime(4)));
        assert_eq!((full.until, full.for_any), (UnixTime(5), Some(UnixTime(4))));
        let full = Full::or(Some(full), UnixTime(7), None);
        assert_eq!((full.until, full.for_any), (UnixTime(5), None), "the name's own limit");
    }

    #[test]
    fn there_is_no_room_only_where_every_authority_refuses_every_name() {
        let full = |until: i64, for_any: Option<i64>| Cause::LimitReached {
            until: UnixTime(until),
            wait: Duration::ZERO,
            for_any: for_any.map(UnixTime),
        };
        let alone =
            |until| Cause::LeftAlone { until: UnixTime(until), wait: Duration::ZERO, reason: String::new() };
        let until = |causes: Vec<Cause>| {
            let failure = |cause| Failure {
                authority: "a".into(),
                step: Step::NewOrder,
                cause,
                challenges: Vec::new(),
            };
            let failures = causes.into_iter().map(failure).collect();
            Error::Failed { name: "shop.test".parse().unwrap(), failures }.no_room_until()
        };
        assert_eq!(until(vec![full(9, Some(7)), alone(8)]), Some(UnixTime(7)));
        assert_eq!(until(vec![full(9, None), alone(8)]), None, "another name may have room");
        assert_eq!(until(vec![alone(8), Cause::Authorization]), None, "it was asked");
    }
}
