//! Certificates as they are shown, without their keys.

use async_trait::async_trait;

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::Error;
use crate::store::read::certificates::facts;
use crate::store::records::{CertificateFacts, Certificates, ENDS_COUNTED};

async fn find(database: &Database, name: &CertificateName) -> Result<Option<CertificateFacts>, Fault> {
    let row = sqlx::query(
        "SELECT name, source, key_type, not_before, not_after, renew_at, parked FROM certificates
         WHERE name = $1 AND NOT withheld",
    )
    .bind(name.as_str())
    .fetch_optional(&database.pool)
    .await?;
    row.map(|row| facts(&row)).transpose()
}

async fn after(
    database: &Database,
    reach: &Reach,
    after: &str,
    limit: u32,
) -> Result<Vec<CertificateFacts>, Fault> {
    let query = match reach.organization() {
        None => sqlx::query(
            "SELECT name, source, key_type, not_before, not_after, renew_at, parked FROM certificates
             WHERE name > $1 AND NOT withheld ORDER BY name LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit)),
        // Its own names in their order, and of each its certificate: OFFSET keeps the two from being joined
        // in another way.
        Some(organization) => sqlx::query(
            "SELECT c.name, c.source, c.key_type, c.not_before, c.not_after, c.renew_at, c.parked
             FROM hostnames h
             CROSS JOIN LATERAL (SELECT * FROM certificates
                                 WHERE certificates.name = h.name AND NOT withheld OFFSET 0) AS c
             WHERE h.organization = $3 AND h.name > $1 AND h.holder
             ORDER BY h.name LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .bind(organization.as_str()),
    };
    query.fetch_all(&database.pool).await?.iter().map(facts).collect()
}

async fn count_ends(database: &Database, reach: &Reach, edges: &[UnixTime]) -> Result<Vec<u64>, Fault> {
    let begins = std::iter::once(i64::MIN).chain(edges.iter().map(|edge| edge.0));
    let begins: Vec<i64> = begins.collect();
    let ends: Vec<i64> = edges.iter().map(|edge| edge.0).chain([i64::MAX]).collect();
    let query = match reach.organization() {
        None => sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM (
                     SELECT 1 FROM certificates
                     WHERE not_after > edge.begins AND not_after <= edge.ends AND NOT withheld LIMIT $3) AS within)
             FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS edge (begins, ends, place)
             ORDER BY edge.place",
        )
        .bind(begins)
        .bind(ends)
        .bind(i64::from(ENDS_COUNTED)),
        Some(organization) => sqlx::query_scalar(
            "WITH ending AS MATERIALIZED (
                 SELECT c.not_after FROM (
                     SELECT name FROM hostnames WHERE organization = $4 ORDER BY name LIMIT $3) AS h
                 CROSS JOIN LATERAL (SELECT not_after FROM certificates
                                     WHERE certificates.name = h.name AND NOT withheld OFFSET 0) AS c
             )
             SELECT (SELECT count(*) FROM ending WHERE not_after > edge.begins AND not_after <= edge.ends)
             FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS edge (begins, ends, place)
             ORDER BY edge.place",
        )
        .bind(begins)
        .bind(ends)
        .bind(i64::from(ENDS_COUNTED))
        .bind(organization.as_str()),
    };
    let counts: Vec<i64> = query.fetch_all(&database.pool).await?;
    Ok(counts.into_iter().map(i64::unsigned_abs).collect())
}

#[async_trait]
impl Certificates for PostgresStore {
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
