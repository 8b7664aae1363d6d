//! What was on record before the log: its first leaves.

use futures::TryStreamExt as _;
use identity::SpiffeId;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use super::Batch;
use crate::audit::event::{Event, Rows, RowsDigest, Start};
use crate::audit::key::LogKey;
use crate::inventory::certificates::signature_algorithm;
use crate::inventory::record::{self, CERTIFICATE_COLUMNS};
use crate::inventory::{Location, refusals, rows};

/// Puts what was on record before the log into it.
pub(super) async fn adopt(
    connection: &mut SqliteConnection,
    batch: &mut Batch,
    key: &LogKey,
    trust_domain: &str,
    now: i64,
) -> Result<(), sqlx::Error> {
    let start = Start {
        log: key.public().id(),
        trust_domain: trust_domain.to_owned(),
        certificates: certificates(connection).await?,
        state_changes: digest(connection, rows::STATE_CHANGES, |row| {
            rows::text(&rows::state_change(row)?).map(Some)
        })
        .await?,
        bundle_changes: digest(connection, rows::BUNDLE_CHANGES, |row| {
            rows::text(&rows::bundle_change(row)?).map(Some)
        })
        .await?,
        spent_tokens: digest(connection, rows::TOKENS, |row| {
            rows::spending(row)?
                .map(|spent| rows::text(&spent))
                .transpose()
        })
        .await?,
    };
    batch.append(now, Event::Start(start))?;
    each(
        connection,
        batch,
        now,
        rows::ENTRIES,
        SET_ENTRY_LEAF,
        |row| {
            let entry = rows::entry(row)?;
            Ok((entry.id.clone(), Event::EntryCreated(entry)))
        },
    )
    .await?;
    each(
        connection,
        batch,
        now,
        rows::TOKENS,
        SET_TOKEN_LEAF,
        |row| {
            let token = rows::token(row)?;
            Ok((token.hash.clone(), Event::TokenCreated(token)))
        },
    )
    .await?;
    each(
        connection,
        batch,
        now,
        rows::ISSUERS,
        SET_ISSUER_LEAF,
        |row| {
            let issuer = rows::issuer(row)?;
            Ok((issuer.sha256.clone(), Event::Issuer(issuer)))
        },
    )
    .await?;
    refusals::cover(connection, batch, now).await?;
    Ok(())
}

/// A leaf for each of few rows.
async fn each(
    connection: &mut SqliteConnection,
    batch: &mut Batch,
    now: i64,
    select: &'static str,
    set_leaf: &'static str,
    form: impl Fn(&sqlx::sqlite::SqliteRow) -> Result<(String, Event), sqlx::Error>,
) -> Result<(), sqlx::Error> {
    let found = sqlx::query(select).fetch_all(&mut *connection).await?;
    for row in &found {
        let (id, event) = form(row)?;
        let leaf = batch.append(now, event)?;
        sqlx::query(set_leaf)
            .bind(leaf)
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn digest(
    connection: &mut SqliteConnection,
    select: &'static str,
    form: impl Fn(&sqlx::sqlite::SqliteRow) -> Result<Option<String>, sqlx::Error>,
) -> Result<Rows, sqlx::Error> {
    let mut digest = RowsDigest::default();
    let mut found = sqlx::query(select).fetch(connection);
    while let Some(row) = found.try_next().await? {
        if let Some(text) = form(&row)? {
            digest.add(&text);
        }
    }
    Ok(digest.finish())
}

/// Fills what older versions did not record of certificates, and gives their digest.
async fn certificates(connection: &mut SqliteConnection) -> Result<Rows, sqlx::Error> {
    sqlx::query(FILL_KEY_BITS).execute(&mut *connection).await?;
    let mut after = 0_i64;
    loop {
        let found = sqlx::query(NEXT_UNFILLED)
            .bind(after)
            .fetch_all(&mut *connection)
            .await?;
        let Some(last) = found.last() else { break };
        after = last.try_get("id")?;
        for row in &found {
            fill(connection, row).await?;
        }
    }
    let mut digest = RowsDigest::default();
    let sql = format!("SELECT id, {CERTIFICATE_COLUMNS} FROM certificates ORDER BY id");
    let mut found = sqlx::query(AssertSqlSafe(sql)).fetch(connection);
    while let Some(row) = found.try_next().await? {
        let record =
            record::certificate(&row).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        digest.add(&rows::text(&rows::certificate(
            row.try_get("id")?,
            &record,
            None,
        ))?);
    }
    Ok(digest.finish())
}

async fn fill(
    connection: &mut SqliteConnection,
    row: &sqlx::sqlite::SqliteRow,
) -> Result<(), sqlx::Error> {
    let id: i64 = row.try_get("id")?;
    let der: &[u8] = row.try_get("der")?;
    let spiffe_id: &str = row.try_get("spiffe_id")?;
    let namespace = SpiffeId::new(spiffe_id)
        .ok()
        .and_then(|id| Location::default().completed(&id).namespace);
    sqlx::query(FILL)
        .bind(signature_algorithm(der))
        .bind(namespace)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

const SET_ENTRY_LEAF: &str = "UPDATE entries SET leaf = ? WHERE id = ?";
const SET_TOKEN_LEAF: &str = "UPDATE join_tokens SET leaf = ? WHERE hash = ?";
const SET_ISSUER_LEAF: &str = "UPDATE issuers SET leaf = ? WHERE sha256 = ?";
const FILL_KEY_BITS: &str = "UPDATE certificates SET key_bits = CASE \
     WHEN key_type = 'ecdsa-p256' THEN 256 WHEN key_type = 'ecdsa-p384' THEN 384 \
     WHEN key_type LIKE 'rsa-%' THEN CAST(substr(key_type, 5) AS INTEGER) END \
     WHERE key_bits IS NULL";
const NEXT_UNFILLED: &str = "SELECT id, spiffe_id, der FROM certificates \
     WHERE id > ? AND signature_algorithm IS NULL ORDER BY id LIMIT 500";
const FILL: &str = "UPDATE certificates SET signature_algorithm = ?, namespace = ? WHERE id = ?";
