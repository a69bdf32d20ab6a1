//! Certificates as rows.

use std::collections::HashSet;

use sqlx::query::Query;
use sqlx::query_builder::Separated;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Connection, QueryBuilder, Row, Sqlite};

use super::database::{Database, Durability, Fault};
use super::{events, own, revocations};
use crate::domain::certificate::{Certificate, Source};
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::revocation::Fingerprint;
use crate::store::read::certificates::{Renewal, Values, holds, read, renewal_of, told};
use crate::store::{Error, Imported, Lease};

/// Nothing is written unless the lease is the newest one of its name.
const SAVE: &str = "
    INSERT INTO certificates (name, chain, sealed_key, key_type, not_before, not_after, source, saved_at,
        renew_at, late_at, ask_at)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
    WHERE EXISTS (SELECT 1 FROM leases WHERE name = ?1 AND token = ?12)
    ON CONFLICT (name) DO UPDATE SET
        chain = excluded.chain, sealed_key = excluded.sealed_key, key_type = excluded.key_type,
        not_before = excluded.not_before, not_after = excluded.not_after, source = excluded.source,
        saved_at = excluded.saved_at, renew_at = excluded.renew_at, late_at = excluded.late_at,
        ask_at = excluded.ask_at, window_start = NULL, window_end = NULL, parked = NULL, told = 0, withheld = 0,
        claimed_until = NULL, early = CASE WHEN excluded.saved_at - certificates.saved_at
                < (certificates.not_after - certificates.saved_at) / 3
            THEN certificates.early + 1 ELSE 0 END";

const IMPORT: &str = "
    INSERT INTO certificates (name, chain, sealed_key, key_type, not_before, not_after, source, saved_at,
        renew_at, late_at, ask_at) ";

/// A stored one that lasts longer stays, unless it is withheld. The names of those that were filed
/// come back.
const IMPORT_OVER_OLDER: &str = "
    ON CONFLICT (name) DO UPDATE SET
        chain = excluded.chain, sealed_key = excluded.sealed_key, key_type = excluded.key_type,
        not_before = excluded.not_before, not_after = excluded.not_after, source = excluded.source,
        saved_at = excluded.saved_at, renew_at = excluded.renew_at, late_at = excluded.late_at,
        ask_at = excluded.ask_at, window_start = NULL, window_end = NULL, parked = NULL, early = 0,
        told = 0, withheld = 0, claimed_until = NULL
    WHERE excluded.not_after >= certificates.not_after OR certificates.withheld = 1
    RETURNING name";

/// Rows of one statement: each statement is a trip to the connection's thread and back.
const ROWS_AT_ONCE: usize = 100;

/// The certificate filed under `name`.
pub async fn find(database: &Database, name: &CertificateName) -> Result<Option<Certificate>, Fault> {
    let row = sqlx::query(
        "SELECT chain, sealed_key, key_type, not_before, not_after, source FROM certificates
         WHERE name = ?1 AND withheld = 0",
    )
    .bind(name.as_str())
    .fetch_optional(&database.readers)
    .await?;
    row.map(|row| Ok(read(&database.key, name, &row)?)).transpose()
}

/// Whether there is one.
pub async fn exists(database: &Database, name: &CertificateName) -> Result<bool, Fault> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM certificates WHERE name = ?1 AND withheld = 0")
            .bind(name.as_str())
            .fetch_optional(&database.readers)
            .await?;
    Ok(found.is_some())
}

/// Up to `limit` names after `after`; one that is no name is left out and logged.
pub async fn names_after(
    database: &Database,
    after: Option<&CertificateName>,
    limit: u32,
) -> Result<Vec<CertificateName>, Fault> {
    let mut names = Vec::new();
    let mut cursor = after.map_or_else(String::new, |name| name.as_str().to_owned());
    loop {
        let wanted = i64::from(limit) - names.len() as i64;
        if wanted <= 0 {
            return Ok(names);
        }
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM certificates WHERE name > ?1 AND withheld = 0
             UNION SELECT name FROM own_certificates WHERE name > ?1 ORDER BY name LIMIT ?2",
        )
        .bind(&cursor)
        .bind(wanted)
        .fetch_all(&database.readers)
        .await?;
        let Some(last) = rows.last() else {
            return Ok(names);
        };
        cursor.clone_from(last);
        for row in rows {
            match row.parse() {
                Ok(name) => names.push(name),
                Err(error) => tracing::error!(name = ?row, %error, "a stored certificate has no valid name"),
            }
        }
    }
}

/// Files `certificate` where `lease` is the newest of its name.
pub async fn save(database: &Database, lease: &Lease, certificate: &Certificate) -> Result<(), Fault> {
    let values = Values::of(&database.key, database.now(), certificate)?;
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let before: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM certificates WHERE name = ?1 AND withheld = 0")
            .bind(certificate.name.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
    let saved = bind(values, SAVE).bind(lease.token).execute(&mut *transaction).await?;
    if saved.rows_affected() == 0 {
        return Err(Error::StaleLease { name: certificate.name.clone() }.into());
    }
    // The order that it came from is through.
    sqlx::query("DELETE FROM unfinished_orders WHERE name = ?1")
        .bind(certificate.name.as_str())
        .execute(&mut *transaction)
        .await?;
    let kind = before.map_or(EventKind::CertificateIssued, |_| EventKind::CertificateRenewed);
    let (name, now) = (certificate.name.as_str(), database.now());
    events::note_certificate(&mut transaction, now, name, kind, told(certificate)).await?;
    transaction.commit().await?;
    Ok(())
}

/// Lets it be neither found nor renewed.
pub async fn withhold(database: &Database, name: &CertificateName) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    sqlx::query(
        "UPDATE certificates SET withheld = 1, renew_at = NULL, late_at = NULL, ask_at = NULL, parked = NULL,
            claimed_until = NULL
         WHERE name = ?1",
    )
    .bind(name.as_str())
    .execute(&mut *writer.connection)
    .await?;
    Ok(())
}

/// Lets one that was withheld be found again, where it is still valid; it is renewed as if it had
/// been filed now.
pub async fn bring_back(database: &Database, name: &CertificateName) -> Result<bool, Fault> {
    let now = database.now();
    let withheld = sqlx::query(
        "SELECT not_before, not_after, source FROM certificates
         WHERE name = ?1 AND withheld = 1 AND not_after > ?2",
    )
    .bind(name.as_str())
    .bind(now.0)
    .fetch_optional(&database.readers)
    .await?;
    let Some(withheld) = withheld else { return Ok(false) };
    let (not_after, renewal): (i64, Renewal) =
        (withheld.try_get("not_after")?, renewal_of(&withheld, name, now)?);
    let mut writer = database.writer(Durability::PowerCut).await?;
    let back = sqlx::query(
        "UPDATE certificates SET withheld = 0, renew_at = ?3, late_at = ?4, ask_at = ?5
         WHERE name = ?1 AND withheld = 1 AND not_after = ?2",
    )
    .bind(name.as_str())
    .bind(not_after)
    .bind(renewal.renew_at.0)
    .bind(renewal.late_at.0)
    .bind(renewal.ask_at.map(|at| at.0))
    .execute(&mut *writer.connection)
    .await?;
    Ok(back.rows_affected() > 0)
}

/// Files all of them or none, but those that are revoked and those whose place is taken.
pub async fn import(database: &Database, certificates: &[Certificate]) -> Result<Imported, Fault> {
    let revoked = revocations::standing(&database.readers, database.now()).await?;
    let is_revoked = |certificate: &&Certificate| {
        let leaf = certificate.chain.first().map(|leaf| Fingerprint::of(leaf));
        leaf.is_some_and(|leaf| revoked.contains(leaf.0.as_slice()))
    };
    let (out, standing): (Vec<&Certificate>, Vec<&Certificate>) =
        certificates.iter().partition(|one| !revoked.is_empty() && is_revoked(one));
    let there = there_already(database, &standing).await?;
    // Sealed before the turn to write is taken.
    let (own, others): (Vec<&Certificate>, Vec<&Certificate>) = standing
        .iter()
        .filter(|certificate| !there.contains(&certificate.name))
        .partition(|certificate| matches!(certificate.source, Source::Own(_)));
    let rows = others.into_iter().map(|certificate| Values::of(&database.key, database.now(), certificate));
    let mut rows: Vec<Values> = rows.collect::<Result<_, _>>()?;
    let mut writer = database.writer(Durability::PowerCut).await?;
    // IMMEDIATE: a transaction that begins by reading could not wait for another process's write.
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut filed: Vec<String> = Vec::with_capacity(rows.len());
    while !rows.is_empty() {
        let more = rows.split_off(rows.len().min(ROWS_AT_ONCE));
        let mut statement = QueryBuilder::new(IMPORT);
        statement.push_values(rows, |mut row, values| push(&mut row, values)).push(IMPORT_OVER_OLDER);
        filed.extend(statement.build_query_scalar::<String>().fetch_all(&mut *transaction).await?);
        rows = more;
    }
    for certificate in own {
        if let Source::Own(organization) = &certificate.source {
            let restored = own::restore(database, &mut transaction, (organization, certificate)).await?;
            filed.extend((restored > 0).then(|| certificate.name.as_str().to_owned()));
        }
    }
    transaction.commit().await?;
    let names: HashSet<&str> = filed.iter().map(String::as_str).collect();
    let kept = standing.iter().map(|one| &one.name).filter(|name| !names.contains(name.as_str()));
    Ok(Imported {
        filed: filed.len() as u64,
        kept: kept.cloned().collect(),
        revoked: out.iter().map(|one| one.name.clone()).collect(),
    })
}

/// Names of those of `certificates` that are stored as they are, key and all: a damaged record is not.
async fn there_already(
    database: &Database,
    certificates: &[&Certificate],
) -> Result<HashSet<CertificateName>, Fault> {
    let mut there = HashSet::new();
    for some in certificates.chunks(ROWS_AT_ONCE) {
        let mut statement = QueryBuilder::new(
            "SELECT name, chain, sealed_key FROM certificates WHERE withheld = 0 AND name IN (",
        );
        let mut names = statement.separated(", ");
        for certificate in some {
            names.push_bind(certificate.name.as_str().to_owned());
        }
        statement.push(")");
        for row in statement.build().fetch_all(&database.readers).await? {
            let filed: String = row.try_get("name")?;
            for one in some.iter().filter(|one| one.name.as_str() == filed) {
                if holds(&database.key, &row, one)? {
                    there.insert(one.name.clone());
                }
            }
        }
    }
    Ok(there)
}

/// Moves its row aside; whether there was one.
pub async fn quarantine(database: &Database, name: &CertificateName, why: &str) -> Result<bool, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "INSERT INTO quarantine (name, chain, sealed_key, key_type, not_before, not_after, source, moved_at, why)
         SELECT name, chain, sealed_key, key_type, not_before, not_after, source, ?2, ?3
         FROM certificates WHERE name = ?1",
    )
    .bind(name.as_str())
    .bind(database.now().0)
    .bind(why)
    .execute(&mut *transaction)
    .await?;
    let removed = sqlx::query("DELETE FROM certificates WHERE name = ?1")
        .bind(name.as_str())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(removed.rows_affected() > 0)
}

/// Removes it; whether there was one.
pub async fn remove(database: &Database, name: &CertificateName) -> Result<bool, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let removed = sqlx::query("DELETE FROM certificates WHERE name = ?1")
        .bind(name.as_str())
        .execute(&mut *writer.connection)
        .await?;
    Ok(removed.rows_affected() > 0)
}

/// `statement` with the parameters 1 to 11.
fn bind(values: Values, statement: &'static str) -> Query<'static, Sqlite, SqliteArguments> {
    sqlx::query(statement)
        .bind(values.name)
        .bind(values.chain)
        .bind(values.sealed_key)
        .bind(values.key_type)
        .bind(values.validity.not_before.0)
        .bind(values.validity.not_after.0)
        .bind(values.source)
        .bind(values.saved_at.0)
        .bind(values.renewal.renew_at.0)
        .bind(values.renewal.late_at.0)
        .bind(values.renewal.ask_at.map(|at| at.0))
}

/// The same values, in the same order, as one of many rows.
fn push(row: &mut Separated<'_, Sqlite, &'static str>, values: Values) {
    row.push_bind(values.name)
        .push_bind(values.chain)
        .push_bind(values.sealed_key)
        .push_bind(values.key_type)
        .push_bind(values.validity.not_before.0)
        .push_bind(values.validity.not_after.0)
        .push_bind(values.source)
        .push_bind(values.saved_at.0)
        .push_bind(values.renewal.renew_at.0)
        .push_bind(values.renewal.late_at.0)
        .push_bind(values.renewal.ask_at.map(|at| at.0));
}
