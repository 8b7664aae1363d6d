//! Object identifiers (X.690 §8.19), strictly, and the lists of them that certificates carry.

use crate::x509::der::{self, OBJECT_IDENTIFIER, SEQUENCE};

/// Most object identifiers read from one extension.
pub(crate) const MAX_OIDS: usize = 64;

/// The dotted text of an object identifier, from its content.
///
/// `None` when it is empty or cut short, an arc is not in its shortest form (X.690 §8.19.2), or
/// one is above 128 bits, as many as those made of UUIDs have.
pub(crate) fn dotted(content: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut arc: Option<u128> = None;
    for byte in content {
        let high = match arc {
            None if *byte == 0x80 => return None,
            None => 0,
            Some(high) => high,
        };
        let value = high.checked_mul(128)? | u128::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            arc = Some(value);
            continue;
        }
        arc = None;
        if text.is_empty() {
            // X.690 §8.19.4: the first two arcs in one number, the first at most 2.
            let first = (value / 40).min(2);
            text = format!("{first}.{}", value - first * 40);
        } else {
            text.push_str(&format!(".{value}"));
        }
    }
    (arc.is_none() && !text.is_empty()).then_some(text)
}

/// The purposes of an ExtKeyUsageSyntax (RFC 5280 §4.2.1.12), in order: at least one, at most
/// [`MAX_OIDS`].
pub(crate) fn purposes(value: &[u8]) -> Option<Vec<String>> {
    items(value, |item| {
        (item.tag == OBJECT_IDENTIFIER).then(|| dotted(item.content))?
    })
}

/// The policies of a certificatePolicies (RFC 5280 §4.2.1.4) without their qualifiers, in order: at
/// least one, at most [`MAX_OIDS`].
pub(crate) fn policies(value: &[u8]) -> Option<Vec<String>> {
    items(value, |item| {
        if item.tag != SEQUENCE {
            return None;
        }
        let id = der::expect(item.content, OBJECT_IDENTIFIER)?;
        if !id.rest.is_empty() {
            der::only(id.rest, SEQUENCE)?;
        }
        dotted(id.content)
    })
}

fn items(value: &[u8], read: impl Fn(der::Tlv<'_>) -> Option<String>) -> Option<Vec<String>> {
    let mut rest = der::only(value, SEQUENCE)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        if found.len() == MAX_OIDS {
            return None;
        }
        let item = der::read(rest)?;
        found.push(read(item)?);
        rest = item.rest;
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_arcs_with_dots() {
        let cases: [(&[u8], &str); 6] = [
            (b"\x2b\x06\x01\x05\x05\x07\x03\x02", "1.3.6.1.5.5.7.3.2"),
            (b"\x55\x1d\x20\x00", "2.5.29.32.0"),
            (b"\x00", "0.0"),
            (b"\x27", "0.39"),
            (b"\x28", "1.0"),
            (b"\x88\x37\x03", "2.999.3"),
        ];
        for (content, text) in cases {
            assert_eq!(dotted(content).as_deref(), Some(text));
        }
        // 2.25 and the largest UUID.
        let mut uuid = vec![0x69, 0x83];
        uuid.extend([0xff; 17]);
        uuid.push(0x7f);
        let largest = format!("2.25.{}", u128::MAX);
        assert_eq!(dotted(&uuid), Some(largest));
    }

    #[test]
    fn refuses_arcs_in_other_forms() {
        let mut long = vec![0x69, 0x84];
        long.extend([0x80; 17]);
        long.push(0);
        for content in [
            &b""[..],
            b"\x80\x2b",
            b"\x2b\x80\x06",
            b"\x2b\x86",
            b"\xff",
            &long,
        ] {
            assert_eq!(dotted(content), None, "{content:x?}");
        }
    }

    #[test]
    fn lists_are_bounded_and_whole() {
        let purpose = b"\x06\x02\x2a\x03";
        let list = |count: usize| der::write(SEQUENCE, &[&purpose.repeat(count)]).unwrap();
        assert_eq!(
            purposes(&list(MAX_OIDS)).map(|all| all.len()),
            Some(MAX_OIDS)
        );
        assert_eq!(purposes(&list(MAX_OIDS + 1)), None);
        assert_eq!(purposes(&list(0)), None);
        let good = list(2);
        for end in 0..good.len() {
            assert_eq!(purposes(good.get(..end).unwrap()), None, "{end} bytes");
        }
        assert_eq!(purposes(&[good.as_slice(), &[0]].concat()), None);
        assert_eq!(policies(&good), None);
    }

    #[test]
    fn policies_may_have_qualifiers() {
        let id = b"\x06\x02\x2a\x03";
        let plain = der::write(SEQUENCE, &[id]).unwrap();
        let qualified = der::write(SEQUENCE, &[id, b"\x30\x00"]).unwrap();
        let other = der::write(SEQUENCE, &[id, b"\x05\x00"]).unwrap();
        let list = |items: &[&[u8]]| der::write(SEQUENCE, items).unwrap();
        let both = policies(&list(&[&plain, &qualified]));
        assert_eq!(both, Some(vec!["1.2.3".to_owned(), "1.2.3".to_owned()]));
        assert_eq!(policies(&list(&[&other])), None);
        assert_eq!(policies(&list(&[id])), None);
        assert_eq!(purposes(&list(&[&plain])), None);
    }
}
