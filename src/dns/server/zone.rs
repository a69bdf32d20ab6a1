//! What the zone has: what the configuration says of it, and where the labels of hostnames are.

use std::net::IpAddr;
use std::time::Duration;

use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::rdata::{A, AAAA, HINFO, NS, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};

use crate::config::DnsServer;
use crate::dns::delegation;
use crate::domain::hostname::Hostname;

/// Nobody copies the zone, so that its version says nothing.
const SERIAL: u32 = 1;
/// How often copies would be compared, and again after a failure, and how long they would count
/// (RFC 1912 §2.2).
const COPIES: [i32; 3] = [3_600, 600, 1_209_600];

/// The zone.
#[derive(Debug)]
pub struct Zone {
    name: Hostname,
    soa: Record,
    /// The same as it stands beside an answer that there is nothing.
    absent: Record,
    servers: Vec<Record>,
    /// Name servers in the zone: their labels below it, as they stand in a name.
    hosts: Vec<Vec<Vec<u8>>>,
    addresses: Vec<IpAddr>,
    ttl: u32,
}

/// Where in the zone a name is.
#[derive(Debug, Eq, PartialEq)]
pub enum Place {
    /// Outside.
    Elsewhere,
    /// The zone's own name.
    Apex,
    /// A name server that lies in it.
    Host,
    /// Nothing but names below it.
    Between,
    /// What may be a hostname's label.
    Label(String),
    /// Nothing.
    Nowhere,
}

impl Zone {
    /// As `config` says.
    pub fn new(config: &DnsServer) -> Result<Self, ProtoError> {
        let apex = absolute(&config.zone)?;
        let (local, domain) = &config.hostmaster;
        let primary = config.name_servers.first().unwrap_or(&config.zone);
        let mailbox = Name::from_labels([local.as_bytes()])?.append_domain(&absolute(domain)?)?;
        let [refresh, retry, expire] = COPIES;
        let soa = SOA::new(
            absolute(primary)?,
            mailbox,
            SERIAL,
            refresh,
            retry,
            expire,
            seconds(delegation::ABSENT_FOR),
        );
        let (soa, ttl) = (RData::SOA(soa), seconds(config.ttl));
        let server =
            |server: &Hostname| Ok(Record::from_rdata(apex.clone(), ttl, RData::NS(NS(absolute(server)?))));
        let servers: Result<_, ProtoError> = config.name_servers.iter().map(server).collect();
        let host = |server: &Hostname| {
            let below = server.as_str().strip_suffix(config.zone.as_str())?.strip_suffix('.')?;
            Some(below.split('.').map(|label| label.as_bytes().to_vec()).collect())
        };
        Ok(Self {
            name: config.zone.clone(),
            absent: Record::from_rdata(apex.clone(), seconds(delegation::ABSENT_FOR), soa.clone()),
            soa: Record::from_rdata(apex.clone(), ttl, soa),
            servers: servers?,
            hosts: config.name_servers.iter().filter_map(host).collect(),
            addresses: config.addresses.clone(),
            ttl,
        })
    }

    /// Where `name` is, whatever its case.
    pub fn place(&self, name: &Name) -> Place {
        let labels: Vec<Vec<u8>> = name.iter().map(<[u8]>::to_ascii_lowercase).collect();
        let apex = self.name.as_str().split('.').map(str::as_bytes);
        let Some(depth) = labels.len().checked_sub(apex.clone().count()) else { return Place::Elsewhere };
        let (below, above) = labels.split_at(depth);
        if !apex.eq(above.iter().map(Vec::as_slice)) {
            return Place::Elsewhere;
        }
        match below {
            [] => Place::Apex,
            _ if self.hosts.iter().any(|host| host == below) => Place::Host,
            _ if self.hosts.iter().any(|host| host.ends_with(below)) => Place::Between,
            [label] if delegation::is_label(label) => {
                Place::Label(String::from_utf8_lossy(label).into_owned())
            }
            _ => Place::Nowhere,
        }
    }

    /// The key of what is published for `label`.
    pub fn owner(&self, label: &str) -> String {
        delegation::target(label, &self.name)
    }

    /// The zone's own records of a type.
    pub fn at_apex(&self, kind: RecordType) -> Vec<Record> {
        match kind {
            RecordType::SOA => vec![self.soa.clone()],
            RecordType::NS => self.servers.clone(),
            _ => Vec::new(),
        }
    }

    /// The addresses of a name server that lies in the zone, which is called `name`.
    pub fn addresses(&self, name: &Name, kind: RecordType) -> Vec<Record> {
        let data = self.addresses.iter().filter_map(|ip| match (ip, kind) {
            (IpAddr::V4(ip), RecordType::A) => Some(RData::A(A(*ip))),
            (IpAddr::V6(ip), RecordType::AAAA) => Some(RData::AAAA(AAAA(*ip))),
            _ => None,
        });
        data.map(|data| Record::from_rdata(name.clone(), self.ttl, data)).collect()
    }

    /// The addresses of all name servers that lie in the zone, to stand beside their names.
    pub fn beside_servers(&self) -> Vec<Record> {
        let names = self.servers.iter().filter_map(|record| match &record.data {
            RData::NS(NS(name)) if self.place(name) == Place::Host => Some(name),
            _ => None,
        });
        let both = [RecordType::A, RecordType::AAAA];
        names.flat_map(|name| both.into_iter().flat_map(|kind| self.addresses(name, kind))).collect()
    }

    /// What says for how long there is nothing (RFC 2308 §3).
    pub fn absent(&self) -> Record {
        self.absent.clone()
    }
}

/// The TXT records of `values` under `name`.
pub fn texts(name: &Name, values: &[String]) -> Vec<Record> {
    let ttl = seconds(delegation::ANSWER_FOR);
    let record = |value: &String| {
        // A character-string has at most 255 octets (RFC 1035 §3.3).
        let parts = value.as_bytes().chunks(255).collect();
        Record::from_rdata(name.clone(), ttl, RData::TXT(TXT::from_bytes(parts)))
    };
    values.iter().map(record).collect()
}

/// What is said to whoever asks for everything (RFC 8482 §4.2).
pub fn not_everything(name: &Name) -> Record {
    let ttl = seconds(delegation::ABSENT_FOR);
    Record::from_rdata(name.clone(), ttl, RData::HINFO(HINFO::new("RFC8482".into(), String::new())))
}

fn absolute(hostname: &Hostname) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(hostname.as_str())?;
    name.set_fqdn(true);
    Ok(name)
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
