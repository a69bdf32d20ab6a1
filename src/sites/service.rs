//! What can be done with sites and hostnames.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::directory::Directory;
use super::input::{self, InvalidInput};
use super::life::Looks;
use super::plan::Plan;
use crate::certs::ahead::Keeper;
use crate::dns::diagnosis::Diagnosis;
use crate::domain::certificate::{Certificate, KeyFamily, Source};
use crate::domain::clock::{Clock, UnixTime};
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::label::Label;
use crate::domain::registration::{Registration, Settings, Via};
use crate::store::Error;
use crate::store::own::Brought;
use crate::store::records::{Actor, Changed, NewHostname, Records, Registered};

/// Characters of a preview hostname's first label and of a TXT value: 32 of them, so that each is
/// five random bits.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Letters of a preview hostname's first label: 80 bits, which nobody guesses.
const PREVIEW_LETTERS: usize = 16;
/// Letters of a TXT value.
const PROOF_LETTERS: usize = 26;

/// Sites and hostnames of one process.
pub struct Sites {
    pub(super) records: Arc<dyn Records>,
    pub(super) directory: Arc<Directory>,
    pub(super) keeper: Arc<dyn Keeper>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) looks: Looks,
    plan: ArcSwap<Plan>,
}

impl Sites {
    /// Puts the parts together; `plan` holds at first.
    pub fn new(
        records: Arc<dyn Records>,
        directory: Arc<Directory>,
        keeper: Arc<dyn Keeper>,
        clock: Arc<dyn Clock>,
        plan: Plan,
    ) -> Arc<Self> {
        let (looks, plan) = (Looks::default(), ArcSwap::from_pointee(plan));
        Arc::new(Self { records, directory, keeper, clock, looks, plan })
    }

    /// The store.
    pub fn records(&self) -> &Arc<dyn Records> {
        &self.records
    }

    /// What time it is.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// What the configuration says now.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Lets `plan` hold from now on.
    pub fn set_plan(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
    }

    /// The wildcard whose certificate serves `name`, where that is right below a platform domain.
    pub fn wildcard_for(&self, name: &CertificateName) -> Option<CertificateName> {
        let wildcard = CertificateName::wildcard_of(&name.hostname()?)?;
        let plan = self.plan();
        let is_platform = plan.platforms.iter().any(|(domain, _)| domain.as_str() == wildcard.bare());
        is_platform.then_some(wildcard)
    }

    /// Lets a change of a site be in force at once.
    pub fn changed(&self) {
        self.directory.look();
    }

    /// The organization of the site of this name, wherever it was made; `None`: there is no such site.
    pub async fn organization_of(&self, site: &Label) -> Result<Option<Label>, Error> {
        if let Some(configured) = self.plan().site(site.as_str()) {
            return Ok(configured.organization.parse().ok());
        }
        Ok(self.records.site(site).await?.map(|site| site.organization))
    }

    /// What the site has customers point at, in place of the configuration's.
    pub(super) async fn target_of(&self, site: &Label) -> Result<Option<Hostname>, Error> {
        if self.plan().site(site.as_str()).is_some() {
            return Ok(None);
        }
        Ok(self.records.site(site).await?.and_then(|site| site.cname_target))
    }

    /// Whether `name` may be registered for `site`.
    pub fn admit(&self, name: &CertificateName, site: &Label) -> Result<(), InvalidInput> {
        let plan = self.plan();
        match plan.lister(name) {
            // One that the configuration keeps for this site is its own.
            Some(lister) if *lister.name == *site.as_str() => return Ok(()),
            Some(_) => return Err(InvalidInput::Reserved),
            None => {}
        }
        let target = plan.cname_target.as_ref().map(CertificateName::from);
        if target.is_some_and(|target| target == *name) {
            return Err(InvalidInput::Reserved);
        }
        let domains = plan.platforms.iter().map(|(domain, _)| domain);
        match input::platform(name, domains) {
            Some(domain) => Err(InvalidInput::UnderPlatform { domain: domain.clone() }),
            None => Ok(()),
        }
    }

    /// Registers `name` for `site`, which belongs to `organization`.
    pub async fn register(
        &self,
        organization: &Label,
        site: &Label,
        name: &CertificateName,
        settings: Settings,
        actor: Actor<'_>,
    ) -> Result<Registered, Error> {
        if self.records.holder(name).await?.is_none() && self.records.certificate_facts(name).await?.is_some()
        {
            // One that came by a handshake or an import and is about to be listed is somebody's already.
            self.list(name).await?;
        }
        let new = self.new_hostname(organization, site, name, Via::Api, settings);
        let registered = self.records.register(&new, actor).await?;
        if let Registered::Created(hostname) = &registered {
            if hostname.holder {
                self.records.bring_back(&hostname.name).await?;
            }
            // Its preview is served from the answer to this call on.
            self.directory.refresh(&*self.records, name).await?;
            self.looks.wake();
        }
        Ok(registered)
    }

    /// Changes what is set for a hostname; in force on this machine when it returns.
    pub async fn configure(
        &self,
        hostname: &Registration,
        settings: &Settings,
        based_on: Option<i64>,
        actor: Actor<'_>,
    ) -> Result<Changed<Registration>, Error> {
        let (organization, name) = (&hostname.organization, &hostname.name);
        let changed = self.records.configure(organization, name, settings, based_on, actor).await?;
        self.directory.refresh(&*self.records, name).await?;
        Ok(changed)
    }

    /// Takes a hostname away; no longer served on this machine when it returns.
    pub async fn unregister(
        &self,
        organization: &Label,
        name: &CertificateName,
        actor: Actor<'_>,
    ) -> Result<Option<Registration>, Error> {
        let gone = self.records.unregister(organization, name, actor).await?;
        if gone.is_some() && !self.directory.refresh(&*self.records, name).await? {
            self.keeper.withdraw(name).await;
        }
        self.looks.wake();
        Ok(gone)
    }

    /// Whether the TLS library takes `certificate`; else what it does not like.
    pub fn check_certificate(&self, certificate: &Certificate) -> Result<(), String> {
        self.keeper.check(certificate)
    }

    /// Keeps a certificate that its organization brings for a hostname; served by this machine when it
    /// returns.
    pub async fn bring_certificate(
        &self,
        hostname: &Registration,
        certificate: &Certificate,
        actor: Actor<'_>,
    ) -> Result<Brought, Error> {
        let brought = self.records.bring_own(&hostname.organization, certificate, actor).await?;
        if brought == Brought::Kept {
            self.keeper.take_own(&hostname.name).await?;
            self.looks.wake();
        }
        Ok(brought)
    }

    /// Takes such certificates away; not served by this machine any more when it returns.
    pub async fn remove_certificate(
        &self,
        hostname: &Registration,
        family: Option<KeyFamily>,
        actor: Actor<'_>,
    ) -> Result<u64, Error> {
        let (organization, name) = (&hostname.organization, &hostname.name);
        let removed = self.records.remove_own(organization, name, family, actor).await?;
        self.keeper.take_own(name).await?;
        self.looks.wake();
        Ok(removed)
    }

    /// Has a hostname looked at now, and its certificate tried now. Returns when the authorities' limits
    /// allow that, unless it is now.
    pub async fn check(&self, hostname: &Registration) -> Result<Option<UnixTime>, Error> {
        let allowed = match hostname.holder {
            true => self.keeper.forgive(&hostname.name).await?,
            false => None,
        };
        self.records.look_again(hostname.id, self.clock.now()).await?;
        self.looks.wake();
        Ok(allowed)
    }

    /// What DNS has to have for a hostname, and had when it was looked at.
    pub async fn diagnosis(&self, hostname: &Registration) -> Result<Diagnosis, Error> {
        let last = hostname.standing.diagnosis.as_deref();
        // One of another version is as good as none.
        if let Some(diagnosis) = last.and_then(|text| serde_json::from_str(text).ok()) {
            return Ok(diagnosis);
        }
        let plan = self.plan();
        let aim = plan.aim(hostname, self.target_of(&hostname.site).await?);
        Ok(plan.diagnoser.before_a_look(&aim))
    }

    /// What DNS has to have for `name`, and has now; `hostname` is its registration, where there is one.
    /// Looks, for five seconds at most.
    pub async fn look_afresh(
        &self,
        name: &CertificateName,
        hostname: Option<&Registration>,
    ) -> Result<Diagnosis, Error> {
        let plan = self.plan();
        let aim = match hostname {
            Some(hostname) => plan.aim(hostname, self.target_of(&hostname.site).await?),
            None => plan.aim_of_a_stranger(name),
        };
        Ok(plan.diagnoser.diagnose(&aim).await)
    }

    /// Lists a name that came by a handshake or an import; not one that was deleted while its order was
    /// under way.
    pub(super) async fn list(&self, name: &CertificateName) -> Result<(), Error> {
        let gone = name.hostname().is_some_and(|hostname| self.directory.is_gone(&hostname));
        if gone && !self.was_brought(name).await? && self.keeper.is_denied(name).await {
            return Ok(());
        }
        let plan = self.plan();
        let domains = plan.platforms.iter().map(|(domain, _)| domain);
        // A platform's own names have its wildcard certificate.
        if input::platform(name, domains).is_some() {
            return Ok(());
        }
        let site = plan.lister(name).or_else(|| plan.site(&plan.on_demand));
        let Some(site) = site else { return Ok(()) };
        let (Ok(organization), Ok(site)) = (site.organization.parse(), site.name.parse()) else {
            return Ok(());
        };
        let new = self.new_hostname(&organization, &site, name, Via::OnDemand, Settings::default());
        if let Registered::Created(_) = self.records.register(&new, None).await? {
            self.directory.refresh(&*self.records, name).await?;
        }
        Ok(())
    }

    /// Whether a certificate is filed under `name` that no order of ours gave.
    async fn was_brought(&self, name: &CertificateName) -> Result<bool, Error> {
        let facts = self.records.certificate_facts(name).await?;
        Ok(facts.is_some_and(|facts| !matches!(facts.source, Source::Authority(_))))
    }

    fn new_hostname(
        &self,
        organization: &Label,
        site: &Label,
        name: &CertificateName,
        via: Via,
        settings: Settings,
    ) -> NewHostname {
        NewHostname {
            name: name.clone(),
            organization: organization.clone(),
            site: site.clone(),
            via,
            settings,
            preview: letters(PREVIEW_LETTERS),
            proof: format!("nameplate-{}", letters(PROOF_LETTERS)),
            quota: self.plan().quota,
        }
    }
}

/// So many random letters.
fn letters(count: usize) -> String {
    (0..count).map(|_| char::from(LETTERS[usize::from(rand::random::<u8>()) % LETTERS.len()])).collect()
}
