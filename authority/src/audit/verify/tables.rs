//! The smaller tables, against the leaves that tell of them.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use sqlx::{Row as _, SqliteConnection};

use super::Report;
use super::rows::{Comparison, check_leaf, leaf_time, operator};
use super::tree::Told;
use crate::audit::event::{Event, Leaf, PolicyBundle};
use crate::crypto::sha256_hex;
use crate::inventory::refusals::{MAX_ALARMS, MAX_REFUSALS};
use crate::inventory::rows::{self, RefusalRows};

/// Checks them.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    told: &Told,
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    trust_domain(connection, told, report).await?;
    entries(connection, told, report).await?;
    issuers(connection, told, report).await?;
    bundles(connection, told, report).await?;
    let [others, alarms] = &told.refusals;
    refusals(connection, false, others, report).await?;
    refusals(connection, true, alarms, report).await
}

async fn trust_domain(
    connection: &mut SqliteConnection,
    told: &Told,
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    let found: Option<String> = sqlx::query_scalar(TRUST_DOMAIN)
        .fetch_optional(connection)
        .await?;
    if told.start.as_ref().map(|start| &start.trust_domain) != found.as_ref() {
        report.find("trust domain", "it is not the one that the log began with");
    }
    Ok(())
}

async fn entries(
    connection: &mut SqliteConnection,
    told: &Told,
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    let mut count = 0_usize;
    for row in sqlx::query(ENTRIES).fetch_all(connection).await? {
        count = count.saturating_add(1);
        let mut entry = rows::entry(&row)?;
        let place = format!("entry {}", entry.id);
        if told.entries.get(&entry.id).copied() != row.try_get("leaf")? {
            report.find(
                &place,
                "no leaf tells that it was created and is there still",
            );
        }
        entry.operator = operator(&row)?;
        let leaf = Leaf::new(leaf_time(&row)?, Event::EntryCreated(entry));
        check_leaf(&row, &place, &leaf, report)?;
    }
    if count != told.entries.len() {
        report.find(
            "entries",
            format!("{count} are there, leaves tell of {}", told.entries.len()),
        );
    }
    Ok(())
}

async fn issuers(
    connection: &mut SqliteConnection,
    told: &Told,
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    let mut count = 0_u64;
    for row in sqlx::query(ISSUERS).fetch_all(connection).await? {
        count = count.saturating_add(1);
        let issuer = rows::issuer(&row)?;
        let place = format!("CA certificate {}", issuer.sha256);
        let leaf = Leaf::new(leaf_time(&row)?, Event::Issuer(issuer));
        check_leaf(&row, &place, &leaf, report)?;
    }
    if count != told.count("issuer") {
        report.find("CA certificates", "there are not as many as leaves tell of");
    }
    Ok(())
}

async fn bundles(
    connection: &mut SqliteConnection,
    told: &Told,
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    let mut comparison = Comparison::new("publications of policies");
    let mut last: HashMap<String, (i64, PolicyBundle)> = HashMap::new();
    for row in sqlx::query(BUNDLE_CHANGES)
        .fetch_all(&mut *connection)
        .await?
    {
        let form = rows::bundle_change(&row)?;
        let (at, change) = form.clone();
        let place = format!("policy bundle {} {}", change.name, change.sequence);
        let leaf = Leaf::new(at, Event::PolicyBundle(change.clone()));
        comparison.add(&row, &place, || rows::text(&form), leaf, report)?;
        last.insert(change.name.clone(), (at, change));
    }
    let before = told.start.as_ref().map(|start| &start.bundle_changes);
    comparison.finish(told.count("policy_bundle"), before, report);
    let mut found = sqlx::query(BUNDLES).fetch(connection);
    while let Some(row) = found.try_next().await? {
        let body: &[u8] = row.try_get("body")?;
        // The row of the bundle itself has no number.
        let (at, mut bundle) = rows::bundle_change(&row)?;
        let place = format!("policy bundle {}", bundle.name);
        if sha256_hex(body) != bundle.sha256 {
            report.find(&place, "its policies are not those of its digest");
        }
        let published = last.remove(&bundle.name);
        bundle.row = published.as_ref().map_or(0, |(_, published)| published.row);
        if published != Some((at, bundle)) {
            report.find(&place, "it is not what was published last");
        }
    }
    for name in last.keys() {
        report.find(
            format!("policy bundle {name}"),
            "it was published and is not there",
        );
    }
    Ok(())
}

/// The rows of each leaf are all there, or all gone with everything older, if there are so many.
async fn refusals(
    connection: &mut SqliteConnection,
    alarm: bool,
    leaves: &[i64],
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    let mut groups: Vec<(i64, RefusalRows, String)> = Vec::new();
    let mut found = sqlx::query(REFUSALS).bind(alarm).fetch(&mut *connection);
    while let Some(row) = found.try_next().await? {
        report.refusals = report.refusals.saturating_add(1);
        let Some(leaf) = row.try_get::<Option<i64>, _>("leaf")? else {
            report.refusals_without_leaf = report.refusals_without_leaf.saturating_add(1);
            continue;
        };
        if groups.last().is_none_or(|(last, ..)| *last != leaf) {
            // Groups are large only in a flood; what is kept of each is small.
            let body: Option<String> = row.try_get("body")?;
            groups.push((leaf, RefusalRows::default(), body.unwrap_or_default()));
        }
        if let Some((_, gathered, _)) = groups.last_mut() {
            gathered.add(&row)?;
        }
    }
    drop(found);
    let oldest = groups.first().map_or(i64::MAX, |(leaf, ..)| *leaf);
    let present: Vec<i64> = groups.iter().map(|(leaf, ..)| *leaf).collect();
    for (leaf, gathered, body) in groups {
        let place = format!("refusals of leaf {leaf}");
        match Leaf::parse(&body).map(|leaf| leaf.event) {
            Ok(Event::Refusals(told)) if told == gathered.finish(alarm) => {}
            _ => report.find(place, "they are not those that the leaf tells of"),
        }
    }
    let newer: Vec<i64> = leaves
        .iter()
        .copied()
        .filter(|leaf| *leaf >= oldest)
        .collect();
    if newer != present {
        report.find("refusals", "some are gone, but older ones are there");
    }
    if leaves.len() > newer.len() && !may_have_gone(connection, alarm).await? {
        report.find("refusals", "some are gone before there were too many");
    }
    Ok(())
}

async fn may_have_gone(
    connection: &mut SqliteConnection,
    alarm: bool,
) -> Result<bool, sqlx::Error> {
    if alarm {
        let kept: i64 = sqlx::query_scalar(ALARMS_KEPT)
            .fetch_one(connection)
            .await?;
        return Ok(kept > MAX_ALARMS);
    }
    let kept: i64 = sqlx::query_scalar(REFUSALS_KEPT)
        .fetch_one(connection)
        .await?;
    Ok(kept >= MAX_REFUSALS)
}

const TRUST_DOMAIN: &str = "SELECT trust_domain FROM identity_of_store";
const ENTRIES: &str = "SELECT e.id, e.parent_id, e.spiffe_id, e.selectors, e.ttl_seconds, \
     e.created_at, e.leaf, l.body FROM entries e \
     LEFT JOIN audit_leaves l ON l.position = e.leaf ORDER BY e.id";
const ISSUERS: &str = "SELECT i.sha256, i.subject, i.serial, i.not_before, i.not_after, \
     i.first_seen, i.pem, i.leaf, l.body FROM issuers i \
     LEFT JOIN audit_leaves l ON l.position = i.leaf ORDER BY i.sha256";
const BUNDLE_CHANGES: &str = "SELECT b.id, b.at, b.name, b.sequence, b.sha256, b.size, b.operator, \
     b.leaf, l.body FROM policy_bundle_changes b \
     LEFT JOIN audit_leaves l ON l.position = b.leaf ORDER BY b.id";
const BUNDLES: &str = "SELECT name, sequence, sha256, published_at AS at, operator, \
     length(body) AS size, 0 AS id, body FROM policy_bundles";
const REFUSALS: &str = "SELECT r.id, r.at, r.caller, r.spiffe_id, r.code, r.detail, r.alarm, \
     r.leaf, l.body FROM refusals r LEFT JOIN audit_leaves l ON l.position = r.leaf \
     WHERE r.alarm = ? ORDER BY r.leaf IS NULL, r.leaf, r.id";
const ALARMS_KEPT: &str = "SELECT count(*) FROM refusals WHERE alarm = 1";
/// By distance, as they are let go.
const REFUSALS_KEPT: &str = "SELECT coalesce((SELECT max(id) FROM refusals) - min(id), 0) \
     FROM refusals WHERE alarm = 0";
