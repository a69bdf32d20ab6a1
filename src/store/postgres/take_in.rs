//! Taking in what an embedded store holds, so that one machine becomes a fleet.
//!
//! Both engines have the same tables with the same columns, so rows are copied as they are: sealed values
//! stay sealed, by the same key. All of it or nothing.

use std::path::Path;

use futures::TryStreamExt;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Postgres, Row, SqliteConnection};

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use crate::store::Error;

/// Rows written at a time.
const ROWS_AT_ONCE: usize = 1_000;

/// The tables that are taken over. The others hold what ends with the process that wrote it: leases,
/// challenges, machines, changes.
pub const TABLES: [&str; 24] = [
    "organizations",
    "tokens",
    "sites",
    "hostnames",
    "proofs",
    "claims",
    "events",
    "webhooks",
    "outbox",
    "deliveries",
    "answers",
    "certificates",
    "accounts",
    "authorities",
    "orders",
    "unfinished_orders",
    "attempts",
    "revocations",
    "quarantine",
    "own_certificates",
    "own_quarantine",
    "written_records",
    "unlisted",
    "ticket_keys",
];

/// Those that must be empty: somebody has begun to use the database otherwise.
const EMPTY: [&str; 5] = ["organizations", "tokens", "hostnames", "certificates", "own_certificates"];

/// A table and how many rows of it were taken over.
pub type Taken = (&'static str, u64);

/// A column of the database, and the type of its values.
struct Column {
    name: String,
    kind: String,
}

/// The values of one column for some rows.
enum Values {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Octets(Vec<Option<Vec<u8>>>),
    Flags(Vec<Option<bool>>),
}

impl Values {
    fn of(kind: &str) -> Self {
        match kind {
            "bigint" | "integer" | "smallint" => Self::Numbers(Vec::new()),
            "bytea" => Self::Octets(Vec::new()),
            "boolean" => Self::Flags(Vec::new()),
            _ => Self::Texts(Vec::new()),
        }
    }

    fn push(&mut self, row: &SqliteRow, column: usize) -> Result<(), sqlx::Error> {
        match self {
            Self::Numbers(values) => values.push(row.try_get(column)?),
            Self::Texts(values) => values.push(row.try_get(column)?),
            Self::Octets(values) => values.push(row.try_get(column)?),
            Self::Flags(values) => values.push(row.try_get(column)?),
        }
        Ok(())
    }

    fn array(&self) -> &'static str {
        match self {
            Self::Numbers(_) => "bigint[]",
            Self::Texts(_) => "text[]",
            Self::Octets(_) => "bytea[]",
            Self::Flags(_) => "boolean[]",
        }
    }

    fn bind(self, query: Query<'_, Postgres, PgArguments>) -> Query<'_, Postgres, PgArguments> {
        match self {
            Self::Numbers(values) => query.bind(values),
            Self::Texts(values) => query.bind(values),
            Self::Octets(values) => query.bind(values),
            Self::Flags(values) => query.bind(values),
        }
    }
}

impl PostgresStore {
    /// Takes over what the embedded store in this database file holds, which nobody serves from meanwhile
    /// and which stays as it is.
    ///
    /// Fails with [`Error::NotEmpty`] where this store holds something already. Both must be sealed with
    /// the same key, which opening them shows.
    pub async fn take_in(&self, file: &Path) -> Result<Vec<Taken>, Error> {
        let operation = Operation { label: "take_in", doing: "take an embedded store in" };
        self.database.timed_without_end(operation, take_in(&self.database, file)).await
    }
}

async fn take_in(database: &Database, file: &Path) -> Result<Vec<Taken>, Fault> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut from = options.connect().await?;
    let mut transaction = database.pool.begin().await?;
    // It may take long, and nobody waits for its locks.
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *transaction).await?;
    for table in EMPTY {
        let found = format!("SELECT EXISTS (SELECT 1 FROM {table})");
        let found: bool = sqlx::query_scalar(AssertSqlSafe(found)).fetch_one(&mut *transaction).await?;
        if found {
            return Err(Error::NotEmpty { place: database.place().into(), table }.into());
        }
    }
    let mut taken = Vec::new();
    for table in TABLES {
        taken.push((table, take_table(&mut from, &mut transaction, table).await?));
    }
    transaction.commit().await?;
    Ok(taken)
}

async fn take_table(
    from: &mut SqliteConnection,
    to: &mut PgConnection,
    table: &'static str,
) -> Result<u64, Fault> {
    let columns = columns(from, to, table).await?;
    let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    // Rows that were made by triggers there must not be made once more here.
    execute(to, format!("ALTER TABLE {table} DISABLE TRIGGER USER")).await?;
    if table == "outbox" {
        execute(to, format!("DELETE FROM {table}")).await?;
    }
    let empty = || columns.iter().map(|column| Values::of(&column.kind)).collect::<Vec<_>>();
    let (mut values, mut waiting, mut count) = (empty(), 0, 0);
    let query = AssertSqlSafe(format!("SELECT {names} FROM {table}"));
    let mut rows = sqlx::query(query).fetch(from);
    while let Some(row) = rows.try_next().await? {
        for (column, values) in values.iter_mut().enumerate() {
            values.push(&row, column)?;
        }
        waiting += 1;
        if waiting == ROWS_AT_ONCE {
            count += insert(to, table, &names, std::mem::replace(&mut values, empty())).await?;
            waiting = 0;
        }
    }
    count += insert(to, table, &names, values).await?;
    execute(to, format!("ALTER TABLE {table} ENABLE TRIGGER USER")).await?;
    go_on_counting(to, table).await?;
    Ok(count)
}

/// The columns that both have.
async fn columns(
    from: &mut SqliteConnection,
    to: &mut PgConnection,
    table: &str,
) -> Result<Vec<Column>, Fault> {
    let theirs: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pragma_table_info(?1)").bind(table).fetch_all(from).await?;
    let ours: Vec<(String, String)> = sqlx::query_as(
        "SELECT column_name::text, data_type::text FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position",
    )
    .bind(table)
    .fetch_all(to)
    .await?;
    let both = ours.into_iter().filter(|(name, _)| theirs.contains(name));
    Ok(both.map(|(name, kind)| Column { name, kind }).collect())
}

async fn insert(
    to: &mut PgConnection,
    table: &str,
    names: &str,
    values: Vec<Values>,
) -> Result<u64, sqlx::Error> {
    let arrays = values.iter().enumerate().map(|(at, values)| format!("${}::{}", at + 1, values.array()));
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    let statement =
        format!("INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT * FROM unnest({arrays})");
    let query =
        values.into_iter().fold(sqlx::query(AssertSqlSafe(statement)), |query, values| values.bind(query));
    Ok(query.execute(to).await?.rows_affected())
}

/// Lets the table's numbers go on behind those that were taken over.
async fn go_on_counting(to: &mut PgConnection, table: &str) -> Result<(), sqlx::Error> {
    let counted: Vec<String> = sqlx::query_scalar(
        "SELECT column_name::text FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'",
    )
    .bind(table)
    .fetch_all(&mut *to)
    .await?;
    for column in counted {
        let next = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 0) + 1, false)
             FROM {table}"
        );
        execute(to, next).await?;
    }
    Ok(())
}

async fn execute(to: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(statement)).execute(to).await.map(drop)
}
