//! `[[authority]]`

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::duration::{days, hours, minutes, parse_long_rate};
use super::place::{Wrong, quoted};
use super::section::{Section, Text, one_of};
use super::{
    Authority, AuthorityLimits, ChallengeType, Directory, ExternalAccount, OrderLimits, Secret, address,
    secret,
};
use crate::domain::certificate::KeyType;

/// Life of the internal CA's leafs.
const LIFETIME: Duration = days(90);
/// Accounts at one authority at most.
const MOST_ACCOUNTS: u64 = 100;
/// Longest time for one order.
const ORDER_TIMEOUT: Duration = minutes(2);
/// Challenge types, in the order that is tried unless the file says otherwise.
const CHALLENGES: [ChallengeType; 2] = [ChallengeType::TlsAlpn01, ChallengeType::Http01];

/// Reads all `[[authority]]`.
pub(super) fn read(sections: &[Section<'_>]) -> Vec<Authority> {
    let mut names = HashMap::new();
    sections.iter().filter_map(|section| read_one(section, &mut names)).collect()
}

/// A name that no other table before has.
pub(super) fn unique_name(section: &Section<'_>, names: &mut HashMap<Arc<str>, usize>) -> Option<Arc<str>> {
    let text = section.required("name", "name = \"default\"")?;
    let name = text.read(address::label)?;
    match names.insert(name.clone(), text.line()) {
        Some(line) => {
            let what = format!("{} is the name of the one on line {line}", quoted(&name));
            text.problem(Wrong::new(what, "give each its own name"));
            None
        }
        None => Some(name),
    }
}

fn read_one(section: &Section<'_>, names: &mut HashMap<Arc<str>, usize>) -> Option<Authority> {
    let name = unique_name(section, names);
    let directory = directory(section);
    let contact = section.list("contact", "contact = [\"mailto:ops@example.com\"]", contact);
    let challenges = challenges(section);
    let ca_file = section.path("ca_file");
    let ca_file =
        ca_file.and_then(|(text, path)| text.read(|_| secret::check_certificates(&path).map(|()| path)));
    let eab = section.optional_section("eab").and_then(|eab| external_account(&eab));
    let accounts = accounts(section, directory.as_ref());
    let profile = section.text("profile", "profile = \"shortlived\"").and_then(|text| text.read(profile));
    let key_type = section
        .word("key_type", &[("p256", KeyType::P256), ("p384", KeyType::P384), ("rsa2048", KeyType::Rsa2048)]);
    let limits = limits(section);
    let caa = section.list("caa_identities", "caa_identities = [\"letsencrypt.org\"]", caa_identity);
    let order_timeout = section.duration("order_timeout", Duration::from_secs(1)..=hours(1), ORDER_TIMEOUT);
    Some(Authority {
        name: name?,
        caa_identities: caa.unwrap_or_else(|| known_identities(directory.as_ref())),
        directory: directory?,
        contact: contact.unwrap_or_default(),
        challenges,
        ca_file,
        eab,
        accounts,
        profile,
        key_type: key_type.unwrap_or_default(),
        order_timeout,
        limits: limits.unwrap_or_default(),
    })
}

/// How many accounts share the orders.
fn accounts(section: &Section<'_>, directory: Option<&Directory>) -> u32 {
    let accounts = section.number("accounts", 1..=MOST_ACCOUNTS, 1).unwrap_or(1);
    if let Some(value) = section.value("accounts").filter(|_| accounts > 1)
        && let Some(Directory::Internal { .. }) = directory
    {
        value.problem(Wrong::new("the internal authority has no accounts", "remove the key"));
    }
    u32::try_from(accounts).unwrap_or(1)
}

/// What CAA records call an authority, as a domain name.
fn caa_identity(text: &str) -> Result<String, Wrong> {
    address::hostname(text).map(|name| name.to_string())
}

/// What CAA records call the authorities that most people use, by their own documents.
fn known_identities(directory: Option<&Directory>) -> Vec<String> {
    let Some(Directory::Acme(url)) = directory else { return Vec::new() };
    let identity = match url.host_str().unwrap_or_default() {
        "acme-v02.api.letsencrypt.org" | "acme-staging-v02.api.letsencrypt.org" => "letsencrypt.org",
        "acme.zerossl.com" => "sectigo.com",
        "dv.acme-v02.api.pki.goog" | "dv.acme-v02.test-api.pki.goog" => "pki.goog",
        _ => return Vec::new(),
    };
    vec![identity.to_owned()]
}

/// A word, or a table of rates.
fn limits(section: &Section<'_>) -> Option<AuthorityLimits> {
    if !section.value("limits").is_some_and(|value| value.is_table()) {
        return section.word("limits", &[("auto", AuthorityLimits::Auto), ("none", AuthorityLimits::None)]);
    }
    let table = section.optional_section("limits")?;
    let rate = |key: &'static str, like: &str| {
        let text = table.text(key, &format!("{key} = \"{like}\""));
        text.and_then(|text| text.read(parse_long_rate))
    };
    Some(AuthorityLimits::Given(OrderLimits {
        orders: rate("orders", "300/3h"),
        orders_per_domain: rate("orders_per_domain", "50/7d"),
        orders_per_hostname: rate("orders_per_hostname", "5/7d"),
        failed_validations: rate("failed_validations", "5/1h"),
    }))
}

fn directory(section: &Section<'_>) -> Option<Directory> {
    let lifetime = section.duration("lifetime", minutes(1)..=days(825), LIFETIME);
    let text =
        section.required("directory", "directory = \"https://acme-v02.api.letsencrypt.org/directory\"")?;
    if text.get() == "internal" {
        for key in ["ca_file", "eab", "profile"] {
            if let Some(value) = section.value(key) {
                value.problem(Wrong::new("the internal authority has no use for it", "remove the key"));
            }
        }
        return Some(Directory::Internal { lifetime });
    }
    if let Some(value) = section.value("lifetime") {
        let what = "only the internal authority lets us choose it";
        value.problem(Wrong::new(what, "remove the key; an ACME authority may take a profile"));
    }
    text.read(directory_url).map(Directory::Acme)
}

/// Nothing of the URL is shown: it may hold a password or token.
fn directory_url(text: &str) -> Result<Url, Wrong> {
    const CURE: &str = "give the authority's https:// directory URL, or \"internal\"";
    let url = Url::parse(text).map_err(|why| Wrong::new(format!("it is no URL: {why}"), CURE))?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => address::is_loopback(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => address::is_loopback(IpAddr::V6(ip)),
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return Err(Wrong::new("plain HTTP is for authorities on loopback only", CURE)),
        _ => return Err(Wrong::new("it has a scheme that is not https", CURE)),
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(Wrong::new("it has a user name, a password or a fragment", CURE));
    }
    Ok(url)
}

/// A contact URL (RFC 8555 §7.3).
fn contact(text: &str) -> Result<String, Wrong> {
    let address =
        |text: &str| text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    let valid = match text.strip_prefix("mailto:") {
        Some(mail) => address(mail) && !mail.contains([' ', ',', '?']),
        None => Url::parse(text).is_ok(),
    };
    if valid {
        return Ok(text.to_owned());
    }
    let mail = if address(text) && !text.contains(':') { text } else { "ops@example.com" };
    let what = format!("{} is not a contact URL", quoted(text));
    Err(Wrong::new(what, format!("write {}", quoted(&format!("mailto:{mail}")))))
}

fn challenges(section: &Section<'_>) -> Vec<ChallengeType> {
    let Some(texts) = section.texts("challenges", "challenges = [\"tls-alpn-01\", \"http-01\"]") else {
        return CHALLENGES.to_vec();
    };
    let words = [
        ("tls-alpn-01", ChallengeType::TlsAlpn01),
        ("http-01", ChallengeType::Http01),
        ("dns-01", ChallengeType::Dns01),
    ];
    let mut challenges = Vec::new();
    for text in &texts {
        let challenge = text.read(|text| one_of(text, &words));
        let Some(challenge) = challenge else { continue };
        if challenges.contains(&challenge) {
            let what = format!("{} is given twice", quoted(text.get()));
            text.problem(Wrong::new(what, "keep the first"));
        }
        challenges.push(challenge);
    }
    if let Some(value) = section.value("challenges").filter(|value| value.is_empty_list()) {
        value.problem(Wrong::new("it is empty", "give a challenge type, or leave the key out"));
    }
    challenges
}

fn profile(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let what = format!("{} is not a profile's name", quoted(text));
        return Err(Wrong::new(what, "write it as the authority's directory lists it, or leave the key out"));
    }
    Ok(text.to_owned())
}

fn external_account(section: &Section<'_>) -> Option<ExternalAccount> {
    let key_id = section.required("key_id", "key_id = \"…\"").and_then(|text: Text<'_>| {
        let empty = || Wrong::new("it is empty", "give the key identifier that the authority gave you");
        text.read(|text| if text.trim().is_empty() { Err(empty()) } else { Ok(text.trim().to_owned()) })
    });
    let hmac_key = secret::secret(section, ["hmac_key", "hmac_key_file", "hmac_key_env"])?;
    let Some(hmac_key) = base64url(&hmac_key) else {
        let what = "the HMAC key is not base64url";
        section.problem("hmac_key", Wrong::new(what, "give it as the authority gave it to you"));
        return None;
    };
    Some(ExternalAccount { key_id: key_id?, hmac_key })
}

/// The secret without padding, if it is base64url (RFC 4648 §5).
fn base64url(secret: &Secret) -> Option<Secret> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&URL_SAFE, config).decode(secret.0.as_bytes()).map(Zeroizing::new);
    decoded.is_ok().then(|| Secret(Zeroizing::new(secret.0.trim_end_matches('=').to_owned())))
}
