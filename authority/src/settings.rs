//! What an authority is told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::{SpiffeId, TrustDomain};
use serde::Deserialize;

use crate::ca::{CaSettings, KeyAlgorithm};
use crate::clock::{Clock, SystemClock};
use crate::issue::Lifetimes;
use crate::limits::Limits;
use crate::metrics::MetricsSettings;
use crate::proof::ProofsConfig;
use crate::rules_file::IssuanceSettings;
use crate::serve::access::AdminSettings;

/// Names inside the data folder.
pub mod names {
    /// Folder of the CA.
    pub const CA_DIR: &str = "ca";
    /// The record, SQLite.
    pub const DATABASE: &str = "countersign.db";
    /// The deny list's private key, PKCS#8 PEM.
    pub const DENY_LIST_KEY: &str = "deny-list.key";
    /// The deny list's next private key, PKCS#8 PEM.
    pub const DENY_LIST_NEXT_KEY: &str = "deny-list-next.key";
    /// The root certificate, PEM, for whoever must trust this authority.
    pub const BUNDLE: &str = "bundle.pem";
    /// The administration socket.
    pub const ADMIN_SOCKET: &str = "admin.sock";
    /// The audit log's private key, PKCS#8 PEM.
    pub const AUDIT_KEY: &str = "audit.key";
    /// The audit log's public key, PEM, for whoever verifies.
    pub const AUDIT_PUBLIC_KEY: &str = "audit.pub";
    /// How far the record had come.
    pub const POSITION: &str = "position.json";
    /// Locked while an authority runs.
    pub const LOCK: &str = "lock";
}

/// What an authority is told. Times are seconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The trust domain, one per authority.
    pub trust_domain: TrustDomain,
    /// Folder of everything that must survive; made, for its owner only, if it is not there.
    pub data_dir: PathBuf,
    /// Address of the gRPC listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Lifetime of a certificate when nothing is asked for.
    pub default_ttl_seconds: i64,
    /// Longest lifetime that may be asked for.
    pub max_ttl_seconds: i64,
    /// How far before now a certificate's validity starts; at most a quarter of its lifetime.
    pub backdate_seconds: i64,
    /// How often the deny list is signed anew.
    pub deny_list_period_seconds: u64,
    /// How long a deny list can be relied on; at most 60.
    pub deny_list_life_seconds: i64,
    /// Kind of the CA's keys, where they must be made.
    pub key_algorithm: KeyAlgorithm,
    /// The CA: custody, renewal, upstream.
    pub ca: CaSettings,
    /// What counts as a proof of who is calling.
    pub proofs: ProofsConfig,
    /// The record.
    pub record: RecordSettings,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// How much is served at a time.
    pub limits: Limits,
    /// Where metrics and readiness are told.
    pub metrics: MetricsSettings,
    /// Who may administrate over the network.
    pub admin: AdminSettings,
    /// The rules of who may have which certificate.
    pub issuance: IssuanceSettings,
}

/// Section `record` of the configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RecordSettings {
    /// Seconds between signed heads of the audit log while it grows, 1 to 3600.
    pub head_period_seconds: i64,
    /// File that tells how far the record had come [default: `position.json` in the data folder].
    /// Best on another disk: what is restored together with the record tells nothing.
    pub position_file: Option<PathBuf>,
    /// Whether a record older than its position is accepted; a matter of one start, so not of the
    /// file.
    #[serde(skip)]
    pub accept_lost_revocations: bool,
}

impl Default for RecordSettings {
    fn default() -> Self {
        Self {
            head_period_seconds: 60,
            position_file: None,
            accept_lost_revocations: false,
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{setting} is {found}, expected {expected}")]
pub struct SettingsError {
    /// Its name.
    pub setting: &'static str,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub expected: &'static str,
}

impl Settings {
    /// Defaults for `trust_domain` in `data_dir`: a free port on loopback, certificates for 24
    /// hours and at most 90 days, backdated two minutes, P-256 keys, a deny list signed every ten
    /// seconds that lives sixty.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            trust_domain,
            data_dir: data_dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            default_ttl_seconds: 24 * 3600,
            max_ttl_seconds: 90 * 24 * 3600,
            backdate_seconds: 120,
            deny_list_period_seconds: 10,
            deny_list_life_seconds: 60,
            key_algorithm: KeyAlgorithm::default(),
            ca: CaSettings::default(),
            proofs: ProofsConfig::default(),
            record: RecordSettings::default(),
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
            metrics: MetricsSettings::default(),
            admin: AdminSettings::default(),
            issuance: IssuanceSettings::default(),
        }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`SettingsError`], the first setting that cannot be.
    pub fn check(&self) -> Result<(), SettingsError> {
        let life = self.deny_list_life_seconds;
        let period = i64::try_from(self.deny_list_period_seconds).unwrap_or(i64::MAX);
        let wrong = |setting, found: i64, expected| {
            Err(SettingsError {
                setting,
                found: found.to_string(),
                expected,
            })
        };
        if self.max_ttl_seconds < 1 {
            return wrong("the longest lifetime", self.max_ttl_seconds, "at least 1 s");
        }
        if !(1..=self.max_ttl_seconds).contains(&self.default_ttl_seconds) {
            return wrong(
                "the default lifetime",
                self.default_ttl_seconds,
                "at least 1 s and no more than the longest lifetime",
            );
        }
        if !(0..=3600).contains(&self.backdate_seconds) {
            return wrong("the backdating", self.backdate_seconds, "0 to 3600 s");
        }
        if !(1..=identity::deny_list::MAX_LIFE_SECONDS).contains(&life) {
            return wrong("the deny list's life", life, "1 to 60 s");
        }
        if !(1..=life).contains(&period) {
            return wrong(
                "the deny list's period",
                period,
                "at least 1 s, no more than its life",
            );
        }
        if let Some((setting, found, expected)) = self.ca.wrong() {
            return wrong(setting, found, expected);
        }
        self.limits.check()?;
        self.admin.check(&self.trust_domain)?;
        if self.issuance.poll_seconds < 1 {
            return wrong(
                "the period of looking at the issuance rules",
                0,
                "at least 1 s",
            );
        }
        let head_period = self.record.head_period_seconds;
        if !(1..=3600).contains(&head_period) {
            return wrong(
                "the period of signed tree heads",
                head_period,
                "1 to 3600 s",
            );
        }
        if self.list_signer_id().is_none() {
            return Err(SettingsError {
                setting: "the trust domain",
                found: self.trust_domain.to_string(),
                expected: "one short enough for SPIFFE IDs in it",
            });
        }
        Ok(())
    }

    /// The authority's own identity.
    pub(crate) fn authority_id(&self) -> Option<SpiffeId> {
        SpiffeId::new(format!(
            "spiffe://{}/countersign/authority",
            self.trust_domain.as_str()
        ))
        .ok()
    }

    /// The identity of the deny list's key.
    pub(crate) fn list_signer_id(&self) -> Option<SpiffeId> {
        let id = self.authority_id()?;
        SpiffeId::new(format!("{id}/deny-list")).ok()
    }

    pub(crate) const fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            default_ttl: self.default_ttl_seconds,
            max_ttl: self.max_ttl_seconds,
            backdate: self.backdate_seconds,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.data_dir).join(name)
    }
}
