//! Whether a hostname is registered: by the directory, and by the store, which is asked before an order.

use std::sync::Arc;

use async_trait::async_trait;

use super::directory::Directory;
use crate::certs::in_full;
use crate::domain::approval::Registered;
use crate::domain::hostname::CertificateName;
use crate::domain::registration::Via;
use crate::store::records::Records;

/// Looks hostnames up.
pub struct Lookup {
    directory: Arc<Directory>,
    records: Arc<dyn Records>,
}

impl Lookup {
    /// In `directory`, else in `records`.
    pub fn new(directory: Arc<Directory>, records: Arc<dyn Records>) -> Self {
        Self { directory, records }
    }
}

#[async_trait]
impl Registered for Lookup {
    fn site(&self, name: &CertificateName) -> Option<Arc<str>> {
        // A wildcard is registered for its own certificate, not for one of each name below it.
        let listed = self.directory.listed(name)?;
        listed.registered.then(|| listed.site.clone())
    }

    fn is_complete(&self) -> bool {
        self.directory.is_complete()
    }

    async fn look_up(&self, name: &CertificateName) -> Result<Option<Arc<str>>, Arc<str>> {
        match self.records.holder(name).await {
            Ok(Some(holder)) if holder.via == Via::Api => Ok(Some(holder.site.shared())),
            Ok(_) => Ok(None),
            Err(error) => Err(format!("the registered hostnames cannot be read: {}", in_full(&error)).into()),
        }
    }
}
