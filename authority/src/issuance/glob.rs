//! Patterns with `*`.

use std::fmt;

/// A text in which `*` stands for any run of characters, also none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Glob {
    text: String,
    reach: Reach,
}

/// How far a `*` reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// Over every character.
    Anything,
    /// To the next `/`. Only `**` as the last segment reaches over all that follows.
    Segment,
}

impl Glob {
    /// A pattern whose `*` reaches over everything.
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            reach: Reach::Anything,
        }
    }

    /// A pattern of a path, whose `*` stays within its segment.
    pub(crate) fn path(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            reach: Reach::Segment,
        }
    }

    /// The pattern as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is a `*` in it.
    pub(crate) fn is_open(&self) -> bool {
        self.text.contains('*')
    }

    /// Whether `text` is one that the pattern stands for.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self.reach {
            Reach::Anything => wild(self.text.as_bytes(), text.as_bytes()),
            Reach::Segment => segments(&self.text, text),
        }
    }

    /// Whether the pattern stands for everything that `other` stands for. Never says so wrongly,
    /// but misses some.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        // A `*` of the other pattern that is met by a `*` of this one is met whatever it stands for.
        self.reach == other.reach && (self == other || self.matches(&other.text))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn segments(pattern: &str, text: &str) -> bool {
    let mut wanted = pattern.split('/');
    let mut found = text.split('/');
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some("**"), Some(_)) if wanted.clone().next().is_none() => return true,
            (Some(wanted), Some(found)) if wild(wanted.as_bytes(), found.as_bytes()) => {}
            _ => return false,
        }
    }
}

/// The usual matching with one step back; its time is at most the product of both lengths.
fn wild(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Behind the last `*`, and where in the text it was met.
    let mut back: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                back = Some((p, t));
            }
            Some(wanted) if wanted == byte => {
                p += 1;
                t += 1;
            }
            _ => match &mut back {
                Some((after, met)) => {
                    *met += 1;
                    p = *after;
                    t = *met;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, text, wanted) in [
            ("k8s:ns:payments", "k8s:ns:payments", true),
            ("k8s:ns:payments", "k8s:ns:payments2", false),
            ("k8s:ns:*", "k8s:ns:", true),
            ("k8s:sa:*", "k8s:sa:web", true),
            ("k8s:sa:*", "k8s:ns:web", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*-web", "front-web", true),
            ("", "x", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn a_star_of_a_path_stays_in_its_segment() {
        for (pattern, text, wanted) in [
            ("spiffe://td/ns/*/sa/web", "spiffe://td/ns/a/sa/web", true),
            (
                "spiffe://td/ns/*/sa/web",
                "spiffe://td/ns/a/b/sa/web",
                false,
            ),
            ("spiffe://td/ns/**", "spiffe://td/ns/a/sa/web", true),
            ("spiffe://td/ns/**", "spiffe://td/ns", false),
            ("spiffe://*/x", "spiffe://td/x", true),
            ("spiffe://td/a**/c", "spiffe://td/a/b/c", false),
        ] {
            assert_eq!(
                Glob::path(pattern).matches(text),
                wanted,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn many_stars_against_a_long_text_end_soon() {
        let pattern = Glob::new(&"*a".repeat(64));
        assert!(!pattern.matches(&"a".repeat(63)));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(4096))));
    }

    #[test]
    fn what_covers_matches_all_that_is_covered() {
        assert!(Glob::new("k8s:*").covers(&Glob::new("k8s:ns:*")));
        assert!(Glob::new("k8s:ns:*").covers(&Glob::new("k8s:ns:web")));
        assert!(!Glob::new("k8s:ns:web").covers(&Glob::new("k8s:ns:*")));
        assert!(!Glob::path("a/*").covers(&Glob::path("a/**")) || Glob::path("a/*").matches("a/x"));
    }
}
