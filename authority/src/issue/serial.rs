//! Serial numbers (RFC 5280 §4.1.2.2).

use std::fmt;

use crate::crypto::{NoRandomness, random_bytes};

/// A certificate's serial number: 16 octets, positive, never with a leading zero octet.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct SerialNumber([u8; 16]);

impl SerialNumber {
    /// The big-endian octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for SerialNumber {
    /// Lower-case hex, 32 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialNumber({self})")
    }
}

/// A serial number of 126 random bits.
///
/// # Errors
/// [`NoRandomness`] if the system's generator fails.
pub fn random_serial() -> Result<SerialNumber, NoRandomness> {
    let mut bytes = random_bytes::<16>()?;
    if let Some(first) = bytes.first_mut() {
        // Top bit clear: a DER INTEGER stays positive. Next bit set: it keeps its 16 octets.
        *first = (*first & 0x3f) | 0x40;
    }
    Ok(SerialNumber(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn serials_are_sixteen_positive_octets_and_differ() {
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            let serial = random_serial().unwrap();
            assert_eq!(serial.as_bytes().len(), 16);
            assert_eq!(serial.as_bytes()[0] & 0xc0, 0x40);
            assert_eq!(serial.to_string().len(), 32);
            assert!(seen.insert(serial));
        }
    }
}
