//! Header maps and property paths as the proxy-wasm ABI writes them.
//!
//! A map is the number of pairs, then two lengths for each pair, then each name and value with a
//! zero byte behind it; numbers are 32 bits, little-endian. A property path is its parts with a zero
//! byte between them.

use crate::host::Header;

/// Most pairs read from one map; Envoy's own limit is 100 headers unless configured.
pub const MAX_PAIRS: usize = 4096;

/// Writes pairs as a map.
#[must_use]
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    push_len(&mut out, pairs.len());
    for (name, value) in pairs {
        push_len(&mut out, name.as_ref().len());
        push_len(&mut out, value.as_ref().len());
    }
    for (name, value) in pairs {
        out.extend_from_slice(name.as_ref());
        out.push(0);
        out.extend_from_slice(value.as_ref());
        out.push(0);
    }
    out
}

/// Reads a map; `None` unless the bytes are exactly one map of at most [`MAX_PAIRS`] pairs.
///
/// No bytes at all are an empty map: that is what Envoy writes for one.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<Header>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut sizes = bytes;
    let count = take_len(&mut sizes)?;
    if count > MAX_PAIRS {
        return None;
    }
    let mut data = sizes.get(count.checked_mul(8)?..)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let name_len = take_len(&mut sizes)?;
        let value_len = take_len(&mut sizes)?;
        let name = take_text(&mut data, name_len)?;
        let value = take_text(&mut data, value_len)?;
        pairs.push((name, value));
    }
    data.is_empty().then_some(pairs)
}

/// Writes the path of a property.
#[must_use]
pub fn encode_path(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

fn push_len(out: &mut Vec<u8>, len: usize) {
    // What the filter writes is its own and short; a longer text would be refused by the proxy.
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn take_len(from: &mut &[u8]) -> Option<usize> {
    let (head, rest) = from.split_first_chunk::<4>()?;
    *from = rest;
    usize::try_from(u32::from_le_bytes(*head)).ok()
}

fn take_text(from: &mut &[u8], len: usize) -> Option<Vec<u8>> {
    let (text, rest) = from.split_at_checked(len)?;
    let (&end, rest) = rest.split_first()?;
    if end != 0 {
        return None;
    }
    *from = rest;
    Some(text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let pairs = [(":path", "/a"), ("x", ""), ("x", "two")];
        let read = decode(&encode(&pairs)).expect("a map");
        let read: Vec<_> = read
            .iter()
            .map(|(n, v)| {
                (
                    std::str::from_utf8(n).unwrap(),
                    std::str::from_utf8(v).unwrap(),
                )
            })
            .collect();
        assert_eq!(read, pairs);
        assert_eq!(decode(&encode::<&str, &str>(&[])), Some(Vec::new()));
        assert_eq!(decode(&[]), Some(Vec::new()));
    }

    #[test]
    fn refuses_every_truncation_and_trailing_byte() {
        let whole = encode(&[("a", "b"), ("cc", "dd")]);
        for end in 1..whole.len() {
            assert_eq!(decode(&whole[..end]), None, "cut at {end}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(decode(&longer), None);
    }

    #[test]
    fn refuses_lengths_beyond_the_bytes() {
        let mut lying = encode(&[("a", "b")]);
        lying[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&lying), None);
        let mut many = encode::<&str, &str>(&[]);
        many[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&many), None);
    }

    #[test]
    fn joins_a_path_by_zero_bytes() {
        assert_eq!(encode_path(&["connection", "mtls"]), b"connection\0mtls");
    }
}
