//! Certificates and their states, against the leaves that tell of them.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use super::tree::Told;
use super::{PROGRESS_ROWS, Progress, Report};
use crate::audit::event::{self, Event, Leaf, Rows, RowsDigest};
use crate::crypto::sha256_hex;
use crate::inventory::record::{self, CERTIFICATE_COLUMNS};
use crate::inventory::{CertificateRecord, CertificateState, Metadata, rows};

/// The last change of a certificate.
struct Change {
    at: i64,
    action: String,
    reason: String,
}

/// Checks them.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    told: &Told,
    report: &mut Report,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<(), sqlx::Error> {
    let mut changes = state_changes(connection, told, report).await?;
    let mut spent = HashMap::new();
    let pairs = certificates(
        connection,
        told,
        (&mut changes, &mut spent),
        report,
        progress,
    )
    .await?;
    for serial in changes.keys() {
        report.find(
            format!("state change of {serial}"),
            "there is no such certificate",
        );
    }
    metadata(connection, pairs, report).await?;
    tokens(connection, told, &spent, report).await
}

/// What is compared of each table: its rows before the log by their digest, the others by their
/// leaves.
pub(super) struct Comparison {
    name: &'static str,
    before: RowsDigest,
    with_leaf: u64,
}

impl Comparison {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            before: RowsDigest::default(),
            with_leaf: 0,
        }
    }

    /// Adds a row: `old` is its form if it is from before the log, `told` what its leaf must say.
    pub(super) fn add(
        &mut self,
        row: &SqliteRow,
        place: &str,
        old: impl FnOnce() -> Result<String, sqlx::Error>,
        told: Leaf,
        report: &mut Report,
    ) -> Result<(), sqlx::Error> {
        let leaf: Option<i64> = row.try_get("leaf")?;
        if leaf.is_none() {
            if self.with_leaf > 0 {
                report.find(place, "no leaf tells of it");
            }
            self.before.add(&old()?);
            return Ok(());
        }
        self.with_leaf = self.with_leaf.saturating_add(1);
        check_leaf(row, place, &told, report)
    }

    /// Compares the numbers.
    pub(super) fn finish(self, leaves: u64, before: Option<&Rows>, report: &mut Report) {
        if self.with_leaf != leaves {
            report.find(
                self.name,
                format!("{} are there, {leaves} leaves tell of some", self.with_leaf),
            );
        }
        let found = self.before.finish();
        if before.is_some_and(|before| *before != found) {
            report.find(
                self.name,
                format!(
                    "{} from before the log are not what it began with",
                    found.count
                ),
            );
        }
    }
}

/// The leaf that a row names says what the row does.
pub(super) fn check_leaf(
    row: &SqliteRow,
    place: &str,
    told: &Leaf,
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    let text = told
        .to_text()
        .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    match row.try_get::<Option<&str>, _>("body")? {
        None => report.find(place, "the leaf it names is not there"),
        Some(body) if body != text => {
            report.find(place, "its leaf tells something else of it");
        }
        Some(_) => {}
    }
    Ok(())
}

async fn state_changes(
    connection: &mut SqliteConnection,
    told: &Told,
    report: &mut Report,
) -> Result<HashMap<String, Change>, sqlx::Error> {
    let mut comparison = Comparison::new("state changes");
    let mut last = HashMap::new();
    let mut found = sqlx::query(STATE_CHANGES).fetch(connection);
    while let Some(row) = found.try_next().await? {
        let form = rows::state_change(&row)?;
        let (at, change) = form.clone();
        let place = format!(
            "state change {} of {}",
            row.try_get::<i64, _>("id")?,
            change.serial
        );
        let leaf = Leaf::new(at, Event::StateChange(change.clone()));
        comparison.add(&row, &place, || rows::text(&form), leaf, report)?;
        last.insert(
            change.serial,
            Change {
                at,
                action: change.action,
                reason: change.reason,
            },
        );
    }
    let before = told.start.as_ref().map(|start| &start.state_changes);
    comparison.finish(told.count("state_change"), before, report);
    Ok(last)
}

/// Gives how many pairs of metadata the certificates have.
async fn certificates(
    connection: &mut SqliteConnection,
    told: &Told,
    (changes, spent): (
        &mut HashMap<String, Change>,
        &mut HashMap<String, CertificateRecord>,
    ),
    report: &mut Report,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<u64, sqlx::Error> {
    let mut comparison = Comparison::new("certificates");
    let mut pairs = 0_u64;
    let columns: Vec<String> = CERTIFICATE_COLUMNS
        .split(',')
        .map(|column| format!("c.{}", column.trim()))
        .collect();
    let sql = format!(
        "SELECT c.id, {}, c.leaf, l.body FROM certificates c \
         LEFT JOIN audit_leaves l ON l.position = c.leaf ORDER BY c.id",
        columns.join(", ")
    );
    let mut found = sqlx::query(AssertSqlSafe(sql)).fetch(connection);
    while let Some(row) = found.try_next().await? {
        report.certificates = report.certificates.saturating_add(1);
        let record = match record::certificate(&row) {
            Ok(record) => record,
            Err(error) => {
                let serial: String = row.try_get("serial")?;
                report.find(format!("certificate {serial}"), error.to_string());
                continue;
            }
        };
        let place = format!("certificate {}", record.serial);
        let token = spent_token(&row)?;
        let id = row.try_get("id")?;
        let form = rows::certificate(id, &record, token.clone());
        let leaf = Leaf::new(form.issued_at, Event::Certificate(Box::new(form)));
        let old = || rows::text(&rows::certificate(id, &record, None));
        comparison.add(&row, &place, old, leaf, report)?;
        let before = row.try_get::<Option<i64>, _>("leaf")?.is_none();
        report.before_the_log += u64::from(before);
        if sha256_hex(&record.der) != record.sha256 {
            report.find(&place, "its bytes are not those of its digest");
        }
        check_state(&record, changes.remove(&record.serial), &place, report);
        let count = u64::try_from(record.metadata.pairs().len()).unwrap_or(u64::MAX);
        pairs = pairs.saturating_add(count);
        if let Some(token) = token {
            spent.insert(token, record);
        }
        if report.certificates.is_multiple_of(PROGRESS_ROWS) {
            progress(Progress {
                step: "certificates",
                done: report.certificates,
            });
        }
    }
    let before = told.start.as_ref().map(|start| &start.certificates);
    comparison.finish(told.count("certificate"), before, report);
    Ok(pairs)
}

/// The token that the leaf says was spent for the certificate; held against the tokens later.
fn spent_token(row: &SqliteRow) -> Result<Option<String>, sqlx::Error> {
    let body: Option<&str> = row.try_get("body")?;
    Ok(body
        .and_then(|body| Leaf::parse(body).ok())
        .and_then(|leaf| match leaf.event {
            Event::Certificate(told) => told.token,
            _ => None,
        }))
}

fn check_state(record: &CertificateRecord, last: Option<Change>, place: &str, report: &mut Report) {
    let found = (
        record.state,
        record.state_since.as_secs(),
        record.reason.as_str(),
    );
    let fits = match &last {
        None => found == (CertificateState::Good, record.issued_at.as_secs(), ""),
        Some(change) => {
            let state = match change.action.as_str() {
                "suspend" => CertificateState::Suspended,
                "revoke" => CertificateState::Revoked,
                _ => CertificateState::Good,
            };
            found == (state, change.at, change.reason.as_str())
        }
    };
    if !fits {
        report.find(place, "its state is not what its last change made of it");
    }
}

/// The pairs that are searched are those of the certificates.
async fn metadata(
    connection: &mut SqliteConnection,
    pairs: u64,
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    let mut count = 0_u64;
    let mut found = sqlx::query(METADATA).fetch(connection);
    while let Some(row) = found.try_next().await? {
        count = count.saturating_add(1);
        let (name, value): (&str, &str) = (row.try_get("name")?, row.try_get("value")?);
        let of: Option<&str> = row.try_get("metadata")?;
        let known = of
            .and_then(Metadata::from_json)
            .is_some_and(|of| of.pairs().get(name).map(String::as_str) == Some(value));
        if !known {
            let id: i64 = row.try_get("certificate_id")?;
            report.find(
                format!("metadata {name:?} of certificate row {id}"),
                "the certificate has no such pair",
            );
        }
    }
    if count != pairs {
        report.find(
            "metadata",
            format!("{count} pairs can be searched, the certificates have {pairs}"),
        );
    }
    Ok(())
}

/// Join tokens: each has its leaf, and was spent for the certificate that says so.
async fn tokens(
    connection: &mut SqliteConnection,
    told: &Told,
    spent: &HashMap<String, CertificateRecord>,
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    let mut before = RowsDigest::default();
    let (mut count, mut matched) = (0_u64, 0_usize);
    let mut found = sqlx::query(TOKENS).fetch(connection);
    while let Some(row) = found.try_next().await? {
        count = count.saturating_add(1);
        let mut token = rows::token(&row)?;
        let place = format!("join token {}", token.hash);
        token.operator = operator(&row)?;
        let hash = token.hash.clone();
        let leaf = Leaf::new(leaf_time(&row)?, Event::TokenCreated(token));
        check_leaf(&row, &place, &leaf, report)?;
        match (rows::spending(&row)?, spent.get(&hash)) {
            (None, None) => {}
            (Some(spending), None) => before.add(&rows::text(&spending)?),
            (None, Some(_)) => report.find(&place, "it was spent and says that it was not"),
            (Some(spending), Some(certificate)) => {
                matched = matched.saturating_add(1);
                let fits = spending.serial == certificate.serial
                    && spending.spent_spki == certificate.spki_sha256
                    && spending.spent_at == certificate.issued_at.as_secs();
                if !fits {
                    report.find(&place, "it was spent for another certificate");
                }
            }
        }
    }
    if count != told.count("token_created") || matched != spent.len() {
        report.find("join tokens", "some that leaves tell of are not there");
    }
    let expected = told.start.as_ref().map(|start| &start.spent_tokens);
    if expected.is_some_and(|expected| *expected != before.finish()) {
        report.find(
            "join tokens",
            "those spent before the log are not what it began with",
        );
    }
    Ok(())
}

/// Who acted, which only the leaf tells.
pub(super) fn operator(row: &SqliteRow) -> Result<String, sqlx::Error> {
    let leaf = row
        .try_get::<Option<&str>, _>("body")?
        .and_then(|body| Leaf::parse(body).ok());
    Ok(match leaf.map(|leaf| leaf.event) {
        Some(
            Event::TokenCreated(event::Token { operator, .. })
            | Event::EntryCreated(event::Entry { operator, .. }),
        ) => operator,
        _ => String::new(),
    })
}

/// When the leaf was appended, which may be later than what it tells of.
pub(super) fn leaf_time(row: &SqliteRow) -> Result<i64, sqlx::Error> {
    let leaf = row
        .try_get::<Option<&str>, _>("body")?
        .and_then(|body| Leaf::parse(body).ok());
    Ok(leaf.map_or(0, |leaf| leaf.at))
}

const STATE_CHANGES: &str = "SELECT s.id, s.at, s.serial, s.action, s.reason, s.operator, s.leaf, \
     l.body FROM state_changes s LEFT JOIN audit_leaves l ON l.position = s.leaf ORDER BY s.id";
const METADATA: &str = "SELECT m.certificate_id, m.name, m.value, c.metadata \
     FROM certificate_metadata m LEFT JOIN certificates c ON c.id = m.certificate_id";
const TOKENS: &str = "SELECT t.hash, t.spiffe_id, t.created_at, t.expires_at, t.spent_at, \
     t.spent_spki, t.serial, t.leaf, l.body FROM join_tokens t \
     LEFT JOIN audit_leaves l ON l.position = t.leaf ORDER BY t.hash";
