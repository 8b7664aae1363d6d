//! Against an independent implementation, written from the definitions of RFC 6962 §2.1 as they
//! stand there: recursive, on all leaves, with a hash function of another library.

use sha2::{Digest as _, Sha256};

use super::*;

type Raw = [u8; 32];

fn raw(parts: &[&[u8]]) -> Raw {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// MTH(D[n]).
fn mth(leaves: &[Vec<u8>]) -> Raw {
    match leaves {
        [] => raw(&[]),
        [leaf] => raw(&[&[0], leaf]),
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            raw(&[&[1], &mth(&leaves[..k]), &mth(&leaves[k..])])
        }
    }
}

/// The root that an inclusion proof leads to.
fn root_by_inclusion(leaf: &[u8], index: u64, size: u64, path: &[Raw]) -> Option<Raw> {
    fn walk(index: u64, size: u64, leaf: Raw, path: &mut Vec<Raw>) -> Option<Raw> {
        if size == 1 {
            return Some(leaf);
        }
        let top = path.pop()?;
        let mut k = 1;
        while k * 2 < size {
            k *= 2;
        }
        Some(if index < k {
            raw(&[&[1], &walk(index, k, leaf, path)?, &top])
        } else {
            raw(&[&[1], &top, &walk(index - k, size - k, leaf, path)?])
        })
    }
    let mut path = path.to_vec();
    let root = walk(index, size, raw(&[&[0], leaf]), &mut path)?;
    path.is_empty().then_some(root)
}

/// Both roots that a consistency proof leads to (SUBPROOF, undone).
fn roots_by_consistency(old: u64, new: u64, old_root: Raw, path: &[Raw]) -> Option<(Raw, Raw)> {
    fn walk(m: u64, n: u64, whole: bool, old: Raw, path: &mut Vec<Raw>) -> Option<(Raw, Raw)> {
        if m == n {
            let hash = if whole { old } else { path.pop()? };
            return Some((hash, hash));
        }
        let top = path.pop()?;
        let mut k = 1;
        while k * 2 < n {
            k *= 2;
        }
        if m <= k {
            let (first, second) = walk(m, k, whole, old, path)?;
            Some((first, raw(&[&[1], &second, &top])))
        } else {
            let (first, second) = walk(m - k, n - k, false, old, path)?;
            Some((raw(&[&[1], &top, &first]), raw(&[&[1], &top, &second])))
        }
    }
    // The list is read from its end, where the top is; the bottom is taken last.
    let mut path = path.to_vec();
    let roots = walk(old, new, true, old_root, &mut path)?;
    path.is_empty().then_some(roots)
}

fn leaves(count: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|i| format!("leaf {i}").into_bytes())
        .collect()
}

fn hash_of(span: Span, leaves: &[Vec<u8>]) -> Hash {
    let blocks: Vec<Hash> = span
        .blocks()
        .into_iter()
        .map(|block| {
            let width = 1_usize << block.level;
            let from = usize::try_from(block.index).unwrap() * width;
            let hashes = leaves[from..from + width].iter();
            fold(hashes.map(|leaf| leaf_hash(leaf)).collect()).unwrap()
        })
        .collect();
    join(&blocks)
}

#[test]
fn roots_are_those_of_the_definition() {
    let all = leaves(70);
    let mut frontier = Frontier::default();
    assert_eq!(frontier.root().0, mth(&[]));
    for (count, leaf) in all.iter().enumerate() {
        frontier.push(leaf_hash(leaf));
        assert_eq!(frontier.root().0, mth(&all[..=count]), "{count}");
        let size = frontier.size();
        let blocks = Span { from: 0, to: size }.blocks();
        let hashes: Vec<Hash> = blocks
            .iter()
            .map(|block| {
                let from = block.index << block.level;
                hash_of(
                    Span {
                        from,
                        to: from + (1 << block.level),
                    },
                    &all,
                )
            })
            .collect();
        assert_eq!(Frontier::new(size, &hashes).unwrap(), frontier);
    }
    // The empty tree of RFC 6962 §2.1 is the SHA-256 of nothing.
    assert_eq!(
        join(&[]).to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn every_inclusion_proof_leads_to_the_root_and_no_other_leaf_does() {
    for size in 1..=40_u64 {
        let all = leaves(size);
        let root = mth(&all);
        for index in 0..size {
            let spans = inclusion_spans(index, size).unwrap();
            let path: Vec<Raw> = spans.iter().map(|span| hash_of(*span, &all).0).collect();
            let leaf = &all[usize::try_from(index).unwrap()];
            assert_eq!(root_by_inclusion(leaf, index, size, &path), Some(root));
            assert_ne!(
                root_by_inclusion(b"another", index, size, &path),
                Some(root)
            );
            let own: Vec<Hash> = path.iter().copied().map(Hash).collect();
            assert!(verify_inclusion(
                &leaf_hash(leaf),
                index,
                size,
                &own,
                &Hash(root)
            ));
            assert!(!verify_inclusion(
                &leaf_hash(b"x"),
                index,
                size,
                &own,
                &Hash(root)
            ));
            if size > 1 {
                assert!(!verify_inclusion(
                    &leaf_hash(leaf),
                    index,
                    size,
                    &own[1..],
                    &Hash(root)
                ));
            }
        }
        assert_eq!(inclusion_spans(size, size), None);
    }
}

#[test]
fn every_consistency_proof_leads_to_both_roots() {
    for new in 1..=40_u64 {
        let all = leaves(new);
        for old in 1..=new {
            let old_root = mth(&all[..usize::try_from(old).unwrap()]);
            let spans = consistency_spans(old, new).unwrap();
            let path: Vec<Raw> = spans.iter().map(|span| hash_of(*span, &all).0).collect();
            let roots = roots_by_consistency(old, new, old_root, &path);
            assert_eq!(roots, Some((old_root, mth(&all))), "{old} {new}");
            let own: Vec<Hash> = path.iter().copied().map(Hash).collect();
            let (first, second) = ((old, Hash(old_root)), (new, Hash(mth(&all))));
            assert!(verify_consistency(first, second, &own));
            assert!(!verify_consistency((old, leaf_hash(b"x")), second, &own));
            assert!(!verify_consistency(first, (new, leaf_hash(b"x")), &own));
        }
    }
    assert_eq!(consistency_spans(0, 5), None);
    assert_eq!(consistency_spans(6, 5), None);
}

#[test]
fn hashes_have_one_text() {
    let hash = leaf_hash(b"x");
    assert_eq!(hash.to_string().parse(), Ok(hash));
    for bad in [
        hash.to_string().to_uppercase(),
        String::new(),
        "ab".to_owned(),
    ] {
        assert_eq!(bad.parse::<Hash>(), Err(BadHash), "{bad}");
    }
}
