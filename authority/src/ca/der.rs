//! The few DER values written by hand (X.690): lengths definite and shortest.

/// One value: tag, length, content.
pub(crate) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len().saturating_add(6));
    crate::issue::sign::push_der(&mut out, tag, content);
    out
}

/// A SEQUENCE of values.
pub(crate) fn sequence(values: &[Vec<u8>]) -> Vec<u8> {
    value(0x30, &values.concat())
}

/// An INTEGER from big-endian octets without sign.
pub(crate) fn unsigned_integer(octets: &[u8]) -> Vec<u8> {
    let mut digits: Vec<u8> = octets.iter().copied().skip_while(|o| *o == 0).collect();
    if digits.first().is_none_or(|first| *first >= 0x80) {
        digits.insert(0, 0);
    }
    value(0x02, &digits)
}

/// `RSAPublicKey` (RFC 8017 §A.1.1).
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    sequence(&[unsigned_integer(modulus), unsigned_integer(exponent)])
}

/// r and s of an `ECDSA-Sig-Value`, `half` octets each; `None` if it is none of that curve.
pub(crate) fn ecdsa_raw(signature: &[u8], half: usize) -> Option<Vec<u8>> {
    let (rest, value) = x509_parser::der_parser::parse_der(signature).ok()?;
    let parts = value.as_sequence().ok().filter(|_| rest.is_empty())?;
    let mut raw = Vec::with_capacity(half.saturating_mul(2));
    for part in parts {
        let digits: &[u8] = part.as_slice().ok()?;
        let zeros = digits.iter().take_while(|octet| **octet == 0).count();
        let digits = digits.get(zeros..)?;
        raw.resize(raw.len().checked_add(half.checked_sub(digits.len())?)?, 0);
        raw.extend_from_slice(digits);
    }
    (parts.len() == 2).then_some(raw)
}
