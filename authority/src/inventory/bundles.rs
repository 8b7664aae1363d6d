//! Policy bundles: what is published, and who published it.

use identity::UnixTime;
use identity::policy_bundle::BundleName;
use identity::x509::Sha256Digest;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::audit::event::{self, Event};
use crate::inventory::log::Batch;
use crate::inventory::writer::Tx;
use crate::inventory::{Inventory, InventoryError};

/// A policy bundle on record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BundleRecord {
    /// Its name.
    pub name: BundleName,
    /// Counts the bundles of this name that were published.
    pub sequence: u64,
    /// SHA-256 of the policies.
    pub sha256: Sha256Digest,
    /// When it was published.
    pub published_at: UnixTime,
    /// Who published it.
    pub operator: String,
    /// The policies.
    pub body: Vec<u8>,
}

/// Policies to publish.
#[derive(Clone, Debug)]
pub struct NewBundle {
    /// The bundle's name.
    pub name: BundleName,
    /// The policies.
    pub body: Vec<u8>,
    /// Sequence of the bundle that they replace; 0 where there is none.
    pub replaces: u64,
    /// Who publishes.
    pub operator: String,
}

/// Why policies are not published. Nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Somebody else has published meanwhile.
    #[error("the bundle {name} has sequence {found}, not {expected}: somebody published meanwhile")]
    Changed {
        /// The bundle.
        name: BundleName,
        /// Its sequence; 0 where there is none.
        found: u64,
        /// The sequence that was to be replaced.
        expected: u64,
    },
    /// More bundles than there may be.
    #[error("there are {MAX_BUNDLES} policy bundles already, which is the limit")]
    TooMany,
    /// All bundles together would be too long.
    #[error("all policy bundles would be {bytes} bytes, limit is {MAX_TOTAL_BYTES}")]
    TooLarge {
        /// How long they would be.
        bytes: i64,
    },
}

/// Most bundles of one authority. Each agent holds all of them.
pub const MAX_BUNDLES: i64 = 64;
/// Longest that all bundles may be together, in bytes.
pub const MAX_TOTAL_BYTES: i64 = 32 * 1024 * 1024;

impl Inventory {
    /// Publishes policies under the next sequence of their bundle; the very same as published already change nothing.
    /// Gives the bundle as it is now, and whether it has changed.
    pub(crate) async fn publish_bundle(
        &self,
        new: NewBundle,
        now: UnixTime,
    ) -> Result<Result<(BundleRecord, bool), BundleError>, InventoryError> {
        self.writer
            .write(move |tx| Box::pin(publish(tx, new, now)))
            .await
    }

    /// All bundles, in the order of their names.
    pub(crate) async fn bundles(&self) -> Result<Vec<BundleRecord>, InventoryError> {
        let rows = sqlx::query(ALL)
            .fetch_all(&self.readers)
            .await
            .map_err(InventoryError::Query)?;
        rows.iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(InventoryError::Query)
    }
}

async fn publish(
    Tx { connection, log }: Tx<'_>,
    new: NewBundle,
    now: UnixTime,
) -> Result<Result<(BundleRecord, bool), BundleError>, sqlx::Error> {
    let sql = format!("{ALL_COLUMNS} WHERE name = ?");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(new.name.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    let before = row.as_ref().map(read).transpose()?;
    let found = before.as_ref().map_or(0, |before| before.sequence);
    if found != new.replaces {
        return Ok(Err(BundleError::Changed {
            name: new.name,
            found,
            expected: new.replaces,
        }));
    }
    let sha256 = Sha256Digest::of(&new.body);
    if let Some(same) = before.filter(|before| before.sha256 == sha256) {
        return Ok(Ok((same, false)));
    }
    if let Err(refused) = check_room(connection, &new, found == 0).await? {
        return Ok(Err(refused));
    }
    let record = BundleRecord {
        name: new.name,
        sequence: found.saturating_add(1),
        sha256,
        published_at: now,
        operator: new.operator,
        body: new.body,
    };
    write(connection, log, &record).await?;
    Ok(Ok((record, true)))
}

async fn check_room(
    connection: &mut SqliteConnection,
    new: &NewBundle,
    is_first: bool,
) -> Result<Result<(), BundleError>, sqlx::Error> {
    let (count, others): (i64, i64) = sqlx::query_as(
        "SELECT count(*), coalesce(sum(length(body)) FILTER (WHERE name <> ?), 0) FROM policy_bundles",
    )
    .bind(new.name.as_str())
    .fetch_one(connection)
    .await?;
    if is_first && count >= MAX_BUNDLES {
        return Ok(Err(BundleError::TooMany));
    }
    let bytes = others.saturating_add(i64::try_from(new.body.len()).unwrap_or(i64::MAX));
    if bytes > MAX_TOTAL_BYTES {
        return Ok(Err(BundleError::TooLarge { bytes }));
    }
    Ok(Ok(()))
}

async fn write(
    connection: &mut SqliteConnection,
    log: &mut Batch,
    record: &BundleRecord,
) -> Result<(), sqlx::Error> {
    let encode = |error| sqlx::Error::Encode(Box::new(error));
    let sequence = i64::try_from(record.sequence).map_err(encode)?;
    let size = i64::try_from(record.body.len()).map_err(encode)?;
    let sha256 = record.sha256.to_string();
    sqlx::query(
        "INSERT INTO policy_bundles (name, sequence, sha256, published_at, operator, body) \
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET sequence = excluded.sequence, \
         sha256 = excluded.sha256, published_at = excluded.published_at, \
         operator = excluded.operator, body = excluded.body",
    )
    .bind(record.name.as_str())
    .bind(sequence)
    .bind(&sha256)
    .bind(record.published_at.as_secs())
    .bind(&record.operator)
    .bind(&record.body)
    .execute(&mut *connection)
    .await?;
    let row: i64 = sqlx::query_scalar(
        "INSERT INTO policy_bundle_changes (at, name, sequence, sha256, size, operator, leaf) \
         VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(record.published_at.as_secs())
    .bind(record.name.as_str())
    .bind(sequence)
    .bind(&sha256)
    .bind(size)
    .bind(&record.operator)
    .bind(log.next()?)
    .fetch_one(connection)
    .await?;
    let told = event::PolicyBundle {
        row,
        name: record.name.as_str().to_owned(),
        sequence,
        sha256,
        size,
        operator: record.operator.clone(),
    };
    log.append(record.published_at.as_secs(), Event::PolicyBundle(told))?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<BundleRecord, sqlx::Error> {
    let text = |column| row.try_get::<String, _>(column);
    let sequence: i64 = row.try_get("sequence")?;
    Ok(BundleRecord {
        name: text("name")?
            .try_into()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        sequence: u64::try_from(sequence).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        sha256: text("sha256")?
            .parse()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        published_at: UnixTime::from_secs(row.try_get("published_at")?),
        operator: text("operator")?,
        body: row.try_get("body")?,
    })
}

const ALL_COLUMNS: &str =
    "SELECT name, sequence, sha256, published_at, operator, body FROM policy_bundles";
const ALL: &str =
    "SELECT name, sequence, sha256, published_at, operator, body FROM policy_bundles ORDER BY name";
