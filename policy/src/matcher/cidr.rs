//! Address ranges.

use std::net::{AddrParseError, IpAddr};

use ipnet::IpNet;

/// The ranges of one field; an address matches if one of them holds it.
///
/// Host bits of a range are ignored (`10.1.2.3/8` is `10.0.0.0/8`, as in Envoy). An IPv4 address mapped into
/// IPv6 counts as the IPv4 address, on both sides.
#[derive(Debug, Default)]
pub(crate) struct CidrSet(Vec<IpNet>);

impl CidrSet {
    pub(crate) fn push(&mut self, range: IpNet) {
        self.0.push(range.trunc());
    }

    pub(crate) fn matches(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }
}

/// An address, or an address and prefix length.
///
/// # Errors
/// Why the address does not parse; `None` if it is the prefix length that does not fit.
pub(crate) fn parse(text: &str) -> Result<IpNet, Option<AddrParseError>> {
    let Some((address, length)) = text.split_once('/') else {
        return text
            .parse::<IpAddr>()
            .map(|address| address.to_canonical().into())
            .map_err(Some);
    };
    let address: IpAddr = address.parse().map_err(Some)?;
    if length.is_empty() || !length.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(None);
    }
    let length: u8 = length.parse().ok().ok_or(None)?;
    let range = IpNet::new(address, length).ok().ok_or(None)?;
    Ok(match (address.to_canonical(), length.checked_sub(96)) {
        (IpAddr::V4(mapped), Some(length)) if address.is_ipv6() => {
            IpNet::new(mapped.into(), length).ok().ok_or(None)?
        }
        _ => range,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[&str]) -> CidrSet {
        let mut set = CidrSet::default();
        for range in ranges {
            set.push(parse(range).expect(range));
        }
        set
    }

    #[test]
    fn host_bits_do_not_count() {
        let set = set(&["10.1.2.3/8", "2001:db8::1/32"]);
        assert!(set.matches("10.255.0.1".parse().unwrap()));
        assert!(set.matches("2001:db8:ffff::".parse().unwrap()));
        assert!(!set.matches("11.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let address: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        for range in [
            "10.0.0.1",
            "10.0.0.0/8",
            "::ffff:10.0.0.1",
            "::ffff:10.0.0.0/104",
        ] {
            assert!(set(&[range]).matches(address), "{range}");
            assert!(
                set(&[range]).matches("10.0.0.1".parse().unwrap()),
                "{range}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_range() {
        assert!(matches!(parse("10.0.0"), Err(Some(_))));
        assert!(matches!(parse("10.0.0.0/33"), Err(None)));
        assert!(matches!(parse("10.0.0.0/+8"), Err(None)));
        assert!(matches!(parse("10.0.0.0/"), Err(None)));
        assert!(matches!(parse("fe80::1%eth0"), Err(Some(_))));
    }
}
