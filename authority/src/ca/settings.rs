//! What the CA is told: the section `ca` of a configuration.

use std::path::PathBuf;

use serde::Deserialize;

use crate::ca::init::{CaOptions, INTERMEDIATE_SECONDS};
use crate::ca::key::CaKeyError;
use crate::ca::secret::PassphraseSource;
use crate::ca::{CaError, CertificateAuthority, Custody};
use crate::upstream::UpstreamSettings;

/// What the CA is told. Times are seconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Raw")]
pub struct CaSettings {
    /// Opens the CA's keys, and encrypts new ones.
    pub passphrase: PassphraseSource,
    /// How often the CA's files are looked at, and whether a renewal is due; at least 1.
    pub reload_seconds: u64,
    /// Validity of new intermediates.
    pub intermediate_seconds: i64,
    /// How long before its end an intermediate is renewed; a third of its life if not given.
    pub renew_before_seconds: Option<i64>,
    /// How long a new intermediate is announced to agents before it signs.
    pub announce_seconds: i64,
    /// Who signs our intermediate.
    pub upstream: UpstreamSettings,
}

impl Default for CaSettings {
    fn default() -> Self {
        Raw::default().into()
    }
}

/// The section as it is written.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    key_passphrase_file: Option<PathBuf>,
    reload_seconds: u64,
    intermediate_seconds: i64,
    renew_before_seconds: Option<i64>,
    announce_seconds: i64,
    upstream: UpstreamSettings,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            key_passphrase_file: None,
            reload_seconds: 5,
            intermediate_seconds: INTERMEDIATE_SECONDS,
            renew_before_seconds: None,
            announce_seconds: 600,
            upstream: UpstreamSettings::default(),
        }
    }
}

impl From<Raw> for CaSettings {
    fn from(raw: Raw) -> Self {
        Self {
            passphrase: raw
                .key_passphrase_file
                .map_or(PassphraseSource::None, PassphraseSource::File),
            reload_seconds: raw.reload_seconds,
            intermediate_seconds: raw.intermediate_seconds,
            renew_before_seconds: raw.renew_before_seconds,
            announce_seconds: raw.announce_seconds,
            upstream: raw.upstream,
        }
    }
}

impl CaSettings {
    /// What a CA that must be made is made with.
    pub(crate) fn options(&self) -> Result<CaOptions, CaError> {
        let passphrase = self
            .passphrase
            .get()
            .map_err(|error| CaError::NewKey(CaKeyError::from(error)))?;
        Ok(CaOptions {
            passphrase,
            intermediate_seconds: self.intermediate_seconds,
            ..CaOptions::default()
        })
    }

    /// The first setting that cannot be: its name, its value, what it may be.
    pub(crate) fn wrong(&self) -> Option<(&'static str, i64, &'static str)> {
        if self.reload_seconds == 0 {
            return Some(("the CA's reload period", 0, "at least 1 s"));
        }
        if self.intermediate_seconds < MIN_INTERMEDIATE_SECONDS {
            let expected = "at least 60 s";
            return Some((
                "the intermediate's validity",
                self.intermediate_seconds,
                expected,
            ));
        }
        if self.announce_seconds < 0 {
            return Some((
                "the announcement of an intermediate",
                self.announce_seconds,
                "0 s or more",
            ));
        }
        self.renew_before_seconds
            .filter(|seconds| !(1..self.intermediate_seconds).contains(seconds))
            .map(|seconds| {
                (
                    "the margin of the renewal",
                    seconds,
                    "at least 1 s and less than the validity",
                )
            })
    }
}

/// Says where the CA's keys are; a plain file is a warning.
pub(crate) fn log_custody(authority: &CertificateAuthority) {
    let keys = [
        ("intermediate", authority.key.custody()),
        ("root", authority.root_custody.clone()),
    ];
    for (key, custody) in keys {
        match custody {
            Custody::PlainFile => tracing::warn!(
                key,
                "the key is a plain file: who reads it has the CA; encrypt it with `countersign ca encrypt-keys`, or keep it in a token"
            ),
            custody => tracing::info!(key, %custody, "custody"),
        }
    }
}

/// Shortest life of an intermediate.
const MIN_INTERMEDIATE_SECONDS: i64 = 60;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_section_reads_as_documented_and_refuses_the_rest() {
        let read = |text: &str| serde_json::from_str::<CaSettings>(text);
        let empty = read("{}").unwrap();
        assert!(matches!(empty.upstream, UpstreamSettings::Own));
        assert_eq!(empty.reload_seconds, 5);
        assert_eq!(empty.wrong(), None);
        let file = read(r#"{"keyPassphraseFile":"/p","upstream":{"kind":"file","folder":"/x"}}"#);
        let file = file.unwrap();
        assert!(
            matches!(&file.passphrase, PassphraseSource::File(path) if path == Path::new("/p"))
        );
        assert!(
            matches!(&file.upstream, UpstreamSettings::File { folder } if folder == Path::new("/x"))
        );
        let step = read(
            r#"{"upstream":{"kind":"stepCa","url":"https://ca:9000","rootFile":"/r","provisioner":"c","keyFile":"/k"}}"#,
        );
        assert!(matches!(
            step.unwrap().upstream,
            UpstreamSettings::StepCa(_)
        ));
        for bad in [
            r#"{"unknown":1}"#,
            r#"{"upstream":{"kind":"other"}}"#,
            r#"{"upstream":{"kind":"file"}}"#,
            r#"{"upstream":{"kind":"file","folder":"/x","more":1}}"#,
            r#"{"upstream":{"kind":"stepCa","url":"https://ca:9000"}}"#,
            r#"{"upstream":{"kind":"stepCa","url":"u","rootFile":"/r","provisioner":"c","keyFile":"/k","key":"k"}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for bad in [
            r#"{"reloadSeconds":0}"#,
            r#"{"intermediateSeconds":59}"#,
            r#"{"announceSeconds":-1}"#,
            r#"{"intermediateSeconds":100,"renewBeforeSeconds":100}"#,
        ] {
            assert!(read(bad).unwrap().wrong().is_some(), "{bad}");
        }
    }
}
