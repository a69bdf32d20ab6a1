//! Certificates that organizations bring, as rows.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::json;
use sqlx::postgres::PgRow;

use super::database::{Database, Fault, Operation};
use super::{PostgresStore, changes as sequence};
use crate::domain::certificate::{Certificate, KeyFamily};
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::store::Error;
use crate::store::columns::Columns;
use crate::store::own::{Brought, OwnCertificates, Stamp};
use crate::store::read::names::valid;
use crate::store::read::own::{self, Values, read};
use crate::store::records::{Actor, CertificateFacts};

/// The kind of its changes.
const KIND: &str = "own";

/// Those of a name that no other organization holds.
macro_rules! own {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM own_certificates o WHERE NOT EXISTS (SELECT 1 FROM hostnames h
                 WHERE h.name = o.name AND h.holder AND h.organization <> o.organization) ",
            $rest
        )
    };
}

/// Keeps it for a hostname that is held, unless it is revoked, and has the hostname looked at.
const BRING: &str = "
    WITH hostname AS MATERIALIZED (
        SELECT id, site, holder FROM hostnames WHERE organization = $3 AND name = $2 FOR UPDATE
    ), revoked AS MATERIALIZED (
        SELECT 1 FROM revocations WHERE fingerprint = $5 AND not_after >= $11
    ), kept AS (
        INSERT INTO own_certificates (id, name, organization, family, fingerprint, chain, sealed_key, key_type,
            not_before, not_after, saved_at, fall_back_at, tell_at)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12 FROM hostname
        WHERE holder AND NOT EXISTS (SELECT 1 FROM revoked)
        ON CONFLICT (id) DO UPDATE SET
            fingerprint = excluded.fingerprint, chain = excluded.chain, sealed_key = excluded.sealed_key,
            key_type = excluded.key_type, not_before = excluded.not_before, not_after = excluded.not_after,
            saved_at = excluded.saved_at, fall_back_at = excluded.fall_back_at, tell_at = excluded.tell_at,
            told = false
        RETURNING 1
    ), noted AS (
        INSERT INTO fresh_events (at, organization, site, hostname, kind, actor, detail)
        SELECT $11, $3, site, $2, $13, $14, $15 FROM hostname WHERE EXISTS (SELECT 1 FROM kept)
    ), looked AS (
        UPDATE hostnames SET look_at = $11, asked = asked + 1, looks = 0
        WHERE id = (SELECT id FROM hostname) AND EXISTS (SELECT 1 FROM kept)
    )
    SELECT (SELECT holder FROM hostname), EXISTS (SELECT 1 FROM kept)";

const REMOVE: &str = "
    WITH hostname AS MATERIALIZED (
        SELECT id, site FROM hostnames WHERE organization = $2 AND name = $1 FOR UPDATE
    ), removed AS (
        DELETE FROM own_certificates
        WHERE name = $1 AND organization = $2 AND ($3::text IS NULL OR family = $3)
            AND EXISTS (SELECT 1 FROM hostname)
        RETURNING 1
    ), noted AS (
        INSERT INTO fresh_events (at, organization, site, hostname, kind, actor, detail)
        SELECT $4, $2, site, $1, $5, $6, $7 FROM hostname WHERE EXISTS (SELECT 1 FROM removed)
    ), looked AS (
        UPDATE hostnames SET look_at = $4, asked = asked + 1, looks = 0
        WHERE id = (SELECT id FROM hostname) AND EXISTS (SELECT 1 FROM removed)
    )
    SELECT count(*) FROM removed";

async fn rows(database: &Database, name: &CertificateName) -> Result<Vec<PgRow>, Fault> {
    let query = sqlx::query(own!("o.*", "AND o.name = $1 ORDER BY o.family, o.organization"));
    Ok(query.bind(name.as_str()).fetch_all(&database.pool).await?)
}

async fn find(database: &Database, name: &CertificateName) -> Result<Vec<Certificate>, Fault> {
    rows(database, name).await?.iter().map(|row| read(&database.key, row)).collect()
}

async fn shown(database: &Database, name: &CertificateName) -> Result<Vec<CertificateFacts>, Fault> {
    rows(database, name).await?.iter().map(own::facts).collect()
}

async fn bring(
    database: &Database,
    organization: &Label,
    certificate: &Certificate,
    actor: Actor<'_>,
) -> Result<Brought, Fault> {
    let values = Values::of(&database.key, organization.as_str(), certificate)?;
    let (holder, kept): (Option<bool>, bool) = sqlx::query_as(BRING)
        .bind(values.id)
        .bind(values.name)
        .bind(values.organization)
        .bind(values.family)
        .bind(values.fingerprint.0.to_vec())
        .bind(values.chain)
        .bind(values.sealed_key)
        .bind(values.key_type)
        .bind(values.validity.not_before.0)
        .bind(values.validity.not_after.0)
        .bind(database.now().0)
        .bind(values.fall_back_at.0)
        .bind(EventKind::CertificateSet.word())
        .bind(actor)
        .bind(own::told(certificate)?.to_string())
        .fetch_one(&database.pool)
        .await?;
    database.ring();
    Ok(match (holder, kept) {
        (_, true) => Brought::Kept,
        (None, _) => Brought::Absent,
        (Some(false), _) => Brought::NotHeld,
        (Some(true), _) => Brought::Revoked,
    })
}

async fn remove(
    database: &Database,
    organization: &Label,
    name: &CertificateName,
    family: Option<KeyFamily>,
    actor: Actor<'_>,
) -> Result<u64, Fault> {
    let family = family.map(KeyFamily::word);
    let removed: i64 = sqlx::query_scalar(REMOVE)
        .bind(name.as_str())
        .bind(organization.as_str())
        .bind(family)
        .bind(database.now().0)
        .bind(EventKind::CertificateRemoved.word())
        .bind(actor)
        .bind(json!({ "family": family }).to_string())
        .fetch_one(&database.pool)
        .await?;
    database.ring();
    Ok(removed.unsigned_abs())
}

async fn quarantine(database: &Database, name: &CertificateName, why: &str) -> Result<u64, Fault> {
    let (mut ids, mut keys) = (Vec::new(), Vec::new());
    for row in rows(database, name).await? {
        if own::is_damaged(&database.key, &row)? {
            ids.push(row.text("id")?);
            keys.push(row.octets("sealed_key")?);
        }
    }
    if ids.is_empty() {
        return Ok(0);
    }
    // One that was brought in its place meanwhile stays.
    let moved = sqlx::query(
        "WITH moved AS (
             DELETE FROM own_certificates USING unnest($1::text[], $2::bytea[]) AS damaged (id, sealed_key)
             WHERE own_certificates.id = damaged.id AND own_certificates.sealed_key = damaged.sealed_key
             RETURNING own_certificates.id, chain, own_certificates.sealed_key, key_type
         )
         INSERT INTO own_quarantine (id, chain, sealed_key, key_type, moved_at, why)
         SELECT id, chain, sealed_key, key_type, $3, $4 FROM moved",
    )
    .bind(ids)
    .bind(keys)
    .bind(database.now().0)
    .bind(why)
    .execute(&database.pool)
    .await?;
    database.ring();
    Ok(moved.rows_affected())
}

async fn names(database: &Database) -> Result<HashMap<CertificateName, Stamp>, Fault> {
    let rows = sqlx::query_as(own!("o.name, o.fingerprint, octet_length(o.chain)::bigint", ""));
    Ok(own::stamps(rows.fetch_all(&database.pool).await?))
}

async fn last_change(database: &Database) -> Result<i64, Fault> {
    sequence::last(database, &[KIND]).await
}

async fn changes(
    database: &Database,
    after: i64,
    limit: u32,
) -> Result<Option<Vec<(i64, CertificateName)>>, Fault> {
    let Some(rows) = sequence::after(database, &[KIND], after, limit).await? else { return Ok(None) };
    let rows = rows.into_iter().map(|(number, _, name)| own::change((number, name)));
    rows.collect::<Result<_, _>>().map(Some)
}

async fn due(database: &Database, now: UnixTime, limit: u32) -> Result<Vec<CertificateName>, Fault> {
    // Of a name with several that are due, the first stands for all. Each is looked at in the order in which
    // they are due: OFFSET keeps the planner from reading the other tables whole.
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT o.name FROM own_certificates o
         WHERE o.fall_back_at <= $1
             AND NOT EXISTS (SELECT 1 FROM hostnames h
                 WHERE h.name = o.name AND h.holder AND h.organization <> o.organization OFFSET 0)
             AND NOT EXISTS (SELECT 1 FROM own_certificates other WHERE other.name = o.name
                 AND other.organization = o.organization AND (other.fall_back_at > $1
                     OR (other.fall_back_at, other.id) < (o.fall_back_at, o.id)) OFFSET 0)
             AND NOT EXISTS (SELECT 1 FROM certificates c
                 WHERE c.name = o.name AND NOT c.withheld AND c.not_after > $1 OFFSET 0)
         ORDER BY o.fall_back_at LIMIT $2",
    )
    .bind(now.0)
    .bind(i64::from(limit))
    .fetch_all(&database.pool)
    .await?;
    Ok(valid(rows))
}

async fn postpone(database: &Database, name: &CertificateName, until: UnixTime) -> Result<(), Fault> {
    sqlx::query("UPDATE own_certificates SET fall_back_at = greatest(fall_back_at, $2) WHERE name = $1")
        .bind(name.as_str())
        .bind(until.0)
        .execute(&database.pool)
        .await?;
    Ok(())
}

#[async_trait]
impl OwnCertificates for PostgresStore {
    async fn own_certificates(&self, name: &CertificateName) -> Result<Vec<Certificate>, Error> {
        let operation = Operation { label: "own_certificates", doing: "look own certificates up" };
        self.database.timed(operation, find(&self.database, name)).await
    }

    async fn own_facts(&self, name: &CertificateName) -> Result<Vec<CertificateFacts>, Error> {
        let operation = Operation { label: "own_facts", doing: "look own certificates' facts up" };
        self.database.timed(operation, shown(&self.database, name)).await
    }

    async fn bring_own(
        &self,
        organization: &Label,
        certificate: &Certificate,
        actor: Actor<'_>,
    ) -> Result<Brought, Error> {
        let operation = Operation { label: "bring_own", doing: "keep an own certificate" };
        self.database.timed(operation, bring(&self.database, organization, certificate, actor)).await
    }

    async fn remove_own(
        &self,
        organization: &Label,
        name: &CertificateName,
        family: Option<KeyFamily>,
        actor: Actor<'_>,
    ) -> Result<u64, Error> {
        let operation = Operation { label: "remove_own", doing: "take own certificates away" };
        self.database.timed(operation, remove(&self.database, organization, name, family, actor)).await
    }

    async fn quarantine_own(&self, name: &CertificateName, why: &str) -> Result<u64, Error> {
        let operation = Operation { label: "quarantine_own", doing: "keep a damaged own certificate aside" };
        self.database.timed(operation, quarantine(&self.database, name, why)).await
    }

    async fn own_names(&self) -> Result<HashMap<CertificateName, Stamp>, Error> {
        let operation = Operation { label: "own_names", doing: "list the names with own certificates" };
        self.database.timed(operation, names(&self.database)).await
    }

    async fn last_own_change(&self) -> Result<i64, Error> {
        let operation = Operation { label: "last_own_change", doing: "look for changes of own certificates" };
        self.database.timed(operation, last_change(&self.database)).await
    }

    async fn own_changes(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Option<Vec<(i64, CertificateName)>>, Error> {
        let operation = Operation { label: "own_changes", doing: "list changes of own certificates" };
        self.database.timed(operation, changes(&self.database, after, limit)).await
    }

    async fn due_for_fall_back(&self, now: UnixTime, limit: u32) -> Result<Vec<CertificateName>, Error> {
        let operation =
            Operation { label: "due_for_fall_back", doing: "list whose own certificates end soon" };
        self.database.timed(operation, due(&self.database, now, limit)).await
    }

    async fn postpone_fall_back(&self, name: &CertificateName, until: UnixTime) -> Result<(), Error> {
        let operation = Operation { label: "postpone_fall_back", doing: "put a fallback off" };
        self.database.timed(operation, postpone(&self.database, name, until)).await
    }
}
