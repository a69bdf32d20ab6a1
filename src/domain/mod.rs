//! The words of this project, pure: no I/O, no clock of their own, no imports from above.

pub mod access;
pub mod approval;
pub mod certificate;
pub mod clock;
pub mod event;
pub mod files;
pub mod hostname;
pub mod label;
pub mod registration;
pub mod renewal;
pub mod revocation;
pub mod site;
pub mod webhook;
