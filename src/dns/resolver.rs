//! Asking DNS, by the configured resolvers or the system's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::{Caa, LookupFailed};

/// A server's time for one try.
const TRY: Duration = Duration::from_millis(400);
/// How long an answer is used again: a customer who corrects a record does not want to wait.
const KEPT: Duration = Duration::from_secs(5);

/// Asks.
pub struct Resolver(TokioResolver);

impl Resolver {
    /// With the `servers` given; with the system's where there are none.
    ///
    /// Fails where the system's cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, LookupFailed> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| failed(&error))?
        } else {
            let servers = servers.iter().map(server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = TRY;
        options.attempts = 1;
        // What this machine says of a name in a file of its own says nothing about DNS.
        options.use_hosts_file = ResolveHosts::Never;
        options.positive_max_ttl = Some(KEPT);
        options.negative_max_ttl = Some(KEPT);
        builder.build().map(Self).map_err(|error| failed(&error))
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

    async fn addresses(&self, name: &str, kind: RecordType) -> Result<Vec<IpAddr>, LookupFailed> {
        let found = self.look_up(name, kind).await?;
        let addresses = found.iter().flat_map(Lookup::answers).filter_map(|record| record.data.ip_addr());
        Ok(addresses.collect())
    }

    /// `None`: there are no such records, as a server said.
    async fn look_up(&self, name: &str, kind: RecordType) -> Result<Option<Lookup>, LookupFailed> {
        let mut name = Name::from_ascii(name).map_err(|error| LookupFailed(error.to_string()))?;
        // Without it the search list would be tried.
        name.set_fqdn(true);
        match self.0.lookup(name, kind).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_no_records_found() => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }
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
