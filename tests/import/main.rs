//! Certificates from other servers: their PEM texts, their folders, their Redis.

#[path = "../bed/mod.rs"]
mod bed;

mod bad;
mod batches;
mod caddy;
mod certbot;
mod files;
#[path = "bed.rs"]
mod house;
mod made;
mod pem;
mod redis;
mod serving;
