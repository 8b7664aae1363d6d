//! Certificates seen, by their digest, so that each is parsed and its signature verified once.
//!
//! What is kept is about the certificate alone: its facts, or what is wrong with it. Dates, deny list
//! and policies are looked at on every request. Each configuration has a store of its own: what was found
//! out with the issuers of one must not count in another.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use identity::x509::{Sha256Digest, X509Svid};
use policy::PeerFault;

/// What is known of one certificate.
pub type Known = Result<Rc<X509Svid>, PeerFault>;

/// Most certificates kept: about 1 MB at 2 KB each.
pub const MAX_CERTIFICATES: usize = 512;

/// The certificates used most recently.
#[derive(Debug)]
pub struct Certificates {
    max: usize,
    by_digest: HashMap<Sha256Digest, (Known, u64)>,
    by_use: BTreeMap<u64, Sha256Digest>,
    uses: u64,
}

impl Default for Certificates {
    fn default() -> Self {
        Self::with_limit(MAX_CERTIFICATES)
    }
}

impl Certificates {
    /// Room for `max` certificates.
    #[must_use]
    pub fn with_limit(max: usize) -> Self {
        Self {
            max,
            by_digest: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    /// What is known of a certificate, which thereby becomes the most recently used.
    pub fn find(&mut self, digest: &Sha256Digest) -> Option<Known> {
        let (known, used) = self.by_digest.get_mut(digest)?;
        if *used != self.uses {
            self.by_use.remove(used);
            self.uses += 1;
            *used = self.uses;
            self.by_use.insert(self.uses, *digest);
        }
        Some(known.clone())
    }

    /// Keeps what was found out, in place of the certificate used longest ago.
    pub fn keep(&mut self, digest: Sha256Digest, known: Known) {
        if let Some((_, used)) = self.by_digest.remove(&digest) {
            self.by_use.remove(&used);
        }
        while self.by_digest.len() >= self.max {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                return;
            };
            self.by_digest.remove(&oldest);
        }
        self.uses += 1;
        self.by_use.insert(self.uses, digest);
        self.by_digest.insert(digest, (known, self.uses));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.by_digest.clear();
        self.by_use.clear();
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// True where none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Sha256Digest {
        Sha256Digest::from_bytes([n; 32])
    }

    fn known() -> Known {
        Err(PeerFault::CertificateMissing)
    }

    #[test]
    fn drops_the_one_used_longest_ago() {
        let mut store = Certificates::with_limit(2);
        store.keep(digest(1), known());
        store.keep(digest(2), known());
        assert!(store.find(&digest(1)).is_some());
        store.keep(digest(3), known());
        assert!(store.find(&digest(2)).is_none());
        assert!(store.find(&digest(1)).is_some());
        assert!(store.find(&digest(3)).is_some());
    }

    #[test]
    fn never_grows_beyond_its_limit() {
        let mut store = Certificates::with_limit(4);
        for round in 0..3 {
            for n in 0..100 {
                store.keep(digest(n), known());
                store.find(&digest(n.wrapping_sub(round)));
                assert!(store.len() <= 4);
                assert_eq!(store.by_use.len(), store.by_digest.len());
            }
        }
        store.keep(digest(99), known());
        assert_eq!(store.len(), 4);
    }

    #[test]
    fn with_no_room_nothing_is_kept() {
        let mut store = Certificates::with_limit(0);
        store.keep(digest(1), known());
        assert!(store.is_empty());
    }
}
