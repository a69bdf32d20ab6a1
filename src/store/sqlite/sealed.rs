//! The keys that the store is sealed with, and its values sealed anew.

use sqlx::Connection;

use super::database::{Database, Durability, Fault};
use crate::store::read::sealed as records;
use crate::store::tickets::sealed_as;
use crate::store::{Resealed, SealError, seal};

/// A sealed value as it is found: its row's key, what is sealed with it, the value.
type Found = (String, Vec<u8>, Vec<u8>);

/// A table with sealed values: which statement finds some of them in the order of their keys, and
/// which one replaces one, unless it has changed meanwhile.
struct Table {
    find: &'static str,
    replace: &'static str,
    record: for<'a> fn(&'a str, &'a [u8]) -> seal::Record<'a>,
}

/// All but the certificates' that are not own ones.
const OTHERS: [Table; 6] = [
    Table {
        find: "SELECT key, x'', sealed_credentials FROM accounts WHERE key > ?1 ORDER BY key LIMIT ?2",
        replace: "UPDATE accounts SET sealed_credentials = ?1 WHERE key = ?2 AND sealed_credentials = ?3",
        record: records::account,
    },
    Table {
        find: "SELECT name, CAST(url AS BLOB), sealed_key FROM unfinished_orders
               WHERE name > ?1 ORDER BY name LIMIT ?2",
        replace: "UPDATE unfinished_orders SET sealed_key = ?1 WHERE name = ?2 AND sealed_key = ?3",
        record: records::unfinished_order,
    },
    Table {
        find: "SELECT id, CAST(organization AS BLOB), sealed_secret FROM webhooks
               WHERE id > ?1 ORDER BY id LIMIT ?2",
        replace: "UPDATE webhooks SET sealed_secret = ?1 WHERE id = ?2 AND sealed_secret = ?3",
        record: records::webhook,
    },
    Table {
        find: "SELECT id, fingerprint, sealed_answer FROM answers
               WHERE id > ?1 AND sealed_answer IS NOT NULL ORDER BY id LIMIT ?2",
        replace: "UPDATE answers SET sealed_answer = ?1 WHERE id = ?2 AND sealed_answer = ?3",
        record: records::answer,
    },
    Table {
        find: "SELECT id, chain, sealed_key FROM own_certificates WHERE id > ?1 ORDER BY id LIMIT ?2",
        replace: "UPDATE own_certificates SET sealed_key = ?1 WHERE id = ?2 AND sealed_key = ?3",
        record: records::own_certificate,
    },
    Table {
        find: "SELECT name, x'', sealed_key FROM ticket_keys WHERE name > ?1 ORDER BY name LIMIT ?2",
        replace: "UPDATE ticket_keys SET sealed_key = ?1 WHERE name = ?2 AND sealed_key = ?3",
        record: |name, _| sealed_as(name),
    },
];

const CERTIFICATES: Table = Table {
    find: "SELECT name, chain, sealed_key FROM certificates WHERE name > ?1 ORDER BY name LIMIT ?2",
    replace: "UPDATE certificates SET sealed_key = ?1 WHERE name = ?2 AND sealed_key = ?3",
    record: records::certificate,
};

/// The first key that opens an empty store becomes its key. Of a store that has keys, one must be
/// among those at hand; then the one that seals now is its key too.
pub async fn adopt(database: &Database) -> Result<(), Fault> {
    let ours = database.key.ids();
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT id FROM sealing_keys").fetch_all(&mut *transaction).await?;
    if let Some(other) = kept.first()
        && !kept.iter().any(|id| ours.contains(id))
    {
        let what = format!("the store at {}", database.place()).into();
        let (sealed_with, configured) = (other.clone(), ours.into_iter().next().unwrap_or_default());
        return Err(crate::store::Error::from(SealError::OtherKey { what, sealed_with, configured }).into());
    }
    sqlx::query("INSERT INTO sealing_keys (id) VALUES (?1) ON CONFLICT DO NOTHING")
        .bind(database.key.id())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// Only the key that seals now is the store's.
pub async fn retire(database: &Database) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    sqlx::query("DELETE FROM sealing_keys WHERE id <> ?1")
        .bind(database.key.id())
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// Seals anew what is behind `after`.
pub async fn reseal(database: &Database, after: &str, limit: u32) -> Result<Resealed, Fault> {
    let mut outcome = Resealed::default();
    if after.is_empty() {
        for table in &OTHERS {
            let mut last = Some(String::new());
            while let Some(after) = last {
                last = reseal_some(database, table, &after, limit, &mut outcome).await?;
            }
        }
    }
    outcome.last = reseal_some(database, &CERTIFICATES, after, limit, &mut outcome).await?;
    Ok(outcome)
}

/// Seals anew what of `table` is behind `after`; the last one's key, `None` where there was none.
async fn reseal_some(
    database: &Database,
    table: &Table,
    after: &str,
    limit: u32,
    outcome: &mut Resealed,
) -> Result<Option<String>, Fault> {
    let found = sqlx::query_as(table.find).bind(after).bind(limit);
    let found: Vec<Found> = found.fetch_all(&database.readers).await?;
    let mut anew = Vec::new();
    for (of, beside, sealed) in &found {
        match database.key.reseal((table.record)(of, beside), sealed) {
            Ok(Some(value)) => anew.push((of, sealed, value)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(of, %error, "a stored value cannot be sealed anew, as no key opens it");
                outcome.unusable += 1;
            }
        }
    }
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    for (of, sealed, value) in anew {
        let replaced =
            sqlx::query(table.replace).bind(value).bind(of).bind(sealed).execute(&mut *transaction).await?;
        outcome.resealed += replaced.rows_affected();
    }
    transaction.commit().await?;
    Ok(found.into_iter().next_back().map(|(of, ..)| of))
}
