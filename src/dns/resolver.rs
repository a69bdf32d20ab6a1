//! Asking DNS, by the configured resolvers or the system's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, TokioResolver};

use super::{Caa, LookupFailed};

/// A server's time for one try, where an order waits.
const TRY: Duration = Duration::from_millis(400);
/// The same where a person waits: a resolver that has to climb from the root takes a second.
const PATIENT_TRY: Duration = Duration::from_millis(1_500);
/// How long an answer is used again: a customer who corrects a record does not want to wait.
const KEPT: Duration = Duration::from_secs(5);

/// Where DNS is asked (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// Asks.
pub struct Resolver {
    /// Follows aliases, and keeps answers for [`KEPT`].
    following: TokioResolver,
    /// Passes each answer on as it came, and keeps none.
    plain: Pool,
    context: Arc<PoolContext>,
}

type Pool = NameServerPool<TokioRuntimeProvider>;

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The alias alone.
    Cname,
    /// Texts.
    Txt,
    /// The zone's name servers.
    Ns,
    /// What its parent says of its keys.
    Ds,
    /// The zone's own record, which stands at its apex.
    Soa,
}

/// Whom to ask, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asking {
    /// The resolvers.
    Resolver,
    /// The resolvers, which shall not check signatures (the CD bit, RFC 4035 §3.2.2).
    Unchecked,
    /// This server, for what it knows by itself.
    Server(SocketAddr),
}

/// An answer as a server gave it; nothing in it: there are no such records.
///
/// Names are lower-case, without a trailing dot.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    /// CNAME records.
    pub aliases: Vec<Alias>,
    /// A and AAAA records.
    pub addresses: Vec<Address>,
    /// TXT records, each with its strings put together, and for how many seconds it may be kept.
    pub texts: Vec<(String, u32)>,
    /// NS records: the zone and the name of a server.
    pub servers: Vec<(String, String)>,
    /// The name of an SOA record: the apex of a zone.
    pub apex: Option<String>,
    /// There are DS records: the zone has to be signed.
    pub secured: bool,
    /// Seconds that the absence of records may be kept (RFC 2308 §5).
    pub absent_for: Option<u32>,
}

/// A CNAME record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alias {
    /// Whose.
    pub name: String,
    /// What it leads to.
    pub target: String,
    /// Seconds.
    pub ttl: u32,
}

/// An A or AAAA record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// Whose.
    pub name: String,
    /// The address.
    pub ip: IpAddr,
    /// Seconds.
    pub ttl: u32,
}

/// Why there was no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unanswered {
    /// The resolver could not find out: SERVFAIL.
    #[error("the resolver failed to look it up (SERVFAIL)")]
    Failed,
    /// No server answered, or not as a server should.
    #[error("{0}")]
    Silent(LookupFailed),
}

impl From<Unanswered> for LookupFailed {
    fn from(why: Unanswered) -> Self {
        Self(why.to_string())
    }
}

impl Resolver {
    /// With the `servers` given; with the system's where there are none. Waits as little as an
    /// order does.
    ///
    /// Fails where the system's cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, LookupFailed> {
        Self::trying_for(TRY, servers)
    }

    /// The same, with the patience of a person. Where the system's servers cannot be read, the one on
    /// this machine is asked, as libc does it: whoever looks must not keep a process from starting.
    pub fn patient(servers: &[SocketAddr]) -> Result<Self, LookupFailed> {
        let own = [SocketAddr::from(([127, 0, 0, 1], DNS_PORT))];
        Self::trying_for(PATIENT_TRY, servers).or_else(|_| Self::trying_for(PATIENT_TRY, &own))
    }

    fn trying_for(patience: Duration, servers: &[SocketAddr]) -> Result<Self, LookupFailed> {
        let (config, mut options) = if servers.is_empty() {
            read_system_conf().map_err(|error| failed(&error))?
        } else {
            let servers = servers.iter().map(server).collect();
            (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
        };
        options.timeout = patience;
        options.attempts = 1;
        // What this machine says of a name in a file of its own says nothing about DNS.
        options.use_hosts_file = ResolveHosts::Never;
        options.positive_max_ttl = Some(KEPT);
        options.negative_max_ttl = Some(KEPT);
        let tls = TlsConfig::new().map_err(|error| failed(&error))?;
        let context = Arc::new(PoolContext::new(options.clone(), tls));
        let runtime = TokioRuntimeProvider::default();
        let plain = Pool::from_config(config.name_servers.clone(), context.clone(), runtime.clone());
        let mut builder = TokioResolver::builder_with_config(config, runtime);
        *builder.options_mut() = options;
        let following = builder.build().map_err(|error| failed(&error))?;
        Ok(Self { following, plain, context })
    }

    /// The A records of `name`, aliases followed.
    pub async fn ipv4(&self, name: &str) -> Result<Vec<IpAddr>, LookupFailed> {
        self.addresses(name, RecordType::A).await
    }

    /// The AAAA records of `name`, aliases followed.
    pub async fn ipv6(&self, name: &str) -> Result<Vec<IpAddr>, LookupFailed> {
        self.addresses(name, RecordType::AAAA).await
    }

    /// The CAA records of exactly this name, aliases followed.
    pub async fn caa(&self, name: &str) -> Result<Vec<Caa>, LookupFailed> {
        let found = self.look_up(name, RecordType::CAA).await?;
        let records = found.iter().flat_map(Lookup::answers).filter_map(|record| match &record.data {
            RData::CAA(caa) => Some(Caa {
                critical: caa.issuer_critical,
                tag: caa.tag.to_ascii_lowercase(),
                value: String::from_utf8_lossy(&caa.value).into_owned(),
            }),
            _ => None,
        });
        Ok(records.collect())
    }

    /// One question and its answer as it comes; nothing is kept, no alias followed.
    pub async fn ask(&self, asking: Asking, name: &str, kind: Kind) -> Result<Answer, Unanswered> {
        let name = fully_qualified(name).map_err(Unanswered::Silent)?;
        let mut options = DnsRequestOptions::default();
        options.recursion_desired = !matches!(asking, Asking::Server(_));
        let mut request = DnsRequest::from_query(Query::query(name, kind.into()), options);
        request.metadata.checking_disabled = asking == Asking::Unchecked;
        let answer = match asking {
            Asking::Resolver | Asking::Unchecked => self.plain.send(request).first_answer().await,
            Asking::Server(address) => {
                let runtime = TokioRuntimeProvider::default();
                let pool = Pool::from_config([server(&address)], self.context.clone(), runtime);
                pool.send(request).first_answer().await
            }
        };
        match answer {
            Ok(found) => Ok(Answer::read(&found.answers, found.negative_ttl())),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Ok(Answer::read(&[], none.negative_ttl)),
            Err(NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail))) => Err(Unanswered::Failed),
            Err(error) => Err(Unanswered::Silent(failed(&error))),
        }
    }

    async fn addresses(&self, name: &str, kind: RecordType) -> Result<Vec<IpAddr>, LookupFailed> {
        let found = self.look_up(name, kind).await?;
        let addresses = found.iter().flat_map(Lookup::answers).filter_map(|record| record.data.ip_addr());
        Ok(addresses.collect())
    }

    /// `None`: there are no such records, as a server said.
    async fn look_up(&self, name: &str, kind: RecordType) -> Result<Option<Lookup>, LookupFailed> {
        match self.following.lookup(fully_qualified(name)?, kind).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_no_records_found() => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }
}

impl From<Kind> for RecordType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::A => Self::A,
            Kind::Aaaa => Self::AAAA,
            Kind::Cname => Self::CNAME,
            Kind::Txt => Self::TXT,
            Kind::Ns => Self::NS,
            Kind::Ds => Self::DS,
            Kind::Soa => Self::SOA,
        }
    }
}

impl Answer {
    fn read(records: &[Record], absent_for: Option<u32>) -> Self {
        let mut answer = Self { absent_for, ..Self::default() };
        for record in records {
            let (name, ttl) = (text(&record.name), record.ttl);
            match &record.data {
                RData::CNAME(target) => answer.aliases.push(Alias { name, target: text(target), ttl }),
                RData::TXT(txt) => {
                    let whole = txt.txt_data.concat();
                    answer.texts.push((String::from_utf8_lossy(&whole).into_owned(), ttl));
                }
                RData::NS(host) => answer.servers.push((name, text(host))),
                RData::SOA(_) => answer.apex = Some(name),
                _ if record.record_type() == RecordType::DS => answer.secured = true,
                other => {
                    let address = other.ip_addr().map(|ip| Address { name, ip, ttl });
                    answer.addresses.extend(address);
                }
            }
        }
        answer
    }
}

/// Lower-case, without a trailing dot.
fn text(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    text.strip_suffix('.').map_or(text.clone(), str::to_owned)
}

fn fully_qualified(name: &str) -> Result<Name, LookupFailed> {
    let mut name = Name::from_ascii(name).map_err(|error| LookupFailed(error.to_string()))?;
    // Without it the search list would be tried.
    name.set_fqdn(true);
    Ok(name)
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    let connections = connections.into_iter().map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = connections.collect();
    server
}

fn failed(error: &NetError) -> LookupFailed {
    LookupFailed(error.to_string())
}
