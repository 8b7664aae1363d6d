//! Reading queries.

use identity::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fields::{Field, Kind, Schema};
use super::tree::{Comparison, Condition, Match, Pattern, Tree, What};
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

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Open,
    Close,
    Operator(Operator),
    Word(String),
    Text(String),
    End,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "~",
            Self::MatchesNot => "!~",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

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

/// Tokens with their columns.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, QueryError> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().zip(1..).peekable();
    while let Some((c, column)) = chars.next() {
        let mut followed_by = |wanted| chars.next_if(|(c, _)| *c == wanted).is_some();
        let token = match c {
            c if c.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            '=' => Token::Operator(Operator::Equal),
            '~' => Token::Operator(Operator::Matches),
            '!' if followed_by('=') => Token::Operator(Operator::NotEqual),
            '!' if followed_by('~') => Token::Operator(Operator::MatchesNot),
            '<' if followed_by('=') => Token::Operator(Operator::LessOrEqual),
            '<' => Token::Operator(Operator::Less),
            '>' if followed_by('=') => Token::Operator(Operator::GreaterOrEqual),
            '>' => Token::Operator(Operator::Greater),
            '"' => {
                let mut text = String::new();
                loop {
                    match chars.next() {
                        Some(('"', _)) => break,
                        Some(('\\', _)) => match chars.next() {
                            Some((escaped @ ('"' | '\\'), _)) => text.push(escaped),
                            Some((other, column)) => {
                                return Err(QueryError {
                                    column,
                                    problem: Problem::Expected {
                                        expected: "`\"` or `\\` after `\\`",
                                        found: format!("{other:?}"),
                                    },
                                });
                            }
                            None => return Err(open_text(column)),
                        },
                        Some((c, _)) => text.push(c),
                        None => return Err(open_text(column)),
                    }
                }
                Token::Text(text)
            }
            first => {
                let mut word = String::from(first);
                // Values are read up to a blank: `spiffe://…` and times have all kinds of signs.
                let after_operator = matches!(tokens.last(), Some((_, Token::Operator(_))));
                while let Some((c, _)) = chars.next_if(|(c, _)| {
                    let ends = c.is_whitespace() || matches!(c, '(' | ')' | '"');
                    !ends && (after_operator || !matches!(c, '=' | '~' | '!' | '<' | '>'))
                }) {
                    word.push(c);
                }
                Token::Word(word)
            }
        };
        tokens.push((column, token));
    }
    tokens.push((text.chars().count().saturating_add(1), Token::End));
    Ok(tokens)
}

const fn open_text(column: usize) -> QueryError {
    QueryError {
        column,
        problem: Problem::OpenText,
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
        let token = self.tokens.get(self.next).or(self.tokens.last());
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
fn group(mut items: Vec<Tree>, alternatives: bool) -> Tree {
    match (items.len(), alternatives) {
        (1, _) => items.remove(0),
        (_, true) => Tree::Or(items),
        (_, false) => Tree::And(items),
    }
}

/// The right side of a comparison.
struct Value {
    text: String,
    operator: Operator,
    operator_at: usize,
    value_at: usize,
    now: UnixTime,
}

impl Value {
    fn of_pair(self, name: String, negated: bool) -> Result<Tree, QueryError> {
        let value = match self.operator {
            Operator::Equal | Operator::NotEqual => Match::Text(self.text),
            Operator::Matches | Operator::MatchesNot => Match::Pattern(Pattern(self.text)),
            _ => return Err(self.bad_operator("metadata")),
        };
        Ok(condition(What::Pair(name, value), negated))
    }

    fn of_field(mut self, field: &'static Field, negated: bool) -> Result<Tree, QueryError> {
        let is_pattern = matches!(self.operator, Operator::Matches | Operator::MatchesNot);
        let is_equality = matches!(self.operator, Operator::Equal | Operator::NotEqual);
        match field.kind {
            Kind::Text | Kind::Hex if is_equality || is_pattern => {
                if field.kind == Kind::Hex {
                    self.text = self.text.to_ascii_lowercase().replace(':', "");
                }
                let what = if is_pattern {
                    What::Pattern(field, Pattern(self.text))
                } else {
                    What::Text(field, self.text)
                };
                Ok(condition(what, negated))
            }
            Kind::State if is_equality => self.state(field, negated),
            Kind::Flag if is_equality => {
                let value = match self.text.as_str() {
                    "true" => 1,
                    "false" => 0,
                    _ => return Err(self.bad_value("true or false")),
                };
                Ok(condition(
                    What::Number(field, Comparison::Equal, value),
                    negated,
                ))
            }
            Kind::Number if !is_pattern => {
                let number = self.text.parse();
                let number = number.map_err(|_bad| self.bad_value("a whole number"))?;
                let what = What::Number(field, self.comparison(), number);
                Ok(condition(what, negated))
            }
            Kind::Future | Kind::Past if !is_pattern => self.time(field, negated),
            _ => Err(self.bad_operator(field.name)),
        }
    }

    fn state(self, field: &'static Field, negated: bool) -> Result<Tree, QueryError> {
        let name = match self.text.as_str() {
            "active" | "good" => "good",
            "suspended" => "suspended",
            "revoked" => "revoked",
            _ => return Err(self.bad_value("one of active, suspended, revoked")),
        };
        Ok(condition(What::Text(field, name.to_owned()), negated))
    }

    fn time(self, field: &'static Field, negated: bool) -> Result<Tree, QueryError> {
        let now = self.now.as_secs();
        let comparison = self.comparison();
        if let Some(seconds) = duration(&self.text) {
            return Ok(match field.kind {
                // A larger age is an earlier time.
                Kind::Past => {
                    let turned = match comparison {
                        Comparison::Equal => Comparison::Equal,
                        Comparison::Less => Comparison::Greater,
                        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
                        Comparison::Greater => Comparison::Less,
                        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
                    };
                    let at = now.saturating_sub(seconds);
                    condition(What::Number(field, turned, at), negated)
                }
                _ => {
                    let at = now.saturating_add(seconds);
                    let first = condition(What::Number(field, comparison, at), negated);
                    // What has expired does not expire within any time.
                    if matches!(comparison, Comparison::Less | Comparison::LessOrEqual)
                        && seconds > 0
                    {
                        let left = What::Number(field, Comparison::GreaterOrEqual, now);
                        group(vec![first, condition(left, negated)], negated)
                    } else {
                        first
                    }
                }
            });
        }
        let at = instant(&self.text)
            .ok_or_else(|| self.bad_value("a duration (7d, 12h) or an RFC 3339 time or date"))?;
        Ok(condition(What::Number(field, comparison, at), negated))
    }

    const fn comparison(&self) -> Comparison {
        match self.operator {
            Operator::Less => Comparison::Less,
            Operator::LessOrEqual => Comparison::LessOrEqual,
            Operator::Greater => Comparison::Greater,
            Operator::GreaterOrEqual => Comparison::GreaterOrEqual,
            _ => Comparison::Equal,
        }
    }

    fn bad_value(&self, expected: &'static str) -> QueryError {
        QueryError {
            column: self.value_at,
            problem: Problem::BadValue {
                value: self.text.clone(),
                expected,
            },
        }
    }

    fn bad_operator(&self, field: &'static str) -> QueryError {
        QueryError {
            column: self.operator_at,
            problem: Problem::BadOperator {
                field,
                operator: self.operator.as_str(),
            },
        }
    }
}

const fn condition(what: What, negated: bool) -> Tree {
    Tree::Condition(Condition { what, negated })
}

/// `90s`, `15m`, `12h`, `7d` in seconds.
fn duration(text: &str) -> Option<i64> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    units.into_iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?;
        let count: i64 = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())??;
        count.checked_mul(factor)
    })
}

/// An RFC 3339 time, or its date alone for midnight UTC.
fn instant(text: &str) -> Option<i64> {
    let parse = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    parse(text)
        .or_else(|| parse(&format!("{text}T00:00:00Z")))
        .map(OffsetDateTime::unix_timestamp)
}
