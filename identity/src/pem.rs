//! PEM text (RFC 7468), read strictly: one label, padded base64, nothing outside the blocks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why a text is not the PEM that was asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// More text than the caller's limit.
    #[error("PEM text is {len} bytes, limit is {max}")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// A byte outside ASCII.
    #[error("PEM text is not ASCII")]
    NotAscii,
    /// No block at all.
    #[error("no PEM block in the text")]
    Empty,
    /// Text before, between or after the blocks.
    #[error("text outside a PEM block")]
    TextOutside,
    /// A block that says it is something else.
    #[error("PEM block is {found:?}, expected {expected:?}")]
    WrongLabel {
        /// The label found, at most 32 characters of it.
        found: String,
        /// The label asked for.
        expected: &'static str,
    },
    /// A block whose end line is missing or has another label.
    #[error("PEM block has no end line")]
    Unterminated,
    /// A body that is not base64 with padding.
    #[error("PEM body is not base64")]
    NotBase64,
    /// More than one block where one was asked for.
    #[error("{found} PEM blocks, expected one")]
    SeveralBlocks {
        /// How many there are.
        found: usize,
    },
    /// A `%` without two hexadecimal digits after it, in a URL-encoded text.
    #[error("percent sign at byte {at} is not followed by two hexadecimal digits")]
    BadPercent {
        /// Where, in bytes.
        at: usize,
    },
}

/// The contents of all blocks, in order, at least one; every block must have `label`.
///
/// `text` is at most `max` bytes. Lines may end in LF or CRLF; blank lines between blocks are
/// allowed, any other text between them is not (`openssl x509 -text` writes some: leave it out).
///
/// # Errors
/// See [`PemError`].
pub fn blocks(text: &str, label: &'static str, max: usize) -> Result<Vec<Vec<u8>>, PemError> {
    if text.len() > max {
        return Err(PemError::TooLarge {
            len: text.len(),
            max,
        });
    }
    if !text.is_ascii() {
        return Err(PemError::NotAscii);
    }
    let end = format!("{END}{label}{DASHES}");
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        check_begin(line, label)?;
        let mut body = String::new();
        loop {
            let line = lines.next().ok_or(PemError::Unterminated)?;
            if line == end {
                break;
            }
            if line.starts_with(DASHES) {
                return Err(PemError::Unterminated);
            }
            body.push_str(line);
        }
        if body.is_empty() {
            return Err(PemError::NotBase64);
        }
        found.push(
            STANDARD
                .decode(body)
                .map_err(|_not_base64| PemError::NotBase64)?,
        );
    }
    if found.is_empty() {
        Err(PemError::Empty)
    } else {
        Ok(found)
    }
}

/// The content of the one block of `text`.
///
/// # Errors
/// As [`blocks`], and [`PemError::SeveralBlocks`].
pub fn single(text: &str, label: &'static str, max: usize) -> Result<Vec<u8>, PemError> {
    let mut found = blocks(text, label, max)?;
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (_, before) => Err(PemError::SeveralBlocks { found: before + 1 }),
    }
}

/// A DER value as one PEM block, lines of 64 characters, a newline at the end.
#[must_use]
pub fn encode(der: &[u8], label: &str) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    for (at, character) in body.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push('\n');
    text.push_str(END);
    text.push_str(label);
    text.push_str(DASHES);
    text.push('\n');
    text
}

/// Undoes URL encoding (RFC 3986 §2.1), as Envoy writes a certificate in
/// `%DOWNSTREAM_PEER_CERT%`; a `+` stands for itself, since it is a base64 character.
pub(crate) fn url_decode(text: &[u8]) -> Result<Vec<u8>, PemError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let bad = PemError::BadPercent { at };
        let (Some((_, high)), Some((_, low))) = (bytes.next(), bytes.next()) else {
            return Err(bad);
        };
        let mut value = [0_u8; 1];
        hex::decode_to_slice([high, low], &mut value).map_err(|_not_hex| bad)?;
        decoded.extend_from_slice(&value);
    }
    Ok(decoded)
}

fn check_begin(line: &str, label: &'static str) -> Result<(), PemError> {
    let found = line
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(DASHES))
        .ok_or(PemError::TextOutside)?;
    if found == label {
        return Ok(());
    }
    Err(PemError::WrongLabel {
        found: found.chars().take(32).collect(),
        expected: label,
    })
}

/// Label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a SubjectPublicKeyInfo.
pub const PUBLIC_KEY: &str = "PUBLIC KEY";

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

#[cfg(test)]
mod tests;
