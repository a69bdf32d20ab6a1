//! What happened to hostnames, and who changed what.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::clock::UnixTime;
use super::hostname::CertificateName;
use super::label::Label;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Grows; unique in the store.
    pub id: i64,
    /// When.
    pub at: UnixTime,
    /// Whose it is; `None`: the operator's.
    pub organization: Option<Label>,
    /// The site that is concerned.
    pub site: Option<Label>,
    /// The hostname that is concerned.
    pub hostname: Option<CertificateName>,
    /// What.
    pub kind: EventKind,
    /// The token by which somebody asked for it; `None`: it happened by itself.
    pub actor: Option<String>,
    /// The details, an object.
    pub detail: serde_json::Value,
}

/// What happened, as a word of the event log and of webhooks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum EventKind {
    /// Registered, or first seen.
    #[serde(rename = "hostname.created")]
    HostnameCreated,
    /// Its settings were changed.
    #[serde(rename = "hostname.updated")]
    HostnameUpdated,
    /// It has a valid certificate and leads here.
    #[serde(rename = "hostname.serving")]
    HostnameServing,
    /// Somebody has to change something.
    #[serde(rename = "hostname.stuck")]
    HostnameStuck,
    /// It is waited for again.
    #[serde(rename = "hostname.waiting")]
    HostnameWaiting,
    /// It is served, but its DNS leads elsewhere.
    #[serde(rename = "hostname.dns_left")]
    HostnameDnsLeft,
    /// Its DNS leads here again.
    #[serde(rename = "hostname.dns_returned")]
    HostnameDnsReturned,
    /// Another organization has shown that it is its.
    #[serde(rename = "hostname.lost")]
    HostnameLost,
    /// Taken away.
    #[serde(rename = "hostname.deleted")]
    HostnameDeleted,
    /// Its first certificate.
    #[serde(rename = "certificate.issued")]
    CertificateIssued,
    /// A certificate in the place of another.
    #[serde(rename = "certificate.renewed")]
    CertificateRenewed,
    /// No certificate could be obtained.
    #[serde(rename = "certificate.failed")]
    CertificateFailed,
    /// No certificate could be obtained in the place of one that is still there.
    #[serde(rename = "certificate.renewal_failed")]
    CertificateRenewalFailed,
    /// A certificate is late to be renewed.
    #[serde(rename = "certificate.expiring")]
    CertificateExpiring,
    /// Somebody brought a certificate for a hostname.
    #[serde(rename = "certificate.set")]
    CertificateSet,
    /// A certificate that somebody had brought was taken away.
    #[serde(rename = "certificate.removed")]
    CertificateRemoved,
    /// A site was made.
    #[serde(rename = "site.created")]
    SiteCreated,
    /// A site was changed.
    #[serde(rename = "site.updated")]
    SiteUpdated,
    /// A site was taken away.
    #[serde(rename = "site.deleted")]
    SiteDeleted,
    /// An organization's quota was changed.
    #[serde(rename = "organization.updated")]
    OrganizationUpdated,
    /// A token was made.
    #[serde(rename = "token.created")]
    TokenCreated,
    /// A token was revoked.
    #[serde(rename = "token.revoked")]
    TokenRevoked,
    /// A webhook was made.
    #[serde(rename = "webhook.created")]
    WebhookCreated,
    /// A webhook was changed.
    #[serde(rename = "webhook.updated")]
    WebhookUpdated,
    /// A webhook was taken away.
    #[serde(rename = "webhook.deleted")]
    WebhookDeleted,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::HostnameCreated,
        Self::HostnameUpdated,
        Self::HostnameServing,
        Self::HostnameStuck,
        Self::HostnameWaiting,
        Self::HostnameDnsLeft,
        Self::HostnameDnsReturned,
        Self::HostnameLost,
        Self::HostnameDeleted,
        Self::CertificateIssued,
        Self::CertificateRenewed,
        Self::CertificateFailed,
        Self::CertificateRenewalFailed,
        Self::CertificateExpiring,
        Self::CertificateSet,
        Self::CertificateRemoved,
        Self::SiteCreated,
        Self::SiteUpdated,
        Self::SiteDeleted,
        Self::OrganizationUpdated,
        Self::TokenCreated,
        Self::TokenRevoked,
        Self::WebhookCreated,
        Self::WebhookUpdated,
        Self::WebhookDeleted,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::HostnameCreated => "hostname.created",
            Self::HostnameUpdated => "hostname.updated",
            Self::HostnameServing => "hostname.serving",
            Self::HostnameStuck => "hostname.stuck",
            Self::HostnameWaiting => "hostname.waiting",
            Self::HostnameDnsLeft => "hostname.dns_left",
            Self::HostnameDnsReturned => "hostname.dns_returned",
            Self::HostnameLost => "hostname.lost",
            Self::HostnameDeleted => "hostname.deleted",
            Self::CertificateIssued => "certificate.issued",
            Self::CertificateRenewed => "certificate.renewed",
            Self::CertificateFailed => "certificate.failed",
            Self::CertificateRenewalFailed => "certificate.renewal_failed",
            Self::CertificateExpiring => "certificate.expiring",
            Self::CertificateSet => "certificate.set",
            Self::CertificateRemoved => "certificate.removed",
            Self::SiteCreated => "site.created",
            Self::SiteUpdated => "site.updated",
            Self::SiteDeleted => "site.deleted",
            Self::OrganizationUpdated => "organization.updated",
            Self::TokenCreated => "token.created",
            Self::TokenRevoked => "token.revoked",
            Self::WebhookCreated => "webhook.created",
            Self::WebhookUpdated => "webhook.updated",
            Self::WebhookDeleted => "webhook.deleted",
        }
    }

    /// The kind of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written_in_json_too() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::of(kind.word()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        }
    }
}
