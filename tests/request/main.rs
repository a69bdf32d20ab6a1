//! The request path on real sockets: clients and origins over TCP, the edge between them.
//!
//! TLS is left out: a connection here says of itself which listener it came in by and which
//! certificate it was shown.

mod access_log;
mod bed;
mod deadlines;
mod forwarding;
mod framing;
mod origins;
mod pages;
mod plain;
mod protocols;
mod steps;
mod streaming;
