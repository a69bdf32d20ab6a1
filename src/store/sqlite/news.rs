//! The sequence of changes, as rows.

use async_trait::async_trait;

use super::SqliteStore;
use super::database::{Database, Durability, Fault, Operation};
use crate::store::Error;
use crate::store::changes::{Changes, LOOK, News, read};

/// How many changes a process may be behind before it reads everything again.
const KEPT: i64 = 100_000;

async fn last(database: &Database) -> Result<i64, Fault> {
    let last: Option<i64> = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'news'")
        .fetch_optional(&database.readers)
        .await?;
    Ok(last.unwrap_or(0))
}

async fn after(database: &Database, after: i64, limit: u32) -> Result<News, Fault> {
    let rows: Vec<(i64, String, String)> =
        sqlx::query_as("SELECT id, kind, name FROM news WHERE id > ?1 ORDER BY id LIMIT ?2")
            .bind(after)
            .bind(limit)
            .fetch_all(&database.readers)
            .await?;
    let last = last(database).await?;
    // Where none is behind `after` it is the last one, else the one after it is the first.
    let next = rows.first().map_or(last, |(id, ..)| *id - 1);
    if after > last {
        return Ok(News::Elsewhere);
    }
    if next != after {
        return Ok(News::Forgotten);
    }
    if rows.len() as u64 >= u64::from(limit) {
        forget(database, last - KEPT).await?;
    }
    let known = |(id, kind, name): (i64, String, String)| read(&kind, &name).map(|change| (id, change));
    Ok(News::Next(rows.into_iter().filter_map(known).collect()))
}

async fn forget(database: &Database, until: i64) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("DELETE FROM news WHERE id <= ?1").bind(until).execute(&mut *writer.connection).await?;
    Ok(())
}

#[async_trait]
impl Changes for SqliteStore {
    async fn last_news(&self) -> Result<i64, Error> {
        let operation = Operation { label: "last_news", doing: "look for the last change" };
        self.database.timed(operation, last(&self.database)).await
    }

    async fn news_after(&self, number: i64, limit: u32) -> Result<News, Error> {
        let operation = Operation { label: "news_after", doing: "read changes" };
        self.database.timed(operation, after(&self.database, number, limit)).await
    }

    async fn stirred(&self, seen: i64) -> i64 {
        tokio::time::sleep(LOOK).await;
        seen
    }
}
