//! Access to the name servers of zones, for dns-01: `[[dns_zone]]`, and `dns` of `[[platform]]`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::duration::{days, minutes};
use super::place::{Wrong, quoted};
use super::section::{Section, one_of};
use super::{Secret, address, secret};
use crate::domain::hostname::Hostname;
use crate::domain::zone::{DnsAccess, DnsApi, DnsCredentials, DnsZone, KeyAlgorithm, OVH_ENDPOINTS};

/// How long a record may take to be seen at every name server.
const PROPAGATION: Duration = minutes(2);
/// How long resolvers may keep a record.
const TTL: Duration = minutes(1);
/// The least that deSEC takes.
const DESEC_TTL: Duration = minutes(60);

/// A credential as keys of the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Credential {
    Token,
    KeyId,
    Secret,
    ConsumerKey,
    Account,
    Endpoint,
    Region,
    ZoneId,
}

/// A provider: its word, what it must be given, what it may be given.
type Row = (&'static str, DnsApi, &'static [Credential], &'static [Credential]);

const APIS: &[Row] = &[
    ("bunny", DnsApi::Bunny, &[Credential::Token], &[]),
    ("cloudflare", DnsApi::Cloudflare, &[Credential::Token], &[]),
    ("desec", DnsApi::Desec, &[Credential::Token], &[]),
    ("digitalocean", DnsApi::DigitalOcean, &[Credential::Token], &[]),
    ("dnsimple", DnsApi::Dnsimple, &[Credential::Account, Credential::Token], &[]),
    ("domeneshop", DnsApi::Domeneshop, &[Credential::Token, Credential::Secret], &[]),
    ("exoscale", DnsApi::Exoscale, &[Credential::KeyId, Credential::Secret], &[]),
    ("gandi", DnsApi::Gandi, &[Credential::Token], &[]),
    ("godaddy", DnsApi::Godaddy, &[Credential::KeyId, Credential::Secret], &[]),
    // The secret is the service account's JSON file, the account the project.
    ("google", DnsApi::Google, &[Credential::Account, Credential::Secret], &[Credential::ZoneId]),
    ("hetzner", DnsApi::Hetzner, &[Credential::Token], &[]),
    ("infomaniak", DnsApi::Infomaniak, &[Credential::Token], &[]),
    ("linode", DnsApi::Linode, &[Credential::Token], &[]),
    ("namecom", DnsApi::NameCom, &[Credential::Account, Credential::Token], &[]),
    ("netlify", DnsApi::Netlify, &[Credential::Token], &[]),
    (
        "ovh",
        DnsApi::Ovh,
        &[Credential::KeyId, Credential::Secret, Credential::ConsumerKey],
        &[Credential::Endpoint],
    ),
    ("porkbun", DnsApi::Porkbun, &[Credential::KeyId, Credential::Secret], &[]),
    ("powerdns", DnsApi::PowerDns, &[Credential::Token, Credential::Endpoint], &[]),
    (
        "route53",
        DnsApi::Route53,
        &[Credential::KeyId, Credential::Secret],
        &[Credential::Region, Credential::ZoneId],
    ),
    ("scaleway", DnsApi::Scaleway, &[Credential::Token], &[]),
    ("vercel", DnsApi::Vercel, &[Credential::Token], &[Credential::Account]),
    ("vultr", DnsApi::Vultr, &[Credential::Token], &[]),
];

/// Which of the ways to write the file has chosen.
#[derive(Clone, Copy)]
enum Provider {
    Rfc2136,
    Exec,
    Api(&'static Row),
}

/// Reads all `[[dns_zone]]`.
pub(super) fn read(sections: &[Section<'_>]) -> Vec<DnsZone> {
    let mut zones: Vec<DnsZone> = Vec::new();
    for section in sections {
        if !section.has("zone") {
            section.missing("zone", "zone = \"example.io\"");
        }
        let Some(zone) = read_access(section, None) else { continue };
        if zones.iter().any(|known| known.zone == zone.zone) {
            let what = format!("{} is the zone of another one", quoted(zone.zone.as_str()));
            section.problem("zone", Wrong::new(what, "keep one of them"));
        }
        zones.push(zone);
    }
    zones
}

/// Reads an access to a zone.
///
/// - `otherwise`: the zone, where none is given
pub(super) fn read_access(section: &Section<'_>, otherwise: Option<&Hostname>) -> Option<DnsZone> {
    let zone = match section.text("zone", "zone = \"example.io\"") {
        Some(text) => text.read(address::hostname),
        None => otherwise.cloned(),
    };
    let servers = section.list("name_servers", "name_servers = [\"192.0.2.53\"]", address::resolver);
    let second = Duration::from_secs(1);
    let propagation_timeout = section.duration("propagation_timeout", second..=minutes(60), PROPAGATION);
    let provider = provider(section);
    let least = match provider {
        Some(Provider::Api((_, DnsApi::Desec, ..))) => DESEC_TTL,
        _ => TTL,
    };
    let ttl = section.duration("ttl", second..=days(1), least);
    refuse_others(section, provider);
    let access = match provider? {
        Provider::Rfc2136 => rfc2136(section),
        Provider::Exec => exec(section),
        Provider::Api(row) => api(section, row),
    };
    let name_servers = servers.unwrap_or_default();
    Some(DnsZone { zone: zone?, access: access?, name_servers, propagation_timeout, ttl })
}

fn provider(section: &Section<'_>) -> Option<Provider> {
    let text = section.required("provider", "provider = \"rfc2136\"")?;
    text.read(|text| match (text, APIS.iter().find(|row| row.0 == text)) {
        ("rfc2136", _) => Ok(Provider::Rfc2136),
        ("exec", _) => Ok(Provider::Exec),
        (_, Some(row)) => Ok(Provider::Api(row)),
        _ => {
            let names: Vec<&str> = APIS.iter().map(|row| row.0).collect();
            let cure = format!(
                "write \"rfc2136\", \"exec\" with a command of yours, or one of {}",
                names.join(", ")
            );
            Err(Wrong::new(format!("{} is no provider that is known here", quoted(text)), cure))
        }
    })
}

/// Records keys that this provider has no use for.
fn refuse_others(section: &Section<'_>, provider: Option<Provider>) {
    const RFC2136: &[&str] = &["server", "key_name", "key_algorithm", "key", "key_file", "key_env"];
    let mut foreign: Vec<&'static str> = Vec::new();
    if !matches!(provider, Some(Provider::Rfc2136)) {
        foreign.extend(RFC2136);
    }
    if !matches!(provider, Some(Provider::Exec)) {
        foreign.push("command");
    }
    let all = [
        Credential::Token,
        Credential::KeyId,
        Credential::Secret,
        Credential::ConsumerKey,
        Credential::Account,
        Credential::Endpoint,
        Credential::Region,
        Credential::ZoneId,
    ];
    for key in all {
        let wanted =
            matches!(provider, Some(Provider::Api(row)) if row.2.contains(&key) || row.3.contains(&key));
        if !wanted {
            foreign.extend(key.keys());
        }
    }
    let wrong = match provider {
        Some(_) => || Wrong::new("this provider has no use for it", "remove the key"),
        None => || Wrong::new("what it is for depends on the provider", "name the provider first"),
    };
    for value in foreign.into_iter().filter_map(|key| section.value(key)) {
        value.problem(wrong());
    }
}

fn rfc2136(section: &Section<'_>) -> Option<DnsAccess> {
    let server = section.required("server", "server = \"192.0.2.53:53\"");
    let server = server.and_then(|text| text.read(address::resolver));
    let key_name = section.required("key_name", "key_name = \"nameplate-key\"");
    let key_name = key_name.and_then(|text| text.read(key_name_of));
    let words = [
        ("hmac-sha256", KeyAlgorithm::HmacSha256),
        ("hmac-sha512", KeyAlgorithm::HmacSha512),
        ("hmac-sha384", KeyAlgorithm::HmacSha384),
        ("hmac-sha224", KeyAlgorithm::HmacSha224),
        ("hmac-sha1", KeyAlgorithm::HmacSha1),
    ];
    let key_algorithm = section.word("key_algorithm", &words).unwrap_or_default();
    let key = secret::secret(section, ["key", "key_file", "key_env"])?;
    let decoded = STANDARD.decode(key.0.as_bytes()).map(Zeroizing::new);
    if decoded.is_err() {
        let what = "the TSIG key is not base64";
        let cure = "give the secret alone, as it stands in the server's configuration behind `secret`";
        section.problem("key", Wrong::new(what, cure));
        return None;
    }
    Some(DnsAccess::Rfc2136 { server: server?, key_name: key_name?, key_algorithm, key })
}

/// A key is called by a domain name, which may have one label (RFC 8945 §4.2).
fn key_name_of(text: &str) -> Result<String, Wrong> {
    let label = |label: &str| {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(plain)
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(name.to_owned());
    }
    let what = format!("{} is not the name of a TSIG key", quoted(text));
    Err(Wrong::new(what, "write it as the server's configuration has it behind `key`"))
}

fn exec(section: &Section<'_>) -> Option<DnsAccess> {
    const LIKE: &str = "command = [\"/usr/local/bin/dns-hook\"]";
    if !section.has("command") {
        section.missing("command", LIKE);
    }
    let command = section.list("command", LIKE, |text| match text.is_empty() || text.contains('\0') {
        true => Err(Wrong::new("it is empty", "give the program, then its arguments")),
        false => Ok(text.to_owned()),
    })?;
    if command.is_empty() {
        let wrong = Wrong::new("it is empty", format!("give the program, as in {LIKE}"));
        section.problem("command", wrong);
        return None;
    }
    Some(DnsAccess::Exec { command })
}

fn api(section: &Section<'_>, row: &Row) -> Option<DnsAccess> {
    let (_, api, required, optional) = *row;
    let mut credentials = DnsCredentials::default();
    let mut complete = true;
    for key in required {
        complete &= key.read(section, &mut credentials, true);
    }
    for key in optional {
        complete &= key.read(section, &mut credentials, false);
    }
    if api == DnsApi::Ovh
        && let Some(text) = section.text("endpoint", "endpoint = \"ovh-eu\"")
    {
        let words = OVH_ENDPOINTS.map(|word| (word, ()));
        complete &= text.read(|text| one_of(text, &words)).is_some();
    }
    complete.then_some(DnsAccess::Api(api, credentials))
}

impl Credential {
    /// The keys of the file that it may be given by.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Token => &["token", "token_file", "token_env"],
            Self::KeyId => &["key_id"],
            Self::Secret => &["secret", "secret_file", "secret_env"],
            Self::ConsumerKey => &["consumer_key", "consumer_key_file", "consumer_key_env"],
            Self::Account => &["account"],
            Self::Endpoint => &["endpoint"],
            Self::Region => &["region"],
            Self::ZoneId => &["zone_id"],
        }
    }

    /// Reads it into `credentials`; false where it is wrong, or missing and required.
    fn read(self, section: &Section<'_>, credentials: &mut DnsCredentials, required: bool) -> bool {
        let keys = self.keys();
        if !required && !keys.iter().any(|key| section.has(key)) {
            return true;
        }
        match self {
            Self::Token => put(&mut credentials.token, read_secret(section, keys)),
            Self::Secret => put(&mut credentials.secret, read_secret(section, keys)),
            Self::ConsumerKey => put(&mut credentials.consumer_key, read_secret(section, keys)),
            Self::KeyId => put(&mut credentials.key_id, read_text(section, keys[0])),
            Self::Account => put(&mut credentials.account, read_text(section, keys[0])),
            Self::Endpoint => put(&mut credentials.endpoint, read_text(section, keys[0])),
            Self::Region => put(&mut credentials.region, read_text(section, keys[0])),
            Self::ZoneId => put(&mut credentials.zone_id, read_text(section, keys[0])),
        }
    }
}

/// Whether there was something to put.
fn put<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    *place = value;
    place.is_some()
}

fn read_secret(section: &Section<'_>, keys: &[&'static str]) -> Option<Secret> {
    let [plain, file, variable] = *keys else { return None };
    secret::secret(section, [plain, file, variable])
}

fn read_text(section: &Section<'_>, key: &'static str) -> Option<String> {
    section.required(key, &format!("{key} = \"…\""))?.read(|text| match text.trim() {
        "" => Err(Wrong::new("it is empty", "give it as the provider shows it")),
        text => Ok(text.to_owned()),
    })
}
