//! The words of this project, pure: no I/O, no clock of their own, no imports from above.

pub mod approval;
pub mod certificate;
pub mod clock;
pub mod hostname;
pub mod renewal;
pub mod revocation;
pub mod site;
