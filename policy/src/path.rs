//! The normal forms of a request path, Istio's `pathNormalization`.
//!
//! The filter sits behind the proxy's own normalisation and cannot see how it is set. So the configuration
//! declares the form, and where a policy looks at paths, a path that is not already in that form is denied:
//! the proxy did not do what was declared, and `//admin` or `/a%2f..%2fadmin` must not slip past a rule.

use serde::{Deserialize, Serialize};

/// The form every path has when it reaches the filter. Each form is stricter than the one before it.
///
/// The default is the strictest: ordinary paths are in it, and so is everything a proxy with the same setting
/// lets through. Workloads whose clients send `%2F` inside a segment need `mergeSlashes`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum PathNormalization {
    /// Any path; rules see what the client wrote, `..` and all. Only safe where the application does the same.
    None,
    /// RFC 3986: begins with `/`, no `.` and `..` segments, no `\`, no byte that needs escaping, no escape
    /// of an unreserved character, no broken escape.
    Base,
    /// As `base`, and no empty segment (`//`).
    MergeSlashes,
    /// As `mergeSlashes`, and no escaped `/` or `\` (`%2f`, `%5c`, in any case).
    #[default]
    DecodeAndMergeSlashes,
}

impl PathNormalization {
    /// Whether `path`, without its query and fragment, is in this form, i.e. normalising would not change it.
    ///
    /// Never says yes to a path that Envoy's normalisation of that name would change. It says no to a few that
    /// Envoy leaves alone: broken escapes (`%zz`), escaped control characters (`%00`), `.` and `..` with a
    /// parameter (`..;`), and paths of nothing but slashes (`//`).
    #[must_use]
    pub fn is_fixed_point(self, path: &[u8]) -> bool {
        if self == Self::None {
            return true;
        }
        let Some((b'/', segments)) = path.split_first() else {
            return false;
        };
        let mut segments = segments.split(|byte| *byte == b'/').peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            if segment.is_empty() && !is_last && self >= Self::MergeSlashes {
                return false;
            }
            if is_dot_segment(segment) || !self.admits_bytes_of(segment) {
                return false;
            }
        }
        true
    }

    fn admits_bytes_of(self, segment: &[u8]) -> bool {
        let mut rest = segment;
        while let Some((byte, tail)) = rest.split_first() {
            rest = match byte {
                b'%' => match escaped(tail) {
                    Some((byte, tail)) if self.admits_escaped(byte) => tail,
                    _ => return false,
                },
                byte if is_plain(*byte) => tail,
                _ => return false,
            };
        }
        true
    }

    fn admits_escaped(self, byte: u8) -> bool {
        match byte {
            b'/' | b'\\' => self != Self::DecodeAndMergeSlashes,
            _ => !is_unreserved(byte) && !byte.is_ascii_control(),
        }
    }
}

/// `path` up to its query or fragment, which Istio's `paths` never look at.
#[must_use]
pub fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| matches!(byte, b'?' | b'#'))
        .next()
        .unwrap_or_default()
}

/// The byte that `rest`, which follows a `%`, stands for, and what comes after it.
fn escaped(rest: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, tail @ ..] = rest else {
        return None;
    };
    Some((hex_digit(*high)? << 4 | hex_digit(*low)?, tail))
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `.` or `..`, also with a parameter: some servers drop what follows a `;` and then go up.
fn is_dot_segment(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next();
    matches!(name, Some(b"." | b".."))
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Bytes that stand for themselves in a path. `[` and `]` are outside RFC 3986's set and `'` is often escaped, but
/// Envoy leaves them alone; it escapes `|` (seen on 1.36 and 1.40).
fn is_plain(byte: u8) -> bool {
    static PLAIN: [bool; 256] = plain_bytes();
    PLAIN.get(usize::from(byte)).copied().unwrap_or_default()
}

const fn plain_bytes() -> [bool; 256] {
    let mut plain = [false; 256];
    let mut rest: &mut [bool] = &mut plain;
    let mut byte = 0_u8;
    while let [first, others @ ..] = rest {
        *first = is_unreserved(byte)
            || matches!(
                byte,
                b'!' | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
                    | b':'
                    | b'@'
                    | b'['
                    | b']'
            );
        rest = others;
        byte = byte.wrapping_add(1);
    }
    plain
}

#[cfg(test)]
mod tests;
