//! Reading queries.

use identity::UnixTime;

use super::fields::{Field, Schema};
use super::tokens::{Operator, Token, tokens};
use super::tree::Tree;
use super::value::Value;
use crate::inventory::place::is_name;

/// Why a text is no query.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("query, column {column}: {problem}")]
pub struct QueryError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a query.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Too long.
    #[error("it is longer than {MAX_QUERY_BYTES} bytes")]
    TooLong,
    /// Too many conditions.
    #[error("more than {MAX_TERMS} conditions")]
    TooManyTerms,
    /// Nested too deeply.
    #[error("nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Something else was expected.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A text whose end is missing.
    #[error("the text that begins here has no end")]
    OpenText,
    /// No such field.
    #[error("{name:?} is not a field; there are {known}")]
    UnknownField {
        /// The name.
        name: String,
        /// Those there are.
        known: &'static str,
    },
    /// A comparison that the field does not have.
    #[error("{field} cannot be compared with {operator}")]
    BadOperator {
        /// The field.
        field: &'static str,
        /// The operator.
        operator: &'static str,
    },
    /// A value that the field cannot have.
    #[error("{value:?} is not {expected}")]
    BadValue {
        /// The value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
}

/// Longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 4096;
/// Most conditions of a query.
pub const MAX_TERMS: usize = 64;
/// Deepest nesting of a query.
pub const MAX_DEPTH: usize = 16;

/// Reads a query; an empty one is for everything.
pub(super) fn parse(
    text: &str,
    schema: &'static Schema,
    now: UnixTime,
) -> Result<Tree, QueryError> {
    if text.len() > MAX_QUERY_BYTES {
        return Err(QueryError {
            column: 1,
            problem: Problem::TooLong,
        });
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        terms: 0,
        depth: 0,
        schema,
        now,
    };
    if *parser.peek() == Token::End {
        return Ok(Tree::And(Vec::new()));
    }
    let tree = parser.alternatives(false)?;
    match parser.peek() {
        Token::End => Ok(tree),
        _ => Err(parser.expected("`and`, `or` or the end")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    terms: usize,
    depth: usize,
    schema: &'static Schema,
    now: UnixTime,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens
            .get(self.next)
            .map_or(&Token::End, |(_, token)| token)
    }

    fn column(&self) -> usize {
        let token = self.tokens.get(self.next).or_else(|| self.tokens.last());
        token.map_or(1, |(column, _)| *column)
    }

    fn error(&self, problem: Problem) -> QueryError {
        QueryError {
            column: self.column(),
            problem,
        }
    }

    fn expected(&self, expected: &'static str) -> QueryError {
        let found = match self.peek() {
            Token::End => "the end".to_owned(),
            Token::Open => "`(`".to_owned(),
            Token::Close => "`)`".to_owned(),
            Token::Operator(operator) => format!("`{}`", operator.as_str()),
            Token::Word(text) | Token::Text(text) => format!("{text:?}"),
        };
        self.error(Problem::Expected { expected, found })
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword));
        self.next = self.next.saturating_add(usize::from(found));
        found
    }

    /// `negated` turns the whole around: what is below an odd number of `not`.
    fn alternatives(&mut self, negated: bool) -> Result<Tree, QueryError> {
        let mut items = vec![self.conjunction(negated)?];
        while self.keyword("or") {
            items.push(self.conjunction(negated)?);
        }
        Ok(group(items, !negated))
    }

    fn conjunction(&mut self, negated: bool) -> Result<Tree, QueryError> {
        let mut items = vec![self.item(negated)?];
        while self.keyword("and") {
            items.push(self.item(negated)?);
        }
        Ok(group(items, negated))
    }

    fn item(&mut self, negated: bool) -> Result<Tree, QueryError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error(Problem::TooDeep));
        }
        self.depth = self.depth.saturating_add(1);
        let item = if self.keyword("not") {
            self.item(!negated)
        } else if *self.peek() == Token::Open {
            self.next = self.next.saturating_add(1);
            let inner = self.alternatives(negated)?;
            if *self.peek() != Token::Close {
                return Err(self.expected("`and`, `or` or `)`"));
            }
            self.next = self.next.saturating_add(1);
            Ok(inner)
        } else {
            self.comparison(negated)
        };
        self.depth = self.depth.saturating_sub(1);
        item
    }

    fn comparison(&mut self, negated: bool) -> Result<Tree, QueryError> {
        self.terms = self.terms.saturating_add(1);
        if self.terms > MAX_TERMS {
            return Err(self.error(Problem::TooManyTerms));
        }
        let Token::Word(name) = self.peek().clone() else {
            return Err(self.expected("a field"));
        };
        let field_at = self.column();
        self.next = self.next.saturating_add(1);
        let Token::Operator(operator) = *self.peek() else {
            // A word without a comparison is more often a wrong name than a missing operator.
            self.field(&name, field_at)?;
            return Err(self.expected("one of = != ~ !~ < <= > >="));
        };
        let operator_at = self.column();
        self.next = self.next.saturating_add(1);
        let (Token::Word(value) | Token::Text(value)) = self.peek().clone() else {
            return Err(self.expected("a value"));
        };
        let value_at = self.column();
        self.next = self.next.saturating_add(1);
        let turned = matches!(operator, Operator::NotEqual | Operator::MatchesNot);
        let negated = negated != turned;
        let reader = Value {
            text: value,
            operator,
            operator_at,
            value_at,
            now: self.now,
        };
        match self.field(&name, field_at)? {
            Name::Field(field) => reader.of_field(field, negated),
            Name::Pair(name) => reader.of_pair(name, negated),
        }
    }

    fn field(&self, name: &str, column: usize) -> Result<Name, QueryError> {
        let field = self.schema.fields.iter().find(|field| field.name == name);
        if let Some(field) = field {
            return Ok(Name::Field(field));
        }
        let pair = name.strip_prefix("meta.").unwrap_or(name);
        if self.schema.has_metadata && is_name(pair) {
            return Ok(Name::Pair(pair.to_owned()));
        }
        let known = if self.schema.has_metadata {
            super::CERTIFICATE_FIELDS
        } else {
            super::REFUSAL_FIELDS
        };
        Err(QueryError {
            column,
            problem: Problem::UnknownField {
                name: name.to_owned(),
                known,
            },
        })
    }
}

enum Name {
    Field(&'static Field),
    Pair(String),
}

/// De Morgan: below a `not`, alternatives must all hold, and the other way round.
pub(super) fn group(mut items: Vec<Tree>, alternatives: bool) -> Tree {
    match (items.len(), alternatives) {
        (1, _) => items.remove(0),
        (_, true) => Tree::Or(items),
        (_, false) => Tree::And(items),
    }
}
