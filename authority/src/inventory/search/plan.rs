//! From a query to statements: which condition leads, and where pages begin.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::fields::{Kind, Schema};
use super::tree::{Comparison, Condition, Match, Tree, What, pair};
use super::{SearchError, Statement};

/// How a query is answered.
#[derive(Debug)]
pub(super) struct Plan<'t> {
    schema: &'static Schema,
    tree: &'t Tree,
    lead: Lead<'t>,
}

/// What gives the rows and their order.
#[derive(Clone, Debug)]
enum Lead<'t> {
    /// The table itself, the newest first.
    All,
    /// Rows with one value, the newest first.
    Value(&'t Condition),
    /// Rows with values in a range, by these.
    Range(&'t Condition, Direction),
    /// Certificates with a pair of metadata, the newest first.
    Pair(&'t Condition),
    /// The newest of each of several.
    Each(Vec<(Self, &'t Tree)>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Direction {
    Up,
    Down,
}

/// Where a page ended.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// What led.
    lead: String,
    /// The last row's number.
    id: i64,
    /// Its value, where it is part of the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Value {
    Number(i64),
    Text(String),
}

impl Cursor {
    /// Reads one; none for the first page.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, SearchError> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_CURSOR_BYTES {
            return Err(SearchError::Cursor);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_bad| SearchError::Cursor)?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_bad| SearchError::Cursor)
    }

    /// Whether a page of this plan may have ended there.
    pub(super) fn fits(&self, plan: &Plan<'_>) -> bool {
        let value_fits = match (&plan.lead, &self.value) {
            (Lead::Range(condition, _), Some(value)) => matches!(
                (&condition.what, value),
                (What::Number(..), Value::Number(_)) | (What::Pattern(..), Value::Text(_))
            ),
            (Lead::Range(..), None) => false,
            (_, value) => value.is_none(),
        };
        value_fits && self.lead == plan.lead.name()
    }
}

impl<'t> Plan<'t> {
    /// The plans there are, the best first by what is known without the rows.
    pub(super) fn candidates(schema: &'static Schema, tree: &'t Tree) -> Vec<Self> {
        let mut leads = leads(tree);
        if leads.is_empty() {
            leads = each(tree).into_iter().map(|lead| (0, lead)).collect();
        }
        leads.push((u8::MAX, Lead::All));
        leads.sort_by_key(|(rank, _)| *rank);
        // The table itself only where nothing else can lead.
        if leads.len() > 1 {
            leads.retain(|(rank, _)| *rank < u8::MAX);
        }
        leads
            .into_iter()
            .map(|(_, lead)| Self { schema, tree, lead })
            .collect()
    }

    /// Counts the rows that the leader gives, up to `most`.
    pub(super) fn estimate(&self, most: u32) -> Option<Statement> {
        let condition = match &self.lead {
            Lead::Value(condition) | Lead::Range(condition, _) | Lead::Pair(condition) => condition,
            Lead::All | Lead::Each(_) => return None,
        };
        let mut sql = Statement::new("SELECT count(*) FROM (SELECT 1 FROM ");
        match &condition.what {
            What::Pair(name, value) => {
                sql.push("certificate_metadata m WHERE ");
                pair(name, value, &mut sql);
            }
            _ => {
                self.lead.write_table(self.schema, &mut sql);
                sql.push(" WHERE ");
                condition.write(&mut sql);
            }
        }
        sql.push(" LIMIT ").push_bind(most).push(")");
        Some(sql)
    }

    /// The page after `cursor`, of at most `limit` rows.
    pub(super) fn statement(
        &self,
        columns: &str,
        cursor: Option<&Cursor>,
        limit: u32,
    ) -> Result<Statement, SearchError> {
        let table = self.schema.table;
        let mut sql = Statement::new("SELECT ");
        for column in columns.split(',') {
            sql.push(table).push(".").push(column.trim()).push(", ");
        }
        sql.push(table).push(".id AS cursor_id");
        if let Lead::Range(condition, _) = &self.lead {
            let column = column_of(condition);
            sql.push(", ").push(column).push(" AS cursor_value");
        }
        sql.push(" FROM ");
        match &self.lead {
            Lead::Each(branches) => {
                sql.push(table).push(" WHERE ").push(table).push(".id IN (");
                for (position, (lead, tree)) in branches.iter().enumerate() {
                    sql.push(if position > 0 { " UNION " } else { "" });
                    sql.push("SELECT id FROM (SELECT ")
                        .push(table)
                        .push(".id FROM ");
                    lead.write_source(self.schema, &mut sql);
                    tree.write(&mut sql);
                    newest(lead.number(self.schema), cursor, limit, &mut sql);
                    sql.push(")");
                }
                sql.push(")");
                newest(self.lead.number(self.schema), None, limit, &mut sql);
            }
            Lead::Range(condition, direction) => {
                self.lead.write_source(self.schema, &mut sql);
                self.tree.write(&mut sql);
                by_value(
                    self.schema.number,
                    (column_of(condition), *direction),
                    cursor,
                    limit,
                    &mut sql,
                )?;
            }
            lead => {
                lead.write_source(self.schema, &mut sql);
                self.tree.write(&mut sql);
                newest(lead.number(self.schema), cursor, limit, &mut sql);
            }
        }
        Ok(sql)
    }

    /// The cursor behind a row of a page.
    pub(super) fn cursor_after(&self, row: &SqliteRow) -> Result<String, sqlx::Error> {
        let value = match &self.lead {
            Lead::Range(condition, _) => Some(match &condition.what {
                What::Number(..) => Value::Number(row.try_get("cursor_value")?),
                _ => Value::Text(row.try_get("cursor_value")?),
            }),
            _ => None,
        };
        let cursor = Cursor {
            lead: self.lead.name(),
            id: row.try_get("cursor_id")?,
            value,
        };
        let text =
            serde_json::to_vec(&cursor).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        Ok(URL_SAFE_NO_PAD.encode(text))
    }
}

impl Lead<'_> {
    /// For cursors: pages of one query go on with what led.
    fn name(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Value(condition) => format!("value:{}", column_of(condition)),
            Self::Range(condition, _) => format!("range:{}", column_of(condition)),
            Self::Pair(_) => "pair".to_owned(),
            Self::Each(branches) => {
                let names: Vec<String> = branches.iter().map(|(lead, _)| lead.name()).collect();
                format!("each:{}", names.join(","))
            }
        }
    }

    /// The rows' number, as the index that leads has it.
    fn number(&self, schema: &'static Schema) -> &'static str {
        match self {
            Self::Pair(_) => "m.certificate_id",
            _ => schema.number,
        }
    }

    /// The table, and with which index.
    fn write_table(&self, schema: &'static Schema, sql: &mut Statement) {
        sql.push(schema.table);
        let (Self::Value(condition) | Self::Range(condition, _)) = self else {
            return;
        };
        let index = match &condition.what {
            What::Text(field, _) | What::Pattern(field, _) | What::Number(field, ..) => field.index,
            What::Pair(..) => None,
        };
        // SQLite's planner has no statistics of this table, which changes all the time. Databases
        // that keep their own need no such hint.
        if let Some(index) = index {
            sql.push(" INDEXED BY ").push(index);
        }
    }

    /// Everything up to the conditions.
    fn write_source(&self, schema: &'static Schema, sql: &mut Statement) {
        if let Self::Pair(Condition {
            what: What::Pair(name, value),
            ..
        }) = self
        {
            sql.push(
                "certificate_metadata m CROSS JOIN certificates \
                 ON certificates.id = m.certificate_id WHERE ",
            );
            pair(name, value, sql);
            sql.push(" AND ");
            return;
        }
        self.write_table(schema, sql);
        sql.push(" WHERE ");
    }
}

/// Appends the order by number, and where the page begins.
fn newest(number: &'static str, cursor: Option<&Cursor>, limit: u32, sql: &mut Statement) {
    if let Some(cursor) = cursor {
        sql.push(" AND ")
            .push(number)
            .push(" < ")
            .push_bind(cursor.id);
    }
    sql.push(" ORDER BY ")
        .push(number)
        .push(" DESC LIMIT ")
        .push_bind(limit);
}

/// Appends the order by value, and where the page begins.
fn by_value(
    number: &'static str,
    (column, direction): (&'static str, Direction),
    cursor: Option<&Cursor>,
    limit: u32,
    sql: &mut Statement,
) -> Result<(), SearchError> {
    let (compare, order) = match direction {
        Direction::Up => (" > ", ""),
        Direction::Down => (" < ", " DESC"),
    };
    if let Some(cursor) = cursor {
        sql.push(format!(" AND ({column}, {number}){compare}("));
        match cursor.value.clone().ok_or(SearchError::Cursor)? {
            Value::Number(value) => sql.push_bind(value),
            Value::Text(value) => sql.push_bind(value),
        };
        sql.push(", ").push_bind(cursor.id).push(")");
    }
    sql.push(format!(" ORDER BY {column}{order}, {number}{order} LIMIT "))
        .push_bind(limit);
    Ok(())
}

/// What could lead of a query all of whose parts must hold.
fn leads(tree: &Tree) -> Vec<(u8, Lead<'_>)> {
    match tree {
        Tree::Condition(condition) => lead(condition).into_iter().collect(),
        Tree::And(items) => items.iter().flat_map(leads).collect(),
        Tree::Or(_) => Vec::new(),
    }
}

fn lead(condition: &Condition) -> Option<(u8, Lead<'_>)> {
    if condition.negated {
        return None;
    }
    let (field, lead) = match &condition.what {
        What::Pair(_, Match::Text(_)) => return Some((PAIR_RANK, Lead::Pair(condition))),
        What::Pair(_, Match::Pattern(_)) => return None,
        // Most are good: the table itself is as quick.
        What::Text(field, value) if field.kind == Kind::State && value == "good" => return None,
        What::Text(field, _) | What::Number(field, Comparison::Equal, _) => {
            (field, Lead::Value(condition))
        }
        What::Pattern(field, pattern) if !pattern.prefix().is_empty() => {
            (field, Lead::Range(condition, Direction::Up))
        }
        What::Pattern(..) => return None,
        What::Number(field, ..) => {
            let direction = match field.kind {
                Kind::Past => Direction::Down,
                _ => Direction::Up,
            };
            (field, Lead::Range(condition, direction))
        }
    };
    let behind_values = match lead {
        Lead::Range(..) => RANGE_RANK,
        _ => 0,
    };
    field
        .is_indexed()
        .then(|| (field.rank.saturating_add(behind_values), lead))
}

/// Leaders of alternatives: the newest of each make up the newest of all.
fn each(tree: &Tree) -> Option<Lead<'_>> {
    let items = match tree {
        Tree::Or(items) => items,
        Tree::And(items) => match items.as_slice() {
            [only] => return each(only),
            _ => return None,
        },
        Tree::Condition(_) => return None,
    };
    if items.len() > MAX_BRANCHES {
        return None;
    }
    let branches: Option<Vec<_>> = items
        .iter()
        .map(|item| {
            leads(item)
                .into_iter()
                .filter(|(_, lead)| matches!(lead, Lead::Value(_) | Lead::Pair(_)))
                .min_by_key(|(rank, _)| *rank)
                .map(|(_, lead)| (lead, item))
        })
        .collect();
    branches.map(Lead::Each)
}

fn column_of(condition: &Condition) -> &'static str {
    match &condition.what {
        What::Text(field, _) | What::Pattern(field, _) | What::Number(field, ..) => field.column,
        What::Pair(..) => "certificate_id",
    }
}

/// Where a pair of metadata stands among the fields' ranks.
const PAIR_RANK: u8 = 4;
/// Ranges lead after values.
const RANGE_RANK: u8 = 30;
/// Most alternatives that are looked up one by one.
const MAX_BRANCHES: usize = 16;
/// The longest text of a column, in JSON and base64, and some.
const MAX_CURSOR_BYTES: usize = 8192;
