//! DNS-01 (RFC 8555 §8.4): a TXT record in the zone that the aliases of `_acme-challenge` lead to, which
//! may be the one that we answer for ourselves.
//!
//! A record elsewhere is kept in the store before it is written, so that it is removed also where the process
//! that wrote it ends in between.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Cause;
use super::challenge::{Challenges, Published};
use super::zone::Zone;
use crate::config::Config;
use crate::dns::delegation::{self, STORE_FOR};
use crate::dns::propagation::{apex, follow, seen};
use crate::dns::resolver::Resolver;
use crate::dns::write::{TxtRecord, Writer};
use crate::dns::{LookupFailed, WriteFailed};
use crate::domain::hostname::{CertificateName, Hostname};
use crate::store::records::Hostnames;
use crate::store::{ChallengeKind, Error, Store, WrittenRecord};
use crate::telemetry::metrics::Metrics;

/// How often records are looked for that somebody left behind.
const TIDY: Duration = Duration::from_secs(30);
/// Records that are removed in one go.
const BATCH: u32 = 10;

/// All zones that records can stand in.
pub struct Dns01 {
    zones: Vec<Arc<Zone>>,
    own: Option<Own>,
    resolver: Resolver,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    /// Owner and value of records whose removal is under way here: it may wait for its turn at the zone.
    going: Mutex<HashSet<(String, String)>>,
}

/// The zone that we answer for ourselves.
struct Own {
    zone: Hostname,
    challenges: Arc<Challenges>,
    hostnames: Arc<dyn Hostnames>,
    /// Of names that nobody has listed yet.
    organization: Arc<str>,
}

/// Where the record for a name is to stand.
pub struct Road {
    owner: String,
    way: Way,
}

enum Way {
    /// In the zone that we answer for ourselves.
    Own,
    /// It is written by this access.
    Zone { zone: Arc<Zone>, of_a_platform: bool },
}

impl Road {
    /// How long the record may take to be seen.
    pub fn patience(&self) -> Duration {
        match &self.way {
            Way::Own => STORE_FOR,
            Way::Zone { zone, .. } => zone.writer.propagation_timeout(),
        }
    }

    /// Whether the name is a platform's, for which nothing but DNS-01 is tried.
    pub fn is_of_a_platform(&self) -> bool {
        matches!(self.way, Way::Zone { of_a_platform: true, .. })
    }
}

/// A record that stands; dropping it has it removed.
#[must_use = "dropping it has the record removed"]
pub enum Shown {
    /// In the zone that we answer for ourselves.
    Own(Published),
    /// At somebody's name servers.
    Written(Written),
}

impl Shown {
    /// Removes it. At somebody's name servers that may take its time and wait for its turn, so it is begun.
    pub async fn remove(self) {
        match self {
            Self::Own(published) => published.withdraw().await,
            Self::Written(written) => drop(written),
        }
    }
}

impl Dns01 {
    /// With the zones of `config`; `None` where it has none. Asks nobody yet.
    ///
    /// - `hostnames`: says whose a hostname is, as the zone that we answer for ourselves has a label for
    ///   each owner
    ///
    /// Fails where an access cannot be used, or the system's resolvers cannot be read.
    pub fn new(
        config: &Config,
        store: Arc<dyn Store>,
        hostnames: Arc<dyn Hostnames>,
        challenges: Arc<Challenges>,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, WriteFailed> {
        let platforms =
            config.platforms.iter().filter_map(|platform| platform.dns()).map(|zone| (zone, true));
        let zones = platforms.chain(config.dns_zones.iter().map(|zone| (zone, false)));
        let zone =
            |(zone, of_a_platform)| Ok(Arc::new(Zone::new(Writer::new(zone)?, of_a_platform, store.clone())));
        let zones = zones.map(zone).collect::<Result<Vec<_>, WriteFailed>>()?;
        let own = config.dns_server.as_ref().map(|server| Own {
            zone: server.zone.clone(),
            challenges,
            hostnames,
            organization: organization_on_demand(config),
        });
        if zones.is_empty() && own.is_none() {
            return Ok(None);
        }
        let resolver = Resolver::patient(&config.dns.resolvers)
            .map_err(|LookupFailed(why)| WriteFailed::NoResolver { why })?;
        Ok(Some(Arc::new(Self { zones, own, resolver, store, metrics, going: Mutex::default() })))
    }

    /// Where the record for `name` is to stand; `None` where no access leads there.
    ///
    /// Fails where the aliases cannot be looked up, unless the name itself lies in one of the zones;
    /// and where the store cannot say whose the name is.
    pub async fn road(&self, name: &CertificateName) -> Result<Option<Road>, Cause> {
        let challenge = delegation::owner(name);
        let access = self.closest(&challenge);
        let own = |at: &str| self.own.as_ref().is_some_and(|own| own.zone.contains(at));
        let owner = match (follow(&self.resolver, &challenge, own).await, access) {
            (Ok(owner), _) => owner,
            // Its zone may be one that the resolvers do not know.
            (Err(LookupFailed(why)), Some(_)) => {
                tracing::debug!(%name, why, "the aliases of its challenge are not known; it is taken to have none");
                challenge
            }
            (Err(error), None) => return Err(error.into()),
        };
        if let Some(own) = self.own.as_ref().filter(|own| own.zone.contains(&owner)) {
            let right = own.target(name).await? == owner;
            if !right {
                tracing::debug!(%name, owner, "its challenge is an alias of another organization's label");
            }
            return Ok(right.then_some(Road { owner, way: Way::Own }));
        }
        let of_a_platform = access.is_some_and(|zone| zone.of_a_platform);
        // An alias into a zone without an access of its own may lie within reach of the platform's.
        let found = self.closest(&owner).or(access.filter(|_| of_a_platform));
        Ok(found.map(|zone| Road { owner, way: Way::Zone { zone: zone.clone(), of_a_platform } }))
    }

    fn closest(&self, owner: &str) -> Option<&Arc<Zone>> {
        let covering = self.zones.iter().filter(|zone| zone.writer.covers(owner));
        covering.max_by_key(|zone| zone.writer.zone().as_str().len())
    }

    /// Has the record of `value` for `name` stand, and waits until the name servers show it.
    ///
    /// - `lifetime`: how long it stands at most in the zone that we answer for ourselves
    ///
    /// It is removed with the value that is returned, also when that is dropped.
    pub async fn show(
        self: &Arc<Self>,
        name: &CertificateName,
        road: &Road,
        value: String,
        lifetime: Duration,
    ) -> Result<Shown, Cause> {
        let owner = road.owner.clone();
        match (&road.way, &self.own) {
            (Way::Zone { zone, .. }, _) => {
                Ok(Shown::Written(self.write(name, zone.clone(), owner, value).await?))
            }
            (Way::Own, Some(own)) => {
                let published = own.challenges.publish(ChallengeKind::Dns01, owner, value, lifetime).await?;
                // Another machine may have just seen that nothing is there.
                tokio::time::sleep(STORE_FOR).await;
                Ok(Shown::Own(published))
            }
            (Way::Own, None) => Err(Cause::NoRoad { bare: name.bare().to_owned() }),
        }
    }

    async fn write(
        self: &Arc<Self>,
        name: &CertificateName,
        zone: Arc<Zone>,
        owner: String,
        value: String,
    ) -> Result<Written, Cause> {
        let apex = match apex(&self.resolver, zone.writer.primary(), &owner).await {
            Ok(apex) => apex,
            Err(LookupFailed(why)) => {
                let apex = zone.writer.zone().to_string();
                tracing::debug!(
                    owner,
                    why,
                    apex,
                    "its zone could not be looked up; it is taken to be the configured one"
                );
                apex
            }
        };
        let record = TxtRecord { apex, owner, value };
        let kept = WrittenRecord {
            name: name.clone(),
            zone: zone.writer.zone().to_string(),
            owner: record.owner.clone(),
            value: record.value.clone(),
        };
        self.store.keep_record(&kept).await?;
        // From here on it is removed too where that fails, or the caller goes away.
        let written = Written { dns01: self.clone(), zone, record, kept };
        let begun = Instant::now();
        self.counted("write", written.zone.present(&written.record).await)?;
        seen(&self.resolver, &written.zone.writer, &written.record).await?;
        self.metrics.dns_propagation_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(written)
    }

    /// Removes what was left behind by processes that ended, for ever.
    pub async fn tidy(self: Arc<Self>) {
        loop {
            if let Err(error) = self.tidy_once().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "TXT records that were left behind could not be looked for; trying again"
                );
            }
            tokio::time::sleep(TIDY).await;
        }
    }

    async fn tidy_once(&self) -> Result<(), Error> {
        for left in self.store.abandoned_records(BATCH).await? {
            let Some(_going) = self.going(&left) else { continue };
            let Some(zone) = self.zones.iter().find(|zone| zone.writer.zone().as_str() == left.zone) else {
                tracing::warn!(
                    owner = left.owner,
                    value = left.value,
                    zone = left.zone,
                    "a TXT record was left behind, and the access to its zone is not configured any more; remove it by hand"
                );
                self.store.forget_record(&left).await?;
                continue;
            };
            let apex = apex(&self.resolver, zone.writer.primary(), &left.owner).await;
            let apex = apex.unwrap_or_else(|_unknown| zone.writer.zone().to_string());
            let record = TxtRecord { apex, owner: left.owner.clone(), value: left.value.clone() };
            if self.removed(zone, &record).await {
                tracing::info!(owner = left.owner, "a TXT record that was left behind is removed");
                self.store.forget_record(&left).await?;
            }
        }
        Ok(())
    }

    /// Marks the removal of a record as under way, until that is dropped; `None` where it is already.
    fn going(&self, record: &WrittenRecord) -> Option<Going<'_>> {
        let key = (record.owner.clone(), record.value.clone());
        // Made only then: what is dropped takes the mark away.
        self.going.lock().insert(key.clone()).then(|| Going(self, key))
    }

    /// Removes `record`; whether that went well.
    async fn removed(&self, zone: &Zone, record: &TxtRecord) -> bool {
        match self.counted("remove", zone.clean_up(record).await) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a TXT record stays for now; its removal is tried again"
                );
                false
            }
        }
    }

    fn counted<T>(&self, change: &str, outcome: Result<T, Cause>) -> Result<T, Cause> {
        let result = if outcome.is_ok() { "ok" } else { "error" };
        self.metrics.dns_records.with_label_values(&[change, result]).inc();
        outcome
    }
}

impl Own {
    /// Where the answers for `name` stand.
    async fn target(&self, name: &CertificateName) -> Result<String, Error> {
        let holder = self.hostnames.holder(name).await?;
        let organization = match &holder {
            Some(holder) => holder.organization.as_str(),
            None => &self.organization,
        };
        Ok(delegation::target(&delegation::label(name, organization), &self.zone))
    }
}

/// The organization of names that are approved on demand.
fn organization_on_demand(config: &Config) -> Arc<str> {
    let site = config.sites.iter().find(|site| site.name == config.on_demand.site);
    site.map_or_else(|| "default".into(), |site| site.organization.clone())
}

/// A record at somebody's name servers; dropping it has it removed.
#[must_use = "dropping it has the record removed"]
pub struct Written {
    dns01: Arc<Dns01>,
    zone: Arc<Zone>,
    record: TxtRecord,
    kept: WrittenRecord,
}

impl Drop for Written {
    /// What cannot be removed now is tried again by [`Dns01::tidy`].
    fn drop(&mut self) {
        // Outside a runtime the process is stopping; whoever comes next removes it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (dns01, zone) = (self.dns01.clone(), self.zone.clone());
        let (record, kept) = (self.record.clone(), self.kept.clone());
        runtime.spawn(async move { remove(&dns01, &zone, &record, &kept).await });
    }
}

/// The removal of a record that is under way.
struct Going<'a>(&'a Dns01, (String, String));

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.0.going.lock().remove(&self.1);
    }
}

async fn remove(dns01: &Dns01, zone: &Zone, record: &TxtRecord, kept: &WrittenRecord) {
    let Some(_going) = dns01.going(kept) else { return };
    if dns01.removed(zone, record).await
        && let Err(error) = dns01.store.forget_record(kept).await
    {
        tracing::warn!(
            owner = record.owner,
            error = &error as &dyn std::error::Error,
            "that a TXT record was removed could not be kept; it is removed once more"
        );
    }
}
