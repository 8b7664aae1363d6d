//! Values of comparisons, by the kinds of their fields.

use identity::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fields::{Field, Kind};
use super::parse::{Problem, QueryError, group};
use super::tokens::Operator;
use super::tree::{Comparison, Condition, Match, Pattern, Tree, What};

/// The right side of a comparison.
pub(super) struct Value {
    pub(super) text: String,
    pub(super) operator: Operator,
    pub(super) operator_at: usize,
    pub(super) value_at: usize,
    pub(super) now: UnixTime,
}

impl Value {
    pub(super) fn of_pair(self, name: String, negated: bool) -> Result<Tree, QueryError> {
        let value = match self.operator {
            Operator::Equal | Operator::NotEqual => Match::Text(self.text),
            Operator::Matches | Operator::MatchesNot => Match::Pattern(Pattern(self.text)),
            _ => return Err(self.bad_operator("metadata")),
        };
        Ok(condition(What::Pair(name, value), negated))
    }

    pub(super) fn of_field(
        mut self,
        field: &'static Field,
        negated: bool,
    ) -> Result<Tree, QueryError> {
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
