//! The only code that knows Pingora: listeners, handshake, request, route, origin, redirect.

pub mod connection;
