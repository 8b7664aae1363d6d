//! How the CA goes: for `ca status`, metrics and whoever warns people.

use identity::UnixTime;
use serde::Serialize;

use crate::ca::{CaCertificate, CertificateAuthority};

/// How the CA goes, from what is in use at this moment.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaReport {
    /// The CA that signs first, the root last.
    pub chain: Vec<CaFacts>,
    /// Where the key that signs is.
    pub custody: String,
    /// Where the root's key is.
    pub root_custody: String,
    /// Who signs the intermediate.
    pub upstream: String,
    /// From when on leaves of the longest life are cut short, because the chain ends.
    pub cuts_leaves_at: UnixTime,
    /// Whether rustls (ztunnel, linkerd) refuses everything below, for there is a URI constraint.
    pub constrains_uris: bool,
    /// The intermediate's renewal.
    pub renewal: RenewalState,
    /// The last change of the files.
    pub reload: Option<Reload>,
}

/// A CA certificate in use.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaFacts {
    /// RFC 4514 text.
    pub subject: String,
    /// Lower-case hex.
    pub serial: String,
    /// Lower-case hex.
    pub sha256: String,
    /// Subject key identifier, lower-case hex.
    pub key_id: String,
    /// First second of its validity.
    pub not_before: UnixTime,
    /// Last second of its validity.
    pub not_after: UnixTime,
    /// CA certificates that may follow it.
    pub path_length: Option<u32>,
}

/// How far the intermediate's renewal is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "state"
)]
pub enum RenewalState {
    /// It is not time.
    NotDue {
        /// When it is.
        due_at: UnixTime,
    },
    /// Somebody has to sign.
    Waiting {
        /// Since when.
        since: UnixTime,
        /// For what.
        what: String,
    },
    /// It fails, and is tried again.
    Failing {
        /// Since when.
        since: UnixTime,
        /// How often.
        attempts: u32,
        /// Why, the last time.
        error: String,
        /// When it is tried again.
        next_try: UnixTime,
    },
    /// The new one is announced.
    Prepared {
        /// Its subject.
        subject: String,
        /// SHA-256 of its certificate.
        sha256: String,
        /// When it signs.
        activates_at: UnixTime,
    },
}

/// Files that changed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reload {
    /// When that was noticed.
    pub at: UnixTime,
    /// Why they were not taken over; `None` if they were.
    pub refused: Option<String>,
}

impl CaReport {
    pub(crate) fn of(authority: &CertificateAuthority, upstream: String, max_ttl: i64) -> Self {
        let chain = authority.chain();
        let end = chain.iter().map(|ca| ca.not_after()).min();
        let end = end.unwrap_or_else(|| authority.intermediate.not_after());
        Self {
            custody: authority.key.custody().to_string(),
            root_custody: authority.root_custody.to_string(),
            upstream,
            cuts_leaves_at: end.plus_secs(-max_ttl).unwrap_or(end),
            constrains_uris: chain.iter().any(|ca| ca.limits().constrains_uris()),
            renewal: RenewalState::NotDue { due_at: end },
            reload: None,
            chain: chain.into_iter().map(CaFacts::of).collect(),
        }
    }
}

impl CaFacts {
    pub(crate) fn of(ca: &CaCertificate) -> Self {
        Self {
            subject: ca.subject().to_owned(),
            serial: ca.serial().to_owned(),
            sha256: ca.sha256().to_owned(),
            key_id: hex::encode(ca.key_id()),
            not_before: ca.not_before(),
            not_after: ca.not_after(),
            path_length: ca.limits().path_length,
        }
    }
}
