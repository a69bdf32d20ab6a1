//! The configuration: file shape in, working shape out, every error with its place.

pub mod file;
pub mod keys;

mod address;
mod authority;
mod bridge;
mod certificate;
mod dns_server;
mod dns_zone;
pub mod duration;
mod files;
mod limits;
mod listen;
mod on_demand;
mod place;
mod platform;
pub mod public;
mod secret;
mod section;
mod site;
mod size;
mod store;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::domain::certificate::KeyType;
use crate::domain::hostname::Hostname;
use crate::domain::site::Site;
use crate::domain::zone::DnsZone;

pub use crate::domain::engine::{Engine, Postgres};
pub use crate::domain::limits::{Limits, Rate};
pub use crate::domain::secret::Secret;

/// A whole configuration, checked; the shape everything works with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Embedded store, local tier, internal CA.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub listen: Listen,
    /// Where the durable state is.
    pub store: Store,
    /// Authorities in the order they are tried; may be empty (then nothing is obtained).
    pub authorities: Vec<Authority>,
    /// Names that nobody registered.
    pub on_demand: OnDemand,
    /// Platform domains.
    pub platforms: Vec<Platform>,
    /// Certificates of single hostnames, in files.
    pub certificates: Vec<CertificateFiles>,
    /// What a client may use up.
    pub limits: Limits,
    /// The admin API.
    pub api: Api,
    /// How DNS is asked, and what customers' names must lead to.
    pub dns: Dns,
    /// The zone that we answer for ourselves.
    pub dns_server: Option<DnsServer>,
    /// Zones that records of dns-01 can be written in, beside those of platforms.
    pub dns_zones: Vec<DnsZone>,
    /// Where webhooks may lead.
    pub webhooks: Webhooks,
    /// How OCSP responders are asked.
    pub ocsp: Ocsp,
    /// Keys of session tickets.
    pub tickets: Tickets,
    /// The servers that ours take over from, while both are at work.
    pub bridge: Option<LuaRestyAutoSsl>,
    /// Sites; names unique. May be empty.
    pub sites: Vec<Site>,
    /// The access log.
    pub access_log: bool,
}

/// `[listen]`
#[derive(Clone, Debug)]
pub struct Listen {
    /// Plain HTTP.
    pub http: Vec<ListenAddress>,
    /// HTTPS.
    pub https: Vec<ListenAddress>,
    /// The API, `/metrics`, `/healthz`, `/readyz`; plain HTTP on loopback alone.
    pub admin: SocketAddr,
    /// Certificate and key of the admin listener; without it that speaks plain HTTP.
    pub admin_certificate: Option<CertificateFiles>,
    /// `/metrics`, `/healthz`, `/readyz` alone.
    pub metrics: Option<SocketAddr>,
    /// Peers whose connections begin with a PROXY protocol header (v1 or v2), always.
    pub proxy_protocol_from: Vec<Network>,
    /// Certificate and key (PEM) for clients without SNI; without it they are refused.
    pub default_certificate: Option<CertificateFiles>,
    /// The port that redirects to HTTPS name, where it is not the listener's own (behind a
    /// load balancer); 443 is left out of a URL.
    pub https_port: Option<u16>,
}

/// An address to listen on, and whether it was only defaulted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListenAddress {
    /// Port 0: one that the system picks.
    pub address: SocketAddr,
    /// The user did not write it: where the host lacks IPv6 it is left out with a warning.
    pub defaulted: bool,
}

/// Addresses with a common prefix, as in `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// Any address of it.
    pub address: IpAddr,
    /// Leading bits that are compared.
    pub prefix: u8,
}

impl Network {
    /// Whether `ip` belongs to it. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip.to_canonical() {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
            IpAddr::V6(v6) => (v6.to_bits(), false),
        };
        let ((own, own_v4), (other, other_v4)) = (bits(self.address), bits(ip));
        let differing = own ^ other;
        own_v4 == other_v4 && (self.prefix == 0 || differing >> (128 - u32::from(self.prefix)) == 0)
    }
}

/// A certificate chain and its key in PEM files.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CertificateFiles {
    /// Leaf first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct Store {
    /// What keeps it.
    pub engine: Engine,
    /// Where the sealing key is.
    pub key: KeySource,
}

/// Where the sealing key is: 32 octets in base64, and behind it those that it takes the place of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// A file, which is made where it is missing.
    File(PathBuf),
    /// A variable of the environment.
    Environment {
        /// Its name.
        name: String,
        /// What it holds.
        text: Secret,
    },
}

/// `[[authority]]`
#[derive(Clone, Debug)]
pub struct Authority {
    /// Its name: metrics label, log field. Unique.
    pub name: Arc<str>,
    /// Where it is.
    pub directory: Directory,
    /// Contact URLs for the account (RFC 8555 §7.3).
    pub contact: Vec<String>,
    /// Challenge types in the order they are tried.
    pub challenges: Vec<ChallengeType>,
    /// Extra roots (PEM file) for talking to it.
    pub ca_file: Option<PathBuf>,
    /// External account binding (RFC 8555 §7.3.4).
    pub eab: Option<ExternalAccount>,
    /// How many accounts share the orders; never zero.
    pub accounts: u32,
    /// Certificate profile to ask for.
    pub profile: Option<String>,
    /// Key type of the certificates it gives.
    pub key_type: KeyType,
    /// Longest that one order may take before the next authority is tried.
    pub order_timeout: Duration,
    /// Whether orders are held to the authority's published limits.
    pub limits: AuthorityLimits,
    /// What CAA records call it (RFC 8659 §4.2); empty: that is not known.
    pub caa_identities: Vec<String>,
}

/// Which limits on orders and failures in time an authority is held to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AuthorityLimits {
    /// Let's Encrypt's figures for its production directory, else none.
    #[default]
    Auto,
    /// None.
    None,
    /// These.
    Given(OrderLimits),
}

/// Limits of an authority; a missing one is not kept to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OrderLimits {
    /// Orders in all.
    pub orders: Option<Rate>,
    /// Orders for names of one registrable domain.
    pub orders_per_domain: Option<Rate>,
    /// Orders for one hostname.
    pub orders_per_hostname: Option<Rate>,
    /// Failed validations of one hostname.
    pub failed_validations: Option<Rate>,
}

/// Where an authority is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Directory {
    /// The CA in this process (`directory = "internal"`).
    Internal {
        /// How long its leafs are valid.
        lifetime: Duration,
    },
    /// The directory URL of an ACME CA (RFC 8555 §7.1.1).
    Acme(Url),
}

/// A challenge type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChallengeType {
    /// `http-01` (RFC 8555 §8.3).
    Http01,
    /// `tls-alpn-01` (RFC 8737).
    TlsAlpn01,
    /// `dns-01` (RFC 8555 §8.4), for names whose records can be written.
    Dns01,
}

/// External account binding.
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// Key identifier that the authority gave.
    pub key_id: String,
    /// HMAC key, base64url as the authority gave it.
    pub hmac_key: Secret,
}

/// `[on_demand]`
#[derive(Clone, Debug)]
pub struct OnDemand {
    /// Where to ask; `None`: nothing is obtained on demand beyond the sites' own hostnames.
    pub approval: Option<ApprovalUrl>,
    /// For each try.
    pub approval_timeout: Duration,
    /// Questions in flight at most; beyond them a handshake is refused at once.
    pub approval_concurrency: usize,
    /// How long a verdict is kept unless the answer's `Cache-Control: max-age` says otherwise.
    pub approval_cache: Duration,
    /// Verdicts kept at most.
    pub approval_cache_size: u64,
    /// Site of the names approved this way.
    pub site: Arc<str>,
    /// How long a handshake waits for its certificate.
    pub handshake_wait: Duration,
}

/// The approval endpoint's URL.
#[derive(Clone, Eq, PartialEq)]
pub enum ApprovalUrl {
    /// Text around `{hostname}`, which is replaced, escaped.
    Template {
        /// Before the hostname.
        before: String,
        /// After it.
        after: String,
    },
    /// `domain=HOSTNAME` is appended to the query, as Caddy does.
    Query(Url),
}

impl fmt::Debug for ApprovalUrl {
    /// Without its query and user information, which may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApprovalUrl(…)")
    }
}

/// `[[platform]]`
#[derive(Clone, Debug)]
pub struct Platform {
    /// The domain; `*.domain` and the domain itself are served by its certificate.
    pub domain: Hostname,
    /// Site of its subdomains.
    pub site: Arc<str>,
    /// Where its wildcard certificate comes from.
    pub certificate: PlatformCertificate,
}

/// Where a platform's wildcard certificate comes from.
#[derive(Clone, Debug)]
pub enum PlatformCertificate {
    /// From files, read again when they change.
    Files(CertificateFiles),
    /// It is obtained and renewed by dns-01, with this access to its zone.
    Obtained(Box<DnsZone>),
}

impl Platform {
    /// Its certificate's files, where it has some.
    pub fn files(&self) -> Option<&CertificateFiles> {
        match &self.certificate {
            PlatformCertificate::Files(files) => Some(files),
            PlatformCertificate::Obtained(_) => None,
        }
    }

    /// The access to its zone, where its certificate is obtained.
    pub fn dns(&self) -> Option<&DnsZone> {
        match &self.certificate {
            PlatformCertificate::Files(_) => None,
            PlatformCertificate::Obtained(zone) => Some(zone),
        }
    }
}

/// `[api]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Api {
    /// Requests of one token.
    pub requests_per_token: Rate,
    /// Hostnames of an organization that has no quota of its own.
    pub hostnames_per_organization: u32,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            requests_per_token: Rate { count: 600, per: Duration::from_secs(60) },
            hostnames_per_organization: 100_000,
        }
    }
}

/// `[dns]`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dns {
    /// Servers to ask; empty: the system's.
    pub resolvers: Vec<SocketAddr>,
    /// What a customer's name must lead to; empty: no check before an order.
    pub edge_addresses: Vec<IpAddr>,
    /// What customers are told to point their names at.
    pub cname_target: Option<Hostname>,
}

/// `[dns_server]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsServer {
    /// By UDP and by TCP; never empty, no port is 0.
    pub listen: Vec<SocketAddr>,
    /// What is answered for; no hostname that is served lies in it.
    pub zone: Hostname,
    /// As the zone above has them; never empty, the first one is the primary.
    pub name_servers: Vec<Hostname>,
    /// Of the name servers that lie in the zone.
    pub addresses: Vec<IpAddr>,
    /// Whom to write to.
    pub hostmaster: (String, Hostname),
    /// How long resolvers keep what the configuration says of the zone.
    pub ttl: Duration,
    /// Questions of one client network (a /24, IPv6: a /56), by UDP; as many by TCP.
    pub queries_per_client: Rate,
}

/// `[ocsp]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ocsp {
    /// Whether they are asked at all.
    pub enabled: bool,
    /// Networks that they may be in although they are not public.
    pub allow_private: Vec<Network>,
    /// For one question, its answer included.
    pub timeout: Duration,
}

impl Default for Ocsp {
    fn default() -> Self {
        Self { enabled: true, allow_private: Vec::new(), timeout: Duration::from_secs(10) }
    }
}

/// `[tickets]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tickets {
    /// How long a key encrypts; it decrypts for as long again.
    pub rotate: Duration,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { rotate: Duration::from_secs(12 * 60 * 60) }
    }
}

/// `[webhooks]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Webhooks {
    /// Networks that webhooks may lead to although they are not public; to them by plain HTTP too.
    pub allow_private: Vec<Network>,
    /// For one try, its answer included.
    pub timeout: Duration,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self { allow_private: Vec::new(), timeout: Duration::from_secs(10) }
    }
}

/// `[bridge.lua_resty_auto_ssl]`: the Redis of servers with lua-resty-auto-ssl.
#[derive(Clone, Debug)]
pub struct LuaRestyAutoSsl {
    /// Its URL, which may have a password in it.
    pub redis: Secret,
    /// Whom to trust with TLS in place of the system's roots (PEM).
    pub roots: Option<Vec<u8>>,
    /// What its keys begin with, without the colon.
    pub prefix: Option<String>,
    /// How long a question to it may take.
    pub timeout: Duration,
    /// Whether certificates that are obtained are put there too.
    pub write_back: bool,
}

/// One thing that is wrong with a configuration file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file as it was named.
    pub file: Arc<str>,
    /// From 1; 1 where the whole file is meant.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Dotted key, such as `limits.handshake`; empty for the file's syntax.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

impl fmt::Display for Problem {
    /// `FILE:LINE:COLUMN: key: what; how to mend`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.what, self.cure)
    }
}

/// Everything that is wrong with a configuration file; never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// No configuration file was named, and none is in the places where one is looked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no configuration file; looked for {}; name one with --config FILE", looked_for.join(" and "))]
pub struct NotFound {
    /// The paths, in the order they were tried.
    pub looked_for: Vec<String>,
}
