//! What all rows have in common: some cannot be read.

use crate::domain::access::Reach;
use crate::store::Error;
use crate::store::operation::Fault;

/// A value of a row that this version cannot read.
pub fn unusable(what: &'static str, of: &str, why: impl std::fmt::Display) -> Fault {
    Fault::Store(Error::Record { what, of: of.into(), why: why.to_string() })
}

/// Those of `rows` that can be read. One of a newer version, or that somebody changed, costs itself
/// alone.
pub fn readable<R, T>(rows: &[R], read: impl Fn(&R) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        match read(row) {
            Ok(value) => values.push(value),
            Err(Fault::Store(error)) if error.is_of_the_record() => {
                tracing::error!(%error, "a stored record cannot be read; it is left out");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(values)
}

/// The value of a reach in the column `organization`: `NULL` for all.
pub fn covered(reach: &Reach) -> Option<String> {
    reach.organization().map(|organization| organization.as_str().to_owned())
}
