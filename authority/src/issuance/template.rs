//! Names made of what a proof says.

use identity::TrustDomain;

use crate::issuance::denial::VariableFault;

/// A text with variables: `spiffe://{trustDomain}/ns/{k8s.ns}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Text(String),
    TrustDomain,
    /// `type` or `type.key` of a selector.
    Selector(String),
}

/// Why a text is no template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("`{{` at byte {at} is not closed")]
    Open { at: usize },
    #[error("`}}` at byte {at} closes nothing")]
    Stray { at: usize },
    #[error(
        "{{{name}}} is no variable; those are trustDomain, and `type.key` of a selector such as k8s.ns"
    )]
    BadName { name: String },
}

/// Which variable has no usable value, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Missing {
    pub(crate) variable: String,
    pub(crate) fault: VariableFault,
}

impl Template {
    pub(crate) fn compile(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        let at = |rest: &str| text.len() - rest.len();
        while let Some((before, after)) = rest.split_once('{') {
            if let Some(stray) = before.find('}') {
                let at = at(rest) + stray;
                return Err(TemplateError::Stray { at });
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let open = at(rest) + before.len();
            let Some((name, following)) = after.split_once('}') else {
                return Err(TemplateError::Open { at: open });
            };
            parts.push(variable(name)?);
            rest = following;
        }
        if let Some(stray) = rest.find('}') {
            let at = at(rest) + stray;
            return Err(TemplateError::Stray { at });
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The template as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The selectors' variables in it.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Selector(name) => Some(name.as_str()),
            Part::Text(_) | Part::TrustDomain => None,
        })
    }

    /// The text with `*` in place of each selector's variable, and the trust domain's as written.
    pub(crate) fn shape(&self) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.as_str(),
                Part::TrustDomain => "{trustDomain}",
                Part::Selector(_) => "*",
            })
            .collect()
    }

    /// Puts the values in. Each must pass `is_value`, so that none can stand for more than the place
    /// it is put into.
    pub(crate) fn render(
        &self,
        trust_domain: &TrustDomain,
        selectors: &[String],
        is_value: fn(&str) -> bool,
    ) -> Result<String, Missing> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::TrustDomain => text.push_str(trust_domain.as_str()),
                Part::Selector(name) => {
                    let missing = |fault| Missing {
                        variable: name.clone(),
                        fault,
                    };
                    let value = value(name, selectors).map_err(missing)?;
                    if !is_value(value) {
                        return Err(missing(VariableFault::NotAName {
                            found: value.chars().take(MAX_SHOWN).collect(),
                        }));
                    }
                    text.push_str(value);
                }
            }
        }
        Ok(text)
    }
}

fn variable(name: &str) -> Result<Part, TemplateError> {
    if name == "trustDomain" {
        return Ok(Part::TrustDomain);
    }
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if name.len() <= MAX_VARIABLE && name.split('.').all(is_word) {
        return Ok(Part::Selector(name.to_owned()));
    }
    Err(TemplateError::BadName {
        name: name.chars().take(MAX_SHOWN).collect(),
    })
}

/// The one value of a variable: of `k8s.ns` what follows `k8s:ns:`, of `join` what follows `join:`.
fn value<'s>(name: &str, selectors: &'s [String]) -> Result<&'s str, VariableFault> {
    let prefix = prefix(name);
    let mut values = selectors
        .iter()
        .filter_map(|selector| selector.strip_prefix(prefix.as_str()));
    let first = values.next().ok_or(VariableFault::Missing)?;
    if values.any(|other| other != first) {
        // Which of them is meant is not for the caller to choose.
        return Err(VariableFault::Ambiguous);
    }
    Ok(first)
}

/// What selectors of a variable begin with.
pub(crate) fn prefix(name: &str) -> String {
    match name.split_once('.') {
        Some((kind, key)) => format!("{kind}:{key}:"),
        None => format!("{name}:"),
    }
}

/// One segment of a SPIFFE ID's path (SPIFFE-ID §2.2).
pub(crate) fn is_segment(value: &str) -> bool {
    !matches!(value, "" | "." | "..")
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// Longest name of a variable, in bytes.
const MAX_VARIABLE: usize = 64;
/// As much of a bad name or value as is shown, in characters.
const MAX_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, selectors: &[&str]) -> Result<String, Missing> {
        let selectors: Vec<String> = selectors.iter().map(|&s| s.to_owned()).collect();
        let trust_domain = TrustDomain::new("example.org").unwrap();
        Template::compile(template)
            .unwrap()
            .render(&trust_domain, &selectors, is_segment)
    }

    #[test]
    fn variables_are_what_selectors_say() {
        let found = render(
            "spiffe://{trustDomain}/ns/{k8s.ns}/sa/{k8s.sa}",
            &["k8s:ns:payments", "k8s:sa:web", "k8s:pod:x"],
        );
        assert_eq!(found.unwrap(), "spiffe://example.org/ns/payments/sa/web");
    }

    #[test]
    fn a_value_that_is_more_than_a_segment_is_refused() {
        for value in ["a/../b", "", "..", ".", "a/b", "a%2fb", "a b", "ä", "a:b"] {
            let refused = render("x/{k8s.ns}", &[&format!("k8s:ns:{value}")]).unwrap_err();
            assert_eq!(refused.variable, "k8s.ns", "{value}");
            assert!(
                matches!(refused.fault, VariableFault::NotAName { .. }),
                "{value}"
            );
        }
    }

    #[test]
    fn a_value_that_is_missing_or_not_one_is_refused() {
        let missing = render("{k8s.ns}", &["k8s:nsx:a", "k8s:sa:a"]).unwrap_err();
        assert_eq!(missing.fault, VariableFault::Missing);
        let two = render("{k8s.ns}", &["k8s:ns:a", "k8s:ns:b"]).unwrap_err();
        assert_eq!(two.fault, VariableFault::Ambiguous);
        assert_eq!(render("{k8s.ns}", &["k8s:ns:a", "k8s:ns:a"]).unwrap(), "a");
    }

    #[test]
    fn braces_that_do_not_pair_are_refused() {
        for (text, wanted) in [
            ("a{b", TemplateError::Open { at: 1 }),
            ("a}b{c}", TemplateError::Stray { at: 1 }),
            ("{c}a}b", TemplateError::Stray { at: 4 }),
        ] {
            assert_eq!(Template::compile(text).unwrap_err(), wanted, "{text}");
        }
        for bad in ["{}", "{a b}", "{a..b}", "{ a}", "{{a}}"] {
            Template::compile(bad).unwrap_err();
        }
    }
}
