//! Sites and hostnames as data: the routing table made from them.

pub mod table;
