//! `[listen]`

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::place::Wrong;
use super::section::Section;
use super::{Listen, ListenAddress, address, secret};

/// Certificate and key of the admin listener.
const ADMIN_FILES: [&str; 2] = ["admin_certificate_file", "admin_certificate_key_file"];
/// The admin listener unless the file says otherwise.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9443);

/// Reads `[listen]`.
pub(super) fn read(section: &Section<'_>) -> Listen {
    let mut taken = Taken::default();
    let http = addresses(section, "http", 80, &mut taken);
    let https = addresses(section, "https", 443, &mut taken);
    if https.is_empty()
        && let Some(value) = section.value("https").filter(|value| value.is_empty_list())
    {
        value.problem(Wrong::new("it is empty", "give an address, or leave the key out"));
    }
    Listen {
        http,
        https,
        admin: admin(section, &mut taken).unwrap_or(ADMIN),
        admin_certificate: secret::certificate_files(section, ADMIN_FILES[0], ADMIN_FILES[1]),
        metrics: socket(section, "metrics", "\"10.0.0.1:9090\"", &mut taken),
        proxy_protocol_from: section
            .list("proxy_protocol_from", "proxy_protocol_from = [\"10.0.0.0/8\"]", address::network)
            .unwrap_or_default(),
        default_certificate: secret::certificate_files(
            section,
            "default_certificate_file",
            "default_certificate_key_file",
        ),
        https_port: section
            .number("https_port", 1..=u64::from(u16::MAX), 443)
            .and_then(|port| u16::try_from(port).ok()),
    }
}

/// Addresses that some key has taken.
#[derive(Default)]
struct Taken(HashMap<SocketAddr, &'static str>);

impl Taken {
    /// Takes `address` for `key`; not possible twice, unless the system picks the port.
    fn take(&mut self, address: SocketAddr, key: &'static str) -> Result<SocketAddr, Wrong> {
        match self.0.insert(address, key).filter(|_| address.port() != 0) {
            Some(before) => {
                let what = format!("{address} is listened on for {before} already");
                Err(Wrong::new(what, "give another address or port"))
            }
            None => Ok(address),
        }
    }
}

fn addresses(section: &Section<'_>, key: &'static str, port: u16, taken: &mut Taken) -> Vec<ListenAddress> {
    if !section.has(key) {
        let both = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let address = |ip| ListenAddress { address: SocketAddr::new(ip, port), defaulted: true };
        return both.map(address).to_vec();
    }
    let texts = section.texts(key, &format!("{key} = [\"0.0.0.0:{port}\", \"[::]:{port}\"]"));
    let mut addresses = Vec::new();
    for text in texts.unwrap_or_default() {
        let address = text.read(|text| taken.take(address::socket(text)?, key));
        addresses.extend(address.map(|address| ListenAddress { address, defaulted: false }));
    }
    addresses
}

fn socket(section: &Section<'_>, key: &'static str, like: &str, taken: &mut Taken) -> Option<SocketAddr> {
    let text = section.text(key, &format!("{key} = {like}"))?;
    text.read(|text| taken.take(address::socket(text)?, key))
}

fn admin(section: &Section<'_>, taken: &mut Taken) -> Option<SocketAddr> {
    let admin = socket(section, "admin", "\"127.0.0.1:9443\"", taken)?;
    if !address::is_loopback(admin.ip())
        && !section.has(ADMIN_FILES[0])
        && !section.has(ADMIN_FILES[1])
        && let Some(value) = section.value("admin")
    {
        let what = format!("{admin} is not on loopback, where the admin listener needs TLS");
        let cure = "give admin_certificate_file and admin_certificate_key_file, or use a loopback address such \
                    as \"127.0.0.1:9443\"; metrics may listen elsewhere";
        value.problem(Wrong::new(what, cure));
    }
    Some(admin)
}
