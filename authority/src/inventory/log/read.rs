//! Reading the tree.

use sqlx::{Row as _, SqliteConnection};

use super::{STRIDE, StoredHead, signed};
use crate::audit::merkle::{Block, Frontier, Hash, Span, fold, join};
use crate::inventory::ListHead;

/// The right edge of the tree as it is stored.
///
/// # Errors
/// What the database says; [`sqlx::Error::Decode`] if nodes are missing.
pub(crate) async fn frontier(connection: &mut SqliteConnection) -> Result<Frontier, sqlx::Error> {
    let size = size(connection).await?;
    let mut hashes = Vec::new();
    for block in (Span { from: 0, to: size }).blocks() {
        hashes.push(node(connection, block).await?);
    }
    Frontier::new(size, &hashes).ok_or_else(|| missing("a node"))
}

/// How many leaves there are.
///
/// # Errors
/// What the database says.
pub(crate) async fn size(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let size: i64 = sqlx::query_scalar(SIZE).fetch_one(connection).await?;
    u64::try_from(size).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// The root over the first `size` leaves.
///
/// # Errors
/// As [`frontier`].
pub(crate) async fn root(
    connection: &mut SqliteConnection,
    size: u64,
) -> Result<Hash, sqlx::Error> {
    span(connection, Span { from: 0, to: size }).await
}

/// The hash over a part of the tree.
///
/// # Errors
/// As [`frontier`].
pub(crate) async fn span(
    connection: &mut SqliteConnection,
    span: Span,
) -> Result<Hash, sqlx::Error> {
    let mut hashes = Vec::new();
    for block in span.blocks() {
        hashes.push(node(connection, block).await?);
    }
    Ok(join(&hashes))
}

/// The root of a complete subtree, from the nodes stored next below it.
async fn node(connection: &mut SqliteConnection, block: Block) -> Result<Hash, sqlx::Error> {
    let level = block.level - block.level % STRIDE;
    let width = 1_u64 << (block.level - level);
    let from = signed(block.index.saturating_mul(width))?;
    let to = from.saturating_add(signed(width)?);
    let rows = if level == 0 {
        sqlx::query(LEAF_HASHES).bind(from).bind(to)
    } else {
        sqlx::query(NODE_HASHES)
            .bind(from)
            .bind(to)
            .bind(i64::from(level))
    };
    let rows = rows.fetch_all(connection).await?;
    let hashes = rows.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
    if u64::try_from(hashes.len()) != Ok(width) {
        return Err(missing("a node"));
    }
    fold(hashes).ok_or_else(|| missing("a node"))
}

/// The last signed head.
///
/// # Errors
/// What the database says.
pub(crate) async fn last_head(
    connection: &mut SqliteConnection,
) -> Result<Option<StoredHead>, sqlx::Error> {
    let row = sqlx::query(LAST_HEAD).fetch_optional(connection).await?;
    row.map(|row| {
        let size: i64 = row.try_get("size")?;
        let root: String = row.try_get("root")?;
        Ok(StoredHead {
            size: u64::try_from(size).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            at: row.try_get("at")?,
            root: root
                .parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            note: row.try_get("note")?,
        })
    })
    .transpose()
}

/// The number of the last deny list.
///
/// # Errors
/// What the database says.
pub(crate) async fn numbers(connection: &mut SqliteConnection) -> Result<ListHead, sqlx::Error> {
    let (epoch, sequence): (i64, i64) = sqlx::query_as(NUMBERS).fetch_one(connection).await?;
    let number =
        |value: i64| u64::try_from(value).map_err(|error| sqlx::Error::Decode(Box::new(error)));
    Ok(ListHead {
        epoch: number(epoch)?,
        sequence: number(sequence)?,
    })
}

fn hash(row: &sqlx::sqlite::SqliteRow) -> Result<Hash, sqlx::Error> {
    let bytes: &[u8] = row.try_get("hash")?;
    Hash::try_from(bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn missing(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{what} of the audit log is missing").into())
}

const SIZE: &str = "SELECT coalesce(max(position) + 1, 0) FROM audit_leaves";
const LEAF_HASHES: &str =
    "SELECT hash FROM audit_leaves WHERE position >= ? AND position < ? ORDER BY position";
const NODE_HASHES: &str = "SELECT hash FROM audit_nodes \
     WHERE position >= ? AND position < ? AND level = ? ORDER BY position";
const LAST_HEAD: &str = "SELECT size, at, root, note FROM audit_heads ORDER BY size DESC LIMIT 1";
const NUMBERS: &str = "SELECT epoch, sequence FROM deny_list_head";
