//! Rows of either engine, read by the names of their columns.

use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

/// A row. Each method fails where the column is missing or holds something else.
pub trait Columns {
    /// A text.
    fn text(&self, column: &str) -> Result<String, sqlx::Error>;
    /// A text, or `NULL`.
    fn maybe_text(&self, column: &str) -> Result<Option<String>, sqlx::Error>;
    /// A whole number.
    fn number(&self, column: &str) -> Result<i64, sqlx::Error>;
    /// A whole number, or `NULL`.
    fn maybe_number(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    /// Octets.
    fn octets(&self, column: &str) -> Result<Vec<u8>, sqlx::Error>;
    /// Octets, or `NULL`.
    fn maybe_octets(&self, column: &str) -> Result<Option<Vec<u8>>, sqlx::Error>;
    /// Yes or no.
    fn flag(&self, column: &str) -> Result<bool, sqlx::Error>;
}

macro_rules! columns {
    ($row:ty { $($method:ident: $type:ty),+ $(,)? }) => {
        impl Columns for $row {
            $(fn $method(&self, column: &str) -> Result<$type, sqlx::Error> {
                self.try_get(column)
            })+
        }
    };
}

columns!(SqliteRow {
    text: String,
    maybe_text: Option<String>,
    number: i64,
    maybe_number: Option<i64>,
    octets: Vec<u8>,
    maybe_octets: Option<Vec<u8>>,
    flag: bool,
});

columns!(PgRow {
    text: String,
    maybe_text: Option<String>,
    number: i64,
    maybe_number: Option<i64>,
    octets: Vec<u8>,
    maybe_octets: Option<Vec<u8>>,
    flag: bool,
});
