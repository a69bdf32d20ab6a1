//! Certificates as rows.

use std::collections::{HashMap, HashSet};

use super::database::{Database, Fault};
use crate::domain::certificate::{Certificate, Source};
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::revocation::Fingerprint;
use crate::store::read::certificates::{Values, holds, read, renewal_of, told};
use crate::store::read::names::valid;
use crate::store::read::own;
use crate::store::{Error, Imported, Lease};

/// Nothing is written unless the lease is the newest one of its name, which nobody takes over meanwhile. The
/// order that it came from is through. Whoever holds the name is locked first, as by whoever takes a hostname
/// away, so that the two never wait for each other.
const SAVE: &str = "
    WITH holder AS MATERIALIZED (
        SELECT id, organization, site FROM hostnames WHERE name = $1 AND holder FOR UPDATE
    ), leased AS MATERIALIZED (
        SELECT 1 FROM (SELECT count(*) FROM holder) AS first CROSS JOIN LATERAL (
            SELECT 1 FROM leases WHERE name = $1 AND token = $12 AND first.count >= 0 FOR SHARE
        ) AS lease
    ), before AS (
        SELECT 1 FROM certificates WHERE name = $1 AND NOT withheld
    ), saved AS (
        INSERT INTO certificates (name, chain, sealed_key, key_type, not_before, not_after, source, saved_at,
            renew_at, late_at, ask_at)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM leased
        ON CONFLICT (name) DO UPDATE SET
            chain = excluded.chain, sealed_key = excluded.sealed_key, key_type = excluded.key_type,
            not_before = excluded.not_before, not_after = excluded.not_after, source = excluded.source,
            saved_at = excluded.saved_at, renew_at = excluded.renew_at, late_at = excluded.late_at,
            ask_at = excluded.ask_at, window_start = NULL, window_end = NULL, parked = NULL, told = false,
            withheld = false, claimed_until = NULL,
            early = CASE WHEN excluded.saved_at - certificates.saved_at
                    < (certificates.not_after - certificates.saved_at) / 3
                THEN certificates.early + 1 ELSE 0 END
        RETURNING 1
    ), through AS (
        DELETE FROM unfinished_orders WHERE name = $1 AND EXISTS (SELECT 1 FROM saved)
    ), noted AS (
        INSERT INTO fresh_events (at, organization, site, hostname, kind, detail)
        SELECT $8, organization, site, $1, CASE WHEN EXISTS (SELECT 1 FROM before) THEN $14 ELSE $13 END, $15
        FROM holder WHERE EXISTS (SELECT 1 FROM saved)
    ), looked AS (
        UPDATE hostnames SET look_at = $8, asked = asked + 1
        WHERE id = (SELECT id FROM holder) AND look_at > $8 AND EXISTS (SELECT 1 FROM saved)
    )
    SELECT EXISTS (SELECT 1 FROM saved)";

/// A stored one that lasts longer stays, unless it is withheld; one that was revoked stays out; an own one
/// that is there stays. The names of those that were filed come back.
const IMPORT: &str = "
    WITH brought AS (
        INSERT INTO certificates (name, chain, sealed_key, key_type, not_before, not_after, source, saved_at,
            renew_at, late_at, ask_at)
        SELECT name, chain, sealed_key, key_type, not_before, not_after, source, $11, renew_at, late_at, ask_at
        FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
            $8::bigint[], $9::bigint[], $10::bigint[], $12::bytea[]) AS new (name, chain, sealed_key, key_type,
            not_before, not_after, source, renew_at, late_at, ask_at, fingerprint)
        WHERE NOT EXISTS (SELECT 1 FROM revocations
                          WHERE revocations.fingerprint = new.fingerprint AND revocations.not_after >= $11)
        ON CONFLICT (name) DO UPDATE SET
            chain = excluded.chain, sealed_key = excluded.sealed_key, key_type = excluded.key_type,
            not_before = excluded.not_before, not_after = excluded.not_after, source = excluded.source,
            saved_at = excluded.saved_at, renew_at = excluded.renew_at, late_at = excluded.late_at,
            ask_at = excluded.ask_at, window_start = NULL, window_end = NULL, parked = NULL, early = 0,
            told = false, withheld = false, claimed_until = NULL
        WHERE excluded.not_after >= certificates.not_after OR certificates.withheld
        RETURNING name
    ), own AS (
        INSERT INTO own_certificates (id, name, organization, family, fingerprint, chain, sealed_key, key_type,
            not_before, not_after, saved_at, fall_back_at, tell_at)
        SELECT id, name, organization, family, fingerprint, chain, sealed_key, key_type, not_before, not_after,
            $11, fall_back_at, fall_back_at
        FROM unnest($13::text[], $14::text[], $15::text[], $16::text[], $17::bytea[], $18::bytea[], $19::bytea[],
            $20::text[], $21::bigint[], $22::bigint[], $23::bigint[]) AS new (id, name, organization, family,
            fingerprint, chain, sealed_key, key_type, not_before, not_after, fall_back_at)
        WHERE NOT EXISTS (SELECT 1 FROM revocations
                          WHERE revocations.fingerprint = new.fingerprint AND revocations.not_after >= $11)
        ON CONFLICT (id) DO NOTHING
        RETURNING name
    )
    SELECT name FROM brought UNION ALL SELECT name FROM own";

/// The certificate filed under `name`.
pub async fn find(database: &Database, name: &CertificateName) -> Result<Option<Certificate>, Fault> {
    let row = sqlx::query(
        "SELECT chain, sealed_key, key_type, not_before, not_after, source FROM certificates
         WHERE name = $1 AND NOT withheld",
    )
    .bind(name.as_str())
    .fetch_optional(&database.pool)
    .await?;
    row.map(|row| Ok(read(&database.key, name, &row)?)).transpose()
}

/// Whether there is one.
pub async fn exists(database: &Database, name: &CertificateName) -> Result<bool, Fault> {
    let found =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM certificates WHERE name = $1 AND NOT withheld)");
    Ok(found.bind(name.as_str()).fetch_one(&database.pool).await?)
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
            "SELECT DISTINCT name FROM (
                 (SELECT name FROM certificates WHERE name > $1 AND NOT withheld ORDER BY name LIMIT $2)
                 UNION ALL
                 (SELECT DISTINCT name FROM own_certificates WHERE name > $1 ORDER BY name LIMIT $2)
             ) AS both_kinds ORDER BY name LIMIT $2",
        )
        .bind(&cursor)
        .bind(wanted)
        .fetch_all(&database.pool)
        .await?;
        let Some(last) = rows.last() else {
            return Ok(names);
        };
        cursor.clone_from(last);
        names.extend(valid(rows));
    }
}

/// Files `certificate` where `lease` is the newest of its name.
pub async fn save(database: &Database, lease: &Lease, certificate: &Certificate) -> Result<(), Fault> {
    let values = Values::of(&database.key, database.now(), certificate)?;
    let saved: bool = sqlx::query_scalar(SAVE)
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
        .bind(lease.token)
        .bind(EventKind::CertificateIssued.word())
        .bind(EventKind::CertificateRenewed.word())
        .bind(told(certificate).to_string())
        .fetch_one(&database.pool)
        .await?;
    if !saved {
        return Err(Error::StaleLease { name: certificate.name.clone() }.into());
    }
    database.ring();
    Ok(())
}

/// Lets it be neither found nor renewed.
pub async fn withhold(database: &Database, name: &CertificateName) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE certificates SET withheld = true, renew_at = NULL, late_at = NULL, ask_at = NULL, parked = NULL,
            claimed_until = NULL
         WHERE name = $1",
    )
    .bind(name.as_str())
    .execute(&database.pool)
    .await?;
    database.ring();
    Ok(())
}

/// Lets one that was withheld be found again, where it is still valid; it is renewed as if it had
/// been filed now.
pub async fn bring_back(database: &Database, name: &CertificateName) -> Result<bool, Fault> {
    let now = database.now();
    let withheld = sqlx::query(
        "SELECT not_before, not_after, source FROM certificates WHERE name = $1 AND withheld AND not_after > $2",
    )
    .bind(name.as_str())
    .bind(now.0)
    .fetch_optional(&database.pool)
    .await?;
    let Some(withheld) = withheld else { return Ok(false) };
    let renewal = renewal_of(&withheld, name, now)?;
    let not_after: i64 = sqlx::Row::try_get(&withheld, "not_after")?;
    let back = sqlx::query(
        "UPDATE certificates SET withheld = false, renew_at = $3, late_at = $4, ask_at = $5
         WHERE name = $1 AND withheld AND not_after = $2",
    )
    .bind(name.as_str())
    .bind(not_after)
    .bind(renewal.renew_at.0)
    .bind(renewal.late_at.0)
    .bind(renewal.ask_at.map(|at| at.0))
    .execute(&database.pool)
    .await?;
    database.ring();
    Ok(back.rows_affected() > 0)
}

/// Files all of them or none, but those that are revoked and those whose place is taken.
pub async fn import(database: &Database, certificates: &[Certificate]) -> Result<Imported, Fault> {
    let revoked = revoked(database, certificates).await?;
    let (out, standing): (Vec<&Certificate>, Vec<&Certificate>) = certificates.iter().partition(|one| {
        one.chain.first().is_some_and(|leaf| revoked.contains(&Fingerprint::of(leaf).0[..]))
    });
    let there = there_already(database, &standing).await?;
    let (own, others): (Vec<&Certificate>, Vec<&Certificate>) = standing
        .iter()
        .filter(|certificate| !there.contains(&certificate.name))
        .partition(|certificate| matches!(certificate.source, Source::Own(_)));
    let filed = if own.is_empty() && others.is_empty() {
        Vec::new()
    } else {
        file(database, &own, &longest(others)).await?
    };
    let names: HashSet<&str> = filed.iter().map(String::as_str).collect();
    let kept = standing.iter().map(|one| &one.name).filter(|name| !names.contains(name.as_str()));
    Ok(Imported {
        filed: filed.len() as u64,
        kept: kept.cloned().collect(),
        revoked: out.iter().map(|one| one.name.clone()).collect(),
    })
}

/// Of each name the one that lasts longest, in the order of the names: whoever imports the same ones at the
/// same time locks them in the same order.
fn longest(certificates: Vec<&Certificate>) -> Vec<&Certificate> {
    let mut longest: HashMap<&CertificateName, &Certificate> = HashMap::with_capacity(certificates.len());
    for one in certificates {
        let standing = longest.entry(&one.name).or_insert(one);
        if one.validity.not_after >= standing.validity.not_after {
            *standing = one;
        }
    }
    let mut longest: Vec<&Certificate> = longest.into_values().collect();
    longest.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    longest
}

async fn file(
    database: &Database,
    own: &[&Certificate],
    others: &[&Certificate],
) -> Result<Vec<String>, Fault> {
    let now = database.now();
    let rows = others.iter().map(|certificate| Values::of(&database.key, now, certificate));
    let rows: Vec<Values> = rows.collect::<Result<_, _>>()?;
    let prints = others.iter().map(|one| one.chain.first().map(|leaf| Fingerprint::of(leaf).0.to_vec()));
    let mut owned = Vec::with_capacity(own.len());
    for certificate in own {
        if let Source::Own(organization) = &certificate.source {
            owned.push(own::Values::of(&database.key, organization, certificate)?);
        }
    }
    owned.sort_by(|one, other| one.id.cmp(&other.id));
    let filed = sqlx::query_scalar(IMPORT)
        .bind(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.chain.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.sealed_key.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.key_type.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.validity.not_before.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.validity.not_after.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.source.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.renewal.renew_at.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.renewal.late_at.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.renewal.ask_at.map(|at| at.0)).collect::<Vec<_>>())
        .bind(now.0)
        .bind(prints.collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.id.as_str()).collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.name.as_str()).collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.organization.as_str()).collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.family).collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.fingerprint.0.as_slice()).collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.chain.as_slice()).collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.sealed_key.as_slice()).collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.key_type.as_str()).collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.validity.not_before.0).collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.validity.not_after.0).collect::<Vec<_>>())
        .bind(owned.iter().map(|row| row.fall_back_at.0).collect::<Vec<_>>())
        .fetch_all(&database.pool)
        .await?;
    database.ring();
    Ok(filed)
}

/// Fingerprints of those of `certificates` that are revoked and have not ended.
async fn revoked(database: &Database, certificates: &[Certificate]) -> Result<HashSet<Vec<u8>>, Fault> {
    let leafs = certificates.iter().filter_map(|one| one.chain.first());
    let leafs: Vec<Vec<u8>> = leafs.map(|leaf| Fingerprint::of(leaf).0.to_vec()).collect();
    let revoked: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT fingerprint FROM revocations WHERE fingerprint = ANY($1) AND not_after >= $2",
    )
    .bind(leafs)
    .bind(database.now().0)
    .fetch_all(&database.pool)
    .await?;
    Ok(revoked.into_iter().collect())
}

/// Names of those of `certificates` that are stored as they are, key and all: a damaged record is not.
async fn there_already(
    database: &Database,
    certificates: &[&Certificate],
) -> Result<HashSet<CertificateName>, Fault> {
    let names: Vec<&str> = certificates.iter().map(|one| one.name.as_str()).collect();
    let rows =
        sqlx::query("SELECT name, chain, sealed_key FROM certificates WHERE name = ANY($1) AND NOT withheld");
    let rows = rows.bind(names).fetch_all(&database.pool).await?;
    let mut by_name: HashMap<&str, Vec<&Certificate>> = HashMap::new();
    for &one in certificates {
        by_name.entry(one.name.as_str()).or_default().push(one);
    }
    let mut there = HashSet::new();
    for row in rows {
        let filed: String = sqlx::Row::try_get(&row, "name")?;
        for one in by_name.get(filed.as_str()).into_iter().flatten() {
            if holds(&database.key, &row, one)? {
                there.insert(one.name.clone());
            }
        }
    }
    Ok(there)
}

/// Moves its row aside; whether there was one.
pub async fn quarantine(database: &Database, name: &CertificateName, why: &str) -> Result<bool, Fault> {
    let moved = sqlx::query(
        "WITH moved AS (
             DELETE FROM certificates WHERE name = $1
             RETURNING name, chain, sealed_key, key_type, not_before, not_after, source
         )
         INSERT INTO quarantine (name, chain, sealed_key, key_type, not_before, not_after, source, moved_at, why)
         SELECT name, chain, sealed_key, key_type, not_before, not_after, source, $2, $3 FROM moved",
    )
    .bind(name.as_str())
    .bind(database.now().0)
    .bind(why)
    .execute(&database.pool)
    .await?;
    database.ring();
    Ok(moved.rows_affected() > 0)
}

/// Removes it; whether there was one.
pub async fn remove(database: &Database, name: &CertificateName) -> Result<bool, Fault> {
    let removed = sqlx::query("DELETE FROM certificates WHERE name = $1")
        .bind(name.as_str())
        .execute(&database.pool)
        .await?;
    database.ring();
    Ok(removed.rows_affected() > 0)
}
