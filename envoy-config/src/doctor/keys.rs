//! Keys for tokens that come over a network without TLS.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{Finding, Weakness, each_object, every_field};

/// Each `remote_jwks` of `jwt_authn` whose URI is `http://` and not on this host, unless its cluster is in `config`
/// and has a transport socket: whoever is on the way to it decides which tokens are good.
///
/// Not seen: whether that transport socket is TLS that looks at the server's name, and whether a cluster leads to
/// where the URI says.
pub(super) fn over_plaintext(config: &Value) -> Vec<Finding> {
    let mut secured = BTreeSet::new();
    each_object("", config, every_field, &mut |_, object| {
        secured.extend(secured_cluster(object));
    });
    let mut findings = Vec::new();
    each_object("", config, every_field, &mut |path, object| {
        let Some(source) = object.pointer("/remote_jwks/http_uri") else {
            return;
        };
        let cluster = source.get("cluster").and_then(Value::as_str);
        if is_plaintext(source) && cluster.is_none_or(|name| !secured.contains(name)) {
            findings.push(Finding {
                weakness: Weakness::KeysOverPlaintext,
                path: format!("{path}.remote_jwks"),
            });
        }
    });
    findings
}

/// The name of a cluster with a transport socket. A filter chain has a name and a socket, too, but no such timeout.
fn secured_cluster(object: &Value) -> Option<&str> {
    let sockets = ["transport_socket", "transport_socket_matches"];
    let secured = sockets.iter().any(|field| object.get(field).is_some());
    let cluster = ["connect_timeout", "load_assignment", "eds_cluster_config"];
    let is_cluster = cluster.iter().any(|field| object.get(field).is_some());
    let name = object.get("name").and_then(Value::as_str);
    name.filter(|_| secured && is_cluster)
}

/// Whether a source of keys is asked in plaintext, and not on this host.
fn is_plaintext(source: &Value) -> bool {
    let uri = source.get("uri").and_then(Value::as_str);
    let uri = uri.unwrap_or_default().to_ascii_lowercase();
    let Some(rest) = uri.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // What stands before an `@` is a user, whatever it looks like (RFC 3986 §3.2.1).
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let local = |address: IpAddr| address.is_loopback();
    host != "localhost" && !host.parse().is_ok_and(local)
}
