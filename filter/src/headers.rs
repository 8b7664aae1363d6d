//! The headers of a message, read where the proxy wrote them.
//!
//! A request has a dozen headers and a policy looks at two or three. So the proxy's bytes are kept as
//! they came, checked once, and looked through in place: no copy of a name or a value is made.

use std::ops::Range;

use crate::pairs::MAX_PAIRS;

/// Headers in order, repeated names kept apart, pseudo-headers included.
///
/// The bytes are a header map of the proxy-wasm ABI: the number of pairs, two lengths for each pair, then
/// each name and value with a zero byte behind it; numbers are 32 bits, little-endian.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderBlock {
    bytes: Vec<u8>,
    count: usize,
    data: usize,
    method: Option<Range<usize>>,
    path: Option<Range<usize>>,
    authority: Option<Range<usize>>,
}

impl HeaderBlock {
    /// Takes the bytes of a map; `None` unless they are exactly one map of at most [`MAX_PAIRS`] pairs.
    ///
    /// No bytes at all are an empty map: that is what Envoy writes for one.
    #[must_use]
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let count = number_at(&bytes, 0)?;
        if count > MAX_PAIRS {
            return None;
        }
        let data = count.checked_mul(8)?.checked_add(4)?;
        let (mut method, mut path, mut authority) = (None, None, None);
        let mut walk = Walk::over(&bytes, data)?;
        while let Some(lengths) = walk.sizes.split_off_first() {
            let (name, value) = walk.pair(lengths)?;
            // Every request is read here; few names are worth comparing.
            let [b':', name @ ..] = bytes.get(name)? else {
                continue;
            };
            let slot = match name {
                b"method" => &mut method,
                b"path" => &mut path,
                b"authority" => &mut authority,
                _ => continue,
            };
            // Of two, which Envoy does not let through, the first counts.
            slot.get_or_insert(value);
        }
        if walk.data != bytes.len() {
            return None;
        }
        Some(Self {
            bytes,
            count,
            data,
            method,
            path,
            authority,
        })
    }

    /// `:method`.
    #[must_use]
    pub fn method(&self) -> Option<&[u8]> {
        self.slice(self.method.as_ref())
    }

    /// `:path`, with its query.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        self.slice(self.path.as_ref())
    }

    /// `:authority`.
    #[must_use]
    pub fn authority(&self) -> Option<&[u8]> {
        self.slice(self.authority.as_ref())
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut walk = Walk::over(&self.bytes, self.data).unwrap_or_default();
        std::iter::from_fn(move || {
            let lengths = walk.sizes.split_off_first()?;
            let (name, value) = walk.pair(lengths)?;
            Some((self.bytes.get(name)?, self.bytes.get(value)?))
        })
    }

    /// Every value of a header; `name` is in lower case, as Envoy's are.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Bytes it takes in memory, about.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True where there is no header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn slice(&self, range: Option<&Range<usize>>) -> Option<&[u8]> {
        self.bytes.get(range?.clone())
    }
}

impl policy::Headers for HeaderBlock {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.values(name).any(test)
    }
}

/// A place in a map: the lengths of the pairs that follow, and where the next name is.
#[derive(Default)]
struct Walk<'a> {
    bytes: &'a [u8],
    sizes: &'a [[u8; 8]],
    data: usize,
}

impl<'a> Walk<'a> {
    /// From the beginning of a map whose names begin at `data`; `None` where it is too short for that.
    fn over(bytes: &'a [u8], data: usize) -> Option<Self> {
        let (sizes, _) = bytes.get(4..data)?.as_chunks::<8>();
        Some(Self { bytes, sizes, data })
    }

    /// Where the next name and value are, of these lengths; `None` where they are not.
    fn pair(&mut self, lengths: &[u8; 8]) -> Option<(Range<usize>, Range<usize>)> {
        let lengths = u64::from_le_bytes(*lengths);
        let [name, value] = [lengths & u64::from(u32::MAX), lengths >> 32];
        let name = self.text(usize::try_from(name).ok()?)?;
        Some((name, self.text(usize::try_from(value).ok()?)?))
    }

    fn text(&mut self, len: usize) -> Option<Range<usize>> {
        let end = self.data.checked_add(len)?;
        if *self.bytes.get(end)? != 0 {
            return None;
        }
        let range = self.data..end;
        self.data = end.checked_add(1)?;
        Some(range)
    }
}

fn number_at(bytes: &[u8], at: usize) -> Option<usize> {
    let (number, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*number)).ok()
}

#[cfg(test)]
mod tests {
    use policy::Headers;

    use super::*;
    use crate::pairs::encode;

    #[test]
    fn reads_every_pair_in_order_and_finds_the_pseudo_headers() {
        let pairs = [
            (":authority", "a"),
            ("x", ""),
            (":path", "/p?q"),
            ("x", "two"),
            (":method", "GET"),
            (":method", "POST"),
        ];
        let block = HeaderBlock::parse(encode(&pairs)).expect("a map");
        let read: Vec<_> = block.iter().collect();
        let wanted: Vec<_> = pairs
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        assert_eq!(read, wanted);
        assert_eq!(block.method(), Some(&b"GET"[..]));
        assert_eq!(block.path(), Some(&b"/p?q"[..]));
        assert_eq!(block.authority(), Some(&b"a"[..]));
        assert_eq!(block.values("x").collect::<Vec<_>>(), [&b""[..], b"two"]);
        assert!(block.any("X", &mut |value| value == b"two"));
        assert!(!block.any("y", &mut |_| true));
    }

    #[test]
    fn nothing_at_all_is_an_empty_map() {
        for bytes in [Vec::new(), encode::<&str, &str>(&[])] {
            let block = HeaderBlock::parse(bytes).expect("a map");
            assert!(block.is_empty());
            assert_eq!((block.method(), block.iter().count()), (None, 0));
        }
    }

    #[test]
    fn refuses_every_truncation_trailing_byte_and_missing_zero() {
        let whole = encode(&[("a", "b"), ("cc", "dd")]);
        for end in 1..whole.len() {
            assert_eq!(HeaderBlock::parse(whole[..end].to_vec()), None, "{end}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(HeaderBlock::parse(longer), None);
        let mut unended = whole.clone();
        *unended.last_mut().expect("bytes") = 1;
        assert_eq!(HeaderBlock::parse(unended), None);
    }

    #[test]
    fn refuses_lengths_beyond_the_bytes() {
        for (at, lie) in [(0, u32::MAX), (0, 5000), (4, u32::MAX), (8, u32::MAX)] {
            let mut lying = encode(&[("a", "b")]);
            lying[at..at + 4].copy_from_slice(&lie.to_le_bytes());
            assert_eq!(HeaderBlock::parse(lying), None, "{lie} at {at}");
        }
    }

    #[test]
    fn reads_what_the_copying_reader_reads() {
        let mut seed = 1_u32;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut bytes = encode(&[("ab", "c"), (":path", "/"), ("", "")]);
            let at = usize::try_from(seed >> 8).expect("small") % bytes.len();
            bytes[at] = seed.to_le_bytes()[3];
            let copied = crate::pairs::decode(&bytes);
            let block = HeaderBlock::parse(bytes);
            let read = block.map(|block| {
                block
                    .iter()
                    .map(|(n, v)| (n.to_vec(), v.to_vec()))
                    .collect::<Vec<_>>()
            });
            assert_eq!(read, copied);
        }
    }
}
