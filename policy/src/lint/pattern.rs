//! Values against values: does one take all that another takes, or nothing of it?

use ipnet::IpNet;

use crate::matcher::{NamespaceSet, ServiceAccountPattern, SlashPrincipal, parse_cidr};

use super::model::{Attribute, Field, Grammar};

/// One value of exact, prefix, suffix or presence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Text<'v> {
    Exact(&'v str),
    Prefix(&'v str),
    Suffix(&'v str),
    Any,
}

impl<'v> Text<'v> {
    pub(super) fn new(value: &'v str) -> Self {
        if value == "*" {
            Self::Any
        } else if let Some(suffix) = value.strip_prefix('*') {
            Self::Suffix(suffix)
        } else if let Some(prefix) = value.strip_suffix('*') {
            Self::Prefix(prefix)
        } else {
            Self::Exact(value)
        }
    }

    /// Whether it takes all that `other` takes.
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Exact(_), _) => false,
            (Self::Prefix(a), Self::Exact(b) | Self::Prefix(b)) => b.starts_with(a),
            (Self::Prefix(_), Self::Suffix(_)) | (Self::Suffix(_), Self::Prefix(_)) => false,
            (Self::Suffix(a), Self::Exact(b) | Self::Suffix(b)) => b.ends_with(a),
        }
    }

    /// Whether nothing is taken by both. False also where that cannot be told.
    fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => false,
            (Self::Exact(a), Self::Exact(b)) => a != b,
            (Self::Exact(exact), Self::Prefix(prefix))
            | (Self::Prefix(prefix), Self::Exact(exact)) => !exact.starts_with(prefix),
            (Self::Exact(exact), Self::Suffix(suffix))
            | (Self::Suffix(suffix), Self::Exact(exact)) => !exact.ends_with(suffix),
            (Self::Prefix(a), Self::Prefix(b)) => !a.starts_with(b) && !b.starts_with(a),
            (Self::Suffix(a), Self::Suffix(b)) => !a.ends_with(b) && !b.ends_with(a),
            (Self::Prefix(_), Self::Suffix(_)) | (Self::Suffix(_), Self::Prefix(_)) => false,
        }
    }
}

impl Attribute<'_> {
    /// Whether value `a` takes all that value `b` takes.
    pub(super) fn covers(self, a: &str, b: &str) -> bool {
        if a == b {
            return true;
        }
        match self.grammar() {
            Grammar::Opaque => false,
            Grammar::Text => Text::new(a).covers(Text::new(b)),
            Grammar::Host => {
                Text::new(&a.to_ascii_lowercase()).covers(Text::new(&b.to_ascii_lowercase()))
            }
            // What a template takes begins with a slash and is no more than text.
            Grammar::Path if is_template(b) => a == "*" || a == "/*",
            Grammar::Path => !is_template(a) && Text::new(a).covers(Text::new(b)),
            Grammar::Namespace => {
                a == "*"
                    || (!b.contains('*')
                        && NamespaceSet::new(&[a])
                            .matches(&SlashPrincipal::of(&format!("t/ns/{b}/"))))
            }
            Grammar::Range => match (range(a), range(b)) {
                (Some(a), Some(b)) => a.contains(&b),
                _ => false,
            },
        }
    }

    /// Whether no text is taken by both values. False also where that cannot be told.
    pub(super) fn excludes(self, a: &str, b: &str) -> bool {
        match self.grammar() {
            Grammar::Opaque => self.0 == "destination.port" && a != b,
            Grammar::Text => Text::new(a).excludes(Text::new(b)),
            Grammar::Host => {
                Text::new(&a.to_ascii_lowercase()).excludes(Text::new(&b.to_ascii_lowercase()))
            }
            Grammar::Path => {
                !is_template(a) && !is_template(b) && Text::new(a).excludes(Text::new(b))
            }
            Grammar::Namespace => false,
            Grammar::Range => match (range(a), range(b)) {
                (Some(a), Some(b)) => !a.contains(&b) && !b.contains(&a),
                _ => false,
            },
        }
    }
}

pub(super) fn is_template(value: &str) -> bool {
    value.contains("{*}") || value.contains("{**}")
}

fn range(value: &str) -> Option<IpNet> {
    parse_cidr(value).ok().map(|range| range.trunc())
}

/// Whether every value of `field` is taken by one of `others`; both of the same attribute.
pub(super) fn all_covered(attribute: Attribute<'_>, values: &[String], others: &[String]) -> bool {
    values
        .iter()
        .all(|value| others.iter().any(|other| attribute.covers(other, value)))
}

/// Whether no value of the one and value of the other have anything in common; both of the same attribute.
pub(super) fn all_exclude(attribute: Attribute<'_>, values: &[String], others: &[String]) -> bool {
    !values.is_empty()
        && !others.is_empty()
        && values
            .iter()
            .all(|value| others.iter().all(|other| attribute.excludes(value, other)))
}

/// Whether the peers that `principals` names, all of them one by one, have a namespace or service account of
/// `field`: all of them, or none. `None` if some do or if it cannot be told.
pub(super) fn peers_match(
    principals: &Field<'_>,
    field: &Field<'_>,
    namespace: &str,
) -> Option<bool> {
    let is_namespace = match field.attribute.0 {
        "source.namespace" => true,
        "source.serviceAccount" => false,
        _ => return None,
    };
    if principals.attribute.0 != "source.principal" || principals.negated {
        return None;
    }
    let matches = |principal: &String| {
        let peer = SlashPrincipal::of(principal);
        if is_namespace {
            NamespaceSet::new(field.values).matches(&peer)
        } else {
            let mut accounts = field.values.iter();
            accounts.any(|account| ServiceAccountPattern::new(account, namespace).matches(&peer))
        }
    };
    let mut found = principals
        .values
        .iter()
        .map(|value| match Text::new(value) {
            Text::Exact(_) => Some(matches(value)),
            Text::Prefix(_) | Text::Suffix(_) | Text::Any => None,
        });
    let first = found.next()??;
    found.all(|one| one == Some(first)).then_some(first)
}
