//! What issuing needs, without listeners.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::app::ServeError;
use crate::ca::{self, CaError, CaInit, CertificateAuthority, files};
use crate::data_dir::DataDir;
use crate::inventory::{Inventory, InventoryError, LogOptions, WriterTask};
use crate::issue::{Issuance, IssuancePolicy, Issuer, ServerNames};
use crate::proof::Proofs;
use crate::rules_file;
use crate::settings::{Settings, SettingsError, names};

/// What issuing needs, without listeners.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) issuance: Issuance,
    pub(crate) writer: WriterTask,
    pub(crate) data_dir: DataDir,
    pub(crate) ca: CertificateAuthority,
}

impl Parts {
    /// Opens the data folder, making in it what is not there.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, ServeError> {
        settings.check()?;
        let proofs = Proofs::new(&settings.proofs, &settings.trust_domain)?;
        let data_dir = DataDir::open_once_free(&settings.data_dir).await?;
        let authority = open_ca(settings)?;
        data_dir.sweep();
        check_record_is_not_lost(settings)?;
        let (inventory, writer) = Inventory::open_with(
            &settings.path(names::DATABASE),
            settings.trust_domain.as_str(),
            &log_options(settings),
        )
        .await?;
        let now = settings.clock.now();
        for certificate in authority.chain() {
            inventory.record_issuer(certificate.clone(), now).await?;
        }
        let too_long = || SettingsError {
            setting: "the trust domain",
            found: settings.trust_domain.to_string(),
            expected: "one short enough for SPIFFE IDs in it",
        };
        let policy = IssuancePolicy::new(
            settings.trust_domain.clone(),
            settings.authority_id().ok_or_else(too_long)?,
            settings.list_signer_id().ok_or_else(too_long)?,
            settings.lifetimes(),
            server_names(settings.listen),
        )
        .with_rules(rules_file::open(&settings.issuance)?);
        let clock = Arc::clone(&settings.clock);
        let issuance = Issuance::new(policy, Issuer::new(authority.clone()), inventory, clock)
            .with_proofs(proofs);
        Ok(Self {
            issuance,
            writer,
            data_dir,
            ca: authority,
        })
    }
}

/// How the audit log is kept.
pub(crate) fn log_options(settings: &Settings) -> LogOptions {
    let beside = LogOptions::beside(&settings.path(names::DATABASE));
    let position = settings.record.position_file.clone();
    LogOptions {
        position: position.unwrap_or_else(|| beside.position.clone()),
        head_period: settings.record.head_period_seconds,
        accept_lost: settings.record.accept_lost_revocations,
        clock: Arc::clone(&settings.clock),
        ..beside
    }
}

fn open_ca(settings: &Settings) -> Result<CertificateAuthority, ServeError> {
    let dir = settings.path(names::CA_DIR);
    // The CA comes before the record; a record without it means that it was lost, and a new root in
    // its place would cut off everything that trusts the old one.
    let gone = |path: &Path| path.try_exists().is_ok_and(|there| !there);
    if gone(&dir) && !gone(&settings.path(names::DATABASE)) {
        return Err(CaError::Missing { path: dir }.into());
    }
    if gone(&dir) && settings.path(ca::ceremony::PENDING_DIR).exists() {
        return Err(CaError::CeremonyPending {
            path: settings.path(ca::ceremony::PENDING_DIR),
        }
        .into());
    }
    let wanted = CaInit {
        trust_domain: settings.trust_domain.clone(),
        key_algorithm: settings.key_algorithm,
        generation: 1,
        now: settings.clock.now(),
    };
    let made = if gone(&dir) {
        ca::init_with(&dir, &wanted, &settings.ca.options()?)?
    } else {
        ca::Created::AlreadyThere
    };
    if made == ca::Created::Made {
        tracing::info!(path = %dir.display(), "made a new root and intermediate");
    }
    let passphrase = &settings.ca.passphrase;
    let authority = ca::load_with(&dir, settings.clock.now(), passphrase)?;
    ca::log_custody(&authority);
    let bundle = settings.path(names::BUNDLE);
    files::replace_public(&bundle, authority.root.pem().as_bytes()).map_err(|source| {
        CaError::Io {
            action: "write",
            path: bundle,
            source,
        }
    })?;
    Ok(authority)
}

/// The deny list's keys are made after the record. An empty record beside it would take every
/// revocation back and count the lists from one again, which filters refuse.
fn check_record_is_not_lost(settings: &Settings) -> Result<(), InventoryError> {
    let path = settings.path(names::DATABASE);
    let has_key = [names::DENY_LIST_KEY, names::DENY_LIST_NEXT_KEY]
        .iter()
        .any(|name| settings.path(name).exists());
    // What cannot be looked at is reported when it is opened.
    let lost = match std::fs::metadata(&path) {
        Ok(found) => found.len() == 0,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if has_key && lost {
        return Err(InventoryError::Missing { path });
    }
    Ok(())
}

/// Names clients reach the authority by.
fn server_names(listen: SocketAddr) -> ServerNames {
    let mut ip = vec![listen.ip()];
    if listen.ip().is_unspecified() {
        ip = vec![
            std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::Ipv6Addr::LOCALHOST.into(),
        ];
    }
    ServerNames {
        dns: vec!["localhost".to_owned(), "countersign-authority".to_owned()],
        ip,
    }
}
