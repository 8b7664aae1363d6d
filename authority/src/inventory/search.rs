//! Searching the record: a small language, compiled to statements in which every value is bound.
//!
//! ```text
//! query = and-query *( "or" and-query )
//! and-query = item *( "and" item )
//! item  = "not" item | "(" query ")" | field op value
//! op    = "=" | "!=" | "~" | "!~" | "<" | "<=" | ">" | ">="
//! value = word | '"' text '"'        in text, \" and \\ stand for themselves
//! ```
//!
//! `~` compares with a pattern in which `*` stands for any text and `?` for one character. Fields of
//! times take an RFC 3339 time or date, or a duration (`90s`, `15m`, `12h`, `7d`): for `expires` the
//! time left (`expires<7d` is what expires within a week, without what has expired), for `issued` and
//! `at` the age (`issued<1h` is what was issued within the last hour).
//!
//! One condition leads: its index gives the rows in the order of the pages, the others are checked
//! row by row. Which one is found out by counting a few rows of each that could.

use std::fmt;

use identity::UnixTime;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};

pub use self::fields::{CERTIFICATE_FIELDS, REFUSAL_FIELDS};
use self::fields::{CERTIFICATES, REFUSALS, Schema};
pub use self::parse::{MAX_DEPTH, MAX_QUERY_BYTES, MAX_TERMS, QueryError};
use self::plan::{Cursor, Plan};
use self::tree::Tree;
use crate::inventory::record::{self, CERTIFICATE_COLUMNS};
use crate::inventory::{CertificateRecord, Inventory, InventoryError, RefusalRecord};

mod fields;
mod parse;
mod plan;
mod tokens;
mod tree;
mod value;

/// What to look for, and which page of it.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The query; empty for everything.
    pub query: String,
    /// At most so many.
    pub limit: u32,
    /// Where the page before ended, as it said; empty for the first.
    pub cursor: String,
}

/// A page of what was found.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What was found.
    pub rows: Vec<T>,
    /// Where the next page begins; empty if this is the last.
    pub next: String,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The query is none.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The cursor is none that a page of this query ended with.
    #[error("the cursor is not one of this query")]
    Cursor,
    /// The record failed.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

impl Inventory {
    /// A page of certificates.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn search_certificates(
        &self,
        search: &Search,
        now: UnixTime,
    ) -> Result<Page<CertificateRecord>, SearchError> {
        let columns = CERTIFICATE_COLUMNS;
        self.search(&CERTIFICATES, columns, search, now, record::certificate)
            .await
    }

    /// A page of refusals.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn search_refusals(
        &self,
        search: &Search,
        now: UnixTime,
    ) -> Result<Page<RefusalRecord>, SearchError> {
        let columns = "at, caller, spiffe_id, code, detail, alarm";
        self.search(&REFUSALS, columns, search, now, record::refusal)
            .await
    }

    async fn search<T>(
        &self,
        schema: &'static Schema,
        columns: &'static str,
        search: &Search,
        now: UnixTime,
        read: impl Fn(&SqliteRow) -> Result<T, InventoryError> + Send + Sync,
    ) -> Result<Page<T>, SearchError> {
        let tree = parse::parse(&search.query, schema, now)?;
        let cursor = Cursor::parse(&search.cursor)?;
        let plan = self.plan(schema, &tree, cursor.as_ref()).await?;
        // One more than asked for tells whether there is another page.
        let limit = search.limit.saturating_add(1);
        let mut statement = plan.statement(columns, cursor.as_ref(), limit)?;
        let mut found = statement
            .build()
            .fetch_all(&self.searchers)
            .await
            .map_err(InventoryError::Query)?;
        let asked = usize::try_from(search.limit).unwrap_or(usize::MAX);
        let more = found.len() > asked;
        found.truncate(asked);
        let next = match found.last() {
            Some(last) if more => plan.cursor_after(last).map_err(InventoryError::Query)?,
            _ => String::new(),
        };
        let rows = found.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Page { rows, next })
    }

    /// The plan for a query: with the leader that the cursor names, or the one with the fewest rows.
    async fn plan<'t>(
        &self,
        schema: &'static Schema,
        tree: &'t Tree,
        cursor: Option<&Cursor>,
    ) -> Result<Plan<'t>, SearchError> {
        let plans = Plan::candidates(schema, tree);
        if let Some(cursor) = cursor {
            let named = plans.into_iter().find(|plan| cursor.fits(plan));
            return named.ok_or(SearchError::Cursor);
        }
        let mut best = None;
        let alone = plans.len() == 1;
        for plan in plans {
            let rows = if alone {
                0
            } else {
                self.estimate(&plan).await?
            };
            // Candidates come best first, so only fewer rows change the choice.
            if best.as_ref().is_none_or(|(fewest, _)| rows < *fewest) {
                best = Some((rows, plan));
            }
        }
        best.map(|(_, plan)| plan).ok_or(SearchError::Cursor)
    }

    async fn estimate(&self, plan: &Plan<'_>) -> Result<i64, SearchError> {
        let Some(mut statement) = plan.estimate(ESTIMATED_ROWS) else {
            return Ok(i64::MAX);
        };
        let row = statement
            .build()
            .fetch_one(&self.searchers)
            .await
            .map_err(InventoryError::Query)?;
        Ok(row.try_get(0).map_err(InventoryError::Query)?)
    }

    /// How SQLite goes about a query: its plan, a line a step. For tests and benches.
    ///
    /// # Errors
    /// [`SearchError`].
    pub async fn explain_certificates(
        &self,
        search: &Search,
        now: UnixTime,
    ) -> Result<Vec<String>, SearchError> {
        let tree = parse::parse(&search.query, &CERTIFICATES, now)?;
        let plan = self.plan(&CERTIFICATES, &tree, None).await?;
        let statement = plan.statement(CERTIFICATE_COLUMNS, None, 50)?;
        let sql = format!("EXPLAIN QUERY PLAN {}", statement.into_string());
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_all(&self.searchers)
            .await
            .map_err(InventoryError::Query)?;
        rows.iter()
            .map(|row| Ok(row.try_get("detail").map_err(InventoryError::Query)?))
            .collect()
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.query)
    }
}

/// A statement being put together.
type Statement = QueryBuilder<Sqlite>;

/// Rows counted of each condition that could lead; so many are read in a few milliseconds.
const ESTIMATED_ROWS: u32 = 1000;

#[cfg(test)]
mod tests;
