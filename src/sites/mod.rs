//! Sites and hostnames as data: their life, and the routing table made from them.

pub mod directory;
pub mod input;
pub mod life;
pub mod listed;
pub mod lookup;
pub mod plan;
pub mod service;
pub mod shelter;
pub mod standing;
pub mod stored;
pub mod table;

use async_trait::async_trait;

use crate::domain::hostname::CertificateName;
use crate::domain::site::Site;
use crate::store::Error;

/// A value that changes, and the number of its change.
#[derive(Clone, Debug)]
pub struct Versioned<T> {
    /// Another one for each other value.
    pub version: i64,
    /// The value.
    pub value: T,
}

/// Who is told of changes of hostnames and sites.
#[async_trait]
pub trait Followed: Send + Sync + 'static {
    /// These are the sites that were made by the API; all of them.
    fn sites(&self, sites: &[Versioned<Site>]);

    /// Nobody holds this hostname any more: it is not served.
    async fn gone(&self, name: &CertificateName);

    /// The store could not be read; it is tried again.
    fn store_failed(&self, error: &Error);
}
