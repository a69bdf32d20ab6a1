//! The dashboard: a few pages over the API for people, made on the server. They work without
//! JavaScript and show what the API would; whoever signs in does so with a token of the API.
//!
//! Every text is escaped, the pages load nothing from elsewhere, and what changes something is a POST
//! from the pages themselves.

pub mod certificates;
pub mod events;
pub mod form;
pub mod frame;
pub mod hostname;
pub mod hostnames;
pub mod picture;
pub mod records;
pub mod refusal;
pub mod register;
pub mod remove;
pub mod routes;
pub mod session;
pub mod sign_in;
pub mod words;
