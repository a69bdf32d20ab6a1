//! The only code that knows Pingora: listeners, handshake, request, route, origin, redirect.

pub mod admission;
pub mod connection;
pub mod gate;
pub mod handshake;
pub mod listener;
pub mod proxy_protocol;
pub mod stream;
pub mod tls;
