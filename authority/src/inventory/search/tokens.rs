//! Words and signs of a query.

use super::parse::{Problem, QueryError};

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token {
    Open,
    Close,
    Operator(Operator),
    Word(String),
    Text(String),
    End,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
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
    pub(super) const fn as_str(self) -> &'static str {
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

/// Tokens with their columns.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, QueryError> {
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
