use super::*;

/// The strictest form `path` is in, from the loosest on.
fn forms(path: &str) -> Vec<PathNormalization> {
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None};
    [None, Base, MergeSlashes, DecodeAndMergeSlashes]
        .into_iter()
        .filter(|form| form.is_fixed_point(path.as_bytes()))
        .collect()
}

#[test]
fn each_form_admits_less_than_the_one_before() {
    for (path, admitted) in [
        ("/a/b", 4),
        ("/a%2fb", 3),
        ("/a%5Cb", 3),
        ("/a//b", 2),
        ("/a//", 2),
        ("/a/../b", 1),
        ("", 1),
    ] {
        assert_eq!(forms(path).len(), admitted, "{path}");
    }
}

/// Inputs that Istio documents as changed by each mode: none of them may count as normal.
#[test]
fn what_a_mode_changes_is_not_in_its_form() {
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes};
    let base = [
        "/app/../admin",
        "/xyz%30..//abc",
        "/app/%2E./admin",
        r"/app\admin",
        r"/app/\/\/\admin",
        r"/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc",
        "/app//../admin",
        "/app//../../admin",
    ];
    for path in base {
        for form in [Base, MergeSlashes, DecodeAndMergeSlashes] {
            assert!(!form.is_fixed_point(path.as_bytes()), "{form:?} {path}");
        }
    }
    for form in [MergeSlashes, DecodeAndMergeSlashes] {
        assert!(!form.is_fixed_point(b"/app//"), "{form:?}");
    }
    let decoded = [
        "/app/%2f",
        "/app%2f/",
        "/%2Fapp%5cadmin%5Cabc",
        "/%c0%2e%c0%2e/admin",
        "/%c0%2fadmin",
    ];
    for path in decoded {
        assert!(
            !DecodeAndMergeSlashes.is_fixed_point(path.as_bytes()),
            "{path}"
        );
    }
}

/// And what comes out of each mode must count as normal, or good requests would be denied.
#[test]
fn what_a_mode_gives_is_in_its_form() {
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes};
    for path in [
        "/",
        "/app/",
        "/app",
        "/admin",
        "/app/admin",
        "/xyz0../abc",
        "/%c0.%c0./admin",
    ] {
        for form in [Base, MergeSlashes, DecodeAndMergeSlashes] {
            assert!(form.is_fixed_point(path.as_bytes()), "{form:?} {path}");
        }
    }
    for path in [
        "/app/%2f",
        "/app%2f/",
        "/%2Fapp%5cadmin%5Cabc",
        "/%5Capp%2f%5c%2F..%2fadmin%5c/abc",
    ] {
        for form in [Base, MergeSlashes] {
            assert!(form.is_fixed_point(path.as_bytes()), "{form:?} {path}");
        }
    }
    for path in ["/app//", "/xyz0..//abc", "/app//////admin"] {
        assert!(Base.is_fixed_point(path.as_bytes()), "{path}");
    }
}

/// Servers of Java's Servlet specification cut each segment at its `;` and resolve `..` after that.
#[test]
fn a_dot_segment_with_a_parameter_is_not_in_any_form() {
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes};
    for form in [Base, MergeSlashes, DecodeAndMergeSlashes] {
        for path in [
            "/public/..;/admin",
            "/public/..;a=b/admin",
            "/.;/admin",
            "/a/..;",
        ] {
            assert!(!form.is_fixed_point(path.as_bytes()), "{form:?} {path}");
        }
        for path in ["/a;b=c/d", "/...;a", "/a..;b/c", "/;/a"] {
            assert!(form.is_fixed_point(path.as_bytes()), "{form:?} {path}");
        }
    }
}

#[test]
fn query_and_fragment_are_cut_at_the_first_of_either() {
    for path in ["/a?b#c", "/a#b?c", "/a??", "/a"] {
        assert_eq!(without_query(path.as_bytes()), b"/a", "{path}");
    }
    assert_eq!(without_query(b"?"), b"");
}
