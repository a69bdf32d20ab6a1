//! One file a command.

pub mod import;
