//! The last try to obtain a certificate.

use std::time::Duration;

use super::clock::UnixTime;

/// How far the clocks of two machines may be apart.
pub const SKEW: Duration = Duration::from_secs(60);

/// How the last try to obtain a certificate ended.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: UnixTime,
    /// Failed tries since the last success; 0: it succeeded.
    pub failures: u32,
    /// Not before this moment again; `None` after a success.
    pub next: Option<UnixTime>,
    /// What happened, the authority's own words included.
    pub report: String,
    /// When an authority said that a validation failed; only what its limits may still count.
    pub failed_validations: Vec<UnixTime>,
}

impl Attempt {
    /// Whether no other one is due yet at `now`. One that ended in the future was noted before the
    /// clock was set back, and stands in nobody's way.
    pub fn forbids_another(&self, now: UnixTime) -> bool {
        self.next.is_some_and(|next| now < next) && self.at <= now.plus(SKEW)
    }
}
