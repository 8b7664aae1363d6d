//! `countersign cert search|expiry`: finding certificates.

use std::collections::BTreeMap;

use api::record::{
    ExpiryBucket, ExpiryRequest, InventoryCertificate, RefusedRequest, SearchRequest,
};
use serde::Serialize;

use crate::admin;
use crate::args::{AdminArgs, OutputArgs, SearchArgs};
use crate::commands::now;
use crate::failure::Failure;
use crate::output::{self, Row, duration};

/// `cert search`.
pub(crate) async fn search(args: SearchArgs) -> Result<(), Failure> {
    let mut client = admin::record(&args.admin).await?;
    let request = SearchRequest {
        query: args.query,
        limit: args.limit,
        cursor: String::new(),
    };
    let next = if args.refusals {
        let answer = client.search_refusals(request).await?.into_inner();
        let rows: Vec<_> = answer.refusals.into_iter().map(Refused::from).collect();
        output::list(args.output.output, &rows)?;
        answer.next
    } else {
        let answer = client.search_certificates(request).await?.into_inner();
        let rows: Vec<_> = answer.certificates.into_iter().map(Found::from).collect();
        output::list(args.output.output, &rows)?;
        answer.next
    };
    if !next.is_empty() {
        eprintln!("there are more; raise --limit, or use `cert export`");
    }
    Ok(())
}

/// `cert expiry`.
pub(crate) async fn expiry(admin: AdminArgs, output: OutputArgs) -> Result<(), Failure> {
    let mut client = admin::record(&admin).await?;
    let buckets = client
        .report_expiry(ExpiryRequest {})
        .await?
        .into_inner()
        .buckets;
    let most = buckets
        .iter()
        .map(|bucket| bucket.certificates)
        .max()
        .unwrap_or(0);
    let rows: Vec<_> = buckets
        .iter()
        .map(|bucket| Span::new(bucket, most))
        .collect();
    output::list(output.output, &rows)
}

/// A certificate as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    serial: String,
    spiffe_id: String,
    state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    not_before: i64,
    not_after: i64,
    issued_at: i64,
    key_type: String,
    #[serde(skip_serializing_if = "is_zero")]
    key_bits: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    signature_algorithm: String,
    caller: String,
    proof: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    entry_id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    location: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    sha256: String,
    spki_sha256: String,
    issuer_sha256: String,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl From<InventoryCertificate> for Found {
    fn from(found: InventoryCertificate) -> Self {
        let place = found.location.unwrap_or_default();
        let location = [
            ("cluster", place.cluster),
            ("namespace", place.namespace),
            ("pod", place.pod),
            ("node", place.node),
            ("address", place.address),
        ];
        Self {
            serial: found.serial,
            spiffe_id: found.spiffe_id,
            state: found.state,
            reason: found.reason,
            not_before: found.not_before,
            not_after: found.not_after,
            issued_at: found.issued_at,
            key_type: found.key_type,
            key_bits: found.key_bits,
            signature_algorithm: found.signature_algorithm,
            caller: found.caller,
            proof: found.proof,
            entry_id: found.entry_id,
            location: location
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .collect(),
            metadata: found.metadata.into_iter().collect(),
            sha256: found.sha256,
            spki_sha256: found.spki_sha256,
            issuer_sha256: found.issuer_sha256,
        }
    }
}

impl Found {
    pub(super) fn csv(&self) -> Vec<String> {
        let place = |name| self.location.get(name).cloned().unwrap_or_default();
        let metadata: Vec<String> = self
            .metadata
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        vec![
            self.serial.clone(),
            self.spiffe_id.clone(),
            self.state.clone(),
            self.reason.clone(),
            output::time(self.not_before),
            output::time(self.not_after),
            output::time(self.issued_at),
            self.key_type.clone(),
            self.key_bits.to_string(),
            self.signature_algorithm.clone(),
            self.caller.clone(),
            self.proof.clone(),
            self.entry_id.clone(),
            place("cluster"),
            place("namespace"),
            place("pod"),
            place("node"),
            place("address"),
            metadata.join(";"),
            self.sha256.clone(),
            self.spki_sha256.clone(),
            self.issuer_sha256.clone(),
        ]
    }
}

impl Row for Found {
    const HEADS: &'static [&'static str] = &[
        "serial",
        "identity",
        "state",
        "expires in",
        "key",
        "caller",
        "where",
        "metadata",
    ];

    fn cells(&self) -> Vec<String> {
        let rest = self.not_after.saturating_sub(now());
        let place = ["cluster", "namespace", "pod", "node", "address"];
        let place: Vec<&str> = place
            .into_iter()
            .filter_map(|name| self.location.get(name).map(String::as_str))
            .collect();
        let metadata: Vec<String> = self
            .metadata
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        vec![
            self.serial.clone(),
            self.spiffe_id.clone(),
            self.state.clone(),
            if rest < 0 {
                "expired".to_owned()
            } else {
                duration(rest)
            },
            self.key_type.clone(),
            self.caller.clone(),
            place.join("/"),
            metadata.join(" "),
        ]
    }
}

/// A refusal as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    at: i64,
    caller: String,
    spiffe_id: String,
    code: String,
    detail: String,
    alarm: bool,
}

impl From<RefusedRequest> for Refused {
    fn from(refused: RefusedRequest) -> Self {
        Self {
            at: refused.at,
            caller: refused.caller,
            spiffe_id: refused.spiffe_id,
            code: refused.code,
            detail: refused.detail,
            alarm: refused.alarm,
        }
    }
}

impl Row for Refused {
    const HEADS: &'static [&'static str] = &["time", "caller", "identity", "rule", "alarm", "why"];

    fn cells(&self) -> Vec<String> {
        vec![
            output::time(self.at),
            self.caller.clone(),
            self.spiffe_id.clone(),
            self.code.clone(),
            if self.alarm { "ALARM" } else { "" }.to_owned(),
            self.detail.clone(),
        ]
    }
}

/// A span of time in which certificates expire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    #[serde(skip_serializing_if = "Option::is_none")]
    from_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_seconds: Option<i64>,
    certificates: u64,
    #[serde(skip)]
    most: u64,
}

impl Span {
    fn new(bucket: &ExpiryBucket, most: u64) -> Self {
        Self {
            from_seconds: (bucket.from_seconds > i64::MIN).then_some(bucket.from_seconds),
            to_seconds: (bucket.to_seconds < i64::MAX).then_some(bucket.to_seconds),
            certificates: bucket.certificates,
            most,
        }
    }
}

impl Row for Span {
    const HEADS: &'static [&'static str] = &["expires", "certificates", ""];

    fn cells(&self) -> Vec<String> {
        let expires = match (self.from_seconds, self.to_seconds) {
            (None, _) => "has expired".to_owned(),
            (_, Some(to)) => format!("within {}", duration(to)),
            (_, None) => "later".to_owned(),
        };
        let length = self
            .certificates
            .saturating_mul(BAR)
            .checked_div(self.most)
            .unwrap_or(0);
        // One certificate is not none.
        let length = length.max(u64::from(self.certificates > 0));
        let bar = "#".repeat(usize::try_from(length).unwrap_or(0));
        vec![expires, self.certificates.to_string(), bar]
    }
}

/// Width of the longest bar.
const BAR: u64 = 40;
