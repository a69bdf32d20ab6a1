//! The words of this project, pure: no I/O, no clock of their own, no imports from above.

pub mod access;
pub mod approval;
pub mod attempt;
pub mod budget;
pub mod certificate;
pub mod challenge;
pub mod clock;
pub mod engine;
pub mod event;
pub mod files;
pub mod fleet;
pub mod hostname;
pub mod label;
pub mod limits;
pub mod orders;
pub mod registration;
pub mod renewal;
pub mod revocation;
pub mod secret;
pub mod site;
pub mod ticket;
pub mod webhook;
pub mod zone;
