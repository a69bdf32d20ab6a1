//! One file a command.

pub mod check;
pub mod demo;
pub mod health;
pub mod import;
pub mod main;
pub mod run;
