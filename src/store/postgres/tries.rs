//! Work that is done again where another machine was first.

use super::database::Fault;

/// So often at most: each time somebody else came through.
const MOST: u32 = 20;

/// Tries that are left.
pub struct Tries(u32);

impl Tries {
    /// All of them.
    pub fn new() -> Self {
        Self(MOST)
    }

    /// Whether what ended so is to be done again: somebody else has just made the row (23505), or the two
    /// waited for each other (40P01).
    pub fn again(&mut self, fault: &Fault) -> bool {
        let Fault::Sql(sqlx::Error::Database(error)) = fault else { return false };
        let beaten = error.code().is_some_and(|code| code == "23505" || code == "40P01");
        self.0 = self.0.saturating_sub(1);
        beaten && self.0 > 0
    }
}
