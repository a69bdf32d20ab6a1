//! What events tell of what is done in a store.

use serde_json::{Value, json};

use super::read::row::covered;
use super::records::{Actor, StoredSite, Token};
use super::webhooks::Webhook;
use crate::domain::access::Reach;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::Settings;

/// An event that is to be noted.
pub struct New {
    /// Whose; empty: the operator's.
    pub organization: String,
    /// The site that is concerned.
    pub site: Option<String>,
    /// The hostname that is concerned.
    pub hostname: Option<String>,
    /// What happened.
    pub kind: EventKind,
    /// Who asked for it.
    pub actor: Option<String>,
    /// A JSON object.
    pub detail: Value,
}

impl New {
    /// One of an organization.
    pub fn of(kind: EventKind, organization: &Label, actor: Actor<'_>, detail: Value) -> Self {
        Self {
            organization: organization.to_string(),
            site: None,
            hostname: None,
            kind,
            actor: actor.map(str::to_owned),
            detail,
        }
    }

    /// One of whomever a token is for. The operator's are in no organization's log: no organization's
    /// name is empty.
    pub fn of_reach(kind: EventKind, reach: &Reach, actor: Actor<'_>, detail: Value) -> Self {
        let organization = covered(reach).unwrap_or_default();
        // A command on the store itself is somebody's doing too.
        let actor = actor.or(Some("command line")).map(str::to_owned);
        Self { organization, site: None, hostname: None, kind, actor, detail }
    }

    /// That concerns a site.
    pub fn at_site(mut self, site: &Label) -> Self {
        self.site = Some(site.to_string());
        self
    }

    /// That concerns a hostname.
    pub fn about(mut self, name: &CertificateName) -> Self {
        self.hostname = Some(name.to_string());
        self
    }

    /// Of a change to `site`.
    pub fn of_site(site: &StoredSite, kind: EventKind, actor: Actor<'_>) -> Self {
        let origins: Vec<String> = site.origins.iter().map(ToString::to_string).collect();
        let detail =
            json!({ "origins": origins, "cname_target": site.cname_target.as_ref().map(|t| t.as_str()) });
        Self::of(kind, &site.organization, actor, detail).at_site(&site.name)
    }

    /// Of a token that was made.
    pub fn of_token(token: &Token, actor: Actor<'_>) -> Self {
        let detail = json!({ "token": token.id, "scope": token.scope, "expires_at": token.expires_at });
        Self::of_reach(EventKind::TokenCreated, &token.reach, actor, detail)
    }

    /// Of a change of `webhook`. Neither its secret nor its URL is told, which may hold a token.
    pub fn of_webhook(webhook: &Webhook, kind: EventKind, actor: Actor<'_>) -> Self {
        let detail = json!({
            "webhook": webhook.id,
            "host": webhook.url.host_str(),
            "events": webhook.events,
            "disabled": webhook.disabled,
        });
        Self::of(kind, &webhook.organization, actor, detail)
    }
}

/// The settings of a hostname as an event tells of them.
pub fn settings(settings: &Settings) -> Value {
    json!({
        "origin": settings.origin.as_ref().map(ToString::to_string),
        "redirect_to": settings.redirect.as_ref().map(|redirect| redirect.to.as_str()),
        "metadata": settings.metadata.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()),
    })
}
