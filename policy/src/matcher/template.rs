//! Path templates: `{*}` and `{**}` in Istio's `paths`.

use crate::order;

use super::{shape::Shape, text::TextSet};

/// The values of one `paths` list; a path matches if one of them does.
#[derive(Debug)]
pub(crate) struct PathSet {
    texts: TextSet,
    /// Few lists have any.
    templates: Option<Box<Templates>>,
}

/// Templates by the segments they demand, so that not all of them are tried one by one.
#[derive(Debug)]
struct Templates {
    all: Vec<PathTemplate>,
    /// For each shape the hashes of the demanded segments, ascending, with the template's place. Nothing if there
    /// are few.
    by_shape: Vec<(Shape, Vec<(u64, usize)>)>,
}

impl PathSet {
    pub(crate) fn new(texts: TextSet, templates: Vec<PathTemplate>) -> Self {
        Self {
            texts,
            templates: (!templates.is_empty()).then(|| Box::new(Templates::new(templates))),
        }
    }

    pub(crate) fn texts(&self) -> &TextSet {
        &self.texts
    }

    pub(crate) fn templates(&self) -> &[PathTemplate] {
        self.templates
            .as_ref()
            .map_or(&[], |templates| &templates.all)
    }

    /// `path` is without query and fragment.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        self.texts.matches(path)
            || self
                .templates
                .as_ref()
                .is_some_and(|templates| templates.matches(path))
    }
}

impl Templates {
    fn new(all: Vec<PathTemplate>) -> Self {
        let mut by_shape: Vec<(Shape, Vec<(u64, usize)>)> = Vec::new();
        let many = all.len() > FEW_TEMPLATES;
        for (place, template) in all.iter().enumerate().filter(|_| many) {
            let (shape, hash) = template.shape();
            let at = by_shape.binary_search_by_key(&shape, |(held, _)| *held);
            if let Some((_, places)) = at.ok().and_then(|at| by_shape.get_mut(at)) {
                places.push((hash, place));
            } else {
                by_shape.insert(at.unwrap_or_else(|at| at), (shape, vec![(hash, place)]));
            }
        }
        by_shape
            .iter_mut()
            .for_each(|(_, places)| order::sort(places));
        Self { all, by_shape }
    }

    fn matches(&self, path: &[u8]) -> bool {
        if self.by_shape.is_empty() {
            return self.all.iter().any(|template| template.matches(path));
        }
        self.by_shape.iter().any(|(shape, places)| {
            let Some(hash) = shape.hash(path.split(|byte| *byte == b'/')) else {
                return false;
            };
            let first = places.partition_point(|(held, _)| *held < hash);
            let same = places
                .iter()
                .skip(first)
                .take_while(|(held, _)| *held == hash);
            same.filter_map(|(_, place)| self.all.get(*place))
                .any(|template| template.matches(path))
        })
    }
}

/// A path with operators in place of segments, as Envoy's `uri_template` matches it since 1.39.
///
/// `{*}` is one segment: one byte or more of those that RFC 3986 §3.3 lets a segment have (`pchar`, and `%`
/// whatever follows it). `{**}` is any text of these and `/`, also none, and is the last operator. So `/a/{**}` matches `/a/` but not `/a`, and `/a/{**}/b` matches `/a//b` but not `/a/b`.
#[derive(Debug)]
pub(crate) struct PathTemplate {
    /// What comes before the first operator, between two, and after the last.
    literals: Vec<Box<[u8]>>,
    /// Whether the last operator is `{**}`.
    ends_with_any: bool,
}

impl PathTemplate {
    /// Whether Istio takes `value` for a template at all.
    pub(crate) fn is_one(value: &str) -> bool {
        value.contains(ONE) || value.contains(ANY)
    }

    /// Reads a template.
    ///
    /// # Errors
    /// What is expected instead. Among it is what Istio lets pass but Envoy would refuse, with all policies of the
    /// listener: operators that are not a whole segment, another one after `{**}`, empty segments.
    pub(crate) fn new(value: &str) -> Result<Self, &'static str> {
        let Some(segments) = value.strip_prefix('/') else {
            return Err("a path template, which begins with /");
        };
        let mut literals = Vec::new();
        let mut literal = String::new();
        let mut ends_with_any = false;
        let count = segments.split('/').count();
        for (index, segment) in segments.split('/').enumerate() {
            literal.push('/');
            match segment {
                ONE | ANY if ends_with_any => {
                    return Err("a path template whose last operator is {**}");
                }
                ONE | ANY => {
                    ends_with_any = segment == ANY;
                    literals.push(std::mem::take(&mut literal));
                }
                "" if index.saturating_add(1) < count => {
                    return Err("a path template without empty segments");
                }
                text if text.contains(['{', '}', '*']) => {
                    return Err(
                        "a path template, in which only whole segments are {*} or {**} and there is no other \
                         {, } or *",
                    );
                }
                text => literal.push_str(text),
            }
        }
        literals.push(literal);
        let bytes = |literal: String| literal.into_bytes().into_boxed_slice();
        Ok(Self {
            literals: literals.into_iter().map(bytes).collect(),
            ends_with_any,
        })
    }

    /// The segments of a path, by place, before the last `{**}` if there is one; `None` may be any.
    fn segments(&self) -> Vec<Option<&[u8]>> {
        let mut segments = Vec::new();
        let operators = self.literals.len().saturating_sub(1);
        for (index, literal) in self.literals.iter().enumerate() {
            // A slash is between an operator and what comes before it, and what comes after it.
            let literal = if index == 0 {
                Some(literal.as_ref())
            } else {
                literal.strip_prefix(b"/")
            };
            let is_last = index == operators;
            let literal = literal.and_then(|text| {
                if is_last {
                    Some(text)
                } else {
                    text.strip_suffix(b"/")
                }
            });
            segments.extend(
                literal
                    .into_iter()
                    .flat_map(|text| text.split(|byte| *byte == b'/'))
                    .map(Some),
            );
            if is_last {
                break;
            }
            if self.ends_with_any && index.saturating_add(1) == operators {
                break;
            }
            segments.push(None);
        }
        segments
    }

    /// Which segments it demands, and their hash.
    pub(crate) fn shape(&self) -> (Shape, u64) {
        let segments = self.segments();
        let shape = Shape::of(&segments, self.ends_with_any);
        let demanded = segments.iter().map(|segment| segment.unwrap_or_default());
        let counted = demanded.take(shape.count.into());
        (shape, shape.hash(counted).unwrap_or_default())
    }

    /// No backtracking: a segment ends at the next slash, and after `{**}` comes only the end of the path.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let Some((tail, literals)) = self.literals.split_last() else {
            return false;
        };
        let mut rest = path;
        let mut literals = literals.iter().peekable();
        while let Some(literal) = literals.next() {
            let Some(after) = rest.strip_prefix(literal.as_ref()) else {
                return false;
            };
            let is_last_operator = literals.peek().is_none();
            if is_last_operator && self.ends_with_any {
                return after
                    .strip_suffix(tail.as_ref())
                    .is_some_and(|text| text.iter().all(|byte| *byte == b'/' || is_pchar(*byte)));
            }
            let end = after.iter().position(|byte| *byte == b'/');
            let (segment, after) = after.split_at(end.unwrap_or(after.len()));
            if segment.is_empty() || !segment.iter().all(|byte| is_pchar(*byte)) {
                return false;
            }
            rest = after;
        }
        rest == tail.as_ref()
    }
}

/// So few are tried one by one.
const FEW_TEMPLATES: usize = 4;
/// What Envoy lets an operator stand for, measured on 1.40 byte by byte.
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@".contains(&byte)
}

const ONE: &str = "{*}";
const ANY: &str = "{**}";

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(template: &str, path: &str) -> bool {
        PathTemplate::new(template)
            .expect(template)
            .matches(path.as_bytes())
    }

    #[test]
    fn one_segment_is_neither_empty_nor_two() {
        for (template, path, wanted) in [
            ("/{*}", "/a", true),
            ("/{*}", "/", false),
            ("/{*}", "/a/", false),
            ("/{*}", "/a/b", false),
            ("/foo/{*}/bar", "/foo/x/bar", true),
            ("/foo/{*}/bar", "/foo//bar", false),
            ("/foo/{*}/bar", "/foo/x/y/bar", false),
            ("/foo/{*}/bar", "/foo/x/bar/", false),
            ("/foo/{*}/bar", "/foo/x/Bar", false),
            ("/foo/{*}/bar/{*}", "/foo/x/bar/y", true),
            ("/foo/{*}/bar/{*}", "/foo/x/bar/", false),
            ("/{*}/{*}", "/a/b", true),
            ("/{*}/{*}", "/a", false),
            ("/{*}/", "/a/", true),
            ("/{*}/", "/a", false),
        ] {
            assert_eq!(matches(template, path), wanted, "{template} {path}");
        }
    }

    /// Measured on Envoy 1.40.
    #[test]
    fn a_segment_has_the_bytes_of_rfc_3986() {
        for segment in [
            "a=b",
            "a*b",
            "%C3%A9",
            "a%2fb",
            "a%zz",
            "a.b-c_d~e",
            "!$&'()*+,;=:@",
        ] {
            assert!(matches("/{*}", &format!("/{segment}")), "{segment}");
            assert!(matches("/{**}", &format!("/x/{segment}")), "{segment}");
        }
        for segment in [
            "a|b", "a\\b", "a[b", "a]b", "{*}", "a^b", "a`b", "a\"b", "<a>", "é", "a b", "a\0",
        ] {
            assert!(!matches("/{*}", &format!("/{segment}")), "{segment}");
            assert!(!matches("/{**}", &format!("/x/{segment}")), "{segment}");
            assert!(!matches("/{**}/b", &format!("/{segment}/b")), "{segment}");
        }
        assert!(!matches("/{*}", "/a=b/c"));
    }

    #[test]
    fn any_text_may_be_empty_and_have_slashes() {
        for (template, path, wanted) in [
            ("/{**}", "/", true),
            ("/{**}", "/a/b/", true),
            ("/{**}", "", false),
            ("/allow/admin/{**}", "/allow/admin/", true),
            ("/allow/admin/{**}", "/allow/admin/x/y", true),
            ("/allow/admin/{**}", "/allow/admin", false),
            ("/allow/admin/{**}", "/allow/adminx", false),
            ("/store/{**}/cart", "/store/x/cart", true),
            ("/store/{**}/cart", "/store/x/cart/cart", true),
            ("/store/{**}/cart", "/store//cart", true),
            ("/store/{**}/cart", "/store/cart", false),
            ("/store/{**}/cart", "/store/x/cart/", false),
            ("/a/{*}/{**}", "/a/b/", true),
            ("/a/{*}/{**}", "/a/b", false),
            ("/a/{*}/{**}", "/a//c", false),
            ("/{**}/path/template", "/x/path/template", true),
            ("/{**}/path/template", "/path/template", false),
        ] {
            assert_eq!(matches(template, path), wanted, "{template} {path}");
        }
    }

    #[test]
    fn segments_are_those_before_any_text() {
        for (template, expected) in [
            ("/{*}", "|*"),
            ("/a/{*}/b/{*}", "|a|*|b|*"),
            ("/{*}/{*}/", "|*|*|"),
            ("/{**}", ""),
            ("/a/b/{**}/c", "|a|b"),
            ("/{*}/a/{**}", "|*|a"),
        ] {
            let read = PathTemplate::new(template).unwrap();
            let segments: Vec<_> = read
                .segments()
                .into_iter()
                .map(|segment| str::from_utf8(segment.unwrap_or(b"*")).unwrap())
                .collect();
            assert_eq!(segments.join("|"), expected, "{template}");
        }
    }

    #[test]
    fn refuses_what_envoy_or_istio_refuses() {
        for template in [
            "{*}",
            "a/{*}",
            "/{**}/{*}",
            "/{**}/a/{**}",
            "/a{*}",
            "/{*}a",
            "/{*}{*}",
            "/{***}",
            "/{*}/{name}",
            "/{*}/{}",
            "/{name=*}/{*}",
            "/{name=**}/{*}",
            "/{*}/*",
            "/*/{*}",
            "/{*}/**",
            "/a*b/{*}",
            "/{*}/a*",
            "/{*}/{",
            "/{*}/}",
            "//{*}",
            "/{*}//a",
        ] {
            assert!(PathTemplate::new(template).is_err(), "{template}");
        }
        for template in ["/{*}", "/a=b/{**}", "/{*}/", "/{**}/a", "/a|b/{*}"] {
            assert!(PathTemplate::new(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_template_is_told_by_its_operators() {
        assert!(PathTemplate::is_one("/a/{*}"));
        assert!(PathTemplate::is_one("/{**}"));
        assert!(!PathTemplate::is_one("/a/{b}"));
        assert!(!PathTemplate::is_one("/a/*"));
    }
}
