//! What an organization may be told by a webhook, in which words, and what it is signed with.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::event::{Event, EventKind};
use super::registration::{Registration, State};

/// What a webhook may ask for. Each of these concerns a hostname.
pub const KINDS: [EventKind; 9] = [
    EventKind::HostnameServing,
    EventKind::HostnameStuck,
    EventKind::HostnameDnsLeft,
    EventKind::HostnameLost,
    EventKind::HostnameDeleted,
    EventKind::CertificateIssued,
    EventKind::CertificateRenewed,
    EventKind::CertificateRenewalFailed,
    EventKind::CertificateExpiring,
];

/// What a secret begins with (Standard Webhooks, "Signature scheme").
pub const SECRET_PREFIX: &str = "whsec_";
/// Fewest and most octets of a secret (Standard Webhooks, "Signature scheme").
pub const SECRET_OCTETS: (usize, usize) = (24, 64);

/// What messages are signed with. There is no `Debug`, and the octets are wiped with it.
#[derive(Clone, Eq, PartialEq)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

/// A text is no secret of a webhook. What it says is not shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("write {SECRET_PREFIX} and {} to {} octets in base64", SECRET_OCTETS.0, SECRET_OCTETS.1)]
pub struct InvalidSecret;

impl WebhookSecret {
    /// Takes its octets; `Err` where they are too few or too many.
    pub fn new(octets: Zeroizing<Vec<u8>>) -> Result<Self, InvalidSecret> {
        let (fewest, most) = SECRET_OCTETS;
        if (fewest..=most).contains(&octets.len()) { Ok(Self(octets)) } else { Err(InvalidSecret) }
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// As the organization is shown it, once.
    pub fn written(&self) -> Zeroizing<String> {
        // All that it needs at once, so that no part stays behind when it grows.
        let mut text = Zeroizing::new(String::with_capacity(SECRET_PREFIX.len() + 4 * SECRET_OCTETS.1));
        text.push_str(SECRET_PREFIX);
        STANDARD.encode_string(self.octets(), &mut text);
        text
    }
}

impl FromStr for WebhookSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.strip_prefix(SECRET_PREFIX).ok_or(InvalidSecret)?;
        if text.len() > 4 * SECRET_OCTETS.1 {
            return Err(InvalidSecret);
        }
        let mut octets = Zeroizing::new(Vec::with_capacity(text.len()));
        STANDARD.decode_vec(text, &mut octets).map_err(|_| InvalidSecret)?;
        Self::new(octets)
    }
}

/// What is sent about `event`, as JSON.
///
/// - `registration`: the hostname as it stands when this is written; `None`: it is gone
pub fn body(event: &Event, registration: Option<&Registration>) -> String {
    let current = registration.map(|registration| &registration.standing);
    let state = match event.kind {
        EventKind::HostnameServing => Some(State::Serving),
        EventKind::HostnameStuck => Some(State::Stuck),
        _ => current.map(|standing| standing.state),
    };
    let metadata = registration.and_then(|registration| registration.settings.metadata.as_deref());
    let own = json!({
        "hostname": event.hostname.as_ref().map(|name| name.as_str()),
        "site": event.site,
        "organization": event.organization,
        "state": state,
        "metadata": metadata.and_then(|text| serde_json::from_str::<Value>(text).ok()),
    });
    // The event's own reason goes before the present one, and nothing before what is the event's.
    let mut data = json!({ "reason": current.map(|standing| &standing.reason) });
    if let Value::Object(data) = &mut data {
        for part in [&event.detail, &own] {
            let entries = part.as_object().into_iter().flatten();
            data.extend(entries.map(|(key, value)| (key.clone(), value.clone())));
        }
    }
    json!({ "type": event.kind, "timestamp": event.at.to_string(), "data": data }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::UnixTime;

    #[test]
    fn a_secret_is_read_as_it_is_written() {
        for octets in [24, 32, 64] {
            let secret = WebhookSecret::new(Zeroizing::new(vec![7; octets])).ok().unwrap();
            let written = secret.written();
            assert!(written.starts_with("whsec_"));
            assert!(written.parse::<WebhookSecret>().is_ok_and(|read| read == secret));
        }
    }

    #[test]
    fn what_is_too_short_too_long_or_no_base64_is_no_secret() {
        let text = |octets: usize| format!("whsec_{}", STANDARD.encode(vec![7; octets]));
        let unprefixed = STANDARD.encode([7; 32]);
        for bad in ["", "whsec_", "whsec_???", &unprefixed, &text(23), &text(65), &text(100_000)] {
            assert_eq!(bad.parse::<WebhookSecret>().err(), Some(InvalidSecret));
        }
    }

    #[test]
    fn an_events_own_words_go_before_the_present_ones_but_not_before_whose_it_is() {
        let event = Event {
            id: 1,
            at: UnixTime(0),
            organization: Some("cats".parse().unwrap()),
            site: Some("shop".parse().unwrap()),
            hostname: Some("a.test".parse().unwrap()),
            kind: EventKind::HostnameStuck,
            actor: None,
            detail: json!({ "reason": "its DNS leads nowhere", "organization": "dogs", "more": 1 }),
        };
        let body: Value = serde_json::from_str(&body(&event, None)).unwrap();
        let wanted = json!({
            "type": "hostname.stuck",
            "timestamp": "1970-01-01T00:00:00Z",
            "data": {
                "hostname": "a.test", "site": "shop", "organization": "cats", "state": "stuck",
                "reason": "its DNS leads nowhere", "metadata": null, "more": 1,
            },
        });
        assert_eq!(body, wanted);
    }
}
