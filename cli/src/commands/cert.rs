//! `countersign cert`: the inventory, and taking certificates back.

use std::path::Path;

use api::admin::change_state_request::Selector;
use api::admin::{
    Certificate, CertificateState, ChangeStateRequest, GetCertificateRequest,
    IssueCertificateRequest, ListCertificatesRequest, StateAction,
};
use identity::SpiffeId;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::Serialize;

use crate::admin;
use crate::args::{CertCommand, CertState, ChangeArgs, SearchArgs, Which};
use crate::commands::{cert_files, export, inventory, now};
use crate::failure::Failure;
use crate::output::{self, Format, Row, duration};

pub(crate) async fn run(command: CertCommand) -> Result<(), Failure> {
    match command {
        CertCommand::List {
            admin,
            output,
            query: Some(query),
            limit,
            ..
        } => {
            let search = SearchArgs {
                admin,
                output,
                query,
                limit,
                refusals: false,
            };
            inventory::search(search).await
        }
        CertCommand::Search(args) => inventory::search(args).await,
        CertCommand::Export(args) => export::export(args).await,
        CertCommand::Expiry { admin, output } => inventory::expiry(admin, output).await,
        CertCommand::List {
            admin,
            output,
            query: None,
            id,
            state,
            limit,
        } => {
            let request = ListCertificatesRequest {
                spiffe_id: id.map(|id| id.to_string()).unwrap_or_default(),
                state: state
                    .map_or(CertificateState::Unspecified, wire_state)
                    .into(),
                limit,
                unexpired: false,
            };
            let mut admin = admin::connect(&admin).await?;
            let answer = admin.list_certificates(request).await?.into_inner();
            let rows: Vec<_> = answer.certificates.into_iter().map(Record::from).collect();
            output::list(output.output, &rows)
        }
        CertCommand::Show {
            admin,
            output,
            serial,
        } => {
            let mut admin = admin::connect(&admin).await?;
            let answer = admin
                .get_certificate(GetCertificateRequest { serial })
                .await?;
            show(output.output, answer.into_inner())
        }
        CertCommand::Issue {
            admin,
            id,
            ttl,
            out,
        } => {
            let mut client = admin::connect(&admin).await?;
            let record = issue(&mut client, &id, ttl, &out).await?;
            output::line(&format!(
                "issued {} to {}: serial {}, valid for {}",
                record.spiffe_id,
                out.display(),
                record.serial,
                duration(record.not_after - now())
            ))
        }
        CertCommand::Suspend(change) => apply(change, StateAction::Suspend).await,
        CertCommand::Resume(change) => apply(change, StateAction::Resume).await,
        CertCommand::Revoke { change, yes: true } => apply(change, StateAction::Revoke).await,
        CertCommand::Revoke { change, yes: false } => preview(change).await,
    }
}

/// Makes a key here, has it certified, and writes key, chain and root to `out`.
pub(crate) async fn issue(
    admin: &mut admin::Admin,
    id: &SpiffeId,
    ttl: u64,
    out: &Path,
) -> Result<Certificate, Failure> {
    let broken = |error: rcgen::Error| Failure::part("certificate request", error);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(broken)?;
    let csr_pem = CertificateParams::default()
        .serialize_request(&key)
        .and_then(|csr| csr.pem())
        .map_err(broken)?;
    let ttl_seconds = i64::try_from(ttl)
        .map_err(|_too_large| Failure::Check(format!("--ttl {ttl}: too long")))?;
    let request = IssueCertificateRequest {
        csr_pem,
        spiffe_id: id.to_string(),
        ttl_seconds,
    };
    // Before anything is issued: a certificate that cannot be kept would only be a record.
    let made = cert_files::prepare(out)?;
    let answer = match admin.issue_certificate(request).await {
        Ok(answer) => answer.into_inner(),
        Err(refused) => {
            cert_files::forget(made);
            return Err(refused.into());
        }
    };
    let Some((root, chain)) = answer.cert_chain.split_last() else {
        return Err(Failure::Check(
            "the authority answered without a chain".to_owned(),
        ));
    };
    cert_files::write(out, &key.serialize_pem(), &chain.concat(), root)?;
    answer.certificate.ok_or_else(|| {
        Failure::Check("the authority answered without the certificate's record".to_owned())
    })
}

/// A certificate as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    serial: String,
    spiffe_id: String,
    state: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    not_before: i64,
    not_after: i64,
    issued_at: i64,
    key_type: String,
    caller: String,
    proof: String,
    sha256: String,
    spki_sha256: String,
    issuer_sha256: String,
}

impl From<Certificate> for Record {
    fn from(record: Certificate) -> Self {
        Self {
            state: state_name(record.state()),
            serial: record.serial,
            spiffe_id: record.spiffe_id,
            reason: record.reason,
            not_before: record.not_before,
            not_after: record.not_after,
            issued_at: record.issued_at,
            key_type: record.key_type,
            caller: record.caller,
            proof: record.proof,
            sha256: record.sha256,
            spki_sha256: record.spki_sha256,
            issuer_sha256: record.issuer_sha256,
        }
    }
}

impl Row for Record {
    const HEADS: &'static [&'static str] = &[
        "serial",
        "identity",
        "state",
        "expires in",
        "key",
        "caller",
        "proof",
    ];

    fn cells(&self) -> Vec<String> {
        let rest = self.not_after - now();
        vec![
            self.serial.clone(),
            self.spiffe_id.clone(),
            self.state.to_owned(),
            if rest < 0 {
                "expired".to_owned()
            } else {
                duration(rest)
            },
            self.key_type.clone(),
            self.caller.clone(),
            self.proof.clone(),
        ]
    }
}

fn show(format: Format, answer: api::admin::GetCertificateResponse) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Shown {
        #[serde(flatten)]
        record: Record,
        pem: String,
    }
    let record = answer.certificate.map(Record::from).ok_or_else(|| {
        Failure::Check("the authority answered without the certificate's record".to_owned())
    })?;
    let shown = Shown {
        record,
        pem: answer.pem,
    };
    let record = &shown.record;
    let fields = vec![
        ("identity", record.spiffe_id.clone()),
        ("serial", record.serial.clone()),
        ("state", record.state.to_owned()),
        ("reason", record.reason.clone()),
        ("expires in", duration(record.not_after - now())),
        ("key", record.key_type.clone()),
        ("caller", format!("{} ({})", record.caller, record.proof)),
        ("sha256", record.sha256.clone()),
        ("spki sha256", record.spki_sha256.clone()),
        ("issuer sha256", record.issuer_sha256.clone()),
    ];
    output::object(format, &shown, fields)?;
    if format == Format::Table {
        output::line(shown.pem.trim_end())
    } else {
        Ok(())
    }
}

async fn apply(change: ChangeArgs, action: StateAction) -> Result<(), Failure> {
    let mut admin = admin::connect(&change.admin).await?;
    let request = ChangeStateRequest {
        selector: Some(selector(change.which)),
        action: action.into(),
        reason: change.reason,
    };
    let answer = admin.change_state(request).await?.into_inner();
    let rows: Vec<_> = answer.changed.into_iter().map(Record::from).collect();
    output::list(change.output.output, &rows)?;
    if change.output.output == Format::Table {
        output::line(&format!(
            "{} changed; deny list {}.{}",
            rows.len(),
            answer.deny_list_epoch,
            answer.deny_list_sequence
        ))?;
    }
    Ok(())
}

/// Shows what `revoke --yes` would take back; nothing is changed.
async fn preview(change: ChangeArgs) -> Result<(), Failure> {
    let mut admin = admin::connect(&change.admin).await?;
    let rows: Vec<_> = meant(&mut admin, change.which)
        .await?
        .into_iter()
        .filter(|record| record.state() != CertificateState::Revoked)
        .map(Record::from)
        .collect();
    output::list(change.output.output, &rows)?;
    Err(Failure::Check(format!(
        "{} would be revoked for good and nothing was changed; add --yes to do it",
        rows.len()
    )))
}

/// The certificates that a change would be about.
async fn meant(admin: &mut admin::Admin, which: Which) -> Result<Vec<Certificate>, Failure> {
    let mut request = ListCertificatesRequest {
        limit: 10_000,
        ..ListCertificatesRequest::default()
    };
    let sha256 = match selector(which) {
        Selector::Serial(serial) => {
            let answer = admin
                .get_certificate(GetCertificateRequest { serial })
                .await?;
            return Ok(answer.into_inner().certificate.into_iter().collect());
        }
        Selector::Sha256(sha256) => Some(sha256.replace(':', "")),
        Selector::SpiffeId(spiffe_id) => {
            request.spiffe_id = spiffe_id;
            request.unexpired = true;
            None
        }
    };
    let mut found = admin
        .list_certificates(request)
        .await?
        .into_inner()
        .certificates;
    if let Some(sha256) = sha256 {
        found.retain(|record| record.sha256.eq_ignore_ascii_case(&sha256));
    }
    if found.is_empty() {
        return Err(Failure::Check(
            "no certificate matches; nothing was changed".to_owned(),
        ));
    }
    Ok(found)
}

fn selector(which: Which) -> Selector {
    match which {
        Which {
            serial: Some(serial),
            ..
        } => Selector::Serial(serial),
        Which {
            sha256: Some(sha256),
            ..
        } => Selector::Sha256(sha256),
        Which { id, .. } => Selector::SpiffeId(id.map(|id| id.to_string()).unwrap_or_default()),
    }
}

fn wire_state(state: CertState) -> CertificateState {
    match state {
        CertState::Active => CertificateState::Good,
        CertState::Suspended => CertificateState::Suspended,
        CertState::Revoked => CertificateState::Revoked,
    }
}

/// The state's name in every listing.
pub(crate) fn state_name(state: CertificateState) -> &'static str {
    match state {
        CertificateState::Good => "active",
        CertificateState::Suspended => "suspended",
        CertificateState::Revoked => "revoked",
        CertificateState::Unspecified => "unknown",
    }
}
