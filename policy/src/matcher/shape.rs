//! Paths by some of their segments.

/// Which segments of a path count, so that paths and templates can be looked up by their hash.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Shape {
    /// How many are looked at; the first is what comes before the first slash.
    pub(crate) count: u8,
    /// A bit for each that may be any.
    pub(crate) any: u32,
    /// Whether there may be more of them.
    pub(crate) open: bool,
}

impl Shape {
    /// Of segments of which `None` may be any. Of more than there are bits for, the first ones.
    pub(crate) fn of(segments: &[Option<&[u8]>], open: bool) -> Self {
        let mut shape = Self {
            count: 0,
            any: 0,
            open: open || segments.len() > MAX_SEGMENTS,
        };
        let mut bit = 1_u32;
        for segment in segments.iter().take(MAX_SEGMENTS) {
            if segment.is_none() {
                shape.any |= bit;
            }
            shape.count = shape.count.saturating_add(1);
            bit = bit.checked_shl(1).unwrap_or(0);
        }
        shape
    }

    /// The hash (FNV-1a) of the segments that count; `None` if there are too few or too many.
    pub(crate) fn hash<'p>(self, segments: impl Iterator<Item = &'p [u8]>) -> Option<u64> {
        let mut segments = segments.fuse();
        let mut hash = Running::default();
        let mut bit = 1_u32;
        for _ in 0..self.count {
            let segment = segments.next()?;
            if self.any & bit == 0 {
                hash = segment.iter().copied().fold(hash, Running::with).with(b'/');
            }
            bit = bit.checked_shl(1).unwrap_or(0);
        }
        (self.open || segments.next().is_none()).then_some(hash.0)
    }
}

/// Bits of [`Shape::any`].
const MAX_SEGMENTS: usize = 32;

/// The hash of what was read so far (FNV-1a), so that one pass over a value gives those of all its beginnings.
#[derive(Clone, Copy)]
pub(crate) struct Running(pub(crate) u64);

impl Running {
    pub(crate) fn with(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

impl Default for Running {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(shape: Shape, path: &str) -> Option<u64> {
        shape.hash(path.as_bytes().split(|byte| *byte == b'/'))
    }

    #[test]
    fn only_what_counts_is_hashed() {
        let a: Option<&[u8]> = Some(b"a");
        let shape = Shape::of(&[Some(b""), a, None, Some(b"c")], false);
        assert_eq!(hash(shape, "/a/b/c"), hash(shape, "/a/x/c"));
        assert_ne!(hash(shape, "/a/b/c"), hash(shape, "/a/b/d"));
        assert_eq!(hash(shape, "/a/b"), None);
        assert_eq!(hash(shape, "/a/b/c/d"), None);
        let open = Shape {
            open: true,
            ..shape
        };
        assert_eq!(hash(open, "/a/b/c/d"), hash(open, "/a/b/c"));
    }

    #[test]
    fn more_segments_than_bits_leave_the_shape_open() {
        let segments = vec![Some(&b"a"[..]); 40];
        let shape = Shape::of(&segments, false);
        assert_eq!((shape.count, shape.open), (32, true));
        let path = vec!["a"; 40].join("/");
        assert!(hash(shape, &path).is_some());
        let any = Shape::of(&vec![None; 40], false);
        assert_eq!(any.any, u32::MAX);
    }
}
