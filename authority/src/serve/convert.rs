//! Between the administration messages and the record.

use api::admin;

use crate::bundles::SignedBundle;
use crate::ca::CaCertificate;
use crate::ca::keeper::report::{CaReport, RenewalState};
use crate::health::Finding;
use crate::inventory::{CertificateRecord, CertificateState, EntryRecord, RefusalRecord};

pub(crate) fn certificate(record: &CertificateRecord) -> admin::Certificate {
    admin::Certificate {
        serial: record.serial.clone(),
        sha256: record.sha256.clone(),
        spiffe_id: record.spiffe_id.to_string(),
        issuer_sha256: record.issuer_sha256.clone(),
        key_type: record.key_type.clone(),
        spki_sha256: record.spki_sha256.clone(),
        not_before: record.not_before.as_secs(),
        not_after: record.not_after.as_secs(),
        issued_at: record.issued_at.as_secs(),
        caller: record.caller.clone(),
        proof: record.proof.clone(),
        entry_id: record.entry_id.clone().unwrap_or_default(),
        state: state(record.state).into(),
        state_since: record.state_since.as_secs(),
        reason: record.reason.clone(),
    }
}

pub(crate) const fn state(state: CertificateState) -> admin::CertificateState {
    match state {
        CertificateState::Good => admin::CertificateState::Good,
        CertificateState::Suspended => admin::CertificateState::Suspended,
        CertificateState::Revoked => admin::CertificateState::Revoked,
    }
}

pub(crate) fn entry(record: EntryRecord) -> admin::Entry {
    admin::Entry {
        id: record.id,
        parent_id: record.parent_id.to_string(),
        spiffe_id: record.spiffe_id.to_string(),
        selectors: record.selectors,
        ttl_seconds: record.ttl_seconds,
        created_at: record.created_at.as_secs(),
    }
}

pub(crate) fn refusal(record: RefusalRecord) -> admin::Refusal {
    admin::Refusal {
        at: record.at.as_secs(),
        caller: record.caller,
        spiffe_id: record.spiffe_id,
        code: record.code,
        detail: record.detail,
        alarm: record.alarm,
    }
}

pub(crate) fn policy_bundle(bundle: &SignedBundle) -> admin::PolicyBundle {
    let head = &bundle.head;
    admin::PolicyBundle {
        name: head.name.to_string(),
        epoch: head.epoch,
        sequence: head.sequence,
        sha256: head.sha256.to_string(),
        size: head.size.into(),
        published_at: bundle.published_at.as_secs(),
        operator: bundle.operator.clone(),
    }
}

pub(crate) fn ca(certificate: &CaCertificate) -> admin::CaStatus {
    admin::CaStatus {
        subject: certificate.subject().to_owned(),
        serial: certificate.serial().to_owned(),
        not_before: certificate.not_before().as_secs(),
        not_after: certificate.not_after().as_secs(),
        sha256: certificate.sha256().to_owned(),
        pem: certificate.pem().to_owned(),
    }
}

pub(crate) fn ca_report(report: &CaReport) -> admin::CaReport {
    let (renewal, renewal_at, renewal_detail) = match &report.renewal {
        RenewalState::NotDue { due_at } => ("notDue", *due_at, String::new()),
        RenewalState::Waiting { since, what } => ("waiting", *since, what.clone()),
        RenewalState::Failing { since, error, .. } => ("failing", *since, error.clone()),
        RenewalState::Prepared {
            subject,
            activates_at,
            ..
        } => ("prepared", *activates_at, subject.clone()),
    };
    let chain = report.chain.iter().map(|ca| admin::CaStatus {
        subject: ca.subject.clone(),
        serial: ca.serial.clone(),
        not_before: ca.not_before.as_secs(),
        not_after: ca.not_after.as_secs(),
        sha256: ca.sha256.clone(),
        pem: String::new(),
    });
    let reload = report.reload.as_ref();
    admin::CaReport {
        chain: chain.collect(),
        custody: report.custody.clone(),
        root_custody: report.root_custody.clone(),
        upstream: report.upstream.clone(),
        cuts_leaves_at: report.cuts_leaves_at.as_secs(),
        constrains_uris: report.constrains_uris,
        renewal: renewal.to_owned(),
        renewal_at: renewal_at.as_secs(),
        renewal_detail,
        reload_at: reload.map_or(0, |reload| reload.at.as_secs()),
        reload_refused: reload
            .and_then(|reload| reload.refused.clone())
            .unwrap_or_default(),
    }
}

pub(crate) fn finding(finding: &Finding) -> admin::Finding {
    admin::Finding {
        condition: finding.condition.code().to_owned(),
        severity: finding.severity.as_str().to_owned(),
        subject: finding.subject.clone(),
        detail: finding.detail.clone(),
        remedy: finding.condition.remedy().to_owned(),
    }
}
