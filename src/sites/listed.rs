//! A hostname as the request path needs it.

use std::sync::Arc;

use http::HeaderValue;

use crate::domain::hostname::CertificateName;
use crate::domain::registration::{Redirect, Settings};
use crate::domain::site::Origin;

/// A hostname as the request path needs it.
#[derive(Debug)]
pub struct Listed {
    /// Its number in the store.
    pub id: i64,
    /// Its name.
    pub name: CertificateName,
    /// Its site.
    pub site: Arc<str>,
    /// What was set for it, over its site's.
    pub custom: Option<Box<Custom>>,
    /// Whether somebody registered it; else whoever asks for it is asked about.
    pub registered: bool,
    /// Whether requests for the name go to this one.
    pub(super) holder: bool,
    /// The first label of its preview hostname.
    pub(super) preview: Box<str>,
}

/// What was set for one hostname, made ready for requests.
#[derive(Debug)]
pub struct Custom {
    /// Its own origin.
    pub origin: Option<Origin>,
    /// Where its visitors are sent.
    pub redirect: Option<Redirect>,
    /// Its metadata, as a header's value.
    pub metadata: Option<HeaderValue>,
}

impl Custom {
    pub(super) fn of(settings: &Settings) -> Option<Box<Self>> {
        if *settings == Settings::default() {
            return None;
        }
        let metadata = settings.metadata.as_deref();
        Some(Box::new(Self {
            origin: settings.origin.clone(),
            redirect: settings.redirect.clone(),
            // What the API takes in is ASCII without control characters.
            metadata: metadata.and_then(|text| HeaderValue::from_str(text).ok()),
        }))
    }
}
