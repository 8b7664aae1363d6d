//! By what requests take turns.

use std::net::IpAddr;
use std::sync::Arc;

use identity::SpiffeId;

use crate::issue::Caller;
use crate::limits::SpiffeIdText;
use crate::limits::peers::network;

/// A place in the fair queue. Only what is proven counts: the identity asked for does not, or a
/// caller could wait in another one's place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lane {
    /// The namespace; of our agents, and of node accounts, the node.
    pub(crate) group: Arc<str>,
    /// The identity, and the address it calls from: replicas of a workload are not one caller.
    pub(crate) member: Arc<str>,
}

impl Lane {
    /// The place of a caller at an address.
    pub(crate) fn of(caller: &Caller, peer: Option<IpAddr>, nodes: &[SpiffeIdText]) -> Self {
        let at = peer.map_or_else(String::new, |peer| peer.to_string());
        let Some(id) = caller.identity() else {
            let member = caller.to_string().into();
            let group = "operator".into();
            return Self { group, member };
        };
        let group = if nodes.iter().any(|node| node.0 == *id) {
            format!("{id} {at}")
        } else {
            group(id)
        };
        Self {
            group: group.into(),
            member: format!("{id} {at}").into(),
        }
    }

    /// The place of somebody who has proven nothing yet.
    pub(crate) fn at(peer: Option<IpAddr>) -> Self {
        Self {
            group: peer.map_or_else(|| "?".into(), |peer| network(peer).to_string().into()),
            member: "".into(),
        }
    }
}

/// `ns/<namespace>` of Istio's form; the whole path of one of ours; else its first segment.
fn group(id: &SpiffeId) -> String {
    let mut segments = id.path().split('/').filter(|segment| !segment.is_empty());
    match (segments.next(), segments.next()) {
        (Some("ns"), Some(namespace)) => format!("ns/{namespace}"),
        (Some("countersign"), _) => id.path().to_owned(),
        (first, _) => first.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use identity::UnixTime;

    use super::*;
    use crate::inventory::TokenRecord;

    fn caller(id: &str) -> Caller {
        Caller::JoinToken(TokenRecord {
            hash: String::new(),
            spiffe_id: SpiffeId::new(id).unwrap(),
            expires_at: UnixTime::from_secs(0),
            spent: None,
        })
    }

    fn lane(id: &str, at: &str, nodes: &[SpiffeIdText]) -> (String, String) {
        let lane = Lane::of(&caller(id), Some(at.parse().unwrap()), nodes);
        (lane.group.to_string(), lane.member.to_string())
    }

    #[test]
    fn a_namespace_is_a_group_and_an_agent_is_one_too() {
        let of = |id: &str| lane(&format!("spiffe://td{id}"), "10.0.0.1", &[]).0;
        assert_eq!(of("/ns/shop/sa/web"), "ns/shop");
        assert_eq!(of("/countersign/agent/one"), "/countersign/agent/one");
        assert_eq!(of("/payments/api"), "payments");
    }

    #[test]
    fn replicas_are_members_and_a_node_account_is_a_group_at_each_address() {
        let web = "spiffe://td/ns/shop/sa/web";
        let (one, two) = (lane(web, "10.0.0.1", &[]), lane(web, "10.0.0.2", &[]));
        assert_eq!(one.0, two.0);
        assert_ne!(one.1, two.1);
        let ztunnel = "spiffe://td/ns/istio-system/sa/ztunnel";
        let nodes = [SpiffeIdText(SpiffeId::new(ztunnel).unwrap())];
        let (one, two) = (
            lane(ztunnel, "10.0.0.1", &nodes),
            lane(ztunnel, "10.0.0.2", &nodes),
        );
        assert_ne!(one.0, two.0);
        assert_eq!(lane(web, "10.0.0.1", &nodes).0, "ns/shop");
    }
}
