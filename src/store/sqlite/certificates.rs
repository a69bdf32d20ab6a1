//! Certificates as rows.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::query::Query;
use sqlx::query_builder::Separated;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Connection, QueryBuilder, Row, Sqlite};

use super::database::{Database, Durability, Fault};
use super::{events, own, revocations};
use crate::domain::certificate::{Certificate, PrivateKey, Source, Validity};
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::renewal;
use crate::domain::revocation::Fingerprint;
use crate::store::record::{
    chain_octets, key_type_word, read_chain, read_key_type, read_source, source_text,
};
use crate::store::{Error, Imported, Lease, seal};

const KIND: &str = "certificate";

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
    row.map(|row| Ok(read(database, name, &row)?)).transpose()
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
    let values = Values::of(database, certificate)?;
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let before: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM certificates WHERE name = ?1 AND withheld = 0")
            .bind(certificate.name.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
    let saved = values.bind(SAVE).bind(lease.token).execute(&mut *transaction).await?;
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

/// A certificate as an event tells of it.
fn told(certificate: &Certificate) -> serde_json::Value {
    let authority = match &certificate.source {
        Source::Authority(authority) => Some(authority.to_string()),
        _ => None,
    };
    serde_json::json!({ "not_after": certificate.validity.not_after.to_string(), "authority": authority })
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
    let withheld: Option<(i64, i64, String)> = sqlx::query_as(
        "SELECT not_before, not_after, source FROM certificates
         WHERE name = ?1 AND withheld = 1 AND not_after > ?2",
    )
    .bind(name.as_str())
    .bind(now.0)
    .fetch_optional(&database.readers)
    .await?;
    let Some((not_before, not_after, source)) = withheld else { return Ok(false) };
    let source = read_source(&source).map_err(|why| unusable(name, why))?;
    let validity = Validity { not_before: UnixTime(not_before), not_after: UnixTime(not_after) };
    let renewal = Renewal::of(&source, validity, now);
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
    let rows = others.into_iter().map(|certificate| Values::of(database, certificate));
    let mut rows: Vec<Values> = rows.collect::<Result<_, _>>()?;
    let mut writer = database.writer(Durability::PowerCut).await?;
    // IMMEDIATE: a transaction that begins by reading could not wait for another process's write.
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut filed: Vec<String> = Vec::with_capacity(rows.len());
    while !rows.is_empty() {
        let more = rows.split_off(rows.len().min(ROWS_AT_ONCE));
        let mut statement = QueryBuilder::new(IMPORT);
        statement.push_values(rows, |mut values, row| row.push(&mut values)).push(IMPORT_OVER_OLDER);
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
        let rows: Vec<(String, Vec<u8>, Vec<u8>)> =
            statement.build_query_as().fetch_all(&database.readers).await?;
        for (name, chain, sealed_key) in rows {
            let brought = some.iter().filter(|one| one.name.as_str() == name);
            for one in brought.filter(|one| chain_octets(&one.chain) == chain) {
                let key = database.key.open(sealed_as(&name, &chain), &sealed_key);
                if key.is_ok_and(|key| key.as_slice() == one.key.der()) {
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

/// A certificate as it goes into its row.
struct Values {
    name: CertificateName,
    chain: Vec<u8>,
    sealed_key: Vec<u8>,
    key_type: String,
    validity: Validity,
    source: String,
    saved_at: UnixTime,
    renewal: Renewal,
}

/// When a certificate is renewed.
struct Renewal {
    renew_at: UnixTime,
    late_at: UnixTime,
    ask_at: Option<UnixTime>,
}

impl Renewal {
    /// Of one that is filed at `now`.
    fn of(source: &Source, validity: Validity, now: UnixTime) -> Self {
        let renew_at = renewal::due(source, validity, now, rand::random());
        let from_authority = matches!(source, Source::Authority(_));
        Self { renew_at, late_at: renewal::late(renew_at, validity), ask_at: from_authority.then_some(now) }
    }
}

impl Values {
    fn of(database: &Database, certificate: &Certificate) -> Result<Self, Error> {
        let name = &certificate.name;
        let unusable = |why| unusable(name, why);
        let chain = chain_octets(&certificate.chain);
        let now = database.now();
        Ok(Self {
            name: name.clone(),
            sealed_key: database.key.seal(sealed_as(name.as_str(), &chain), certificate.key.der()),
            chain,
            key_type: key_type_word(certificate.key_type).map_err(unusable)?,
            validity: certificate.validity,
            source: source_text(&certificate.source).map_err(unusable)?,
            saved_at: now,
            renewal: Renewal::of(&certificate.source, certificate.validity, now),
        })
    }

    /// `statement` with the parameters 1 to 11.
    fn bind(self, statement: &'static str) -> Query<'static, Sqlite, SqliteArguments> {
        sqlx::query(statement)
            .bind(self.name.as_str().to_owned())
            .bind(self.chain)
            .bind(self.sealed_key)
            .bind(self.key_type)
            .bind(self.validity.not_before.0)
            .bind(self.validity.not_after.0)
            .bind(self.source)
            .bind(self.saved_at.0)
            .bind(self.renewal.renew_at.0)
            .bind(self.renewal.late_at.0)
            .bind(self.renewal.ask_at.map(|at| at.0))
    }

    /// The same values, in the same order, as one of many rows.
    fn push(self, values: &mut Separated<'_, Sqlite, &'static str>) {
        values
            .push_bind(self.name.as_str().to_owned())
            .push_bind(self.chain)
            .push_bind(self.sealed_key)
            .push_bind(self.key_type)
            .push_bind(self.validity.not_before.0)
            .push_bind(self.validity.not_after.0)
            .push_bind(self.source)
            .push_bind(self.saved_at.0)
            .push_bind(self.renewal.renew_at.0)
            .push_bind(self.renewal.late_at.0)
            .push_bind(self.renewal.ask_at.map(|at| at.0));
    }
}

fn read(database: &Database, name: &CertificateName, row: &SqliteRow) -> Result<Certificate, Error> {
    let unusable = |why| unusable(name, why);
    let damaged = |error: sqlx::Error| unusable(format!("a column cannot be read: {error}"));
    let chain: Vec<u8> = row.try_get("chain").map_err(damaged)?;
    let sealed_key: Vec<u8> = row.try_get("sealed_key").map_err(damaged)?;
    let key_type: String = row.try_get("key_type").map_err(damaged)?;
    let source: String = row.try_get("source").map_err(damaged)?;
    let mut key = database.key.open(sealed_as(name.as_str(), &chain), &sealed_key)?;
    Ok(Certificate {
        name: name.clone(),
        chain: read_chain(&chain).map_err(unusable)?,
        key: PrivateKey::from_der(std::mem::take(&mut *key)),
        key_type: read_key_type(&key_type).map_err(unusable)?,
        validity: Validity {
            not_before: UnixTime(row.try_get("not_before").map_err(damaged)?),
            not_after: UnixTime(row.try_get("not_after").map_err(damaged)?),
        },
        source: read_source(&source).map_err(unusable)?,
    })
}

/// The seal of the key holds its chain too: they are of use together only.
pub fn sealed_as<'a>(name: &'a str, chain: &'a [u8]) -> seal::Record<'a> {
    seal::Record { kind: KIND, of: name, beside: chain }
}

fn unusable(name: &CertificateName, why: String) -> Error {
    Error::Record { what: KIND, of: Arc::from(name.as_str()), why }
}
