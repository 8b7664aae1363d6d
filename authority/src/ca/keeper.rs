//! Keeps the CA in use fresh while the authority serves: takes over files that changed, renews the
//! intermediate in time, and says how it goes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use identity::{UnixTime, chain};
use tokio::sync::watch;

use crate::ca::keeper::report::Reload;
use crate::ca::{CaCertificate, CaError, CaSettings, CertificateAuthority, load_with, names, next};
use crate::inventory::InventoryError;
use crate::issue::{Issuance, Issuer};
use crate::upstream::{self, Upstream, UpstreamError};

mod renew;
pub mod report;

pub use self::report::CaReport;

/// Watches over the CA's folder.
#[derive(Debug)]
pub(crate) struct Keeper {
    issuance: Issuance,
    folder: PathBuf,
    settings: CaSettings,
    upstream: Box<dyn Upstream>,
    current: CertificateAuthority,
    /// Of the files as they were last looked at.
    seen: String,
    /// Whether they were refused because their time has not come.
    is_too_early: bool,
    renewal: renew::Renewal,
    report: watch::Sender<Arc<CaReport>>,
}

/// Why files that changed are not taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// They are no good CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// They have another root, which everybody who trusts the old one would refuse.
    #[error(
        "the root is another one (before {before}, now {after}): changing it takes a rotation that distributes the new one first"
    )]
    OtherRoot {
        /// SHA-256 of the root in use.
        before: String,
        /// SHA-256 of the one found.
        after: String,
    },
    /// Nothing below would validate.
    #[error("nothing signed by it would validate")]
    Path(#[from] crate::ca::PathError),
    /// The record does not take the new issuer.
    #[error("the record does not take the new issuer")]
    Inventory(#[from] InventoryError),
}

impl Keeper {
    /// A keeper of the CA in `folder`, which is the one `issuance` uses.
    pub(crate) fn new(
        issuance: Issuance,
        folder: PathBuf,
        settings: CaSettings,
        current: CertificateAuthority,
    ) -> Self {
        let upstream = upstream::open(&settings.upstream, &folder, &settings.passphrase);
        // The first look finds what was exchanged since it was read.
        let seen = String::new();
        let renewal = renew::Renewal::new(&current, &settings);
        let report = CaReport::of(
            &current,
            upstream.name(),
            issuance.policy().max_ttl_seconds(),
        );
        let mut keeper = Self {
            issuance,
            folder,
            settings,
            upstream,
            current,
            seen,
            is_too_early: false,
            renewal,
            report: watch::channel(Arc::new(report)).0,
        };
        keeper.publish(None);
        keeper
    }

    /// How it goes, and each change of that.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<CaReport>> {
        self.report.subscribe()
    }

    /// Looks after the CA for ever. `announce` is told the certificates, PEM, that sign, will sign, or
    /// have signed what has not expired.
    pub(crate) async fn run(mut self, announce: impl Fn(Vec<String>)) {
        let mut tick = tokio::time::interval(Duration::from_secs(self.settings.reload_seconds));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.look().await;
            self.renew().await;
            announce(self.issuers());
        }
    }

    /// Takes over what changed in the folder.
    async fn look(&mut self) {
        let found = match next::fingerprint(&self.folder) {
            Ok(found) => found.to_string(),
            Err(error) => format!("unreadable: {}", chain(&error)),
        };
        let is_new = found != self.seen;
        if !is_new && !self.is_too_early {
            return;
        }
        let before = self.current.intermediate.sha256().to_owned();
        let outcome = self.reload().await;
        // Files that are exchanged one by one are looked at again when they have settled; the same
        // fault is reported once.
        self.seen = found;
        // Time alone makes those good, and no key is opened before the dates are looked at.
        self.is_too_early = matches!(
            &outcome,
            Err(ReloadError::Ca(CaError::NotYetValid { .. }) | ReloadError::Inventory(_))
        );
        let now = self.issuance.now();
        match outcome {
            Err(_) if !is_new => {}
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!(
                    before,
                    after = self.current.intermediate.sha256(),
                    subject = self.current.intermediate.subject(),
                    "the CA's files changed: the intermediate in them is in use"
                );
                self.publish(Some(Reload {
                    at: now,
                    refused: None,
                }));
            }
            Err(error) => {
                let refused = chain(&error);
                tracing::error!(
                    before,
                    error = refused,
                    "the CA's files changed and are refused; the CA before stays in use"
                );
                self.publish(Some(Reload {
                    at: now,
                    refused: Some(refused),
                }));
            }
        }
    }

    /// True if another intermediate is in use now.
    async fn reload(&mut self) -> Result<bool, ReloadError> {
        let now = self.issuance.now();
        // Before anything else, for this is what the operator must read.
        let root = CaCertificate::read(&self.folder.join(names::ROOT_CERTIFICATE))?;
        if root != self.current.root {
            return Err(ReloadError::OtherRoot {
                before: self.current.root.sha256().to_owned(),
                after: root.sha256().to_owned(),
            });
        }
        let found = load_with(&self.folder, now, &self.settings.passphrase)?;
        let same = found.intermediate == self.current.intermediate
            && found.upper == self.current.upper
            && found.key.custody() == self.current.key.custody();
        if same {
            return Ok(false);
        }
        self.take(found).await?;
        Ok(true)
    }

    /// Takes a CA into use: on record before it signs.
    async fn take(&mut self, authority: CertificateAuthority) -> Result<(), ReloadError> {
        self.admit(&authority).await?;
        self.switch(authority);
        Ok(())
    }

    /// Lets a CA sign that was admitted. Nothing of it can fail.
    fn switch(&mut self, authority: CertificateAuthority) {
        self.issuance
            .issuer_slot()
            .replace(Issuer::new(authority.clone()));
        self.renewal = renew::Renewal::new(&authority, &self.settings);
        self.current = authority;
    }

    /// Whether a CA can be used now; puts it on record.
    async fn admit(&self, authority: &CertificateAuthority) -> Result<(), ReloadError> {
        let now = self.issuance.now();
        let id = format!("{}/leaf", self.issuance.policy().trust_domain().id_string());
        let candidate = crate::ca::path::Candidate {
            uris: vec![&id],
            dns: Vec::new(),
            ips: Vec::new(),
            ca: None,
            not_before: now,
            not_after: now,
        };
        crate::ca::path::check(&authority.chain(), &candidate, now)?;
        for certificate in std::iter::once(&authority.intermediate).chain(&authority.upper) {
            self.issuance
                .inventory()
                .record_issuer(certificate.clone(), now)
                .await?;
        }
        Ok(())
    }

    /// PEM of every issuer whose leaves may be met: in use, to come, before.
    fn issuers(&self) -> Vec<String> {
        let now = self.issuance.now();
        let in_use = std::iter::once(self.current.intermediate.pem().to_owned());
        let to_come = self.renewal.prepared().map(|next| next.pem().to_owned());
        let before = self.issuance.issuer_slot().before();
        let before = before
            .iter()
            .filter(|issuer| issuer.certificate().not_after() >= now)
            .map(|issuer| issuer.certificate().pem().to_owned());
        let mut all: Vec<String> = Vec::new();
        for pem in in_use.chain(to_come).chain(before) {
            if !all.contains(&pem) {
                all.push(pem);
            }
        }
        all
    }

    fn publish(&mut self, reload: Option<Reload>) {
        let max_ttl = self.issuance.policy().max_ttl_seconds();
        let mut report = CaReport::of(&self.current, self.upstream.name(), max_ttl);
        report.renewal = self.renewal.state();
        report.reload = reload.or_else(|| self.report.borrow().reload.clone());
        if **self.report.borrow() != report {
            self.report.send_replace(Arc::new(report));
        }
    }

    /// One step of the renewal, if one is due.
    async fn renew(&mut self) {
        let now = self.issuance.now();
        if self.renewal.is_activation_due(now) {
            self.activate().await;
        } else if self.renewal.is_due(now) || self.is_handed_over(now) {
            let outcome = self.ask(now).await;
            self.conclude(outcome, now);
        }
        self.publish(None);
    }

    /// Whether a ceremony has put a certificate there, before or after its time.
    fn is_handed_over(&self, now: UnixTime) -> bool {
        self.renewal.may_try(now) && self.folder.join(next::file::CERTIFICATE).exists()
    }

    async fn ask(&mut self, now: UnixTime) -> Result<CertificateAuthority, UpstreamError> {
        let passphrase = &self.settings.passphrase;
        match next::stored(&self.folder, &self.current, passphrase) {
            Ok(Some(stored)) => return Ok(stored),
            Ok(None) => {}
            Err(error) => {
                // Key and request stay: they may be on their way to somebody who signs.
                next::discard(&self.folder)?;
                return Err(error.into());
            }
        }
        let options = next::NextOptions {
            seconds: self.settings.intermediate_seconds,
            now,
        };
        let trust_domain = self.issuance.policy().trust_domain().clone();
        let profile = next::profile(&self.current, &trust_domain, &options)?;
        let request = next::request(&self.folder, &self.current, profile, passphrase, now).await?;
        let signed = self.upstream.sign(&request).await?;
        // Somebody's file, an API or our own key: each answer is checked the same way.
        let certificates = std::iter::once(signed.certificate)
            .chain(signed.upper)
            .collect();
        let signed = upstream::answer::check(certificates, &request)?;
        if signed.certificate.not_after() <= self.current.intermediate.not_after() {
            return Err(UpstreamError::BadAnswer {
                problem: "it does not live longer than the intermediate in use",
            });
        }
        next::store(&self.folder, &signed)?;
        next::stored(&self.folder, &self.current, passphrase)?.ok_or(UpstreamError::BadAnswer {
            problem: "it is gone again",
        })
    }

    fn conclude(&mut self, outcome: Result<CertificateAuthority, UpstreamError>, now: UnixTime) {
        match outcome {
            Ok(next) => {
                let at = now.plus_secs(self.settings.announce_seconds).unwrap_or(now);
                tracing::info!(
                    subject = next.intermediate.subject(),
                    sha256 = next.intermediate.sha256(),
                    activates_at = at.as_secs(),
                    "a new intermediate is announced"
                );
                self.renewal.prepare(next, at);
            }
            Err(error @ UpstreamError::Waiting { .. }) => {
                if self.renewal.wait(&error, now) {
                    tracing::warn!(upstream = self.upstream.name(), "{}", chain(&error));
                }
            }
            Err(error) => {
                let text = chain(&error);
                self.renewal.fail(text.clone(), now);
                let left = self.current.intermediate.not_after().secs_since(now);
                tracing::error!(
                    alarm = true,
                    upstream = self.upstream.name(),
                    error = text,
                    seconds_left = left,
                    "the intermediate was not renewed"
                );
            }
        }
    }

    async fn activate(&mut self) {
        let now = self.issuance.now();
        let Some(next) = self.renewal.take_prepared() else {
            return;
        };
        let before = self.current.intermediate.clone();
        // While its files are not exchanged, all of this can be tried again.
        match self.admit(&next).await {
            Ok(()) => {}
            Err(ReloadError::Inventory(error)) => {
                tracing::error!(
                    error = chain(&error),
                    "the new intermediate waits for the record"
                );
                self.renewal.prepare(next, now);
                return;
            }
            Err(error) => {
                let text = chain(&error);
                tracing::error!(
                    alarm = true,
                    error = text,
                    "the new intermediate is no good"
                );
                if let Err(error) = next::discard(&self.folder) {
                    tracing::warn!(error = chain(&error), "it could not be put away");
                }
                self.renewal.fail(text, now);
                return;
            }
        }
        let outcome = next::activate(&self.folder, &before, &next.intermediate);
        if outcome.is_ok() {
            self.switch(next);
        }
        match outcome {
            Ok(()) => tracing::warn!(
                before = before.sha256(),
                after = self.current.intermediate.sha256(),
                subject = self.current.intermediate.subject(),
                "the intermediate was renewed"
            ),
            Err(error) => {
                let text = chain(&error);
                tracing::error!(
                    alarm = true,
                    error = text,
                    "the new intermediate is not in use"
                );
                self.renewal.fail(text, now);
            }
        }
        // What is in the folder now is looked at with the next tick, also where only half of it was exchanged.
    }
}
