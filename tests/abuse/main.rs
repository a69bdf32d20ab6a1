//! Floods and slow clients: each is cheap and cut, and nobody honest notices.

#[path = "../bed/mod.rs"]
mod bed;
mod flood;
mod h2;
mod honest;
mod memory;
mod slow;
