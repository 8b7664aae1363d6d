//! Memory the proxy writes its answers into.
//!
//! The ABI lets the proxy allocate in the module and hand back address and length. The buffers stay
//! owned here until the answer is taken, so the proxy's word about a length is checked and never
//! becomes the layout of a deallocation.

use std::cell::RefCell;
use std::ptr;

/// Most bytes lent at once for one answer: a deny list is the largest.
pub const MAX_BYTES: usize = 20 * 1024 * 1024;

/// Most answers lent at once; one call gives at most one.
const MAX_BUFFERS: usize = 8;

thread_local! {
    static LENT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Lends `size` zeroed bytes; null where that is too much.
#[must_use]
pub fn lend(size: usize) -> *mut u8 {
    if size > MAX_BYTES {
        return ptr::null_mut();
    }
    LENT.with(|lent| {
        let Ok(mut lent) = lent.try_borrow_mut() else {
            return ptr::null_mut();
        };
        if lent.len() >= MAX_BUFFERS {
            return ptr::null_mut();
        }
        let mut buffer = Vec::new();
        // An empty answer still needs an address of its own.
        let size = size.max(1);
        if buffer.try_reserve_exact(size).is_err() {
            return ptr::null_mut();
        }
        buffer.resize(size, 0);
        let address = buffer.as_mut_ptr();
        lent.push(buffer);
        address
    })
}

/// Takes back the buffer at `address`, its first `size` bytes, and frees every other one.
///
/// `None` unless that buffer was lent and is that long.
#[must_use]
pub fn take(address: usize, size: usize) -> Option<Vec<u8>> {
    LENT.with(|lent| {
        let mut lent = lent.try_borrow_mut().ok()?;
        let at = lent
            .iter()
            .position(|buffer| buffer.as_ptr().addr() == address);
        let taken = at.map(|at| lent.swap_remove(at));
        lent.clear();
        let mut taken = taken?;
        if size > taken.len() {
            return None;
        }
        taken.truncate(size);
        Some(taken)
    })
}

/// Frees whatever was lent for a call that then failed.
pub fn clear() {
    LENT.with(|lent| {
        if let Ok(mut lent) = lent.try_borrow_mut() {
            lent.clear();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_what_was_lent_and_only_once() {
        let address = lend(10).addr();
        assert_eq!(take(address, 4).map(|b| b.len()), Some(4));
        assert_eq!(take(address, 4), None);
        assert_eq!(take(0x10, 1), None);
    }

    #[test]
    fn refuses_a_length_beyond_what_was_lent() {
        let address = lend(10).addr();
        assert_eq!(take(address, 11), None);
    }

    #[test]
    fn bounds_size_and_number() {
        assert!(lend(MAX_BYTES + 1).is_null());
        for _ in 0..MAX_BUFFERS {
            assert!(!lend(0).is_null());
        }
        assert!(lend(1).is_null());
        clear();
        assert!(!lend(1).is_null());
        clear();
    }
}
