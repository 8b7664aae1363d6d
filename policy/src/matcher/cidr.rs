//! Address ranges.

use std::net::{AddrParseError, IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The ranges of one field; an address matches if one of them holds it.
///
/// Host bits of a range are ignored (`10.1.2.3/8` is `10.0.0.0/8`, as in Envoy). An IPv4 address mapped into
/// IPv6 counts as the IPv4 address, on both sides.
#[derive(Debug, Default)]
pub(crate) struct CidrSet {
    v4: Disjoint<Ipv4Net>,
    v6: Disjoint<Ipv6Net>,
}

/// Ranges in ascending order, none of which holds another: either one holds an address or none does, and
/// one binary search finds it.
#[derive(Debug)]
struct Disjoint<N>(Vec<N>);

impl CidrSet {
    pub(crate) fn push(&mut self, range: IpNet) {
        match range {
            IpNet::V4(range) => self.v4.add(range.trunc(), |a, b| a.contains(b)),
            IpNet::V6(range) => self.v6.add(range.trunc(), |a, b| a.contains(b)),
        }
    }

    pub(crate) fn matches(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self
                .v4
                .at_most(&Ipv4Net::from(address))
                .is_some_and(|range| range.contains(&address)),
            IpAddr::V6(address) => self
                .v6
                .at_most(&Ipv6Net::from(address))
                .is_some_and(|range| range.contains(&address)),
        }
    }

    /// The ranges, those of IPv4 first; none of them holds another.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = IpNet> {
        let v6 = self.v6.0.iter().copied().map(IpNet::V6);
        self.v4.0.iter().copied().map(IpNet::V4).chain(v6)
    }
}

impl<N: Ord> Disjoint<N> {
    /// Ranges order by address, then by length, shorter first: a range comes before all that it holds.
    fn add(&mut self, range: N, holds: impl Fn(&N, &N) -> bool) {
        let at = self.0.partition_point(|held| *held <= range);
        let covered = at
            .checked_sub(1)
            .and_then(|before| self.0.get(before))
            .is_some_and(|before| holds(before, &range));
        if !covered {
            let inside = self
                .0
                .iter()
                .skip(at)
                .take_while(|held| holds(&range, held))
                .count();
            self.0.splice(at..at.saturating_add(inside), [range]);
        }
    }

    /// The last one that is not greater.
    fn at_most(&self, sought: &N) -> Option<&N> {
        let after = self.0.partition_point(|held| held <= sought);
        self.0.get(after.checked_sub(1)?)
    }
}

impl<N> Default for Disjoint<N> {
    fn default() -> Self {
        Self(Vec::new())
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
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::{collection::vec, prelude::*};

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

    #[test]
    fn a_range_in_another_is_dropped_in_either_order() {
        for order in [
            ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3"],
            ["10.1.2.3", "10.1.0.0/16", "10.0.0.0/8"],
        ] {
            let ranges: Vec<String> = set(&order)
                .ranges()
                .map(|range| range.to_string())
                .collect();
            assert_eq!(ranges, ["10.0.0.0/8"]);
        }
    }

    proptest! {
        #[test]
        fn finds_what_a_linear_search_finds(
            held in vec((any::<[u8; 2]>(), 0_u8..=32), 0..20),
            asked: [u8; 2],
        ) {
            let address = |[a, b]: [u8; 2]| Ipv4Addr::new(10, a % 4, 0, b % 8);
            let v4: Vec<IpNet> =
                held.iter().map(|(at, length)| IpNet::new(address(*at).into(), *length).unwrap()).collect();
            let v6: Vec<IpNet> = held
                .iter()
                .map(|(at, length)| IpNet::new(wide(address(*at)).into(), length * 4).unwrap())
                .collect();
            let mut set = CidrSet::default();
            v4.iter().chain(&v6).for_each(|range| set.push(*range));
            for (asked, held) in [(IpAddr::from(address(asked)), &v4), (wide(address(asked)).into(), &v6)] {
                prop_assert_eq!(set.matches(asked), held.iter().any(|range| range.contains(&asked)));
            }
        }
    }

    fn wide(address: Ipv4Addr) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(u32::from(address)) << 96 | 7)
    }
}
