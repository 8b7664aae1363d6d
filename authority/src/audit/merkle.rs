//! The tree of RFC 6962 §2.1, without storage: hashes, the right edge of a growing tree, and which
//! subtrees proofs are made of.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;

/// A node's SHA-256.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// A text that is no [`struct@Hash`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is not 64 lower-case hex digits")]
pub struct BadHash;

impl FromStr for Hash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_not_hex| BadHash)?;
        let hash = Self(bytes);
        // One text for one hash.
        if hash.to_string() == text {
            Ok(hash)
        } else {
            Err(BadHash)
        }
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = BadHash;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_length| BadHash)
    }
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    finish(sha256_context(bytes))
}

/// `SHA-256(0x00 || leaf)`.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let mut context = sha256_context(&[0]);
    context.update(leaf);
    finish(context)
}

/// `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = sha256_context(&[1]);
    context.update(&left.0);
    context.update(&right.0);
    finish(context)
}

fn sha256_context(first: &[u8]) -> digest::Context {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(first);
    context
}

fn finish(context: digest::Context) -> Hash {
    let digest = context.finish();
    let mut bytes = [0; 32];
    // SHA-256 gives 32 octets.
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    Hash(bytes)
}

/// A subtree whose leaves are all there: `2^level` of them, the `index`-th such block.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Block {
    /// Its height; 0 for a leaf.
    pub level: u32,
    /// Its place among the blocks of that height.
    pub index: u64,
}

/// Leaves `from..to`, as they are in the tree: `from` is a multiple of a power of two not smaller
/// than the range.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    /// The first.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
}

impl Span {
    /// The blocks it is made of, from left to right.
    #[must_use]
    pub fn blocks(self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut at = self.from;
        while at < self.to {
            let room = 63_u32.saturating_sub((self.to - at).leading_zeros());
            let level = room.min(at.trailing_zeros().min(63));
            blocks.push(Block {
                level,
                index: at >> level,
            });
            at = at.saturating_add(1 << level);
        }
        blocks
    }
}

/// The hash of what neighbouring blocks make up, given from left to right, each smaller than the one
/// before; that of the empty tree if there are none.
#[must_use]
pub fn join(blocks: &[Hash]) -> Hash {
    let mut from_right = blocks.iter().rev();
    let Some(last) = from_right.next() else {
        return sha256(&[]);
    };
    from_right.fold(*last, |right, left| node_hash(left, &right))
}

/// The hash over a power of two of neighbours of one height; `None` for another number.
#[must_use]
pub fn fold(mut hashes: Vec<Hash>) -> Option<Hash> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    while hashes.len() > 1 {
        hashes = hashes
            .chunks(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(node_hash(left, right)),
                _ => None,
            })
            .collect();
    }
    hashes.pop()
}

/// The right edge of a tree: enough to append leaves and to know the root.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Frontier {
    size: u64,
    /// The blocks of `0..size`, from left to right.
    blocks: Vec<(u32, Hash)>,
}

impl Frontier {
    /// That of a tree of `size` leaves; `hashes` are those of the [`Span::blocks`] of `0..size`.
    /// `None` if they are not as many.
    #[must_use]
    pub fn new(size: u64, hashes: &[Hash]) -> Option<Self> {
        let blocks = Span { from: 0, to: size }.blocks();
        (blocks.len() == hashes.len()).then(|| Self {
            size,
            blocks: blocks
                .iter()
                .zip(hashes)
                .map(|(block, hash)| (block.level, *hash))
                .collect(),
        })
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf by its hash and gives the blocks that it completes, the leaf first.
    pub fn push(&mut self, leaf: Hash) -> Vec<(Block, Hash)> {
        let mut block = Block {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf;
        let mut completed = vec![(block, hash)];
        while let Some((_, left)) = self.blocks.pop_if(|(level, _)| *level == block.level) {
            hash = node_hash(&left, &hash);
            block = Block {
                level: block.level.saturating_add(1),
                index: block.index >> 1,
            };
            completed.push((block, hash));
        }
        self.blocks.push((block.level, hash));
        self.size = self.size.saturating_add(1);
        completed
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        let hashes: Vec<Hash> = self.blocks.iter().map(|(_, hash)| *hash).collect();
        join(&hashes)
    }
}

/// What the inclusion proof of leaf `index` in a tree of `size` is made of, from the leaf up (RFC
/// 6962 §2.1.1); `None` if there is no such leaf.
#[must_use]
pub fn inclusion_spans(index: u64, size: u64) -> Option<Vec<Span>> {
    if index >= size {
        return None;
    }
    let mut spans = Vec::new();
    let (mut from, mut to) = (0_u64, size);
    while to - from > 1 {
        let middle = from.saturating_add(split(to - from));
        if index < middle {
            spans.push(Span { from: middle, to });
            to = middle;
        } else {
            spans.push(Span { from, to: middle });
            from = middle;
        }
    }
    spans.reverse();
    Some(spans)
}

/// What the proof that the tree of `old` leaves is the beginning of that of `new` is made of (RFC
/// 6962 §2.1.2); `None` unless 0 < `old` ≤ `new`.
#[must_use]
pub fn consistency_spans(old: u64, new: u64) -> Option<Vec<Span>> {
    if old == 0 || old > new {
        return None;
    }
    let mut spans = Vec::new();
    let (mut from, mut to) = (0_u64, new);
    // Whether the old tree's root is still the subtree looked at.
    let mut is_root = true;
    while old != to {
        let middle = from.saturating_add(split(to - from));
        if old <= middle {
            spans.push(Span { from: middle, to });
            to = middle;
        } else {
            spans.push(Span { from, to: middle });
            from = middle;
            is_root = false;
        }
    }
    if !is_root {
        spans.push(Span { from, to });
    }
    spans.reverse();
    Some(spans)
}

/// Whether the leaf with this hash is leaf `index` of the tree of `size` leaves with this `root`.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    let Some(spans) = inclusion_spans(index, size) else {
        return false;
    };
    if spans.len() != path.len() {
        return false;
    }
    let reached = spans.iter().zip(path).fold(*leaf, |hash, (span, sibling)| {
        if span.from > index {
            node_hash(&hash, sibling)
        } else {
            node_hash(sibling, &hash)
        }
    });
    reached == *root
}

/// Whether the tree of the first size and root is the beginning of that of the second.
#[must_use]
pub fn verify_consistency(old: (u64, Hash), new: (u64, Hash), path: &[Hash]) -> bool {
    let Some(spans) = consistency_spans(old.0, new.0) else {
        return false;
    };
    if spans.len() != path.len() {
        return false;
    }
    // The lowest subtree: all of the old tree, or what the path begins with.
    let mut rest = spans.iter().zip(path);
    let whole = spans.first().is_none_or(|first| first.from >= old.0);
    let start = if whole {
        old.1
    } else {
        match rest.next() {
            Some((_, hash)) => *hash,
            None => return false,
        }
    };
    let (mut first, mut second) = (start, start);
    for (span, hash) in rest {
        if span.from < old.0 {
            first = node_hash(hash, &first);
            second = node_hash(hash, &second);
        } else {
            second = node_hash(&second, hash);
        }
    }
    first == old.1 && second == new.1
}

/// The largest power of two below `size`, which is at least two.
const fn split(size: u64) -> u64 {
    1 << (63_u32.saturating_sub((size.saturating_sub(1)).leading_zeros()))
}

#[cfg(test)]
mod tests;
