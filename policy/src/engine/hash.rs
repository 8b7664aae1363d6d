//! Hashes of attribute values, and a table keyed by them.
//!
//! The functions are fixed and fast, not keyed: WebAssembly has no hardware to make a keyed one cheap, and none
//! is needed. The table is built from policies and then only read, so no traffic makes its chains longer;
//! who finds a text that hashes as one of a policy gets that policy's rules tested, as its own text would,
//! and every rule that is found is tested in full before it counts.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
};

use crate::matcher::{Running, Shape};

/// What a value, the beginning of one, or an address range is looked up by.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    pub(super) form: Form,
    hash: u64,
}

/// What part of a value a key stands for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Form {
    /// All of it.
    Exact,
    /// So many bytes from its beginning.
    Prefix(u32),
    /// So many bytes from its end.
    Suffix(u32),
    /// Segments of a path, by place, before the text of any length that a template may have.
    Segments(Shape),
    /// So many bits from the beginning of an IPv4 address.
    V4(u8),
    /// So many bits from the beginning of an IPv6 address.
    V6(u8),
}

impl Key {
    /// Of the segments of a path that `shape` looks at, by their hash.
    pub(super) fn segments(shape: Shape, hash: u64) -> Self {
        Self {
            form: Form::Segments(shape),
            hash,
        }
    }

    /// Of as many bytes as were read.
    pub(super) fn read(form: Form, read: Running) -> Self {
        Self { form, hash: read.0 }
    }

    pub(super) fn exact(value: &[u8]) -> Self {
        Self::of_whole(value, |word| word)
    }

    /// Of `value` in ASCII lower case.
    pub(super) fn exact_without_case(value: &[u8]) -> Self {
        Self::of_whole(value, |word| word.map(|byte| byte.to_ascii_lowercase()))
    }

    fn of_whole(value: &[u8], map: impl Fn([u8; 8]) -> [u8; 8]) -> Self {
        let (words, rest) = value.as_chunks::<8>();
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let start = u64::try_from(value.len()).unwrap_or(u64::MAX);
        let hash = words.iter().chain([&last]).fold(start, |hash, word| {
            stir(hash ^ u64::from_le_bytes(map(*word)))
        });
        Self {
            form: Form::Exact,
            hash,
        }
    }

    pub(super) fn number(value: u16) -> Self {
        Self {
            form: Form::Exact,
            hash: mix(u64::from(value)),
        }
    }

    pub(super) fn bits(form: Form, address: u128) -> Self {
        let (high, low) = (address >> 64, address & u128::from(u64::MAX));
        let [high, low] = [high, low].map(|half| u64::try_from(half).unwrap_or_default());
        Self {
            form,
            hash: stir(high) ^ low,
        }
    }

    /// A pattern's prefix, or its suffix turned around. `None` if it is longer than any value may be.
    pub(super) fn affix(form: impl Fn(u32) -> Form, bytes: &[u8]) -> Option<Self> {
        let length = u32::try_from(bytes.len()).ok()?;
        let hash = bytes
            .iter()
            .copied()
            .fold(Running::default(), Running::with);
        Some(Self {
            form: form(length),
            hash: hash.0,
        })
    }
}

/// (node, key) → what is there, for all nodes of an index.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// With its node, so that a text that hashes as another node's key does not lead there.
    entries: HashMap<u64, (u32, T), BuildHasherDefault<AlreadyHashed>>,
    /// The bits of a hash that count: all of them, except where a test wants to see collisions.
    mask: u64,
}

impl<T: Copy> Table<T> {
    pub(super) fn with_mask(mask: u64) -> Self {
        Self {
            entries: HashMap::default(),
            mask,
        }
    }

    /// What is there for `key` at `node`, or for another key of the same node that hashes the same.
    pub(super) fn get(&self, node: u32, key: Key) -> Option<T> {
        let (of, value) = self.entries.get(&self.place(node, key))?;
        (*of == node).then_some(*value)
    }

    /// Puts `value` where nothing is yet; whether it did.
    pub(super) fn insert(&mut self, node: u32, key: Key, value: T) -> bool {
        match self.entries.entry(self.place(node, key)) {
            Entry::Vacant(free) => {
                free.insert((node, value));
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.entries.shrink_to_fit();
    }

    fn place(&self, node: u32, key: Key) -> u64 {
        let (kind, length) = match key.form {
            Form::Exact => (0, 0),
            Form::Prefix(length) => (1, u64::from(length)),
            Form::Suffix(length) => (2, u64::from(length)),
            Form::V4(length) => (3, u64::from(length)),
            Form::V6(length) => (4, u64::from(length)),
            Form::Segments(Shape { count, any, open }) => (
                5,
                u64::from(any) | u64::from(count) << 32 | u64::from(open) << 40,
            ),
        };
        let form = stir(length ^ kind << 48 ^ u64::from(node).rotate_right(12));
        mix(key.hash.wrapping_add(form)) & self.mask
    }
}

/// One round for a word of many: the multiplication carries it up, the shift back down.
fn stir(value: u64) -> u64 {
    let value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value ^ value >> 32
}

/// The finalizer of SplitMix64: every bit of the input reaches every bit of the output.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// For keys that are hashes.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_dropped_only_where_asked() {
        let texts: [&[u8]; 2] = [b"Some-Host.Example.COM:8080", b"some-host.example.com:8080"];
        let [upper, lower] = texts;
        assert_eq!(Key::exact_without_case(upper), Key::exact(lower));
        assert_ne!(Key::exact(upper), Key::exact(lower));
    }

    #[test]
    fn padding_does_not_make_texts_equal() {
        let keys: Vec<Key> = (0..40).map(|length| Key::exact(&vec![0; length])).collect();
        let mut different = keys.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), keys.len());
    }

    #[test]
    fn a_running_hash_is_that_of_the_pattern() {
        let mut running = Running::default();
        for byte in *b"/a/b" {
            running = running.with(byte);
        }
        assert_eq!(
            Some(Key::read(Form::Prefix(4), running)),
            Key::affix(Form::Prefix, b"/a/b")
        );
        assert_ne!(
            Some(Key::read(Form::Suffix(4), running)),
            Key::affix(Form::Prefix, b"/a/b")
        );
    }

    #[test]
    fn nodes_do_not_share_places() {
        let mut table = Table::with_mask(u64::MAX);
        for node in 0..1000 {
            for port in 0..20 {
                assert!(table.insert(node, Key::number(port), (node, port)));
            }
        }
        assert_eq!(table.get(7, Key::number(3)), Some((7, 3)));
        assert_eq!(table.get(7, Key::number(20)), None);
        assert!(
            !table.insert(7, Key::number(3), (0, 0)),
            "nothing is replaced"
        );
    }
}
