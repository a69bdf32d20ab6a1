//! `[store]`: where the durable state is, and what seals it.

use std::path::Path;
use std::time::Duration;

use url::{Host, Url};
use zeroize::Zeroizing;

use super::duration::LEAST;
use super::place::{Wrong, quoted};
use super::section::Section;
use super::{Engine, KeySource, Postgres, Secret, Store, secret};

const URL_KEYS: [&str; 3] = ["url", "url_file", "url_env"];
const LIKE: &str = "write it like \"postgres://USER:PASSWORD@HOST/DATABASE\", or \"sqlite\"";
/// Connections that one machine opens at most, unless told otherwise: handshakes need none.
const CONNECTIONS: u64 = 10;
const TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// What a URL may say behind its `?`; the driver passes over anything else in silence.
const PARAMETERS: [&str; 9] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "hostaddr", "port", "dbname", "user"];
const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Reads `[store]`.
pub(super) fn read(section: &Section<'_>, data_dir: &Path) -> Store {
    let engine = engine(section);
    let shared = engine.as_ref().is_some_and(|engine| *engine != Engine::Embedded);
    if shared && !section.has("key_file") && !section.has("key_env") {
        let what = "it is missing: every machine of a fleet needs the same key";
        let cure = "make one with `openssl rand -base64 32`, give it to every machine, and name its file here, \
                    or key_env";
        section.problem("key_file", Wrong::new(what, cure));
    }
    Store { engine: engine.unwrap_or(Engine::Embedded), key: sealing_key(section, data_dir) }
}

/// `None` where it is wrong.
fn engine(section: &Section<'_>) -> Option<Engine> {
    let connections = section.number("connections", 2..=1_000, CONNECTIONS).unwrap_or(CONNECTIONS);
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    let timeout = section.duration("timeout", LEAST..=LONGEST, TIMEOUT);
    let given = URL_KEYS.into_iter().find_map(|key| section.value(key));
    let Some(given) = given else { return Some(Engine::Embedded) };
    let url = secret::secret(section, URL_KEYS)?;
    if &**url.0 == "sqlite" {
        return Some(Engine::Embedded);
    }
    match postgres(&url.0) {
        Ok((url, place)) => Some(Engine::Postgres(Postgres { url, place, connections, timeout })),
        Err(wrong) => {
            given.problem(wrong);
            None
        }
    }
}

/// The whole URL, and what of it may be shown. Nothing of a wrong one is shown: it may hold a password.
fn postgres(text: &str) -> Result<(Secret, String), Wrong> {
    let wrong = |what: &str| Wrong::new(what, LIKE);
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric());
    let mut url = match Url::parse(text) {
        Ok(url) if ["postgres", "postgresql"].contains(&url.scheme()) => url,
        _ if plain && text.len() < 20 => return Err(wrong(&format!("{} is not a store", quoted(text)))),
        _ => return Err(wrong("there is no store of this kind")),
    };
    let parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    for (key, value) in &parameters {
        if !PARAMETERS.contains(&key.as_str()) {
            let what = format!("its parameter {} is none that is known", quoted(key));
            return Err(Wrong::new(what, format!("use only {}", PARAMETERS.join(", "))));
        }
        if key == "sslmode" && !MODES.contains(&value.as_str()) {
            let what = format!("{} is no sslmode", quoted(value));
            return Err(Wrong::new(what, format!("use one of {}", MODES.join(", "))));
        }
    }
    let named = |key: &str| parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    if url.path().trim_start_matches('/').is_empty() && named("dbname").is_none() {
        return Err(wrong("it names no database"));
    }
    let host = named("host").or(named("hostaddr"));
    if host.is_none() && !url.has_host() {
        return Err(wrong("it names no host"));
    }
    // What goes over a network is encrypted and the server is who it should be, unless told otherwise.
    let near = match (host, url.host()) {
        (Some(host), _) => host.starts_with('/') || is_loopback(host),
        (None, Some(Host::Domain(name))) => name.starts_with("%2F") || is_loopback(name),
        (None, Some(Host::Ipv4(ip))) => ip.is_loopback(),
        (None, Some(Host::Ipv6(ip))) => ip.is_loopback(),
        (None, None) => false,
    };
    if !near && named("sslmode").is_none() {
        url.query_pairs_mut().append_pair("sslmode", "verify-full");
    }
    let whole = Secret(Zeroizing::new(url.to_string()));
    let mut shown = url;
    shown.set_query(host.map(|host| format!("host={host}")).as_deref());
    // Fails for a URL without a host alone, which has no password either.
    let _no_host = shown.set_password(None);
    Ok((whole, shown.to_string()))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn sealing_key(section: &Section<'_>, data_dir: &Path) -> KeySource {
    if let Some(text) = section.text("key_env", "key_env = \"NAMEPLATE_STORE_KEY\"") {
        if section.has("key_file") {
            text.problem(Wrong::new("key_file is given too", "keep one of them"));
        }
        let content = text.read(|name| {
            let content = secret::variable(section, name)?;
            secret::check_keys(&content.0).map(|()| content)
        });
        let text_or_nothing = content.unwrap_or_else(|| Secret(Zeroizing::default()));
        return KeySource::Environment { name: text.get().to_owned(), text: text_or_nothing };
    }
    let Some((text, path)) = section.path("key_file") else {
        let path = data_dir.join("store.key");
        if let Err(wrong) = secret::check_sealing_key(&path, false) {
            section.problem("key_file", wrong);
        }
        return KeySource::File(path);
    };
    text.read(|_| secret::check_sealing_key(&path, true));
    KeySource::File(path)
}
