//! A query as it is understood: negations are at the conditions, and values are of their kinds.

use super::Statement;
use super::fields::{Field, Kind};

/// A query.
#[derive(Debug)]
pub(super) enum Tree {
    /// All hold; everything for none.
    And(Vec<Self>),
    /// One holds.
    Or(Vec<Self>),
    /// It holds, or does not if negated.
    Condition(Condition),
}

/// A comparison.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) what: What,
    pub(super) negated: bool,
}

/// What is compared with what.
#[derive(Debug)]
pub(super) enum What {
    /// A column has this text.
    Text(&'static Field, String),
    /// A column matches this pattern.
    Pattern(&'static Field, Pattern),
    /// A column compares so with a number.
    Number(&'static Field, Comparison, i64),
    /// The certificate has a pair of metadata.
    Pair(String, Match),
}

/// What the value of a pair must be.
#[derive(Debug)]
pub(super) enum Match {
    /// This text.
    Text(String),
    /// Such a text.
    Pattern(Pattern),
}

/// A text with `*` and `?`.
#[derive(Debug)]
pub(super) struct Pattern(pub(super) String);

/// How numbers compare.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    const fn sql(self) -> &'static str {
        match self {
            Self::Equal => " = ",
            Self::Less => " < ",
            Self::LessOrEqual => " <= ",
            Self::Greater => " > ",
            Self::GreaterOrEqual => " >= ",
        }
    }
}

impl Pattern {
    /// The text before the first `*` or `?`.
    pub(super) fn prefix(&self) -> &str {
        self.0.split(['*', '?']).next().unwrap_or_default()
    }

    /// In SQLite's form, in which brackets would be classes.
    fn glob(&self) -> String {
        self.0.replace('[', "[[]")
    }

    /// The first text that does not begin with `prefix` any more; none for what has no end.
    pub(super) fn end_of(prefix: &str) -> Option<String> {
        let mut chars: Vec<char> = prefix.chars().collect();
        while let Some(last) = chars.pop() {
            // Over the gap of surrogates, which are no characters.
            let next = (u32::from(last)..=u32::from(char::MAX))
                .skip(1)
                .find_map(char::from_u32);
            if let Some(next) = next {
                chars.push(next);
                return Some(chars.into_iter().collect());
            }
        }
        None
    }
}

impl Tree {
    /// Appends it as SQL; every value is bound.
    pub(super) fn write(&self, sql: &mut Statement) {
        let (items, between, none) = match self {
            Self::Condition(condition) => return condition.write(sql),
            Self::And(items) => (items, " AND ", "1 = 1"),
            Self::Or(items) => (items, " OR ", "1 = 0"),
        };
        sql.push("(");
        if items.is_empty() {
            sql.push(none);
        }
        for (position, item) in items.iter().enumerate() {
            if position > 0 {
                sql.push(between);
            }
            item.write(sql);
        }
        sql.push(")");
    }
}

impl Condition {
    /// Appends it as SQL. A value that is not known equals nothing, and differs from everything.
    pub(super) fn write(&self, sql: &mut Statement) {
        if !self.negated {
            return self.what.write(sql);
        }
        match &self.what {
            What::Text(field, _) | What::Pattern(field, _) | What::Number(field, ..) => {
                sql.push("(").push(field.column).push(" IS NULL OR NOT (");
                self.what.write(sql);
                sql.push("))");
            }
            What::Pair(..) => {
                sql.push("NOT ");
                self.what.write(sql);
            }
        }
    }
}

impl What {
    fn write(&self, sql: &mut Statement) {
        match self {
            // The names of states are ours, and only with one in the text its index is used.
            Self::Text(field, value) if field.kind == Kind::State => {
                let name = match value.as_str() {
                    "suspended" => "'suspended'",
                    "revoked" => "'revoked'",
                    _ => "'good'",
                };
                sql.push("(state = ").push(name);
                if name != "'good'" {
                    sql.push(" AND state <> 'good'");
                }
                sql.push(")");
            }
            Self::Text(field, value) => {
                sql.push(field.column).push(" = ").push_bind(value.clone());
            }
            Self::Pattern(field, pattern) => {
                sql.push("(");
                range(field.column, pattern, sql);
                sql.push(field.column)
                    .push(" GLOB ")
                    .push_bind(pattern.glob())
                    .push(")");
            }
            Self::Number(field, comparison, value) => {
                sql.push(field.column)
                    .push(comparison.sql())
                    .push_bind(*value);
            }
            Self::Pair(name, value) => {
                sql.push(
                    "EXISTS (SELECT 1 FROM certificate_metadata m \
                     WHERE m.certificate_id = certificates.id AND ",
                );
                pair(name, value, sql);
                sql.push(")");
            }
        }
    }
}

/// Appends the condition on a pair of metadata, `m`.
pub(super) fn pair(name: &str, value: &Match, sql: &mut Statement) {
    sql.push("m.name = ")
        .push_bind(name.to_owned())
        .push(" AND ");
    match value {
        Match::Text(text) => {
            sql.push("m.value = ").push_bind(text.clone());
        }
        Match::Pattern(pattern) => {
            range("m.value", pattern, sql);
            sql.push("m.value GLOB ").push_bind(pattern.glob());
        }
    }
}

/// Appends the part of the column's order that can match, for the index.
fn range(column: &'static str, pattern: &Pattern, sql: &mut Statement) {
    let prefix = pattern.prefix();
    if prefix.is_empty() {
        return;
    }
    sql.push(column)
        .push(" >= ")
        .push_bind(prefix.to_owned())
        .push(" AND ");
    if let Some(end) = Pattern::end_of(prefix) {
        sql.push(column).push(" < ").push_bind(end).push(" AND ");
    }
}
