//! What the configuration says about obtaining certificates; replaced whole while work goes on.

use std::sync::Arc;
use std::time::Duration;

use super::budget::NewNames;
use super::obtain::Obtain;
use crate::approval::cache::Approvals;

/// One state of the configuration. Work that began under it ends under it.
pub struct Rules {
    /// Whether a certificate may be obtained.
    pub approvals: Arc<Approvals>,
    /// The one road to the authorities.
    pub obtain: Obtain,
    /// How many names may be new.
    pub budget: NewNames,
    /// Orders under way at most.
    pub orders: usize,
    /// How long [`Certificates::find`](super::find::Certificates::find) waits.
    pub wait: Duration,
}
