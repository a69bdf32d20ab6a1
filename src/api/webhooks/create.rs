//! Webhooks made of what somebody asks for.

use url::Url;
use zeroize::Zeroizing;

use super::Invalid;
use super::address::Addresses;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::label::Label;
use crate::domain::webhook::{KINDS, WebhookSecret};
use crate::store::webhooks::Webhook;

/// Octets of a secret of our own making.
const SECRET_OCTETS: usize = 32;
/// Characters of a word that an error shows.
const SHOWN: usize = 64;

/// What somebody wants a webhook to be. There is no `Debug`, as there is none of a secret.
pub struct Wanted<'a> {
    /// Where messages go.
    pub url: &'a str,
    /// What it asks for; empty: all that may be asked for.
    pub events: &'a [String],
    /// `whsec_…`; `None`: one is made.
    pub secret: Option<&'a str>,
}

/// A webhook as it is to be kept, with an identifier of its own.
///
/// Fails with what is wrong with `wanted`.
pub fn create(
    organization: &Label,
    wanted: &Wanted<'_>,
    addresses: &Addresses,
    now: UnixTime,
) -> Result<Webhook, Invalid> {
    Ok(Webhook {
        id: format!("wh_{:032x}", rand::random::<u128>()),
        organization: organization.clone(),
        url: url(wanted.url, addresses)?,
        secret: wanted.secret.map_or_else(fresh_secret, |text| text.parse().map_err(Invalid::from))?,
        events: events(wanted.events)?,
        disabled: None,
        version: 1,
        created_at: now,
        updated_at: now,
    })
}

/// Reads a URL that messages may go to.
pub fn url(text: &str, addresses: &Addresses) -> Result<Url, Invalid> {
    let url: Url = text.parse().map_err(|_| Invalid::Url { why: "it is none" })?;
    addresses.check(&url).map(|()| url)
}

/// Reads the words of events, each once.
pub fn events(words: &[String]) -> Result<Vec<EventKind>, Invalid> {
    let mut kinds = Vec::new();
    for word in words {
        let kind = EventKind::of(word).filter(|kind| KINDS.contains(kind));
        let kind = kind.ok_or_else(|| Invalid::Event { word: word.chars().take(SHOWN).collect() })?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

/// A new secret.
pub fn fresh_secret() -> Result<WebhookSecret, Invalid> {
    let octets = Zeroizing::new(rand::random::<[u8; SECRET_OCTETS]>());
    Ok(WebhookSecret::new(Zeroizing::new(octets.to_vec()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_without_what_is_secret() {
        let of = |url: &str, events: &[&str], secret| {
            let events: Vec<String> = events.iter().map(|word| (*word).to_owned()).collect();
            let wanted = Wanted { url, events: &events, secret };
            create(&"cats".parse().unwrap(), &wanted, &Addresses::default(), UnixTime(0))
                .map(|made| made.events)
        };
        let good = "https://hooks.test/?token=hidden";
        assert_eq!(of(good, &[], None), Ok(vec![]));
        let twice = of(good, &["hostname.serving", "hostname.serving"], None);
        assert_eq!(twice, Ok(vec![EventKind::HostnameServing]));
        for (url, events, secret) in [
            ("hooks.test?token=hidden", &[][..], None),
            ("https://10.0.0.1/?token=hidden", &[], None),
            ("http://hooks.test/?token=hidden", &[], None),
            (good, &["hostname.created"], None),
            (good, &["token.created"], None),
            (good, &["nonsense"], None),
            (good, &[], Some("whsec_hidden")),
        ] {
            let why = of(url, events, secret).unwrap_err();
            assert!(!format!("{why} {why:?}").contains("hidden"), "{why}");
        }
    }
}
