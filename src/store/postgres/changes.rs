//! The sequence of changes by which machines learn what others did.

use super::database::{Database, Fault};

/// A change as it is stored: its number, its kind, the name it is about.
pub type Stored = (i64, String, String);

/// The number of the last change of one of these kinds; 0: there has never been one.
pub async fn last(database: &Database, kinds: &[&str]) -> Result<i64, Fault> {
    number(database).await?;
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max(last) FROM unnest($1::text[]) AS wanted (kind) CROSS JOIN LATERAL
             (SELECT number AS last FROM changes WHERE changes.kind = wanted.kind AND number IS NOT NULL
              ORDER BY number DESC LIMIT 1) AS of_kind",
    )
    .bind(kinds)
    .fetch_one(&database.pool)
    .await?;
    Ok(last.unwrap_or(0))
}

/// Up to `limit` changes of these kinds behind `after`.
pub async fn after(
    database: &Database,
    kinds: &[&str],
    after: i64,
    limit: u32,
) -> Result<Vec<Stored>, Fault> {
    number(database).await?;
    let rows = sqlx::query_as(
        "SELECT number, kind, name FROM changes WHERE number > $2 AND kind = ANY($1) ORDER BY number LIMIT $3",
    )
    .bind(kinds)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(&database.pool)
    .await?;
    Ok(rows)
}

/// Numbers what nobody has numbered yet: a machine may have ended between its commit and that.
async fn number(database: &Database) -> Result<(), Fault> {
    let fresh: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM changes WHERE number IS NULL)")
        .fetch_one(&database.pool)
        .await?;
    if fresh {
        sqlx::query("SELECT number_changes()").execute(&database.pool).await?;
    }
    Ok(())
}
