//! What the process tells about itself: logs and metrics.

pub mod log;
pub mod memory;
pub mod metrics;
pub mod seldom;
