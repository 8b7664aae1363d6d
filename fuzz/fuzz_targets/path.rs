//! Normal forms of paths: a path that is said to be in a form is one that normalising, written here a
//! second time, leaves as it is; and no dot segment, in whatever disguise, is in any form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::path::{PathNormalization, without_query};

fuzz_target!(|bytes: &[u8]| {
    let path = without_query(bytes);
    assert!(bytes.starts_with(path) && !path.iter().any(|byte| b"?#".contains(byte)));
    let [none, base, merged, decoded] = [
        PathNormalization::None,
        PathNormalization::Base,
        PathNormalization::MergeSlashes,
        PathNormalization::DecodeAndMergeSlashes,
    ]
    .map(|form| form.is_fixed_point(path));
    assert!(
        none && (!merged || base) && (!decoded || merged),
        "stricter and stricter"
    );
    if base {
        assert_eq!(normalise(path, false, false), path);
        assert!(!has_dot_segment(path));
    }
    if merged {
        assert_eq!(normalise(path, true, false), path);
    }
    if decoded {
        assert_eq!(normalise(path, true, true), path);
        // What a server behind may do once more changes nothing about where it leads.
        assert!(!has_dot_segment(&percent_decode(path, |_| true)));
    }
});

fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| b"/\\".contains(byte))
        .any(|segment| [&b"."[..], b".."].contains(&segment))
}

/// RFC 3986 §6.2.2 and §5.2.4, `\` as `/`, and what the form adds.
fn normalise(path: &[u8], merge: bool, decode_slashes: bool) -> Vec<u8> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut path = percent_decode(path, |byte| {
        unreserved(byte) || decode_slashes && b"/\\".contains(&byte)
    });
    for byte in &mut path {
        if *byte == b'\\' {
            *byte = b'/';
        }
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_in_folder = false;
    for segment in path
        .strip_prefix(b"/")
        .unwrap_or(&path)
        .split(|byte| *byte == b'/')
    {
        ends_in_folder = matches!(segment, b"." | b"..");
        match segment {
            b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    if ends_in_folder {
        segments.push(b"");
    }
    if merge {
        let last = segments.len().saturating_sub(1);
        let mut at = 0;
        segments.retain(|segment| {
            at += 1;
            !segment.is_empty() || at - 1 == last
        });
    }
    [b"/", segments.join(&b'/').as_slice()].concat()
}

fn percent_decode(path: &[u8], decode: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte == b'%' && tail.len() >= 2 {
            let text = std::str::from_utf8(&tail[..2]).unwrap_or("zz");
            if let (Ok(escaped), false) = (u8::from_str_radix(text, 16), text.starts_with('+'))
                && decode(escaped)
            {
                out.push(escaped);
                rest = &tail[2..];
                continue;
            }
        }
        out.push(*byte);
    }
    out
}
