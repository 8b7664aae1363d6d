//! The bytes Istio's clients send and expect.

use std::collections::BTreeMap;

use api::istio::istio_certificate_service_server::SERVICE_NAME;
use api::istio::{IMPERSONATED_IDENTITY, IstioCertificateRequest, IstioCertificateResponse};
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

#[test]
fn the_service_has_istios_name() {
    assert_eq!(SERVICE_NAME, "istio.v1.auth.IstioCertificateService");
}

#[test]
fn request_fields_have_istios_numbers() {
    let value = Value {
        kind: Some(Kind::StringValue("id".to_owned())),
    };
    let fields = BTreeMap::from([(IMPERSONATED_IDENTITY.to_owned(), value)]);
    let request = IstioCertificateRequest {
        csr: "c".to_owned(),
        validity_duration: 1,
        metadata: Some(Struct { fields }),
    };
    let mut wanted = vec![
        0x0a, 1, b'c', // field 1, one byte
        0x18, 1, // field 3, varint; field 2 is unused
        0x22, 30, // field 4, Struct
        0x0a, 28, // one entry of `fields`
        0x0a, 20, // its key
    ];
    wanted.extend_from_slice(b"ImpersonatedIdentity");
    wanted.extend_from_slice(&[0x12, 4, 0x1a, 2, b'i', b'd']);
    assert_eq!(request.encode_to_vec(), wanted);
}

#[test]
fn response_elements_are_field_one() {
    let response = IstioCertificateResponse {
        cert_chain: vec!["a".to_owned(), "b".to_owned()],
    };
    assert_eq!(response.encode_to_vec(), [0x0a, 1, b'a', 0x0a, 1, b'b']);
}
