//! Certificates as they are shown, without their keys.

use async_trait::async_trait;

use super::SqliteStore;
use super::database::{Database, Fault, Operation};
use super::registry::covered;
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::Error;
use crate::store::read::certificates::facts;
use crate::store::records::{CertificateFacts, Certificates, ENDS_COUNTED};

async fn find(database: &Database, name: &CertificateName) -> Result<Option<CertificateFacts>, Fault> {
    let row = sqlx::query(
        "SELECT name, source, key_type, not_before, not_after, renew_at, parked FROM certificates
         WHERE name = ?1 AND withheld = 0",
    )
    .bind(name.as_str())
    .fetch_optional(&database.readers)
    .await?;
    row.map(|row| facts(&row)).transpose()
}

async fn after(
    database: &Database,
    reach: &Reach,
    after: &str,
    limit: u32,
) -> Result<Vec<CertificateFacts>, Fault> {
    let query = match reach {
        Reach::All => sqlx::query(
            "SELECT name, source, key_type, not_before, not_after, renew_at, parked FROM certificates
             WHERE name > ?1 AND withheld = 0 AND ?3 IS NULL ORDER BY name LIMIT ?2",
        ),
        Reach::Organization(_) => sqlx::query(
            "SELECT c.name, c.source, c.key_type, c.not_before, c.not_after, c.renew_at, c.parked
             FROM hostnames h CROSS JOIN certificates c ON c.name = h.name
             WHERE h.organization = ?3 AND h.name > ?1 AND h.holder = 1 AND c.withheld = 0
             ORDER BY h.name LIMIT ?2",
        ),
    };
    let rows = query.bind(after).bind(limit).bind(covered(reach)).fetch_all(&database.readers).await?;
    rows.iter().map(facts).collect()
}

async fn count_ends(database: &Database, reach: &Reach, edges: &[UnixTime]) -> Result<Vec<u64>, Fault> {
    let begins = std::iter::once(i64::MIN).chain(edges.iter().map(|edge| edge.0));
    let ends = edges.iter().map(|edge| edge.0).chain([i64::MAX]);
    let mut counts = Vec::new();
    for (begin, end) in begins.zip(ends) {
        // Each names the index that has all it reads, so that no certificate is.
        let query = match reach {
            Reach::All => sqlx::query_scalar(
                "SELECT count(*) FROM (
                     SELECT 1 FROM certificates INDEXED BY certificates_in_use_by_end
                     WHERE not_after > ?1 AND not_after <= ?2 AND withheld = 0 AND ?4 IS NULL LIMIT ?3)",
            ),
            Reach::Organization(_) => sqlx::query_scalar(
                "SELECT count(*) FROM (
                     SELECT name FROM hostnames INDEXED BY hostnames_by_organization
                     WHERE organization = ?4 ORDER BY name LIMIT ?3) h
                 CROSS JOIN certificates c INDEXED BY certificates_in_use_by_name
                     ON c.name = h.name AND c.not_after > ?1 AND c.not_after <= ?2 AND c.withheld = 0",
            ),
        };
        let query = query.bind(begin).bind(end).bind(ENDS_COUNTED).bind(covered(reach));
        let count: i64 = query.fetch_one(&database.readers).await?;
        counts.push(count.unsigned_abs());
    }
    Ok(counts)
}

#[async_trait]
impl Certificates for SqliteStore {
    async fn certificate_facts(&self, name: &CertificateName) -> Result<Option<CertificateFacts>, Error> {
        let operation = Operation { label: "certificate_facts", doing: "look a certificate's facts up" };
        self.database.timed(operation, find(&self.database, name)).await
    }

    async fn certificates_after(
        &self,
        reach: &Reach,
        name: &str,
        limit: u32,
    ) -> Result<Vec<CertificateFacts>, Error> {
        let operation = Operation { label: "certificates_after", doing: "list certificates" };
        self.database.timed(operation, after(&self.database, reach, name, limit)).await
    }

    async fn count_ends(&self, reach: &Reach, edges: &[UnixTime]) -> Result<Vec<u64>, Error> {
        let operation = Operation { label: "count_ends", doing: "count certificates by their end" };
        self.database.timed(operation, count_ends(&self.database, reach, edges)).await
    }
}
