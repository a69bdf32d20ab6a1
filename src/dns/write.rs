//! Writing and removing the TXT records of dns-01 at the name servers of a zone.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dns_update::providers::google_cloud_dns::GoogleCloudDnsConfig;
use dns_update::providers::ovh::OvhEndpoint;
use dns_update::providers::rfc2136::DnsAddress;
use dns_update::providers::route53::Route53Config;
use dns_update::{DnsRecord, DnsRecordType, DnsUpdater, TsigAlgorithm};
use tokio::process::Command;
use tokio::time::timeout;

use super::WriteFailed;
use crate::domain::hostname::Hostname;
use crate::domain::secret::Secret;
use crate::domain::zone::{DnsAccess, DnsApi, DnsCredentials, DnsZone, KeyAlgorithm, OVH_ENDPOINTS};

/// Longest that one change at a provider may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of a command's complaint that are told.
const TOLD: usize = 500;

/// A TXT record of dns-01 (RFC 8555 §8.4); names without a trailing dot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TxtRecord {
    /// The zone that it lies in.
    pub apex: String,
    /// Where it stands.
    pub owner: String,
    /// Its value.
    pub value: String,
}

/// Writes records in a zone and what lies below it.
pub struct Writer {
    zone: Hostname,
    way: Way,
    name_servers: Vec<SocketAddr>,
    propagation_timeout: Duration,
    ttl: u32,
}

enum Way {
    Update { updater: Box<DnsUpdater>, primary: Option<SocketAddr> },
    Command(Vec<String>),
}

/// What is done to a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    Present,
    CleanUp,
}

impl Writer {
    /// By the access of `zone`. Asks nobody yet.
    ///
    /// Fails where the provider's library does not take what the configuration gives.
    pub fn new(zone: &DnsZone) -> Result<Self, WriteFailed> {
        let refused =
            |why: dns_update::Error| WriteFailed::Access { zone: zone.zone.clone(), why: why.to_string() };
        let way = match &zone.access {
            DnsAccess::Rfc2136 { server, key_name, key_algorithm, key } => {
                let key = STANDARD.decode(key.0.as_bytes()).map_err(|why| WriteFailed::Access {
                    zone: zone.zone.clone(),
                    why: format!("its TSIG key is not base64: {why}"),
                })?;
                let address = DnsAddress::Tcp(*server);
                let updater = DnsUpdater::new_rfc2136_tsig(address, key_name, key, algorithm(*key_algorithm));
                Way::Update { updater: Box::new(updater.map_err(refused)?), primary: Some(*server) }
            }
            DnsAccess::Exec { command } => Way::Command(command.clone()),
            DnsAccess::Api(api, credentials) => {
                let updater = updater(*api, credentials).map_err(refused)?;
                Way::Update { updater: Box::new(updater), primary: None }
            }
        };
        Ok(Self {
            zone: zone.zone.clone(),
            way,
            name_servers: zone.name_servers.clone(),
            propagation_timeout: zone.propagation_timeout,
            ttl: u32::try_from(zone.ttl.as_secs()).unwrap_or(u32::MAX),
        })
    }

    /// The zone of the configuration.
    pub fn zone(&self) -> &Hostname {
        &self.zone
    }

    /// Whether `owner` lies in its zone.
    pub fn covers(&self, owner: &str) -> bool {
        self.zone.contains(owner)
    }

    /// The server that takes updates and so knows records first.
    pub fn primary(&self) -> Option<SocketAddr> {
        match &self.way {
            Way::Update { primary, .. } => *primary,
            Way::Command(_) => None,
        }
    }

    /// Whether a change is more than one step, between which another change may come. A signed update
    /// (RFC 2136) is one.
    pub fn in_steps(&self) -> bool {
        !matches!(self.way, Way::Update { primary: Some(_), .. })
    }

    /// Servers that have to show a record, in place of those that the zone names.
    pub fn name_servers(&self) -> &[SocketAddr] {
        &self.name_servers
    }

    /// How long a record may take to be seen.
    pub fn propagation_timeout(&self) -> Duration {
        self.propagation_timeout
    }

    /// Writes `record` beside others of its name.
    pub async fn present(&self, record: &TxtRecord) -> Result<(), WriteFailed> {
        self.change(record, Change::Present).await
    }

    /// Removes exactly `record`; others of its name stay.
    pub async fn clean_up(&self, record: &TxtRecord) -> Result<(), WriteFailed> {
        self.change(record, Change::CleanUp).await
    }

    async fn change(&self, record: &TxtRecord, change: Change) -> Result<(), WriteFailed> {
        let work = async {
            match &self.way {
                Way::Update { updater, .. } => self.update(updater, record, change).await,
                Way::Command(command) => call(command, record, change).await,
            }
        };
        let late = || format!("it took longer than {} s", PATIENCE.as_secs());
        let outcome = timeout(PATIENCE, work).await.unwrap_or_else(|_elapsed| Err(late()));
        outcome.map_err(|why| {
            let owner = record.owner.clone();
            match change {
                Change::Present => WriteFailed::Present { owner, zone: self.zone.clone(), why },
                Change::CleanUp => {
                    WriteFailed::CleanUp { owner, value: record.value.clone(), zone: self.zone.clone(), why }
                }
            }
        })
    }

    async fn update(&self, updater: &DnsUpdater, record: &TxtRecord, change: Change) -> Result<(), String> {
        let (owner, apex) = (record.owner.as_str(), record.apex.as_str());
        let values = vec![DnsRecord::TXT(record.value.clone())];
        let done = match change {
            Change::Present => updater.add_to_rrset(owner, DnsRecordType::TXT, self.ttl, values, apex).await,
            Change::CleanUp => updater.remove_from_rrset(owner, DnsRecordType::TXT, values, apex).await,
        };
        match done {
            // What is not there need not be removed.
            Err(dns_update::Error::NotFound) if change == Change::CleanUp => Ok(()),
            done => done.map_err(|why| why.to_string()),
        }
    }
}

/// `COMMAND… present|cleanup OWNER. VALUE`
async fn call(command: &[String], record: &TxtRecord, change: Change) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Err("no command is given".into()) };
    let verb = match change {
        Change::Present => "present",
        Change::CleanUp => "cleanup",
    };
    let output = Command::new(program)
        .args(arguments)
        .args([verb, &format!("{}.", record.owner), &record.value])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|why| format!("{program} could not be started: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let harmless = |c: char| if c.is_control() { ' ' } else { c };
    let complaint: String = complaint.trim().chars().take(TOLD).map(harmless).collect();
    Err(match complaint.is_empty() {
        true => format!("{program} ended with {} and said nothing", output.status),
        false => format!("{program} ended with {}: {complaint}", output.status),
    })
}

fn algorithm(algorithm: KeyAlgorithm) -> TsigAlgorithm {
    match algorithm {
        KeyAlgorithm::HmacSha1 => TsigAlgorithm::HmacSha1,
        KeyAlgorithm::HmacSha224 => TsigAlgorithm::HmacSha224,
        KeyAlgorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
        KeyAlgorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
        KeyAlgorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
    }
}

/// The configuration has seen to it that what `api` wants is there.
fn updater(api: DnsApi, credentials: &DnsCredentials) -> dns_update::Result<DnsUpdater> {
    let plain = |secret: &Option<Secret>| {
        secret.as_ref().map(|secret| secret.0.as_str().to_owned()).unwrap_or_default()
    };
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    let (token, secret) = (plain(&credentials.token), plain(&credentials.secret));
    let (key_id, account) = (given(&credentials.key_id), given(&credentials.account));
    let patience = Some(PATIENCE);
    match api {
        DnsApi::Bunny => DnsUpdater::new_bunny(token, patience),
        DnsApi::Cloudflare => DnsUpdater::new_cloudflare(token, patience),
        DnsApi::Desec => DnsUpdater::new_desec(token, patience),
        DnsApi::DigitalOcean => DnsUpdater::new_digitalocean(token, patience),
        DnsApi::Dnsimple => DnsUpdater::new_dnsimple(token, account, patience),
        DnsApi::Domeneshop => DnsUpdater::new_domeneshop(token, secret, patience),
        DnsApi::Exoscale => DnsUpdater::new_exoscale(key_id, secret, patience),
        DnsApi::Gandi => DnsUpdater::new_gandiv5(token, patience),
        DnsApi::Godaddy => DnsUpdater::new_godaddy(key_id, secret, patience),
        DnsApi::Google => DnsUpdater::new_google_cloud_dns(GoogleCloudDnsConfig {
            service_account_json: secret,
            project_id: account,
            managed_zone: credentials.zone_id.clone(),
            private_zone: false,
            impersonate_service_account: None,
            request_timeout: patience,
        }),
        DnsApi::Hetzner => DnsUpdater::new_hetzner(token, patience),
        DnsApi::Infomaniak => DnsUpdater::new_infomaniak(token, patience),
        DnsApi::Linode => DnsUpdater::new_linode(token, patience),
        DnsApi::NameCom => DnsUpdater::new_namedotcom(account, token, patience),
        DnsApi::Netlify => DnsUpdater::new_netlify(token, patience),
        DnsApi::Ovh => {
            let endpoint = ovh_endpoint(credentials.endpoint.as_deref());
            DnsUpdater::new_ovh(key_id, secret, plain(&credentials.consumer_key), endpoint, patience)
        }
        DnsApi::Porkbun => DnsUpdater::new_porkbun(key_id, secret, patience),
        DnsApi::PowerDns => {
            DnsUpdater::new_pdns(token, credentials.endpoint.as_ref(), None::<String>, patience)
        }
        DnsApi::Route53 => DnsUpdater::new_route53(Route53Config {
            access_key_id: key_id,
            secret_access_key: secret,
            session_token: None,
            region: credentials.region.clone(),
            hosted_zone_id: credentials.zone_id.clone(),
            private_zone_only: None,
            endpoint: None,
        }),
        DnsApi::Scaleway => DnsUpdater::new_scaleway(token, patience),
        DnsApi::Vercel => DnsUpdater::new_vercel(token, credentials.account.as_ref(), patience),
        DnsApi::Vultr => DnsUpdater::new_vultr(token, patience),
    }
}

/// Of the words in [`OVH_ENDPOINTS`]; the first where none is given.
fn ovh_endpoint(word: Option<&str>) -> OvhEndpoint {
    let place = word.and_then(|word| OVH_ENDPOINTS.iter().position(|known| *known == word));
    match place {
        Some(1) => OvhEndpoint::OvhUs,
        Some(2) => OvhEndpoint::OvhCa,
        Some(3) => OvhEndpoint::KimsufiEu,
        Some(4) => OvhEndpoint::KimsufiCa,
        Some(5) => OvhEndpoint::SoyoustartEu,
        Some(6) => OvhEndpoint::SoyoustartCa,
        _ => OvhEndpoint::OvhEu,
    }
}
