//! The few DER structures (X.690) that are read or written by hand, strictly.

/// One value of tag, length and content, and what follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tlv<'a> {
    /// The identifier octet; only low tag numbers are read.
    pub(crate) tag: u8,
    /// The content.
    pub(crate) content: &'a [u8],
    /// Tag, length and content.
    pub(crate) whole: &'a [u8],
    /// The bytes after it.
    pub(crate) rest: &'a [u8],
}

/// Reads one value. `None` when `input` is cut short, or the length is not the definite, shortest
/// form (X.690 §10.1) of at most three bytes.
pub(crate) fn read(input: &[u8]) -> Option<Tlv<'_>> {
    let (&tag, after_tag) = input.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (&first, after_first) = after_tag.split_first()?;
    let (length, after_length) = match first {
        0..=0x7f => (usize::from(first), after_first),
        0x81 => {
            let (&[low], rest) = after_first.split_first_chunk::<1>()?;
            (at_least(usize::from(low), 0x80)?, rest)
        }
        0x82 => {
            let (&[high, low], rest) = after_first.split_first_chunk::<2>()?;
            (
                at_least(usize::from(u16::from_be_bytes([high, low])), 0x100)?,
                rest,
            )
        }
        _ => return None,
    };
    let (content, rest) = after_length.split_at_checked(length)?;
    let whole = input.get(..input.len().checked_sub(rest.len())?)?;
    Some(Tlv {
        tag,
        content,
        whole,
        rest,
    })
}

/// Reads one value with this tag.
pub(crate) fn expect(input: &[u8], tag: u8) -> Option<Tlv<'_>> {
    read(input).filter(|found| found.tag == tag)
}

/// Reads one value with this tag and nothing after it; its content.
pub(crate) fn only(input: &[u8], tag: u8) -> Option<&[u8]> {
    expect(input, tag)
        .filter(|found| found.rest.is_empty())
        .map(|found| found.content)
}

/// The bytes of a BIT STRING that is a whole number of bytes, from its content.
pub(crate) fn bit_string_bytes(content: &[u8]) -> Option<&[u8]> {
    match content.split_first() {
        Some((0, bytes)) => Some(bytes),
        _ => None,
    }
}

/// The magnitude of a positive INTEGER in its shortest form, without the sign byte.
pub(crate) fn positive_integer(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0, magnitude @ ..] => magnitude
            .first()
            .filter(|first| **first >= 0x80)
            .and(Some(magnitude)),
        [0x01..=0x7f, ..] => Some(content),
        _ => None,
    }
}

/// Writes one value. Lengths of up to 65,535 bytes are written; `None` beyond.
pub(crate) fn write(tag: u8, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
    let mut value = Vec::with_capacity(length + 4);
    match (high, low) {
        (0, 0..=0x7f) => value.extend_from_slice(&[tag, low]),
        (0, _) => value.extend_from_slice(&[tag, 0x81, low]),
        _ => value.extend_from_slice(&[tag, 0x82, high, low]),
    }
    for part in parts {
        value.extend_from_slice(part);
    }
    Some(value)
}

/// Writes the INTEGER of a big-endian magnitude; `None` for zero.
pub(crate) fn write_positive_integer(magnitude: &[u8]) -> Option<Vec<u8>> {
    let start = magnitude.iter().position(|byte| *byte != 0)?;
    let shortest = magnitude.get(start..)?;
    let sign: &[u8] = if shortest.first().is_some_and(|byte| byte & 0x80 != 0) {
        &[0]
    } else {
        &[]
    };
    write(INTEGER, &[sign, shortest])
}

fn at_least(length: usize, least: usize) -> Option<usize> {
    (length >= least).then_some(length)
}

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed: the version field of a TBSCertificate.
pub(crate) const CONTEXT_0: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for len in [0, 1, 127, 128, 255, 256, 65_535] {
            let content = vec![9; len];
            let written = write(SEQUENCE, &[&content]).unwrap();
            assert_eq!(only(&written, SEQUENCE), Some(content.as_slice()));
        }
        assert_eq!(write(SEQUENCE, &[&[0; 65_536]]), None);
    }

    #[test]
    fn refuses_lengths_that_are_not_the_shortest_form() {
        assert!(read(&[0x30, 0x80, 0, 0]).is_none(), "indefinite");
        assert!(read(&[0x30, 0x81, 1, 9]).is_none());
        assert!(read(&[0x30, 0x82, 0, 1, 9]).is_none());
        assert!(read(&[0x30, 0x83, 0, 0, 1, 9]).is_none());
        assert!(read(&[0x30, 0x02, 9]).is_none(), "cut short");
        assert!(read(&[0x3f, 0x01, 9]).is_none(), "high tag number");
        assert!(read(&[]).is_none());
    }

    #[test]
    fn reads_only_positive_integers_in_their_shortest_form() {
        assert_eq!(positive_integer(&[1]), Some(&[1][..]));
        assert_eq!(positive_integer(&[0, 0x80]), Some(&[0x80][..]));
        for bad in [&[][..], &[0], &[0, 1], &[0x80], &[0, 0, 0x80]] {
            assert_eq!(positive_integer(bad), None, "{bad:?}");
        }
        assert_eq!(
            write_positive_integer(&[0, 0x80]),
            Some(vec![2, 2, 0, 0x80])
        );
        assert_eq!(write_positive_integer(&[0, 1]), Some(vec![2, 1, 1]));
        assert_eq!(write_positive_integer(&[0, 0]), None);
    }
}
