//! `countersign ca status`.

use std::path::Path;

use api::admin::{CaReport, CaStatus, GetStatusRequest, GetStatusResponse};
use authority::ca;
use identity::UnixTime;
use serde::Serialize;

use crate::admin;
use crate::args::{AdminArgs, OutputArgs, PassphraseArgs};
use crate::commands::now;
use crate::failure::Failure;
use crate::output::{self, duration};

/// The CA in a data folder, without an authority.
pub(super) fn of_folder(
    data_dir: &Path,
    passphrase: &PassphraseArgs,
    output: OutputArgs,
) -> Result<(), Failure> {
    let folder = data_dir.join(authority::names::CA_DIR);
    let passphrase = super::passphrase_source(passphrase, "passphrase of the CA's key")?;
    let found = ca::load_with(&folder, UnixTime::from_secs(now()), &passphrase)
        .map_err(|error| Failure::part("CA", error))?;
    let chain: Vec<Ca> = found.chain().into_iter().map(Ca::of).collect();
    let folder = Folder {
        custody: found.key.custody().to_string(),
        root_custody: found.root_custody.to_string(),
        chain,
    };
    let mut fields: Vec<_> = folder
        .chain
        .iter()
        .map(|ca| ("signed by", ca.line()))
        .collect();
    if let Some(first) = fields.first_mut() {
        first.0 = "signs leaves";
    }
    fields.push(("its key", folder.custody.clone()));
    fields.push(("root's key", folder.root_custody.clone()));
    output::object(output.output, &folder, fields)
}

/// A CA as its files are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Folder {
    chain: Vec<Ca>,
    custody: String,
    root_custody: String,
}

pub(super) async fn of_running(admin: AdminArgs, output: OutputArgs) -> Result<(), Failure> {
    let mut admin = admin::connect(&admin).await?;
    let status = Status::from(admin.get_status(GetStatusRequest {}).await?.into_inner());
    let fields = vec![
        ("trust domain", status.trust_domain.clone()),
        ("root", status.root.line()),
        ("intermediate", status.intermediate.line()),
        ("listens on", status.listen_address.clone()),
        (
            "deny list",
            format!("{}.{}", status.deny_list.epoch, status.deny_list.sequence),
        ),
        (
            "certificates",
            format!(
                "{} issued, {} unexpired ({} suspended, {} revoked)",
                status.certificates, status.unexpired, status.suspended, status.revoked
            ),
        ),
        ("entries", status.entries.to_string()),
        ("refusals", status.refusals.to_string()),
    ];
    let fields = fields.into_iter().chain(status.ca.fields()).collect();
    output::object(output.output, &status, fields)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    trust_domain: String,
    root: Ca,
    intermediate: Ca,
    listen_address: String,
    admin_socket: String,
    deny_list: DenyListHead,
    certificates: u64,
    unexpired: u64,
    suspended: u64,
    revoked: u64,
    entries: u64,
    refusals: u64,
    ca: Report,
}

/// Custody, upstream and renewal.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    chain: Vec<Ca>,
    custody: String,
    root_custody: String,
    upstream: String,
    cuts_leaves_at: i64,
    constrains_uris: bool,
    renewal: String,
    renewal_at: i64,
    renewal_detail: String,
    reload_at: i64,
    reload_refused: String,
}

impl Report {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let at = self.renewal_at - now();
        let renewal = match self.renewal.as_str() {
            "notDue" => format!("due in {}", duration(at)),
            "prepared" => format!("{} signs in {}", self.renewal_detail, duration(at)),
            state => format!("{state} for {}: {}", duration(-at), self.renewal_detail),
        };
        let mut fields = vec![
            ("intermediate's key", self.custody.clone()),
            ("root's key", self.root_custody.clone()),
            ("upstream", self.upstream.clone()),
            ("renewal", renewal),
            (
                "cuts leaves short in",
                duration(self.cuts_leaves_at - now()),
            ),
        ];
        if self.constrains_uris {
            let text = "yes: rustls (ztunnel, linkerd) refuses every certificate below";
            fields.push(("constrains URIs", text.to_owned()));
        }
        if self.reload_at != 0 {
            let ago = duration(now() - self.reload_at);
            let what = if self.reload_refused.is_empty() {
                format!("taken over {ago} ago")
            } else {
                format!("refused {ago} ago: {}", self.reload_refused)
            };
            fields.push(("changed files", what));
        }
        fields
    }
}

impl From<CaReport> for Report {
    fn from(report: CaReport) -> Self {
        Self {
            chain: report.chain.into_iter().map(Ca::from).collect(),
            custody: report.custody,
            root_custody: report.root_custody,
            upstream: report.upstream,
            cuts_leaves_at: report.cuts_leaves_at,
            constrains_uris: report.constrains_uris,
            renewal: report.renewal,
            renewal_at: report.renewal_at,
            renewal_detail: report.renewal_detail,
            reload_at: report.reload_at,
            reload_refused: report.reload_refused,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DenyListHead {
    epoch: u64,
    sequence: u64,
    keys: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ca {
    subject: String,
    serial: String,
    not_before: i64,
    not_after: i64,
    sha256: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pem: String,
}

impl Ca {
    fn of(ca: &ca::CaCertificate) -> Self {
        Self {
            subject: ca.subject().to_owned(),
            serial: ca.serial().to_owned(),
            not_before: ca.not_before().as_secs(),
            not_after: ca.not_after().as_secs(),
            sha256: ca.sha256().to_owned(),
            pem: ca.pem().to_owned(),
        }
    }

    fn line(&self) -> String {
        format!(
            "{}, serial {}, expires in {}",
            self.subject,
            self.serial,
            duration(self.not_after - now())
        )
    }
}

impl From<CaStatus> for Ca {
    fn from(ca: CaStatus) -> Self {
        let CaStatus {
            subject,
            serial,
            not_before,
            not_after,
            sha256,
            pem,
        } = ca;
        Self {
            subject,
            serial,
            not_before,
            not_after,
            sha256,
            pem,
        }
    }
}

impl From<GetStatusResponse> for Status {
    fn from(status: GetStatusResponse) -> Self {
        Self {
            trust_domain: status.trust_domain,
            root: status.root.map(Ca::from).unwrap_or_default(),
            intermediate: status.intermediate.map(Ca::from).unwrap_or_default(),
            listen_address: status.listen_address,
            admin_socket: status.admin_socket,
            deny_list: DenyListHead {
                epoch: status.deny_list_epoch,
                sequence: status.deny_list_sequence,
                keys: status.deny_list_key_pems,
            },
            certificates: status.certificates,
            unexpired: status.unexpired,
            suspended: status.suspended,
            revoked: status.revoked,
            entries: status.entries,
            refusals: status.refusals,
            ca: status.ca.map(Report::from).unwrap_or_default(),
        }
    }
}
