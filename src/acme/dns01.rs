//! DNS-01 (RFC 8555 §8.4): a TXT record in the zone that the aliases of `_acme-challenge` lead to.
//!
//! A record is kept in the store before it is written, so that it is removed also where the process
//! that wrote it ends in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::dns::propagation::{apex, follow, seen};
use crate::dns::resolver::Resolver;
use crate::dns::write::{TxtRecord, Writer};
use crate::dns::{LookupFailed, WriteFailed};
use crate::domain::hostname::CertificateName;
use crate::store::{Error, Store, WrittenRecord};
use crate::telemetry::metrics::Metrics;

use super::Cause;

/// How often records are looked for that somebody left behind.
const TIDY: Duration = Duration::from_secs(30);
/// Records that are removed in one go.
const BATCH: u32 = 100;

/// All zones that records can be written in.
pub struct Dns01 {
    /// Each with the domain of its platform, where it is one's.
    writers: Vec<(Arc<Writer>, bool)>,
    resolver: Resolver,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
}

/// Where the record for a name is written, and by which access.
pub struct Road {
    writer: Arc<Writer>,
    owner: String,
    /// The name is a platform's, for which nothing but DNS-01 is tried.
    pub only: bool,
}

impl Road {
    /// How long the record may take to be seen.
    pub fn patience(&self) -> Duration {
        self.writer.propagation_timeout()
    }
}

impl Dns01 {
    /// With the zones of `config`; `None` where it has none. Asks nobody yet.
    ///
    /// Fails where an access cannot be used, or the system's resolvers cannot be read.
    pub fn new(
        config: &Config,
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, WriteFailed> {
        let platforms =
            config.platforms.iter().filter_map(|platform| platform.dns()).map(|zone| (zone, true));
        let zones = platforms.chain(config.dns_zones.iter().map(|zone| (zone, false)));
        let writer = |(zone, only)| Ok((Arc::new(Writer::new(zone)?), only));
        let writers = zones.map(writer).collect::<Result<Vec<_>, WriteFailed>>()?;
        if writers.is_empty() {
            return Ok(None);
        }
        let resolver = Resolver::patient(&config.dns.resolvers)
            .map_err(|LookupFailed(why)| WriteFailed::NoResolver { why })?;
        Ok(Some(Arc::new(Self { writers, resolver, store, metrics })))
    }

    /// Where the record for `name` is to be written; `None` where no access leads there.
    ///
    /// Fails where the aliases cannot be looked up, unless the name itself lies in one of the zones.
    pub async fn road(&self, name: &CertificateName) -> Result<Option<Road>, LookupFailed> {
        let own = format!("_acme-challenge.{}", name.bare());
        let access = self.closest(&own);
        let owner = match (follow(&self.resolver, &own).await, access) {
            (Ok(owner), _) => owner,
            // Its zone may be one that the resolvers do not know.
            (Err(LookupFailed(why)), Some(_)) => {
                tracing::debug!(%name, why, "the aliases of its challenge are not known; it is taken to have none");
                own
            }
            (Err(error), None) => return Err(error),
        };
        let only = access.is_some_and(|(_, only)| *only);
        // An alias into a zone without an access of its own may lie within reach of the name's own one.
        let found = self.closest(&owner).or(access.filter(|_| only));
        Ok(found.map(|(writer, _)| Road { writer: writer.clone(), owner, only }))
    }

    fn closest(&self, owner: &str) -> Option<&(Arc<Writer>, bool)> {
        let covering = self.writers.iter().filter(|(writer, _)| writer.covers(owner));
        covering.max_by_key(|(writer, _)| writer.zone().as_str().len())
    }

    /// Writes the record of `value` for `name`, and waits until the name servers show it.
    ///
    /// It is removed with the value that is returned, also when that is dropped.
    pub async fn write(
        self: &Arc<Self>,
        name: &CertificateName,
        road: &Road,
        value: String,
    ) -> Result<Written, Cause> {
        let (owner, writer) = (road.owner.clone(), road.writer.clone());
        let apex = match apex(&self.resolver, writer.primary(), &owner).await {
            Ok(apex) => apex,
            Err(LookupFailed(why)) => {
                let apex = writer.zone().to_string();
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
            zone: writer.zone().to_string(),
            owner: record.owner.clone(),
            value: record.value.clone(),
        };
        self.store.keep_record(&kept).await?;
        // From here on a caller that goes away has it removed too.
        let written = Written { dns01: self.clone(), writer, record, kept, removed: false };
        let begun = Instant::now();
        let outcome = async {
            self.counted("write", written.writer.present(&written.record).await)?;
            seen(&self.resolver, &written.writer, &written.record).await
        };
        match outcome.await {
            Ok(()) => {
                self.metrics.dns_propagation_seconds.observe(begun.elapsed().as_secs_f64());
                Ok(written)
            }
            Err(why) => {
                written.remove().await;
                Err(Cause::Record(why))
            }
        }
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
            let Some((writer, _)) =
                self.writers.iter().find(|(writer, _)| writer.zone().as_str() == left.zone)
            else {
                tracing::warn!(
                    owner = left.owner,
                    value = left.value,
                    zone = left.zone,
                    "a TXT record was left behind, and the access to its zone is not configured any more; remove it by hand"
                );
                self.store.forget_record(&left).await?;
                continue;
            };
            let apex = apex(&self.resolver, writer.primary(), &left.owner).await;
            let apex = apex.unwrap_or_else(|_unknown| writer.zone().to_string());
            let record = TxtRecord { apex, owner: left.owner.clone(), value: left.value.clone() };
            if self.removed(writer, &record).await {
                tracing::info!(owner = left.owner, "a TXT record that was left behind is removed");
                self.store.forget_record(&left).await?;
            }
        }
        Ok(())
    }

    /// Removes `record`; whether that went well.
    async fn removed(&self, writer: &Writer, record: &TxtRecord) -> bool {
        match self.counted("remove", writer.clean_up(record).await) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "a TXT record stays for now; its removal is tried again");
                false
            }
        }
    }

    fn counted<T>(&self, change: &str, outcome: Result<T, WriteFailed>) -> Result<T, WriteFailed> {
        let result = if outcome.is_ok() { "ok" } else { "error" };
        self.metrics.dns_records.with_label_values(&[change, result]).inc();
        outcome
    }
}

/// A record that stands; dropping it has it removed.
#[must_use = "dropping it has the record removed"]
pub struct Written {
    dns01: Arc<Dns01>,
    writer: Arc<Writer>,
    record: TxtRecord,
    kept: WrittenRecord,
    removed: bool,
}

impl Written {
    /// Removes it. What cannot be removed now is tried again by [`Dns01::tidy`].
    pub async fn remove(mut self) {
        self.removed = true;
        remove(&self.dns01, &self.writer, &self.record, &self.kept).await;
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        // Outside a runtime the process is stopping; whoever comes next removes it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (dns01, writer) = (self.dns01.clone(), self.writer.clone());
        let (record, kept) = (self.record.clone(), self.kept.clone());
        runtime.spawn(async move { remove(&dns01, &writer, &record, &kept).await });
    }
}

async fn remove(dns01: &Dns01, writer: &Writer, record: &TxtRecord, kept: &WrittenRecord) {
    if dns01.removed(writer, record).await
        && let Err(error) = dns01.store.forget_record(kept).await
    {
        tracing::warn!(
            owner = record.owner,
            error = &error as &dyn std::error::Error,
            "that a TXT record was removed could not be kept; it is removed once more"
        );
    }
}
