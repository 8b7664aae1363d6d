//! Who signs our intermediate: ourselves with the root's key, or somebody else.
//!
//! An upstream gets a request (PKCS#10, and the facts in it) and answers with a certificate and the
//! CAs between it and the root. It is not trusted to answer well: what it answers is checked against
//! the request, the pinned root and every rule of path validation before it signs anything.

use std::fmt;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use identity::UnixTime;
use serde::Deserialize;

pub use self::step_ca::StepCaSettings;
use crate::ca::import::ImportError;
use crate::ca::{CaCertificate, CaError, CaProfile, PassphraseSource, PathError};

pub(crate) mod answer;
mod file;
mod own;
mod step_ca;

/// Who signs our intermediate: the section `ca.upstream`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum UpstreamSettings {
    /// The root's key on this machine; without it a ceremony.
    #[default]
    Own,
    /// Whoever takes `request.csr` out of a folder and puts `certificate.pem` into it.
    File {
        /// The folder.
        folder: PathBuf,
    },
    /// A step-ca.
    StepCa(StepCaSettings),
}

/// What is asked of an upstream.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    /// PKCS#10, PEM.
    pub csr_pem: String,
    /// SubjectPublicKeyInfo of the key, DER.
    pub spki_der: Vec<u8>,
    /// What the certificate should say.
    pub profile: CaProfile,
    /// The root that trust is pinned to.
    pub root: CaCertificate,
    /// The time now.
    pub now: UnixTime,
}

/// A signed intermediate and the CAs between it and the root, the one that signed it first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedIntermediate {
    /// The intermediate.
    pub certificate: CaCertificate,
    /// CAs above it, without the root.
    pub upper: Vec<CaCertificate>,
}

/// Why there is no signed intermediate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// Nobody has signed yet; not a fault.
    #[error("{} waits for a signature; the certificate is looked for at {}", request.display(), answer.display())]
    Waiting {
        /// The request's file.
        request: PathBuf,
        /// Where the certificate is looked for.
        answer: PathBuf,
    },
    /// The root's key is not here.
    #[error(
        "the root's key is not on this machine: renew the intermediate with `countersign ca ceremony`"
    )]
    RootKeyAway,
    /// The intermediate was not signed by the root itself.
    #[error(
        "a CA between it and the root has signed the intermediate, whose key is not on this machine"
    )]
    NotOurs,
    /// A file cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The upstream does not answer.
    #[error("{upstream} cannot be reached: {problem}")]
    Unreachable {
        /// Which.
        upstream: String,
        /// What went wrong.
        problem: String,
    },
    /// The upstream refuses.
    #[error("{upstream} answers {status}: {message}")]
    Refused {
        /// Which.
        upstream: String,
        /// HTTP status.
        status: u16,
        /// Its message, shortened.
        message: String,
    },
    /// It answers with something else than was asked for.
    #[error("the answer does not fit the request: {problem}")]
    BadAnswer {
        /// What differs.
        problem: &'static str,
    },
    /// The answer is no good chain.
    #[error("the answer is no chain to our root")]
    BadChain(#[source] Box<ImportError>),
    /// Nothing below the answer would validate.
    #[error("nothing below the answer would validate")]
    Path(#[source] PathError),
    /// Our own part failed.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// It is set up wrongly.
    #[error("{setting}: {problem}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// Somebody who signs intermediates.
pub trait Upstream: fmt::Debug + Send + Sync {
    /// What it is and where, for people.
    fn name(&self) -> String;

    /// Has a request signed. Called again with the same request until it answers; must end by itself.
    ///
    /// # Errors
    /// [`UpstreamError`]; [`UpstreamError::Waiting`] is no fault.
    fn sign<'a>(
        &'a self,
        request: &'a SigningRequest,
    ) -> BoxFuture<'a, Result<SignedIntermediate, UpstreamError>>;
}

/// The upstream of the settings, for the CA in `folder`.
pub(crate) fn open(
    settings: &UpstreamSettings,
    folder: &Path,
    passphrase: &PassphraseSource,
) -> Box<dyn Upstream> {
    match settings {
        UpstreamSettings::Own => Box::new(own::OwnRoot::new(folder, passphrase.clone())),
        UpstreamSettings::File { folder } => Box::new(file::FileExchange::new(folder)),
        UpstreamSettings::StepCa(settings) => Box::new(step_ca::StepCa::new(settings.clone())),
    }
}
