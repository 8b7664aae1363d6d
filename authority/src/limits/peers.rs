//! Connections by the address they come from.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    per_peer: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum TooMany {
    /// Of everybody together.
    #[error("{most} connections are open, which is the limit")]
    Connections {
        /// The limit.
        most: usize,
    },
    /// From one address.
    #[error("{most} connections are open from this address, which is the limit")]
    FromPeer {
        /// The limit.
        most: usize,
    },
}

/// A connection's place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Slot {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    /// Room for `most`, and of these for `per_peer` from one address.
    pub(crate) fn new(most: usize, per_peer: usize) -> Self {
        let open = Mutex::default();
        Self(Arc::new(Inner {
            most,
            per_peer,
            open,
        }))
    }

    /// Takes a place for a connection from `address`.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Slot, TooMany> {
        let peer = network(address);
        let mut open = self.lock();
        if open.all >= self.0.most {
            return Err(TooMany::Connections { most: self.0.most });
        }
        let of_peer = open.by_peer.entry(peer).or_default();
        if *of_peer >= self.0.per_peer {
            let most = self.0.per_peer;
            return Err(TooMany::FromPeer { most });
        }
        *of_peer += 1;
        open.all += 1;
        drop(open);
        Ok(Slot {
            peers: self.clone(),
            peer,
        })
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.peers.lock();
        open.all = open.all.saturating_sub(1);
        if let Some(of_peer) = open.by_peer.get_mut(&self.peer) {
            *of_peer = of_peer.saturating_sub(1);
            if *of_peer == 0 {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

/// Whoever has an IPv6 address mostly has the whole /64 around it.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(prefix).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_its_share_and_gets_it_back() {
        let peers = Peers::new(3, 2);
        let at = |text: &str| peers.admit(text.parse().unwrap());
        let first = at("10.0.0.1").unwrap();
        let _second = at("::ffff:10.0.0.1").unwrap();
        assert_eq!(at("10.0.0.1").unwrap_err(), TooMany::FromPeer { most: 2 });
        drop(first);
        let _again = at("10.0.0.1").unwrap();
        let _other = at("2001:db8::1").unwrap();
        assert_eq!(
            at("10.0.0.9").unwrap_err(),
            TooMany::Connections { most: 3 }
        );
        assert_eq!(peers.open(), 3);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let peers = Peers::new(9, 1);
        let _one = peers.admit("2001:db8::1".parse().unwrap()).unwrap();
        let same = peers.admit("2001:db8::ffff:1".parse().unwrap());
        assert_eq!(same.unwrap_err(), TooMany::FromPeer { most: 1 });
        peers.admit("2001:db8:0:1::1".parse().unwrap()).unwrap();
    }
}
