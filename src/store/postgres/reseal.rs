//! Sealed values, sealed anew.

use async_trait::async_trait;

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use super::sealed::{adopt, retire};
use crate::store::read::sealed as records;
use crate::store::tickets::sealed_as;
use crate::store::{Error, Resealed, Sealed, seal};

/// A sealed value as it is found: its row's key, what is sealed with it, the value.
type Found = (String, Vec<u8>, Vec<u8>);

/// A table with sealed values: which statement finds some of them in the order of their keys, and
/// which one replaces some, but those that have changed meanwhile.
struct Table {
    find: &'static str,
    replace: &'static str,
    record: for<'a> fn(&'a str, &'a [u8]) -> seal::Record<'a>,
}

/// All but the certificates' that are not own ones.
const OTHERS: [Table; 6] = [
    Table {
        find: "SELECT key, ''::bytea, sealed_credentials FROM accounts WHERE key > $1 ORDER BY key LIMIT $2",
        replace: "UPDATE accounts SET sealed_credentials = anew.value
                  FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS anew (key, before, value)
                  WHERE accounts.key = anew.key AND sealed_credentials = anew.before",
        record: records::account,
    },
    Table {
        find: "SELECT name, convert_to(url, 'UTF8'), sealed_key FROM unfinished_orders
               WHERE name > $1 ORDER BY name LIMIT $2",
        replace: "UPDATE unfinished_orders SET sealed_key = anew.value
                  FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS anew (key, before, value)
                  WHERE name = anew.key AND sealed_key = anew.before",
        record: records::unfinished_order,
    },
    Table {
        find: "SELECT id, convert_to(organization, 'UTF8'), sealed_secret FROM webhooks
               WHERE id > $1 ORDER BY id LIMIT $2",
        replace: "UPDATE webhooks SET sealed_secret = anew.value
                  FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS anew (key, before, value)
                  WHERE id = anew.key AND sealed_secret = anew.before",
        record: records::webhook,
    },
    Table {
        find: "SELECT id, fingerprint, sealed_answer FROM answers
               WHERE id > $1 AND sealed_answer IS NOT NULL ORDER BY id LIMIT $2",
        replace: "UPDATE answers SET sealed_answer = anew.value
                  FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS anew (key, before, value)
                  WHERE id = anew.key AND sealed_answer = anew.before",
        record: records::answer,
    },
    Table {
        find: "SELECT id, chain, sealed_key FROM own_certificates WHERE id > $1 ORDER BY id LIMIT $2",
        replace: "UPDATE own_certificates SET sealed_key = anew.value
                  FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS anew (key, before, value)
                  WHERE id = anew.key AND sealed_key = anew.before",
        record: records::own_certificate,
    },
    Table {
        find: "SELECT name, ''::bytea, sealed_key FROM ticket_keys WHERE name > $1 ORDER BY name LIMIT $2",
        replace: "UPDATE ticket_keys SET sealed_key = anew.value
                  FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS anew (key, before, value)
                  WHERE name = anew.key AND sealed_key = anew.before",
        record: |name, _| sealed_as(name),
    },
];

const CERTIFICATES: Table = Table {
    find: "SELECT name, chain, sealed_key FROM certificates WHERE name > $1 ORDER BY name LIMIT $2",
    replace: "UPDATE certificates SET sealed_key = anew.value
              FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS anew (key, before, value)
              WHERE name = anew.key AND sealed_key = anew.before",
    record: records::certificate,
};

/// Seals anew what is behind `after`.
async fn reseal(database: &Database, after: &str, limit: u32) -> Result<Resealed, Fault> {
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
    let found = sqlx::query_as(table.find).bind(after).bind(i64::from(limit));
    let found: Vec<Found> = found.fetch_all(&database.pool).await?;
    let (mut keys, mut before, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (of, beside, sealed) in &found {
        match database.key.reseal((table.record)(of, beside), sealed) {
            Ok(Some(value)) => {
                keys.push(of.as_str());
                before.push(sealed.as_slice());
                values.push(value);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(of, %error, "a stored value cannot be sealed anew, as no key opens it");
                outcome.unusable += 1;
            }
        }
    }
    if !keys.is_empty() {
        let replaced = sqlx::query(table.replace).bind(keys).bind(before).bind(values);
        outcome.resealed += replaced.execute(&database.pool).await?.rows_affected();
    }
    Ok(found.into_iter().next_back().map(|(of, ..)| of))
}

#[async_trait]
impl Sealed for PostgresStore {
    async fn adopt_key(&self) -> Result<(), Error> {
        let operation = Operation { label: "adopt_key", doing: "make the sealing key its own" };
        self.database.timed(operation, adopt(&self.database)).await
    }

    async fn reseal(&self, after: &str, limit: u32) -> Result<Resealed, Error> {
        let operation = Operation { label: "reseal", doing: "seal records anew" };
        self.database.timed(operation, reseal(&self.database, after, limit)).await
    }

    async fn retire_keys(&self) -> Result<(), Error> {
        let operation = Operation { label: "retire_keys", doing: "retire sealing keys" };
        self.database.timed(operation, retire(&self.database)).await
    }
}
