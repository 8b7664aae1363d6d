//! From what a proof says to a SPIFFE ID.

use identity::{SpiffeId, TrustDomain};
use serde::Deserialize;

/// A SPIFFE ID with variables: `spiffe://example.org/ci/{+claim:repository}`.
///
/// Each segment of the path is a literal or one variable, so that no two sets of values give the
/// same identity. `{name}` stands for one segment. `{+name}` may stand for several and is last
/// (the operator is RFC 6570's). The first segment is a literal: what a proof says never chooses
/// the namespace of identities it lands in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Template {
    trust_domain: TrustDomain,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    Literal(String),
    One(String),
    Several(String),
}

/// Why a text is no template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Not `spiffe://<trust domain>/<path>`.
    #[error("template {found:?} is not spiffe://<trust domain>/<path>")]
    NotSpiffe {
        /// The text.
        found: String,
    },
    /// The first segment is a variable, or there is none.
    #[error("template {found:?} does not start with a fixed path segment")]
    FirstSegment {
        /// The text.
        found: String,
    },
    /// A segment that is neither a literal nor one variable.
    #[error("segment {segment:?} is neither fixed nor one variable such as {{ns}}")]
    Segment {
        /// The segment.
        segment: String,
    },
    /// `{+name}` before the end.
    #[error("{segment:?} may stand for several segments and is not the last one")]
    NotLast {
        /// The segment.
        segment: String,
    },
    /// Identities of Countersign's own parts, but for agents.
    #[error("identities below /countersign/ are reserved, but for /countersign/agent/")]
    Reserved,
}

/// Why a template gave no identity.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// The proof does not say it.
    #[error("the proof has no {variable}")]
    Missing {
        /// The variable.
        variable: String,
    },
    /// Not a path segment (SPIFFE-ID §2.2).
    #[error("{variable} cannot be part of a SPIFFE ID")]
    BadValue {
        /// The variable.
        variable: String,
    },
    /// The whole is no SPIFFE ID, mostly because it is too long.
    #[error("the identity is not a SPIFFE ID")]
    NotSpiffe,
}

impl Template {
    /// The trust domain it gives identities of.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The variables, in their order.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::One(name) | Segment::Several(name) => Some(name.as_str()),
        })
    }

    /// The identity for what `value` says of each variable.
    ///
    /// # Errors
    /// [`ExpandError`]; nothing is left out or replaced to make a value fit.
    pub(crate) fn expand(
        &self,
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<SpiffeId, ExpandError> {
        let mut id = format!("spiffe://{}", self.trust_domain.as_str());
        for segment in &self.segments {
            id.push('/');
            match segment {
                Segment::Literal(text) => id.push_str(text),
                Segment::One(name) => id.push_str(&segment_of(name, &value, false)?),
                Segment::Several(name) => id.push_str(&segment_of(name, &value, true)?),
            }
        }
        if id.len() > MAX_ID_BYTES {
            return Err(ExpandError::NotSpiffe);
        }
        SpiffeId::new(&id).map_err(|_bad| ExpandError::NotSpiffe)
    }
}

fn segment_of(
    name: &str,
    value: impl Fn(&str) -> Option<String>,
    several: bool,
) -> Result<String, ExpandError> {
    let text = value(name).ok_or_else(|| ExpandError::Missing {
        variable: name.to_owned(),
    })?;
    let good = if several {
        text.split('/').all(is_segment)
    } else {
        is_segment(&text)
    };
    good.then_some(text).ok_or_else(|| ExpandError::BadValue {
        variable: name.to_owned(),
    })
}

/// SPIFFE-ID §2.2: letters, digits, dots, dashes and underscores, but neither `.` nor `..`.
fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let not_spiffe = || TemplateError::NotSpiffe {
            found: text.clone(),
        };
        let rest = text.strip_prefix("spiffe://").ok_or_else(not_spiffe)?;
        let (name, path) = rest.split_once('/').ok_or_else(not_spiffe)?;
        let trust_domain = TrustDomain::new(name).map_err(|_bad| not_spiffe())?;
        let segments = path
            .split('/')
            .map(segment)
            .collect::<Result<Vec<_>, _>>()?;
        let Some(Segment::Literal(first)) = segments.first() else {
            return Err(TemplateError::FirstSegment { found: text });
        };
        let second = segments.get(1);
        let is_agent = matches!(second, Some(Segment::Literal(second)) if second == "agent");
        if first == "countersign" && !(is_agent && segments.len() > 2) {
            return Err(TemplateError::Reserved);
        }
        for early in segments.iter().rev().skip(1) {
            if let Segment::Several(name) = early {
                return Err(TemplateError::NotLast {
                    segment: format!("{{+{name}}}"),
                });
            }
        }
        Ok(Self {
            trust_domain,
            segments,
        })
    }
}

fn segment(text: &str) -> Result<Segment, TemplateError> {
    let bad = || TemplateError::Segment {
        segment: text.to_owned(),
    };
    let variable = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let Some(variable) = variable else {
        return is_segment(text)
            .then(|| Segment::Literal(text.to_owned()))
            .ok_or_else(bad);
    };
    let (name, several) = variable
        .strip_prefix('+')
        .map_or((variable, false), |name| (name, true));
    if name.is_empty() || name.contains(['{', '}']) {
        return Err(bad());
    }
    let name = name.to_owned();
    Ok(if several {
        Segment::Several(name)
    } else {
        Segment::One(name)
    })
}

/// SPIFFE-ID §2.3: "MUST NOT generate URIs of length greater than 2048 bytes".
const MAX_ID_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<Template, TemplateError> {
        Template::try_from(text.to_owned())
    }

    fn expand(text: &str, found: &str) -> Result<String, ExpandError> {
        let value = |name: &str| (name == "x").then(|| found.to_owned());
        template(text)
            .unwrap()
            .expand(value)
            .map(|id| id.to_string())
    }

    #[test]
    fn a_variable_is_one_segment_unless_it_says_otherwise() {
        let one = "spiffe://example.org/ci/{x}";
        let several = "spiffe://example.org/ci/{+x}";
        assert_eq!(expand(one, "a").unwrap(), "spiffe://example.org/ci/a");
        assert_eq!(
            expand(several, "a/b").unwrap(),
            "spiffe://example.org/ci/a/b"
        );
        for bad in ["", "a/b", ".", "..", "a b", "ü", "a%2fb", "a\0"] {
            let variable = "x".to_owned();
            assert_eq!(
                expand(one, bad),
                Err(ExpandError::BadValue { variable }),
                "{bad:?}"
            );
        }
        for bad in ["", "/", "a/", "/a", "a//b", "a/../b", "../../ns/x/sa/y"] {
            let variable = "x".to_owned();
            assert_eq!(
                expand(several, bad),
                Err(ExpandError::BadValue { variable }),
                "{bad:?}"
            );
        }
        assert_eq!(expand(one, &"a".repeat(3000)), Err(ExpandError::NotSpiffe));
        let missing = expand("spiffe://example.org/ci/{y}", "a");
        assert_eq!(
            missing,
            Err(ExpandError::Missing {
                variable: "y".to_owned()
            })
        );
    }

    #[test]
    fn refuses_templates_that_could_give_one_identity_for_two() {
        for text in [
            "spiffe://example.org/a/{x}-{y}",
            "spiffe://example.org/a/{x}b",
            "spiffe://example.org/a/{}",
        ] {
            assert!(
                matches!(template(text), Err(TemplateError::Segment { .. })),
                "{text}"
            );
        }
        let middle = template("spiffe://example.org/a/{+x}/b");
        assert!(matches!(middle, Err(TemplateError::NotLast { .. })));
        for text in ["spiffe://example.org/{x}", "spiffe://example.org/{+x}"] {
            assert!(
                matches!(template(text), Err(TemplateError::FirstSegment { .. })),
                "{text}"
            );
        }
        for text in [
            "",
            "/a",
            "https://example.org/a",
            "spiffe://example.org",
            "spiffe://exa mple/a",
        ] {
            assert!(
                matches!(template(text), Err(TemplateError::NotSpiffe { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn the_authoritys_own_identities_cannot_be_had() {
        for text in [
            "spiffe://example.org/countersign",
            "spiffe://example.org/countersign/authority",
            "spiffe://example.org/countersign/{x}",
            "spiffe://example.org/countersign/agent",
        ] {
            assert_eq!(template(text), Err(TemplateError::Reserved), "{text}");
        }
        template("spiffe://example.org/countersign/agent/{x}").unwrap();
    }
}
