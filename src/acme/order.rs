//! One order at one ACME authority (RFC 8555 §7.4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use instant_acme::{
    AuthorizationHandle, AuthorizationStatus, ChallengeStatus, Order, OrderStatus, RetryPolicy,
};
use parking_lot::Mutex;

use super::account::Accounts;
use super::challenge::{Challenges, Published};
use super::dns01::{Dns01, Road, Shown};
use super::http::signed;
use super::information::{self, Suggestion};
use super::place::{Ignores, Left, NewlyPlaced, Occasion};
use super::{Cause, FailedChallenge, Failure, Problem, Step, limits, revocation};
use crate::config::{self, ChallengeType};
use crate::domain::certificate::Certificate;
use crate::domain::clock::Clock;
use crate::domain::hostname::CertificateName;
use crate::domain::revocation::Reason;
use crate::store::{Bound, ChallengeKind, Scope, Store};
use crate::telemetry::metrics::Metrics;

/// Before the first look at an order; authorities in the same building are done by then.
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// Between two looks from [`PACE_REACHED`] on.
const PACE: Duration = Duration::from_secs(1);
/// When looks that are each half as long again as the one before have grown to [`PACE`].
const PACE_REACHED: Duration = Duration::from_secs(3);
/// Longer than any order; the configured `order_timeout` ends the looking.
const FOREVER: Duration = Duration::from_secs(24 * 3600);
/// How much longer than its order an answer stays published, where nobody withdraws it.
const ANSWER_MARGIN: Duration = Duration::from_secs(300);

/// How challenges are answered.
#[derive(Clone)]
pub struct Answers {
    /// From memory and from the store.
    pub challenges: Arc<Challenges>,
    /// By records at name servers, where access to a zone is configured.
    pub dns01: Option<Arc<Dns01>>,
}

/// An answer that stands for as long as this value does.
enum Standing {
    Published(Published),
    Shown(Shown),
}

impl Standing {
    async fn withdraw(self) {
        match self {
            Self::Published(published) => published.withdraw().await,
            Self::Shown(shown) => shown.remove().await,
        }
    }
}

/// How a name is proven.
struct Ways {
    /// In the order in which they are tried.
    types: Vec<ChallengeType>,
    /// Where the record of DNS-01 is written; there wherever that is among `types`.
    road: Option<Road>,
}

/// Places orders at one authority.
pub struct Orders {
    pub(super) authority: config::Authority,
    /// Never empty.
    pub(super) accounts: Vec<Accounts>,
    answers: Answers,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) bounds: Vec<Bound>,
    pub(super) left: Left,
    pub(super) ignores_replaced: Ignores,
}

/// How far an order has come, kept outside of it so that a time-out can tell.
pub(super) struct Progress {
    pub(super) step: Step,
    failed: Vec<FailedChallenge>,
}

pub(super) type Watched = Mutex<Progress>;

impl Orders {
    /// Orders by the accounts and for the challenges given.
    pub fn new(
        authority: config::Authority,
        accounts: Vec<Accounts>,
        answers: Answers,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let bounds = limits::bounds(&limits::limits(authority.limits, &authority.directory));
        let most = bounds.iter().find(|bound| bound.scope == Scope::Authority).map_or(0, |bound| bound.count);
        let left = Left::new(authority.accounts, most);
        let ignores_replaced = Ignores::default();
        Self { authority, accounts, answers, store, clock, metrics, bounds, left, ignores_replaced }
    }

    /// What the authority suggests about the renewal of `certificate`; no account takes part in the
    /// question (RFC 9773 §4.1).
    pub async fn suggestion(&self, certificate: &Certificate) -> Result<Suggestion, Cause> {
        let Some(accounts) = self.account(0) else { return Ok(Suggestion::NotOffered) };
        information::ask(&accounts.open().await?, certificate).await
    }

    /// Tells the authority that `leaf`, in DER, must not be trusted any more (RFC 8555 §7.6), by one
    /// account after the other, as only the one that ordered it is heard. Succeeds too where it knows that.
    pub async fn revoke(&self, leaf: &[u8], reason: Reason) -> Result<(), Cause> {
        let mut refused = Cause::NotConfigured;
        for (number, accounts) in self.accounts.iter().enumerate() {
            let held = match number {
                0 => Some(accounts.open().await?),
                _ => accounts.known().await?,
            };
            let Some(held) = held else { continue };
            match revocation::tell(&held, leaf, reason).await {
                Err(cause @ Cause::Refused(_)) => refused = cause,
                ended => return ended,
            }
        }
        Err(refused)
    }

    /// Obtains a certificate for `name`, within the configured `order_timeout`.
    ///
    /// - `occasion`: with a certificate of this authority, where it takes the place of one
    pub async fn obtain(
        &self,
        name: &CertificateName,
        occasion: Occasion<'_>,
    ) -> Result<Certificate, Failure> {
        let progress = Mutex::new(Progress { step: Step::Challenge, failed: Vec::new() });
        let ways = match self.ways(name).await {
            Ok(ways) => ways,
            Err(cause) => return Err(self.failure(progress, cause)),
        };
        let after = self.authority.order_timeout + ways.road.as_ref().map(Road::patience).unwrap_or_default();
        progress.lock().step = Step::Account;
        let outcome = tokio::time::timeout(after, self.try_each_type(name, &ways, occasion, &progress)).await;
        let cause = match outcome {
            Ok(Ok(certificate)) => return Ok(certificate),
            Ok(Err(cause)) => cause,
            Err(_) => Cause::TimedOut { after },
        };
        Err(self.failure(progress, cause))
    }

    fn failure(&self, progress: Watched, cause: Cause) -> Failure {
        let Progress { step, failed } = progress.into_inner();
        Failure { authority: self.authority.name.clone(), step, cause, challenges: failed }
    }

    /// By which challenges `name` is proven: DNS-01 where its record can be written, first unless the
    /// configuration has another place for it; the others where it is no wildcard.
    async fn ways(&self, name: &CertificateName) -> Result<Ways, Cause> {
        let road = match &self.answers.dns01 {
            Some(dns01) => dns01.road(name).await,
            None => Ok(None),
        };
        let mut types = self.authority.challenges.clone();
        if self.answers.challenges.has_bridge() {
            // The servers on its other side give our answers to HTTP-01, but not to TLS-ALPN-01.
            types.sort_by_key(|kind| *kind == ChallengeType::TlsAlpn01);
        }
        let road = match road {
            Ok(road) => road,
            Err(why @ Cause::Store(_)) => return Err(why),
            Err(why) if name.is_wildcard() => return Err(why),
            Err(why) => {
                tracing::debug!(hostname = %name, %why, "whether it can be proven by dns-01 could not be looked up");
                None
            }
        };
        match &road {
            Some(road) if road.is_of_a_platform() || name.is_wildcard() => types = vec![ChallengeType::Dns01],
            Some(_) if types.contains(&ChallengeType::Dns01) => {}
            Some(_) => types.insert(0, ChallengeType::Dns01),
            None if name.is_wildcard() => return Err(Cause::NoRoad { bare: name.bare().to_owned() }),
            None => types.retain(|kind| *kind != ChallengeType::Dns01),
        }
        Ok(Ways { types, road })
    }

    /// One order after the other, each with the challenge types that are left: an authorization
    /// that failed cannot be tried again (RFC 8555 §7.1.6), so the next type takes a new order.
    async fn try_each_type(
        &self,
        name: &CertificateName,
        ways: &Ways,
        occasion: Occasion<'_>,
        progress: &Watched,
    ) -> Result<Certificate, Cause> {
        if let Some(certificate) = self.take_up(name, progress).await? {
            return Ok(certificate);
        }
        let mut types = ways.types.as_slice();
        loop {
            match self.place(name, (types, ways.road.as_ref()), occasion, progress).await {
                Err(Cause::Authorization) => {
                    types = types_left(types, &progress.lock().failed);
                    if types.is_empty() {
                        return Err(Cause::Authorization);
                    }
                    tracing::info!(hostname = %name, authority = %self.authority.name, next = name_of(types[0]),
                        "a challenge failed; placing a new order for the next type");
                }
                // What the earlier challenge met says more.
                Err(Cause::NotOffered { .. }) if !progress.lock().failed.is_empty() => {
                    return Err(Cause::Authorization);
                }
                ended => return ended,
            }
        }
    }

    async fn place(
        &self,
        name: &CertificateName,
        (types, road): (&[ChallengeType], Option<&Road>),
        occasion: Occasion<'_>,
        progress: &Watched,
    ) -> Result<Certificate, Cause> {
        let NewlyPlaced { mut order, account } = self.new_order(name, occasion, progress).await?;
        progress.lock().step = Step::Challenge;
        if let Some((kind, standing)) = self.answer(&mut order, name, (types, road), progress).await? {
            progress.lock().step = Step::Validation;
            let ended = wait_ready(&mut order).await;
            standing.withdraw().await;
            if let Err(cause) = ended {
                return Err(failed_validation(&mut order, kind, cause, progress).await);
            }
        }
        progress.lock().step = Step::Finalize;
        self.finalize(order, account, name, progress).await
    }

    async fn publish(
        &self,
        kind: ChallengeKind,
        key: String,
        answer: String,
        name: &CertificateName,
    ) -> Result<Standing, Cause> {
        let lifetime = self.authority.order_timeout + ANSWER_MARGIN;
        let mut published = self.answers.challenges.publish(kind, key, answer, lifetime).await?;
        if kind == ChallengeKind::Http01 {
            published.share(name.as_str(), lifetime).await;
        }
        Ok(Standing::Published(published))
    }

    /// Publishes the answer to the first of `types` that the authority offers, then says so.
    ///
    /// `None`: the authority still trusts an earlier validation, so nothing is to be answered.
    async fn answer(
        &self,
        order: &mut Order,
        name: &CertificateName,
        (types, road): (&[ChallengeType], Option<&Road>),
        progress: &Watched,
    ) -> Result<Option<(&'static str, Standing)>, Cause> {
        signed!(fetch_authorizations(order).await)?;
        let mut authorizations = order.authorizations();
        // One identifier was ordered, so there is one authorization (RFC 8555 §7.1.3).
        let Some(authorization) = authorizations.next().await else {
            return Err(Cause::Answer("an order without an authorization".into()));
        };
        let mut authorization: AuthorizationHandle<'_> = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => return Ok(None),
            AuthorizationStatus::Pending => {}
            _ => {
                note_failed(&authorization, "", progress);
                return Err(Cause::Authorization);
            }
        }
        let offers = |kind: &ChallengeType| authorization.challenges.iter().any(|c| c.r#type == wire(*kind));
        let Some(kind) = types.iter().copied().find(offers) else {
            let offered = authorization.challenges.iter().map(|c| format!("{:?}", c.r#type)).collect();
            return Err(Cause::NotOffered { offered });
        };
        let Some(mut challenge) = authorization.challenge(wire(kind)) else { return Ok(None) };
        let key_authorization = challenge.key_authorization();
        let standing = match (kind, &self.answers.dns01, road) {
            (ChallengeType::Dns01, Some(dns01), Some(road)) => {
                let lifetime = self.authority.order_timeout + road.patience() + ANSWER_MARGIN;
                Standing::Shown(dns01.show(name, road, key_authorization.dns_value(), lifetime).await?)
            }
            (ChallengeType::Dns01, ..) => return Err(Cause::NoRoad { bare: name.bare().to_owned() }),
            (ChallengeType::Http01, ..) => {
                let answer = key_authorization.as_str().to_owned();
                self.publish(ChallengeKind::Http01, challenge.token.clone(), answer, name).await?
            }
            (ChallengeType::TlsAlpn01, ..) => {
                let answer = key_authorization.as_str().to_owned();
                self.publish(ChallengeKind::TlsAlpn01, name.as_str().to_owned(), answer, name).await?
            }
        };
        match signed!(challenge.set_ready().await) {
            // A problem in a challenge that was taken is an early verdict: the order tells the rest.
            Ok(()) | Err(instant_acme::Error::Api(_)) => Ok(Some((name_of(kind), standing))),
            Err(error) => {
                standing.withdraw().await;
                Err(error.into())
            }
        }
    }
}

/// How often an order is looked at: at first quickly and then every [`PACE`], or when the
/// authority says.
pub(super) struct Pace(pub(super) RetryPolicy);

impl Pace {
    pub(super) fn quick() -> Self {
        Self(RetryPolicy::new().initial_delay(FIRST_LOOK).backoff(1.5).timeout(PACE_REACHED))
    }

    /// Goes on after the time of this pace is over.
    ///
    /// - `next`: when the authority wants to be asked again, where that lies beyond it
    pub(super) async fn over(&mut self, next: Option<Instant>) {
        match next {
            Some(next) => {
                tokio::time::sleep_until(next.into()).await;
                *self = Self::quick();
            }
            None => self.0 = RetryPolicy::new().initial_delay(PACE).backoff(1.0).timeout(FOREVER),
        }
    }
}

/// Waits until the order can be finalized; [`Cause::Authorization`] where it became invalid.
async fn wait_ready(order: &mut Order) -> Result<(), Cause> {
    let mut pace = Pace::quick();
    loop {
        match signed!(order.poll_ready(&pace.0).await) {
            Err(instant_acme::Error::Timeout(next)) => pace.over(next).await,
            Ok(OrderStatus::Invalid) => return Err(Cause::Authorization),
            ended => return Ok(ended.map(drop)?),
        }
    }
}

/// The cause of a failed validation, with the authority's words noted: an invalid order does not
/// carry them, its authorization does, so that is asked for again.
async fn failed_validation(order: &mut Order, kind: &'static str, cause: Cause, progress: &Watched) -> Cause {
    if !matches!(cause, Cause::Authorization | Cause::Refused(_)) {
        return cause;
    }
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else { continue };
        if let Err(error) = signed!(authorization.refresh().await.map(drop)) {
            tracing::debug!(%error, "the words on a failed challenge could not be fetched");
            continue;
        }
        if authorization.status == AuthorizationStatus::Invalid {
            note_failed(&authorization, kind, progress);
            return Cause::Authorization;
        }
    }
    cause
}

/// Notes the words of the challenges that failed; `tried` where none of them carries any.
fn note_failed(authorization: &AuthorizationHandle<'_>, tried: &'static str, progress: &Watched) {
    let mut noted = Vec::new();
    for challenge in &authorization.challenges {
        if challenge.status == ChallengeStatus::Invalid || challenge.error.is_some() {
            let problem = challenge.error.as_ref().map(Problem::from).unwrap_or_default();
            noted.push(FailedChallenge { kind: wire_name(&challenge.r#type), problem });
        }
    }
    if noted.is_empty() {
        noted.push(FailedChallenge { kind: tried, problem: Problem::default() });
    }
    progress.lock().failed.append(&mut noted);
}

/// What is left to try after the last of `failed`; nothing where each type would fail alike.
fn types_left<'a>(types: &'a [ChallengeType], failed: &[FailedChallenge]) -> &'a [ChallengeType] {
    let Some(last) = failed.last().filter(|last| !last.problem.meets_every_challenge()) else { return &[] };
    match types.iter().position(|kind| name_of(*kind) == last.kind) {
        Some(tried) => &types[tried + 1..],
        None => &[],
    }
}

/// Fetches the order's authorizations, which instant-acme then keeps.
///
/// To be called anew as a whole: its iterator leaves out what could not be fetched.
async fn fetch_authorizations(order: &mut Order) -> Result<(), instant_acme::Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization?;
    }
    Ok(())
}

fn wire(kind: ChallengeType) -> instant_acme::ChallengeType {
    match kind {
        ChallengeType::Http01 => instant_acme::ChallengeType::Http01,
        ChallengeType::TlsAlpn01 => instant_acme::ChallengeType::TlsAlpn01,
        ChallengeType::Dns01 => instant_acme::ChallengeType::Dns01,
    }
}

fn name_of(kind: ChallengeType) -> &'static str {
    match kind {
        ChallengeType::Http01 => "http-01",
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::Dns01 => "dns-01",
    }
}

fn wire_name(kind: &instant_acme::ChallengeType) -> &'static str {
    match kind {
        instant_acme::ChallengeType::Http01 => "http-01",
        instant_acme::ChallengeType::TlsAlpn01 => "tls-alpn-01",
        instant_acme::ChallengeType::Dns01 => "dns-01",
        _ => "another challenge",
    }
}
