//! Zones whose TXT records can be written, for dns-01.

use std::net::SocketAddr;
use std::time::Duration;

use super::hostname::Hostname;
use super::secret::Secret;

/// Where TXT records of dns-01 can be written.
#[derive(Clone, Debug)]
pub struct DnsZone {
    /// Names at or below it are written by this access.
    pub zone: Hostname,
    /// How they are written.
    pub access: DnsAccess,
    /// Servers at which a record has to be seen before an authority is told; empty: those that the
    /// NS records of the zone name.
    pub name_servers: Vec<SocketAddr>,
    /// How long that may take.
    pub propagation_timeout: Duration,
    /// How long resolvers may keep a record.
    pub ttl: Duration,
}

/// How records are written.
#[derive(Clone, Debug)]
pub enum DnsAccess {
    /// Dynamic updates (RFC 2136), signed (TSIG, RFC 8945).
    Rfc2136 {
        /// The primary server, asked by TCP.
        server: SocketAddr,
        /// The key's name.
        key_name: String,
        /// Its algorithm.
        key_algorithm: KeyAlgorithm,
        /// The key itself, base64.
        key: Secret,
    },
    /// A command of the user's, called as `COMMAND… present|cleanup OWNER. VALUE`.
    Exec {
        /// The program and its first arguments.
        command: Vec<String>,
    },
    /// A provider's API.
    Api(DnsApi, DnsCredentials),
}

/// Algorithms of a TSIG key (RFC 8945 §6).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyAlgorithm {
    /// `hmac-sha1`; for servers that know no other.
    HmacSha1,
    /// `hmac-sha224`
    HmacSha224,
    /// `hmac-sha256`
    #[default]
    HmacSha256,
    /// `hmac-sha384`
    HmacSha384,
    /// `hmac-sha512`
    HmacSha512,
}

/// Providers with an API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DnsApi {
    /// `bunny`
    Bunny,
    /// `cloudflare`
    Cloudflare,
    /// `desec`
    Desec,
    /// `digitalocean`
    DigitalOcean,
    /// `dnsimple`
    Dnsimple,
    /// `domeneshop`
    Domeneshop,
    /// `exoscale`
    Exoscale,
    /// `gandi`
    Gandi,
    /// `godaddy`
    Godaddy,
    /// `google`
    Google,
    /// `hetzner`
    Hetzner,
    /// `infomaniak`
    Infomaniak,
    /// `linode`
    Linode,
    /// `namecom`
    NameCom,
    /// `netlify`
    Netlify,
    /// `ovh`
    Ovh,
    /// `porkbun`
    Porkbun,
    /// `powerdns`
    PowerDns,
    /// `route53`
    Route53,
    /// `scaleway`
    Scaleway,
    /// `vercel`
    Vercel,
    /// `vultr`
    Vultr,
}

/// What a provider wants to see; what it has no use for is absent.
#[derive(Clone, Debug, Default)]
pub struct DnsCredentials {
    /// An API token.
    pub token: Option<Secret>,
    /// The identifier of a key.
    pub key_id: Option<String>,
    /// The secret of that key.
    pub secret: Option<Secret>,
    /// A second secret of it.
    pub consumer_key: Option<Secret>,
    /// An account, a project, a user.
    pub account: Option<String>,
    /// Which of the provider's endpoints.
    pub endpoint: Option<String>,
    /// A region.
    pub region: Option<String>,
    /// The provider's identifier of the zone.
    pub zone_id: Option<String>,
}

/// OVH's endpoints, as their documents call them.
pub const OVH_ENDPOINTS: [&str; 7] =
    ["ovh-eu", "ovh-us", "ovh-ca", "kimsufi-eu", "kimsufi-ca", "soyoustart-eu", "soyoustart-ca"];
