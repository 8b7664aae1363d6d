//! Which rules can give the same identity.

use crate::issuance::rule::{IdSource, Rule};

/// Whether two rules' templates can give one identity. `{caller}` and `{requested}` are left out:
/// the proof, or somebody else, answers for these.
pub(super) fn overlap(one: &Rule, other: &Rule) -> bool {
    match (template(one), template(other)) {
        (Some(one), Some(other)) => {
            let (one, other): (Vec<&str>, Vec<&str>) =
                (one.split('/').collect(), other.split('/').collect());
            one.len() == other.len()
                && one
                    .iter()
                    .zip(&other)
                    .all(|(one, other)| meet(one.as_bytes(), other.as_bytes()))
        }
        _ => false,
    }
}

fn template(rule: &Rule) -> Option<String> {
    match &rule.gives.as_ref()?.id {
        IdSource::Template(template) => Some(template.shape()),
        IdSource::Requested | IdSource::Caller => None,
    }
}

/// Whether two patterns have a text in common. Segments are short, and have few variables.
fn meet(one: &[u8], other: &[u8]) -> bool {
    // For each place in `one`, whether it can be reached with the part of `other` seen so far.
    let mut reached = vec![false; one.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    skip_stars(one, &mut reached);
    for byte in other {
        let mut next = vec![false; one.len() + 1];
        for (place, is_reached) in reached.iter().enumerate() {
            if !is_reached {
                continue;
            }
            let mut reach = |place: usize| {
                if let Some(place) = next.get_mut(place) {
                    *place = true;
                }
            };
            if *byte == b'*' {
                // It may stand for nothing, or for all that the rest of `one` is.
                (place..=one.len()).for_each(&mut reach);
            } else {
                match one.get(place) {
                    Some(b'*') => reach(place),
                    Some(own) if own == byte => reach(place + 1),
                    _ => {}
                }
            }
        }
        skip_stars(one, &mut next);
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

/// A `*` may stand for nothing.
fn skip_stars(pattern: &[u8], reached: &mut [bool]) {
    for (place, byte) in pattern.iter().enumerate() {
        let here = reached.get(place).copied().unwrap_or_default();
        if *byte == b'*'
            && here
            && let Some(next) = reached.get_mut(place + 1)
        {
            *next = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_meet_where_one_text_is_both() {
        for (one, other, wanted) in [
            ("a", "a", true),
            ("a", "b", false),
            ("*", "anything", true),
            ("a-*", "*-b", true),
            ("a-*", "b-*", false),
            ("*x", "*y", false),
            ("a*c", "abc", true),
            ("", "*", true),
        ] {
            assert_eq!(
                meet(one.as_bytes(), other.as_bytes()),
                wanted,
                "{one} {other}"
            );
            assert_eq!(
                meet(other.as_bytes(), one.as_bytes()),
                wanted,
                "{other} {one}"
            );
        }
    }
}
