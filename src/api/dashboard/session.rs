//! Who is signed in: a cookie with a random identifier, behind which this process keeps a token's
//! identifier, never the token.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moka::sync::Cache;

use super::super::access::{Caller, hash};
use super::super::problem::Problem;
use super::refusal::Refusal;
use super::routes::Dashboard;
use crate::domain::access::Scope;

/// How long a session lasts, and how long it lasts while no page is asked for.
const LASTS: Duration = Duration::from_secs(12 * 60 * 60);
const IDLE: Duration = Duration::from_secs(60 * 60);
/// Sessions at once; beyond it those not used for longest end.
const SESSIONS: u64 = 10_000;
/// Octets of a session's identifier and of what its forms carry.
const OCTETS: usize = 32;
/// The cookie over TLS, which browsers then keep to this host (RFC 6265bis §4.1.3), and without it.
const COOKIES: [&str; 2] = ["__Host-nameplate", "nameplate"];

/// What is kept of a session.
#[derive(Clone)]
struct Session {
    /// Its token's identifier.
    token: String,
    /// What its forms carry.
    form_token: String,
}

/// The sessions of this process, each by the hash of its identifier.
#[derive(Clone)]
pub struct Sessions(Cache<[u8; 32], Session>);

impl Default for Sessions {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(SESSIONS).time_to_live(LASTS).time_to_idle(IDLE).build())
    }
}

fn draw() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; OCTETS]>())
}

impl Sessions {
    /// Begins a session of `caller`; the value of the cookie.
    ///
    /// - `tls`: whether the browser came by TLS
    pub fn begin(&self, caller: &Caller, tls: bool) -> String {
        let id = draw();
        let session = Session { token: caller.token.clone(), form_token: draw() };
        self.0.insert(hash(&id), session);
        cookie(tls, &id)
    }

    /// Ends the session whose cookie `headers` have; the value of a cookie that takes it away.
    pub fn end(&self, headers: &HeaderMap, tls: bool) -> String {
        if let Some(id) = cookie_of(headers, tls) {
            self.0.invalidate(&hash(id));
        }
        format!("{}; Max-Age=0", cookie(tls, ""))
    }
}

fn name(tls: bool) -> &'static str {
    if tls { COOKIES[0] } else { COOKIES[1] }
}

fn cookie(tls: bool, id: &str) -> String {
    let secure = if tls { "; Secure" } else { "" };
    format!("{}={id}; Path=/; HttpOnly; SameSite=Strict{secure}", name(tls))
}

/// The session's identifier in a request's cookies.
fn cookie_of(headers: &HeaderMap, tls: bool) -> Option<&str> {
    let fields = headers.get_all(COOKIE).into_iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name(tls)).map(|(_, id)| id)
}

/// Whoever is signed in.
#[derive(Clone)]
pub struct Visitor {
    /// By which token.
    pub caller: Caller,
    /// What every form of theirs carries, so that no other page's form is taken for one.
    pub form_token: String,
}

impl Visitor {
    /// Whether they may change hostnames.
    pub fn may_write(&self) -> bool {
        self.caller.may(Scope::Write)
    }

    /// Whoever the cookie in `headers` names. The store is asked each time, so that revoking a token
    /// is in force at once.
    pub async fn of(dashboard: &Dashboard, headers: &HeaderMap) -> Result<Self, Refusal> {
        let (api, tls) = (&dashboard.api, dashboard.tls());
        let key = cookie_of(headers, tls).map(hash);
        let session = key.and_then(|key| api.sessions.0.get(&key));
        let (Some(key), Some(session)) = (key, session) else {
            api.pace.load().of_a_stranger()?;
            return Err(Refusal::SignIn);
        };
        match api.caller_again(&session.token).await? {
            Some(caller) => Ok(Self { caller, form_token: session.form_token }),
            None => {
                api.sessions.0.invalidate(&key);
                Err(Refusal::SignIn)
            }
        }
    }

    /// Fails unless they may change hostnames.
    pub fn needs_write(&self) -> Result<(), Problem> {
        self.caller.needs(Scope::Write)
    }
}

impl FromRequestParts<Dashboard> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, dashboard: &Dashboard) -> Result<Self, Refusal> {
        Self::of(dashboard, &parts.headers).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_of_tls_is_kept_to_this_host_and_never_taken_without_it() {
        let set = cookie(true, "id");
        assert_eq!(set, "__Host-nameplate=id; Path=/; HttpOnly; SameSite=Strict; Secure");
        assert_eq!(cookie(false, "id"), "nameplate=id; Path=/; HttpOnly; SameSite=Strict");
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=b; nameplate=plain".parse().unwrap());
        headers.append(COOKIE, "__Host-nameplate=safe".parse().unwrap());
        assert_eq!(cookie_of(&headers, true), Some("safe"));
        assert_eq!(cookie_of(&headers, false), Some("plain"));
        assert_eq!(cookie_of(&HeaderMap::new(), false), None);
    }
}
