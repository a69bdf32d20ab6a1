//! Whether a certificate may be obtained: sites, the approval endpoint, a cache of verdicts.

pub mod cache;
pub mod endpoint;
