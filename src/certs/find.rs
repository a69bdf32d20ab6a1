//! Finding the certificate of a hostname: memory, this machine's disk, the store, an authority.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Prepare, Refusal};
use crate::domain::hostname::Hostname;

/// All certificates this machine can serve or obtain.
pub struct Certificates<P: Prepare> {
    prepare: PhantomData<P>,
}

impl<P: Prepare> Certificates<P> {
    /// What memory holds for `hostname`: its own certificate, else a wildcard's. No I/O.
    pub fn hot(&self, hostname: &Hostname) -> Option<Arc<P::Ready>> {
        let _ = hostname;
        None
    }

    /// The certificate of `hostname`, obtained where it must be; waits at most the configured
    /// `handshake_wait`, after which the work goes on without the caller.
    pub async fn find(&self, hostname: &Hostname, client: IpAddr) -> Result<Arc<P::Ready>, Refusal> {
        let _ = (hostname, client);
        Err(Refusal::Pending)
    }
}
