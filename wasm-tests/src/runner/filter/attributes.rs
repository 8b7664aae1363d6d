//! The attributes Envoy shows of a case's request.

use std::net::SocketAddr;

use identity::x509::Sha256Digest;
use policy::Peer;
use policy::corpus::Case;
use serde_json::Value;

use super::super::native;
use super::super::read::TestCase;
use crate::host::Properties;

/// What the newest Envoy shows. Each case has a `connection` of its own: the filter may remember who is at the other
/// end of one.
pub(super) fn of(case: &Case, own: &TestCase, connection: u64) -> Properties {
    let source = SocketAddr::new(case.source_ip, case.source_port);
    let destination = SocketAddr::new(case.destination_ip, case.destination_port);
    let remote = case.remote_ip.unwrap_or(case.source_ip);
    let properties = Properties::new()
        .with("connection.id", connection)
        .with("source.address", source.to_string())
        .with("source.port", i64::from(case.source_port))
        .with("destination.address", destination.to_string())
        .with("destination.port", i64::from(case.destination_port))
        .with_path(
            &["filter_state", "countersign.direct_remote_address"],
            source.ip().to_string(),
        )
        .with_path(
            &["filter_state", "countersign.remote_address"],
            remote.to_string(),
        );
    let mut properties = peer(properties, case, own);
    if let Some(name) = &case.sni {
        properties.set(&["connection", "requested_server_name"], name.as_str());
    }
    if let Some(claims) = &case.claims {
        let payload = ["filter_state", "countersign.jwt_payload"];
        properties.set(&payload, claims.to_string());
    }
    if let Some(metadata) = &case.metadata {
        let path = ["metadata".to_owned(), "filter_metadata".to_owned()];
        add(&mut properties, &mut path.to_vec(), metadata);
    }
    properties
}

fn peer(properties: Properties, case: &Case, own: &TestCase) -> Properties {
    let mutual = properties.clone().with("connection.mtls", true);
    match (&own.certificate, native::peer(case, own)) {
        (Some(shown), _) => {
            let digest = Sha256Digest::of(&shown.der).to_string();
            let id = shown.checked.as_ref().map(|svid| svid.id().to_string());
            mutual
                .with("connection.tls_version", "TLSv1.3")
                .with(
                    "connection.uri_san_peer_certificate",
                    id.unwrap_or_default(),
                )
                .with("connection.sha256_peer_certificate_digest", digest)
                .with("connection.peer_certificate", shown.pem.as_str())
                .with("connection.peer_certificate_valid", true)
        }
        (None, Peer::Plaintext) => properties.with("connection.mtls", false),
        (None, _) => mutual,
    }
}

/// Dynamic metadata, value by value as Envoy hands it out.
fn add(properties: &mut Properties, path: &mut Vec<String>, value: &Value) {
    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
    let mut children: Vec<(String, &Value)> = Vec::new();
    match value {
        Value::Null => {}
        Value::Bool(value) => properties.set(&steps, *value),
        Value::Number(number) => {
            let bits = number.as_f64().unwrap_or_default().to_bits();
            properties.set(&steps, bits);
        }
        Value::String(text) => properties.set(&steps, text.as_str()),
        // A list without elements is a map of no pairs.
        Value::Array(list) if list.is_empty() => properties.set(&steps, "\0\0\0\0"),
        Value::Array(list) => {
            children.extend(
                list.iter()
                    .enumerate()
                    .map(|(at, one)| (at.to_string(), one)),
            );
        }
        Value::Object(map) => {
            children.extend(map.iter().map(|(key, one)| (key.clone(), one)));
        }
    }
    for (step, child) in children {
        path.push(step);
        add(properties, path, child);
        path.pop();
    }
}
