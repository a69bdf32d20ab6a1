//! Names in rows.

use crate::domain::hostname::CertificateName;

/// Those that are names; the others are logged.
pub fn valid(rows: Vec<String>) -> Vec<CertificateName> {
    let mut names = Vec::with_capacity(rows.len());
    for row in rows {
        match row.parse() {
            Ok(name) => names.push(name),
            Err(error) => tracing::error!(name = ?row, %error, "a stored certificate has no valid name"),
        }
    }
    names
}
