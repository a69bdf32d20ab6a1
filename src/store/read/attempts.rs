//! Last attempts in rows.

use serde_json::{Value, json};

use crate::domain::clock::UnixTime;
use crate::store::Attempt;
use crate::store::columns::Columns;

/// A row as it is.
pub fn read(row: &impl Columns) -> Result<Attempt, sqlx::Error> {
    Ok(Attempt {
        at: UnixTime(row.number("ended_at")?),
        failures: u32::try_from(row.number("failures")?).unwrap_or(u32::MAX),
        next: row.maybe_number("next_at")?.map(UnixTime),
        report: row.text("report")?,
        failed_validations: read_moments(&row.text("failed_validations")?),
    })
}

/// A failed attempt as an event tells of it.
pub fn told(attempt: &Attempt) -> Value {
    let next = attempt.next.map(|next| next.to_string());
    json!({ "report": attempt.report, "failures": attempt.failures, "next_attempt_at": next })
}

/// Moments as a column holds them.
pub fn moments_text(moments: &[UnixTime]) -> String {
    Value::from_iter(moments.iter().map(|moment| moment.0)).to_string()
}

/// What cannot be read counts as none: the back-off of the name stands without it.
fn read_moments(text: &str) -> Vec<UnixTime> {
    serde_json::from_str(text).unwrap_or_default()
}
