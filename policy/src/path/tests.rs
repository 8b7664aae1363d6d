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

/// What goes in, and what comes out of `base`, `mergeSlashes` and `decodeAndMergeSlashes`, as Istio documents it:
/// a path counts as normal exactly where the mode leaves it alone, and what comes out always does.
#[test]
fn a_path_is_normal_where_its_mode_leaves_it_alone() {
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None};
    let forms = [Base, MergeSlashes, DecodeAndMergeSlashes];
    for (given, comes_out) in [
        ("/", ["/", "/", "/"]),
        ("/app/", ["/app/", "/app/", "/app/"]),
        ("/app", ["/app", "/app", "/app"]),
        ("/app/../admin", ["/admin", "/admin", "/admin"]),
        ("/app//", ["/app//", "/app/", "/app/"]),
        ("/app/%2f", ["/app/%2f", "/app/%2f", "/app/"]),
        ("/app%2f/", ["/app%2f/", "/app%2f/", "/app/"]),
        (
            "/xyz%30..//abc",
            ["/xyz0..//abc", "/xyz0../abc", "/xyz0../abc"],
        ),
        ("/app/%2E./admin", ["/admin", "/admin", "/admin"]),
        (r"/app\admin", ["/app/admin", "/app/admin", "/app/admin"]),
        (
            r"/app/\/\/\admin",
            ["/app//////admin", "/app/admin", "/app/admin"],
        ),
        (
            "/%2Fapp%5cadmin%5Cabc",
            [
                "/%2Fapp%5cadmin%5Cabc",
                "/%2Fapp%5cadmin%5Cabc",
                "/app/admin/abc",
            ],
        ),
        (
            r"/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc",
            [
                "/%5Capp%2f%5c%2F..%2fadmin%5c/abc",
                "/%5Capp%2f%5c%2F..%2fadmin%5c/abc",
                "/app/admin/abc",
            ],
        ),
        ("/app//../admin", ["/app/admin", "/app/admin", "/app/admin"]),
        ("/app//../../admin", ["/admin", "/admin", "/admin"]),
        ("/%c0%2e%c0%2e/admin", ["/%c0.%c0./admin"; 3]),
        (
            "/%c0%2fadmin",
            ["/%c0%2fadmin", "/%c0%2fadmin", "/%c0/admin"],
        ),
    ] {
        assert!(None.is_fixed_point(given.as_bytes()), "{given}");
        for (form, comes_out) in forms.into_iter().zip(comes_out) {
            let normal = form.is_fixed_point(given.as_bytes());
            assert_eq!(normal, given == comes_out, "{form:?} {given}");
            assert!(
                form.is_fixed_point(comes_out.as_bytes()),
                "{form:?} {comes_out}"
            );
        }
    }
}

/// Escapes that no mode decodes, and texts that only look like escapes; `..;` is refused here all the same.
#[test]
fn what_no_mode_changes_is_normal() {
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes};
    for path in [
        "/0x2e0x2e/admin",
        "/0x2e0x2e0x2fadmin",
        "/0x5c0x5cadmin",
        "/%25c0%25ae%25c1%259cadmin",
        "/%252e%252e/admin",
        "/%252e%252e%252fadmin",
        "/%c1%9cadmin",
        "/%c0%ae%c0%ae/admin",
        "/%c0%afadmin",
        "/.../admin",
        "/..../admin",
        "/;/admin",
        "/admin;a=b",
        "/admin;a=b/xyz",
        "/admin,a=b/xyz",
        "/Admin",
        "/ADMIN",
    ] {
        for form in [Base, MergeSlashes, DecodeAndMergeSlashes] {
            assert!(form.is_fixed_point(path.as_bytes()), "{form:?} {path}");
        }
    }
}

/// Every escape there is: unreserved characters and slashes are decoded, control characters are refused here.
#[test]
fn each_escape_is_normal_or_not() {
    use PathNormalization::DecodeAndMergeSlashes;
    for byte in 0..=u8::MAX {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let changed = unreserved || b"/\\".contains(&byte) || byte.is_ascii_control();
        for path in [format!("/admin%{byte:02x}"), format!("/admin%{byte:02X}")] {
            let normal = DecodeAndMergeSlashes.is_fixed_point(path.as_bytes());
            assert_eq!(normal, !changed, "{path}");
        }
    }
}
