//! Who calls: tokens, what they allow, and how often.

use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;
use zeroize::Zeroizing;

use super::problem::{Blame, Problem};
use super::routes::Api;
use crate::config::Rate;
use crate::domain::access::{Reach, Scope};
use crate::domain::clock::UnixTime;
use crate::domain::label::Label;
use crate::store::records::Token;

/// What every token begins with, so that one that leaked is found by whoever looks for such.
const PREFIX: &str = "np_";
/// Octets of a token's identifier and of its secret.
const ID_OCTETS: usize = 9;
const SECRET_OCTETS: usize = 32;
/// How many tokens are remembered to have been good, and for how long after their last call.
const LATELY: u64 = 10_000;
const LATELY_FOR: std::time::Duration = std::time::Duration::from_secs(15 * 60);
/// Requests a second without a valid token, from everybody together: guessing is hopeless anyway,
/// and the store is not to be asked without end.
const STRANGERS: u32 = 50;

/// A new token: what is kept of it, and the text that is shown once.
pub struct NewToken {
    /// What is kept.
    pub token: Token,
    /// What its owner is given.
    pub text: Zeroizing<String>,
}

impl NewToken {
    /// Draws one.
    ///
    /// - `now`: since when it is good
    pub fn draw(
        reach: Reach,
        scope: Scope,
        note: String,
        now: UnixTime,
        expires_at: Option<UnixTime>,
    ) -> Self {
        let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; ID_OCTETS]>()).replace('_', "-");
        let secret = Zeroizing::new(rand::random::<[u8; SECRET_OCTETS]>());
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()));
        let text = Zeroizing::new(format!("{PREFIX}{id}_{}", secret.as_str()));
        let token = Token {
            id,
            reach,
            scope,
            hash: hash(&secret),
            note,
            created_at: now,
            expires_at,
            revoked_at: None,
        };
        Self { token, text }
    }
}

/// SHA-256 of a secret, by which it is known without being kept.
pub(super) fn hash(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

/// Identifier and secret of a token's text.
fn parts(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(PREFIX)?.split_once('_').filter(|(id, secret)| !id.is_empty() && !secret.is_empty())
}

/// Whoever calls, by a token that is good.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token's identifier.
    pub token: String,
    /// Whose hostnames it opens.
    pub reach: Reach,
    scope: Scope,
}

impl Caller {
    /// Fails unless the token allows `scope`.
    pub fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.may(scope) {
            return Ok(());
        }
        let detail =
            format!("This token has the scope {}; this call needs {}.", self.scope.word(), scope.word());
        Err(Problem::new(StatusCode::FORBIDDEN, "scope_too_small", "Token's scope too small", detail))
    }

    /// Whether the token allows `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scope >= scope
    }

    /// Fails unless the token is an operator's.
    pub fn needs_operator(&self) -> Result<(), Problem> {
        if self.reach == Reach::All {
            return Ok(());
        }
        let detail = "This call needs an operator's token, which is made with --organization '*'.";
        Err(Problem::new(StatusCode::FORBIDDEN, "operators_only", "Operators only", detail))
    }

    /// The organization that a call is for: the token's; an operator has to name one.
    pub fn organization(&self, named: Option<Label>) -> Result<Label, Problem> {
        match (&self.reach, named) {
            (Reach::Organization(own), None) => Ok(own.clone()),
            (Reach::Organization(own), Some(named)) if *own == named => Ok(named),
            (Reach::Organization(_), Some(named)) => Err(Problem::absent("organization", named.as_str())),
            (Reach::All, Some(named)) => Ok(named),
            (Reach::All, None) => {
                let detail = "An operator's token has no organization of its own; name one.";
                Err(Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "organization_missing",
                    "Organization missing",
                    detail,
                ))
            }
        }
    }

    /// Whether it sees what belongs to `organization`.
    pub fn sees(&self, organization: &Label) -> bool {
        self.reach.covers(organization)
    }
}

/// How often callers may call.
pub struct Pace {
    tokens: DefaultKeyedRateLimiter<String>,
    /// SHA-256 of the tokens that were good not long ago: who knows an identifier alone is a stranger.
    lately: Cache<[u8; 32], ()>,
    strangers: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl Pace {
    /// - `rate`: requests of one token.
    pub fn new(rate: Rate) -> Self {
        let count = NonZeroU32::new(rate.count).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(rate.each()).unwrap_or(Quota::per_second(count));
        let strangers = NonZeroU32::new(STRANGERS).unwrap_or(NonZeroU32::MIN);
        Self {
            tokens: RateLimiter::keyed(quota.allow_burst(count)),
            lately: Cache::builder().max_capacity(LATELY).time_to_idle(LATELY_FOR).build(),
            strangers: RateLimiter::direct(Quota::per_second(strangers)),
            clock: DefaultClock::default(),
        }
    }

    fn of_token(&self, id: &str) -> Result<(), Problem> {
        self.tokens.check_key(&id.to_owned()).map_err(|early| {
            let wait = early.wait_time_from(self.clock.now());
            too_many("This token makes more requests than api.requests_per_token allows.", wait.as_secs() + 1)
        })
    }

    /// Counts a request without a valid token; fails where there are too many.
    pub(super) fn of_a_stranger(&self) -> Result<(), Problem> {
        self.strangers
            .check()
            .map_err(|_early| too_many("There are too many requests without a valid token.", 1))
    }

    /// Forgets tokens that have not called for a while.
    pub fn tidy(&self) {
        self.tokens.retain_recent();
    }
}

fn too_many(detail: &str, seconds: u64) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", detail)
        .retry_after(seconds)
}

impl Api {
    /// The caller with the token of this text. Revoking it is in force at once: the store is asked.
    ///
    /// Strangers are held to their number before that, so that the store does not work for them.
    pub async fn caller(&self, text: &str) -> Result<Caller, Problem> {
        let pace = self.pace.load_full();
        let shown = hash(text);
        let known = pace.lately.contains_key(&shown);
        if !known {
            pace.of_a_stranger()?;
        }
        match self.good_token(text).await? {
            Ok(token) => {
                pace.lately.insert(shown, ());
                self.called(token)
            }
            Err(why) => {
                if known {
                    pace.of_a_stranger()?;
                }
                Err(Problem::unauthorized(why))
            }
        }
    }

    /// The caller with the token of this identifier, who has shown the token before; `None` where it
    /// is no longer good.
    pub(super) async fn caller_again(&self, id: &str) -> Result<Option<Caller>, Problem> {
        let found = self.sites.records().token(id).await?;
        let good = found.filter(|token| self.unfit(token).is_none());
        good.map(|token| self.called(token)).transpose()
    }

    fn called(&self, token: Token) -> Result<Caller, Problem> {
        self.pace.load().of_token(&token.id)?;
        Ok(Caller { token: token.id, reach: token.reach, scope: token.scope })
    }

    /// Why a token is no longer good.
    fn unfit(&self, token: &Token) -> Option<&'static str> {
        if token.revoked_at.is_some() {
            return Some("The token has been revoked.");
        }
        let ended = token.expires_at.is_some_and(|end| end <= self.sites.now());
        ended.then_some("The token has expired.")
    }

    async fn good_token(&self, text: &str) -> Result<Result<Token, &'static str>, Problem> {
        const UNKNOWN: &str = "The token is not one of ours. Make one with nameplate token create.";
        let Some((id, secret)) = parts(text) else { return Ok(Err(UNKNOWN)) };
        let found = self.sites.records().token(id).await?;
        let Some(token) = found else { return Ok(Err(UNKNOWN)) };
        if verify_slices_are_equal(&token.hash, &hash(secret)).is_err() {
            return Ok(Err(UNKNOWN));
        }
        Ok(match self.unfit(&token) {
            Some(why) => Err(why),
            None => Ok(token),
        })
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        const MISSING: &str = "Send a token: Authorization: Bearer TOKEN.";
        let Some(value) = parts.headers.get(AUTHORIZATION) else {
            api.pace.load().of_a_stranger()?;
            return Err(Problem::unauthorized(MISSING));
        };
        let text = value.to_str().ok().and_then(|value| {
            let (scheme, text) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
        });
        let Some(text) = text else {
            api.pace.load().of_a_stranger()?;
            return Err(Problem::unauthorized(MISSING).blaming(Blame::Header("Authorization")));
        };
        let caller = api.caller(text).await?;
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_by_its_hash_and_read_by_its_parts() {
        let made = NewToken::draw(Reach::All, Scope::Read, String::new(), UnixTime(0), None);
        let (id, secret) = parts(&made.text).unwrap();
        assert_eq!(id, made.token.id);
        assert_eq!(hash(secret), made.token.hash);
        assert!(!format!("{:?}", made.token).contains(secret));
        for bad in ["", "np_", "np_a", "np_a_", "np__a", "a_b", "9f5e850b7d5fac5566aa35e5a3836df0"] {
            assert_eq!(parts(bad), None, "{bad:?}");
        }
    }
}
