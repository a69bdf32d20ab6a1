//! The sites that were made by the API, as the request path needs them.

use super::{Followed, Versioned};
use crate::domain::access::Reach;
use crate::domain::site::{OriginTimeouts, Site};
use crate::store::Error;
use crate::store::records::{Records, StoredSite};

/// Sites read from the store at a time.
const PAGE: u32 = 1_000;

/// The sites that were made by the API: many fewer than hostnames.
pub(super) async fn all(records: &dyn Records) -> Result<Vec<StoredSite>, Error> {
    let mut sites: Vec<StoredSite> = Vec::new();
    loop {
        let after = sites.last().map_or("", |site| site.name.as_str()).to_owned();
        let page = records.sites(&Reach::All, &after, PAGE).await?;
        if page.is_empty() {
            return Ok(sites);
        }
        sites.extend(page);
    }
}

pub(super) fn tell(followed: &dyn Followed, sites: &[StoredSite]) {
    let sites: Vec<Versioned<Site>> = sites.iter().map(as_configured).collect();
    followed.sites(&sites);
}

/// A site that was made by the API, as the configuration would have it.
fn as_configured(site: &StoredSite) -> Versioned<Site> {
    let value = Site {
        name: site.name.shared(),
        organization: site.organization.shared(),
        hostnames: Vec::new(),
        origins: site.origins.clone(),
        // A token of the API must not choose folders of this machine.
        files: None,
        hsts: None,
        timeouts: OriginTimeouts::default(),
    };
    Versioned { version: site.version, value }
}
